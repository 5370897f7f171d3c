// Mamba: [x | z] = W u; x through a short causal convolution and silu; Delta, B and C from x; the
// selective scan, gated by silu(z); W_out. Gu and Dao 2023, section 3, Figure 3. B batch, T rows of
// a call, D width, E channels, N states of a channel, R rank of Delta, K taps.

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/depthwise_convolution.h"
#include "common/autograd/ops.h"
#include "common/autograd/selective_scan.h"
#include "common/base/refuse.h"
#include "common/nn/padding.h"
#include "papers/mamba/mamba.pb.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

// Streaming state: "conv" [B, K - 1, E], the last inputs of the convolution, oldest first, and
// "ssm" [B, E, N].
class Mamba : public Mixer {
 public:
  static absl::StatusOr<std::unique_ptr<Mixer>> Create(const MambaConfig& config,
                                                       const BuildArgs& args);

  const MixerTraits& traits() const override { return traits_; }

  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    const Tensor padding_bt1 = nn::PaddingOf(rows, x_btd);
    const Constants constants = MakeConstants();
    if (call.form != nn::Form::kRecurrent) {
      Carried none;
      return Mix(x_btd, padding_bt1, constants, &none);
    }
    Carried carried;
    std::vector<Tensor> steps;
    for (int64_t t = 0; t < x_btd.dim(1); ++t) {
      steps.push_back(Mix(Narrow(x_btd, 1, t, 1),
                          padding_bt1.defined() ? Narrow(padding_bt1, 1, t, 1) : Tensor(),
                          constants, &carried));
    }
    return Concat(steps, 1);
  }

  nn::State NewState(int64_t batch) const override {
    const int64_t taps = conv_weight_.dim(1);
    nn::State state;
    state.Set("conv", Tensor::Zeros({batch, taps - 1, channels_}, conv_weight_.dtype(),
                                    conv_weight_.device()));
    state.Set("ssm", Tensor::Zeros({batch, channels_, states_}, conv_weight_.dtype(),
                                   conv_weight_.device()));
    return state;
  }

  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call&,
                nn::State* state) const override {
    CHECK(!rows.end_b.defined()) << "a stream is not padded on the right";
    Carried carried{state->Get("conv"), state->Get("ssm")};
    const Tensor y = Mix(x_btd, nn::PaddingOf(rows, x_btd), ConstantsOf(state), &carried);
    state->Set("conv", carried.tail_bke);
    state->Set("ssm", carried.state_ben);
    return y;
  }

 private:
  // What one call hands to the next; undefined: zeros.
  struct Carried {
    Tensor tail_bke, state_ben;
  };

  // What is made of parameters alone.
  struct Constants {
    Tensor a_en;  // A = -exp(A_log)
    // The maps to Delta's rank, B and C, one below the other, as far as they select: one product
    // makes all three, as each is too narrow for one of its own. Undefined where nothing selects.
    Tensor selection_se;
  };
  Constants MakeConstants() const {
    std::vector<Tensor> weights;
    for (const std::optional<nn::Weight>* w : {&w_rank_, &w_b_, &w_c_}) {
      if (w->has_value()) weights.push_back((**w)());
    }
    return {Neg(Exp(a_log_)), weights.empty() ? Tensor() : Concat(weights, 0)};
  }
  // Once a stream, but for every call whose gradients are recorded.
  Constants ConstantsOf(nn::State* state) const {
    if (RecordingEnabled()) return MakeConstants();
    if (!state->Has("a")) {
      const Constants made = MakeConstants();
      state->Set("a", made.a_en, nn::State::Kind::kDerived);
      if (made.selection_se.defined())
        state->Set("selection", made.selection_se, nn::State::Kind::kDerived);
    }
    return {state->Get("a"), state->Has("selection") ? state->Get("selection") : Tensor()};
  }

  // The block on rows that follow what is carried. Padded rows count as zeros to the convolution
  // and to the scan, where its bias would else show.
  Tensor Mix(const Tensor& x_btd, const Tensor& padding_bt1, const Constants& constants,
             Carried* carried) const {
    const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1);
    const auto masked = [&](const Tensor& t) {
      return padding_bt1.defined() ? MaskedFill(t, padding_bt1, 0) : t;
    };
    Tensor x_bte, z_bte;
    if (x_bias_.defined()) {
      x_bte = Linear(x_btd, w_x_(), x_bias_);
      z_bte = Linear(x_btd, w_z_(), z_bias_);
    } else {
      const std::vector<Tensor> both = Linears(x_btd, {w_x_(), w_z_()});
      x_bte = both[0], z_bte = both[1];
    }
    const DepthwiseConvolutionResult convolved = DepthwiseConvolution(
        {masked(x_bte), conv_weight_, conv_bias_, carried->tail_bke, /*silu=*/true});
    carried->tail_bke = convolved.tail_bkd;

    kernels::SelectiveScanInputs scan;
    scan.x_btd = masked(convolved.y_btd);
    Tensor selected;
    if (constants.selection_se.defined()) selected = Linear(scan.x_btd, constants.selection_se);
    int64_t at = 0;
    const auto take = [&](int64_t size) {
      at += size;
      return Narrow(selected, 2, at - size, size);
    };
    scan.delta_btd =
        w_rank_.has_value() ? Linear(take(rank_), w_delta_()) : Tensor::ZerosLike(scan.x_btd);
    scan.b = w_b_.has_value() ? Reshape(take(states_), {batch, rows, 1, states_}) : b_;
    scan.c = w_c_.has_value() ? Reshape(take(states_), {batch, rows, 1, states_}) : c_;
    scan.a_dn = constants.a_en;
    scan.bias_d = delta_bias_;
    scan.skip_d = skip_;
    scan.gate_btd = z_bte;
    scan.state_bdn = carried->state_ben;
    const SelectiveScanResult scanned = SelectiveScan(scan);
    carried->state_ben = scanned.last_bdn;
    return Linear(scanned.y_btd, w_out_(), out_bias_);
  }

  MixerTraits traits_;
  int64_t channels_ = 0, states_ = 0, rank_ = 0;
  nn::Weight w_x_, w_z_, w_out_;                  // [E, D] twice, [D, E]
  Tensor x_bias_, z_bias_, out_bias_;             // undefined without bias
  Tensor conv_weight_, conv_bias_;                // [E, K], [E]
  std::optional<nn::Weight> w_rank_, w_b_, w_c_;  // [R, E], [N, E] twice; where selective
  nn::Weight w_delta_;                            // [E, R]
  Tensor b_, c_;                                  // [E, N], where not selective
  Tensor delta_bias_, a_log_, skip_;              // [E], [E, N], [E]
};

// Fills by a function of one draw in [0, 1) an element.
nn::Init FromUniform(const std::function<double(double)>& fn) {
  return [fn](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    std::vector<double> drawn(value.numel());
    for (size_t i = 0; i < drawn.size(); ++i) drawn[i] = fn(rng.Uniform(static_cast<int64_t>(i)));
    value.CopyFrom(Tensor::FromVector(value.shape(), drawn).To(value.dtype()));
  };
}

// A_log in rows of N states.
nn::Init DecayInit(MambaConfig::AInit init) {
  return [init](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    if (init == MambaConfig::LOG_NORMAL) return nn::Normal(1)(rng, value);
    std::vector<double> logs(value.numel());
    for (size_t i = 0; i < logs.size(); ++i) {
      const double n = static_cast<double>(static_cast<int64_t>(i) % value.dim(1));
      logs[i] = init == MambaConfig::HALF ? std::log(0.5) : std::log(n + 1);
    }
    value.CopyFrom(Tensor::FromVector(value.shape(), logs).To(value.dtype()));
  };
}

absl::StatusOr<std::unique_ptr<Mixer>> Mamba::Create(const MambaConfig& config,
                                                     const BuildArgs& args) {
  constexpr int64_t kMostStates = 4096, kMostTaps = 256, kMostExpand = 64, kMostRank = 1 << 16;
  if (args.direction != nn::Direction::kCausal) {
    return absl::InvalidArgumentError("Mamba is causal (expected no model in both directions)");
  }
  if (config.d_state() < 1 || config.d_state() > kMostStates)
    return Refuse("d_state", config.d_state(), absl::StrCat("1 to ", kMostStates));
  if (config.d_conv() < 1 || config.d_conv() > kMostTaps)
    return Refuse("d_conv", config.d_conv(), absl::StrCat("1 to ", kMostTaps));
  if (config.expand() < 1 || config.expand() > kMostExpand)
    return Refuse("expand", config.expand(), absl::StrCat("1 to ", kMostExpand));
  if (config.dt_rank() < 0 || config.dt_rank() > kMostRank)
    return Refuse("dt_rank", config.dt_rank(), absl::StrCat("0, for width / 16, to ", kMostRank));
  if (!(config.dt_min() > 0)) return Refuse("dt_min", config.dt_min(), "above 0");
  if (!(config.dt_max() >= config.dt_min()))
    return Refuse("dt_max", config.dt_max(),
                  absl::StrCat("dt_min, ", config.dt_min(), ", or more"));
  if (!(config.dt_floor() > 0)) return Refuse("dt_floor", config.dt_floor(), "above 0");
  if (!(config.dt_scale() >= 0)) return Refuse("dt_scale", config.dt_scale(), "0 or more");

  auto mixer = std::make_unique<Mamba>();
  MixerTraits& traits = mixer->traits_;
  traits.forms = {nn::Form::kParallel, nn::Form::kRecurrent};
  traits.streams = true;
  traits.padding = MixerTraits::kBothSides;

  const int64_t channels = config.expand() * args.width, states = config.d_state();
  const int64_t rank = config.dt_rank() > 0 ? config.dt_rank() : (args.width + 15) / 16;
  mixer->channels_ = channels, mixer->states_ = states, mixer->rank_ = rank;
  const nn::Scope& scope = args.scope;
  nn::Tags constant;
  constant.decay = false;
  mixer->w_x_ = scope.Linear("w_x", {channels, args.width}, nn::FanInUniform());
  mixer->w_z_ = scope.Linear("w_z", {channels, args.width}, nn::FanInUniform());
  if (config.bias()) {
    mixer->x_bias_ = scope.Param("x_bias", {channels}, nn::Zeros(), constant);
    mixer->z_bias_ = scope.Param("z_bias", {channels}, nn::Zeros(), constant);
  }
  const nn::Scope conv = scope.Child("conv");
  mixer->conv_weight_ = conv.Param("weight", {channels, config.d_conv()}, nn::FanInUniform());
  if (config.conv_bias()) {
    mixer->conv_bias_ =
        conv.Param("bias", {channels},
                   nn::Uniform(1 / std::sqrt(static_cast<double>(config.d_conv()))), constant);
  }
  if (config.selective_delta()) {
    mixer->w_rank_ = scope.Linear("w_rank", {rank, channels}, nn::FanInUniform());
    const double scale = config.dt_scale() / std::sqrt(static_cast<double>(rank));
    mixer->w_delta_ = scope.Linear(
        "w_delta", {channels, rank},
        config.dt_init() == MambaConfig::CONSTANT ? nn::Constant(scale) : nn::Uniform(scale));
  }
  if (config.selective_b()) {
    mixer->w_b_ = scope.Linear("w_b", {states, channels}, nn::FanInUniform());
  } else {
    mixer->b_ = scope.Param("b", {channels, states}, nn::Constant(1), constant);
  }
  if (config.selective_c()) {
    mixer->w_c_ = scope.Linear("w_c", {states, channels}, nn::FanInUniform());
  } else {
    mixer->c_ = scope.Param("c", {channels, states}, nn::Normal(1), constant);
  }
  // The inverse of softplus: dt + log(1 - exp(-dt)).
  const double low = std::log(config.dt_min()), high = std::log(config.dt_max()),
               floor = config.dt_floor();
  mixer->delta_bias_ = scope.Param("delta_bias", {channels}, FromUniform([=](double u) {
                                     const double dt =
                                         std::max(std::exp(low + (high - low) * u), floor);
                                     return dt + std::log(-std::expm1(-dt));
                                   }),
                                   constant);
  mixer->a_log_ = scope.Param("a_log", {channels, states}, DecayInit(config.a_init()), constant);
  mixer->skip_ = scope.Param("skip", {channels}, nn::Constant(1), constant);
  // Drawn like the others and divided by the square root of the layers (section E.2.1, GPT-2's
  // way).
  mixer->w_out_ = scope.Linear(
      "w_out", {args.width, channels},
      nn::Uniform(
          1 / std::sqrt(static_cast<double>(channels * std::max<int64_t>(1, args.num_layers)))));
  if (config.bias())
    mixer->out_bias_ = scope.Param("out_bias", {args.width}, nn::Zeros(), constant);
  return mixer;
}

LR_REGISTER_PLUGIN(Mixer, MambaConfig, Mamba::Create);

}  // namespace
}  // namespace longrange
