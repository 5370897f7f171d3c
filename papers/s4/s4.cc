// S4 (Gu, Goel, Ré; ICLR 2022): the mixer around the linear systems of system.h.
// B batch, T rows of a call, H features (the width), N state size, M = N/2 modes.
// Forms: kFft, a convolution with the kernel of the system; kRecurrent, its step over the rows.

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/fft_convolution.h"
#include "common/autograd/glu.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/refuse.h"
#include "common/nn/padding.h"
#include "papers/s4/init.h"
#include "papers/s4/recurrence.h"
#include "papers/s4/s4.pb.h"
#include "papers/s4/system.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

// Streaming state: "x" [B, M, 2, H]; derived: the coefficients of the step.
class S4Mixer : public Mixer {
 public:
  static absl::StatusOr<std::unique_ptr<Mixer>> Create(const S4Config& config,
                                                       const BuildArgs& args);

  const MixerTraits& traits() const override { return traits_; }

  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    // Before the first real row of a system at rest zeros change nothing.
    const Tensor u_bth = nn::WithoutPadding(x_btd, rows);
    if (call.form == nn::Form::kRecurrent) {
      nn::State state = NewState(u_bth.dim(0));
      return Mixed(Stepped(u_bth, &state), call);
    }
    const int64_t batch = u_bth.dim(0), length = u_bth.dim(1), h = width_;
    const Tensor kernel_clh = s4::KernelOf(system_, length);
    const auto part = [&](int64_t c) { return Reshape(Narrow(kernel_clh, 0, c, 1), {length, h}); };
    const bool both_ways = traits_.direction == nn::Direction::kBidirectional;
    std::vector<Tensor> y;
    for (int64_t c = 0; c < channels_; ++c) {
      y.push_back(Reshape(FftConvolution(u_bth, part(c), both_ways ? part(channels_ + c) : Tensor(),
                                         Reshape(Narrow(d_ch_, 0, c, 1), {h})),
                          {batch, length, 1, h}));
    }
    return Mixed(y.size() == 1 ? y[0] : Concat(y, 2), call);
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    state.Set("x", Tensor::Zeros({batch, system_.c_chm2.dim(2), 2, width_}, d_ch_.dtype(),
                                 d_ch_.device()));
    return state;
  }

  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    CHECK(!rows.end_b.defined()) << "a stream is not padded on the right";
    return Mixed(Stepped(nn::WithoutPadding(x_btd, rows), state), call);
  }

 private:
  // The next rows [B, T, H] of the stream -> y + D u [B, T, channels, H].
  Tensor Stepped(const Tensor& u_bth, nn::State* state) const {
    const s4::RecurResult result = s4::Recur(Step(state), u_bth, state->Get("x"));
    state->Set("x", result.state_bm2h);
    const Tensor u_bt1h = Reshape(u_bth, {u_bth.dim(0), u_bth.dim(1), 1, width_});
    return Add(result.y_btch, Mul(u_bt1h, d_ch_));
  }

  // The coefficients: once a stream, but for every call whose gradients are recorded.
  s4::Recurrence Step(nn::State* state) const {
    const auto make = [&] { return s4::CastTo(s4::Discretise(system_), d_ch_.dtype()); };
    if (RecordingEnabled()) return make();
    if (!state->Has("delta")) {
      const s4::Recurrence made = make();
      const auto keep = [&](absl::string_view name, const Tensor& t) {
        if (t.defined()) state->Set(name, t, nn::State::Kind::kDerived);
      };
      keep("delta", made.delta_m2h);
      keep("b", made.b_m2h);
      keep("c", made.c_cm2h);
      keep("g", made.g_rm2h);
      keep("w", made.w_rm2h);
    }
    s4::Recurrence step{state->Get("delta"), state->Get("b"), state->Get("c"), Tensor(), Tensor()};
    if (!system_.diagonal()) {
      step.g_rm2h = state->Get("g");
      step.w_rm2h = state->Get("w");
    }
    return step;
  }

  // The activation of y [B, T, channels, H], dropout and the output map -> [B, T, H].
  Tensor Mixed(const Tensor& y_btch, const nn::Call& call) const {
    const int64_t batch = y_btch.dim(0), length = y_btch.dim(1), all = channels_ * width_;
    Tensor y = Reshape(y_btch, {batch, length, all});
    if (gelu_) y = Gelu(y);
    if (call.training && dropout_ > 0) {
      const Rng rng = call.rng.Child(call.path).Child("dropout");
      const Tensor keep = Tensor::Zeros({batch, 1, all}, DType::kFloat64);
      for (int64_t i = 0; i < keep.numel(); ++i) {
        if (rng.Uniform(i) >= dropout_) keep.mutable_data<double>()[i] = 1 / (1 - dropout_);
      }
      y = Mul(y, keep.To(y.dtype()).To(y.device()));
    }
    if (output_ == S4Config::NONE) return y;
    const Tensor value = Linear(y, w_value_(), b_value_);
    return output_ == S4Config::GLU ? Glu(Linear(y, w_gate_(), b_gate_), value) : value;
  }

  MixerTraits traits_;
  s4::System system_;
  int64_t width_ = 0, channels_ = 1;
  Tensor d_ch_;
  bool gelu_ = true;
  double dropout_ = 0;
  S4Config::Output output_ = S4Config::GLU;
  nn::Weight w_value_, w_gate_;
  Tensor b_value_, b_gate_;
};

absl::Status CheckConfig(const S4Config& config, int64_t width) {
  constexpr int64_t kLargestState = 512, kLongestKernel = 1 << 24, kMostChannels = 1 << 10;
  if (config.d_state() < 2 || config.d_state() % 2 != 0 || config.d_state() > kLargestState)
    return Refuse("d_state", config.d_state(),
                  absl::StrCat("an even number, 2 to ", kLargestState));
  if (!(config.dt_min() > 0)) return Refuse("dt_min", config.dt_min(), "above 0");
  if (!(config.dt_max() >= config.dt_min()))
    return Refuse("dt_max", config.dt_max(), absl::StrCat("dt_min ", config.dt_min(), " or more"));
  const double rows = static_cast<double>(config.kernel_length()) / config.rate();
  if (!(config.rate() > 0 && rows >= 1 && rows <= kLongestKernel)) {
    return Refuse("rate", config.rate(),
                  absl::StrCat("above 0, so that kernel_length / rate is 1 to ", kLongestKernel));
  }
  if (!s4::IsDiagonal(config) && config.discretization() == S4Config::ZOH)
    return Refuse("discretization", "ZOH", "BILINEAR where A is not diagonal");
  if (config.n_ssm() < 0 || (config.n_ssm() > 0 && width % config.n_ssm() != 0)) {
    return Refuse("n_ssm", config.n_ssm(), absl::StrCat("0 or a divisor of the width ", width));
  }
  if (config.channels() < 1 || config.channels() > kMostChannels)
    return Refuse("channels", config.channels(), absl::StrCat("1 to ", kMostChannels));
  if (config.channels() > 1 && config.output() == S4Config::NONE)
    return Refuse("channels", config.channels(), "1 without an output map");
  if (config.kernel_length() < 1 || config.kernel_length() > kLongestKernel) {
    return Refuse("kernel_length", config.kernel_length(),
                  absl::StrCat("1 to ", kLongestKernel, " rows"));
  }
  if (!(config.dropout() >= 0 && config.dropout() < 1))
    return Refuse("dropout", config.dropout(), "in [0, 1)");
  if (config.group().empty()) return Refuse("group", "''", "a name");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Mixer>> S4Mixer::Create(const S4Config& config,
                                                       const BuildArgs& args) {
  const int64_t h = args.width;
  LR_RETURN_IF_ERROR(CheckConfig(config, h));
  const bool both_ways = args.direction == nn::Direction::kBidirectional;

  auto mixer = std::make_unique<S4Mixer>();
  mixer->width_ = h;
  mixer->channels_ = config.channels();
  mixer->gelu_ = config.activation() == S4Config::GELU;
  mixer->dropout_ = config.dropout();
  mixer->output_ = config.output();
  MixerTraits& traits = mixer->traits_;
  traits.direction = args.direction;
  traits.forms = {nn::Form::kFft};
  if (!both_ways) traits.forms.push_back(nn::Form::kRecurrent);
  traits.streams = !both_ways;
  traits.padding = MixerTraits::kBothSides;

  mixer->system_ = s4::CreateSystem(config, h, (both_ways ? 2 : 1) * config.channels(), args.scope);
  mixer->d_ch_ = args.scope.Param("d", {config.channels(), h}, nn::Normal(1));

  const int64_t all = config.channels() * h;
  const auto linear = [&](absl::string_view name, nn::Weight* weight, Tensor* bias) {
    *weight = args.scope.Linear(absl::StrCat("w_", name), {h, all}, nn::FanInUniform());
    *bias = args.scope.Param(absl::StrCat("b_", name), {h},
                             nn::Uniform(1 / std::sqrt(static_cast<double>(all))));
  };
  if (config.output() != S4Config::NONE) linear("value", &mixer->w_value_, &mixer->b_value_);
  if (config.output() == S4Config::GLU) linear("gate", &mixer->w_gate_, &mixer->b_gate_);
  return mixer;
}

LR_REGISTER_PLUGIN(Mixer, S4Config, S4Mixer::Create);

}  // namespace
}  // namespace longrange
