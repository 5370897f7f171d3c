// Gated multi-scale retention (Sun et al. 2023, section 2.2). Forms: kChunked (Eq. 7), kParallel
// (Eq. 5), kRecurrent (Eq. 6). B batch, T rows of a call, H heads, D channels of a head's queries
// and keys, E of its values.

#include "plugins/mixer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/retention.h"
#include "common/base/refuse.h"
#include "common/nn/padding.h"
#include "papers/retnet/retnet.pb.h"
#include "papers/retnet/schedule.h"
#include "papers/retnet/score_scale.h"
#include "plugins/attention/rope.h"
#include "plugins/attention/rotation.h"
#include "plugins/position.h"

namespace longrange {
namespace {

constexpr int64_t kTorchscaleChunk = 512;  // rows, where the config leaves it open

// Turns pairs of channels, and multiplies by `magnitude`.
class Turn : public PositionScheme {
 public:
  Turn(const std::vector<double>& frequencies, double magnitude, bool interleaved)
      : angles_{FrequencyTensor(frequencies), magnitude, interleaved} {}
  uint32_t uses() const override { return kRotary; }
  RotaryAngles RotaryFor(int64_t, const nn::Call&) const override { return angles_; }

 private:
  RotaryAngles angles_;
};

// Uniform within gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio 2010). The gains are those of
// the authors' code.
nn::Init XavierUniform(double gain, int64_t fan_in, int64_t fan_out) {
  return nn::Uniform(gain * std::sqrt(6.0 / static_cast<double>(fan_in + fan_out)));
}

// Streaming state: "s" [B, H, D, E], the memory S, and "seen" [B] (int64), how many rows came.
class RetnetMixer : public Mixer {
 public:
  RetnetMixer(const RetnetConfig& config, const BuildArgs& args)
      : config_(config),
        heads_(config.heads()),
        key_width_(config.key_width() > 0 ? config.key_width() : args.width),
        value_width_(config.value_width() > 0 ? config.value_width() : 2 * args.width),
        log_decay_h_(retnet::LogDecays(config)) {
    traits_.forms = {nn::Form::kChunked, nn::Form::kParallel, nn::Form::kRecurrent};
    traits_.streams = config.score_scale() == RetnetConfig::NO_SCALE;
    traits_.padding = MixerTraits::kBothSides;
    if (config.score_scale() == RetnetConfig::TORCHSCALE) {
      std::swap(traits_.forms[0], traits_.forms[1]);
      traits_.flops = Growth::kQuadratic;
      traits_.padding = MixerTraits::kRight;  // the scale counts rows
    }
    const int64_t head_width = key_width_ / heads_;
    key_scale_ = 1 / std::sqrt(static_cast<double>(head_width));
    const std::vector<double> frequencies = retnet::Frequencies(config, head_width);
    if (!frequencies.empty()) {
      turn_q_ = std::make_unique<Turn>(frequencies, 1, config.interleaved());
      turn_k_ = std::make_unique<Turn>(frequencies, key_scale_, config.interleaved());
    }
    const auto linear = [&](const char* name, int64_t out, int64_t in, double gain) {
      return args.scope.Linear(name, {out, in}, XavierUniform(gain, in, out));
    };
    const double gain = std::exp2(-2.5);
    w_q_ = linear("w_q", key_width_, args.width, gain);
    w_k_ = linear("w_k", key_width_, args.width, gain);
    w_v_ = linear("w_v", value_width_, args.width, gain);
    if (config.gate() != RetnetConfig::NO_GATE)
      w_g_ = linear("w_g", value_width_, args.width, gain);
    w_o_ = linear("w_o", args.width, value_width_, 0.5);
  }

  const MixerTraits& traits() const override { return traits_; }

  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    return Retain(x_btd, rows, call, 0, Tensor()).y_btd;
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    state.Set("s", Tensor::Zeros({batch, heads_, key_width_ / heads_, value_width_ / heads_},
                                 w_q_.dtype(), w_q_.device()));
    state.Set("seen", Tensor::Zeros({batch}, DType::kInt64));
    return state;
  }

  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    CHECK(!rows.end_b.defined()) << "a stream is not padded on the right";
    const int64_t seen = state->Get("seen").data<int64_t>()[0];
    const Retained made = Retain(x_btd, rows, call, seen, state->Get("s"));
    state->Set("s", made.state_bhde);
    state->Set("seen", Tensor::Full({x_btd.dim(0)}, static_cast<double>(seen + x_btd.dim(1)),
                                    DType::kInt64));
    return made.y_btd;
  }

 private:
  struct Retained {
    Tensor y_btd, state_bhde;
  };

  // Rows that come after `seen` others, of which state_bhde (undefined: zeros) is what is left.
  Retained Retain(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call, int64_t seen,
                  const Tensor& state_bhde) const {
    const int64_t batch = x_btd.dim(0), tokens = x_btd.dim(1);
    std::vector<Tensor> weights = {w_q_(), w_k_(), w_v_()};
    if (config_.gate() != RetnetConfig::NO_GATE) weights.push_back(w_g_());
    const std::vector<Tensor> projected = Linears(x_btd, weights);
    const auto by_head = [&](const Tensor& p) {
      return Reshape(p, {batch, tokens, heads_, p.dim(-1) / heads_});
    };
    kernels::RetentionInputs in;
    in.q_bthd = by_head(projected[0]);
    in.k_bthd = by_head(projected[1]);
    in.v_bthe = by_head(projected[2]);
    in.log_decay_h = log_decay_h_;
    in.state_bhde = state_bhde;
    if (turn_q_ != nullptr) {
      std::vector<double> positions(tokens);
      for (int64_t t = 0; t < tokens; ++t) positions[t] = static_cast<double>(seen + t);
      const int64_t length = seen + tokens;
      in.q_bthd = RotateTo(turn_q_.get(), in.q_bthd, positions, length, call);
      in.k_bthd = RotateTo(turn_k_.get(), in.k_bthd, positions, length, call);
    } else {
      in.k_bthd = Scale(in.k_bthd, key_scale_);
    }
    // A key of zeros leaves nothing behind.
    in.k_bthd = nn::WithoutPadding(in.k_bthd, rows);
    const nn::Form form = call.form == nn::Form::kDefault ? traits_.forms[0] : call.form;
    in.chunk = form == nn::Form::kRecurrent  ? 1
               : form == nn::Form::kParallel ? std::max<int64_t>(tokens, 1)
                                             : config_.chunk();
    const RetentionResult retained = Retention(in);
    Tensor y = retained.out_bthe;
    if (config_.score_scale() == RetnetConfig::TORCHSCALE) y = Div(y, ScaleOf(form, in));
    if (config_.head_norm() == RetnetConfig::RMS)
      y = RmsNorm(y, Tensor(), config_.head_norm_epsilon());
    if (config_.head_norm() == RetnetConfig::GROUP)
      y = LayerNorm(y, Tensor(), Tensor(), config_.head_norm_epsilon());
    y = Reshape(y, {batch, tokens, value_width_});
    if (config_.gate() == RetnetConfig::SWISH) y = SwiGlu(projected[3], y);
    if (config_.gate() == RetnetConfig::GELU) y = Mul(Gelu(projected[3]), y);
    return {Linear(y, w_o_()), retained.state_bhde};
  }

  Tensor ScaleOf(nn::Form form, const kernels::RetentionInputs& in) const {
    if (form == nn::Form::kRecurrent) return retnet::RecurrentScale(in.q_bthd, log_decay_h_);
    if (form == nn::Form::kParallel)
      return retnet::ParallelScale(in.q_bthd, in.k_bthd, log_decay_h_);
    return retnet::ChunkScale(in.q_bthd, in.k_bthd, in.v_bthe, log_decay_h_,
                              config_.chunk() > 0 ? config_.chunk() : kTorchscaleChunk);
  }

  RetnetConfig config_;
  MixerTraits traits_;
  int64_t heads_, key_width_, value_width_;
  std::vector<double> log_decay_h_;
  double key_scale_ = 1;
  std::unique_ptr<PositionScheme> turn_q_, turn_k_;  // null: no rotation
  nn::Weight w_q_, w_k_, w_v_, w_g_, w_o_;
};

absl::StatusOr<std::unique_ptr<Mixer>> CreateRetnet(const RetnetConfig& config,
                                                    const BuildArgs& args) {
  constexpr int64_t kMostWidth = int64_t{1} << 24;
  if (args.direction != nn::Direction::kCausal)
    return absl::InvalidArgumentError("direction: bidirectional (expected causal)");
  if (config.heads() < 1 || config.heads() > kMostWidth)
    return Refuse("heads", config.heads(), "1 or more");
  for (const auto& [field, set, otherwise] :
       {std::tuple("key_width", config.key_width(), args.width),
        {"value_width", config.value_width(), 2 * args.width}}) {
    if (set < 0 || set > kMostWidth) return Refuse(field, set, "0 or more");
    const int64_t width = set > 0 ? set : otherwise;
    if (width % config.heads() != 0) {
      return Refuse(field, width, absl::StrCat("a multiple of heads: ", config.heads()));
    }
  }
  const int64_t head_width =
      (config.key_width() > 0 ? config.key_width() : args.width) / config.heads();
  if (config.rotation() != RetnetConfig::NO_ROTATION && head_width % 2 != 0) {
    return Refuse("key_width", absl::StrCat(head_width, " a head"),
                  "an even number, whose pairs rotate");
  }
  if (config.gamma_size() > 1 && config.gamma_size() != config.heads()) {
    return Refuse("gamma", absl::StrCat(config.gamma_size(), " numbers"),
                  absl::StrCat("none, one, or one for each of heads: ", config.heads()));
  }
  for (const double gamma : config.gamma()) {
    if (!(gamma > 0 && gamma <= 1)) return Refuse("gamma", gamma, "above 0, at most 1");
  }
  if (!(config.theta() > 1)) return Refuse("theta", config.theta(), "above 1");
  if (!(config.head_norm_epsilon() > 0))
    return Refuse("head_norm_epsilon", config.head_norm_epsilon(), "above 0");
  constexpr int64_t kLongestChunk = int64_t{1} << 24;
  if (config.chunk() < 0 || config.chunk() > kLongestChunk)
    return Refuse("chunk", config.chunk(), absl::StrCat("0 to ", kLongestChunk, " rows"));
  return std::make_unique<RetnetMixer>(config, args);
}

LR_REGISTER_PLUGIN(Mixer, RetnetConfig, CreateRetnet);

}  // namespace
}  // namespace longrange
