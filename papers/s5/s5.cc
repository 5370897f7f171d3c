// S5: a diagonal state space model with many inputs and many outputs, and the gated nonlinearity
// behind it (Smith, Warrington, Linderman; ICLR 2023). B batch, T
// rows of a call, H width, P stored modes; complex numbers are pairs (re, im) in the last
// dimension.

#include <algorithm>
#include <cmath>
#include <complex>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/diagonal_scan.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/refuse.h"
#include "common/hippo/hippo.h"
#include "common/nn/padding.h"
#include "papers/s5/discretise.h"
#include "papers/s5/s5.pb.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

using Complex = std::complex<double>;

// Draw i of a standard normal cut off at two deviations, scaled back to variance 1: what JAX calls
// truncated_normal in its initialisers.
double TruncatedNormal(const Rng& rng, int64_t i) {
  constexpr double kDeviationOfCut = 0.87962566103423978;
  double z = rng.Normal(i);
  for (int64_t again = 0; std::abs(z) > 2; ++again) z = rng.Child(again).Normal(i);
  return z / kDeviationOfCut;
}

void Write(const Tensor& to, int64_t i, double value) {
  to.dtype() == DType::kFloat64 ? void(to.mutable_data<double>()[i] = value)
                                : void(to.mutable_data<float>()[i] = static_cast<float>(value));
}

// The eigenvectors of a block of HiPPO-N [n, m], of which `modes` = m are stored.
struct Block {
  int64_t size, modes;
  std::vector<double> lambda, v;

  Complex At(int64_t row, int64_t mode) const {
    const double* const at = v.data() + 2 * (row * modes + mode);
    return {at[0], at[1]};
  }
};

Block MakeBlock(int64_t size, bool conjugate_symmetry) {
  const hippo::NormalForm form =
      hippo::Diagonalise(hippo::MakeSystem(hippo::Measure::kLegS, size),
                         conjugate_symmetry ? hippo::Modes::kHalf : hippo::Modes::kAll);
  return {size, form.lambda_m2.dim(0), form.lambda_m2.ToDoubles(), form.v_nm2.ToDoubles()};
}

// Component `part` (0 real, 1 imaginary) of the eigenvalues of all blocks.
nn::Init Eigenvalues(std::shared_ptr<const Block> block, int part) {
  return [=](const Rng&, const Tensor& value) {
    if (value.is_meta()) return;
    for (int64_t p = 0; p < value.numel(); ++p)
      Write(value, p, block->lambda[2 * (p % block->modes) + part]);
  };
}

nn::Init LogUniform(double low, double high) {
  return [=](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    for (int64_t p = 0; p < value.numel(); ++p)
      Write(value, p, std::log(low) + rng.Uniform(p) * std::log(high / low));
  };
}

// V* B of a real B [size of all blocks, H] of variance 1 / its rows: [P, H, 2].
nn::Init InputMatrix(std::shared_ptr<const Block> block) {
  return [=](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    const int64_t modes = value.dim(0), width = value.dim(1),
                  rows = modes / block->modes * block->size;
    const double scale = 1 / std::sqrt(static_cast<double>(rows));
    for (int64_t p = 0; p < modes; ++p) {
      const int64_t first = p / block->modes * block->size;
      for (int64_t h = 0; h < width; ++h) {
        Complex sum = 0;
        for (int64_t n = 0; n < block->size; ++n) {
          const double drawn = scale * TruncatedNormal(rng, (first + n) * width + h);
          sum += std::conj(block->At(n, p % block->modes)) * drawn;
        }
        Write(value, 2 * (p * width + h), sum.real());
        Write(value, 2 * (p * width + h) + 1, sum.imag());
      }
    }
  };
}

// C V of a complex C [H, size of all blocks] whose parts have the given variance: [H, P, 2].
nn::Init OutputMatrix(std::shared_ptr<const Block> block, double variance) {
  return [=](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    const int64_t width = value.dim(0), modes = value.dim(1),
                  columns = modes / block->modes * block->size;
    const double scale = std::sqrt(variance);
    for (int64_t h = 0; h < width; ++h) {
      for (int64_t p = 0; p < modes; ++p) {
        const int64_t first = p / block->modes * block->size;
        Complex sum = 0;
        for (int64_t n = 0; n < block->size; ++n) {
          const int64_t at = 2 * (h * columns + first + n);
          sum += block->At(n, p % block->modes) *
                 Complex(scale * TruncatedNormal(rng, at), scale * TruncatedNormal(rng, at + 1));
        }
        Write(value, 2 * (h * modes + p), sum.real());
        Write(value, 2 * (h * modes + p) + 1, sum.imag());
      }
    }
  };
}

// flax's default of a Dense layer: lecun_normal.
nn::Init Dense() {
  return [](const Rng& rng, const Tensor& value) {
    if (value.is_meta()) return;
    const double scale = 1 / std::sqrt(static_cast<double>(value.dim(-1)));
    for (int64_t i = 0; i < value.numel(); ++i) Write(value, i, scale * TruncatedNormal(rng, i));
  };
}

// Streaming state: "x" [B, P, 2]. Derived: "a", "in", "out", the matrices of a step.
class S5 : public Mixer {
 public:
  static absl::StatusOr<std::unique_ptr<Mixer>> Create(const S5Config& config,
                                                       const BuildArgs& args);

  const MixerTraits& traits() const override { return traits_; }

  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    const Tensor x = nn::WithoutPadding(x_btd, rows);
    const Model model = Discretised();
    const Tensor zero = Tensor::Zeros({x.dim(0), modes_, 2}, x.dtype(), x.device());
    if (call.form != nn::Form::kRecurrent) return Gated(Scan(model, x, zero, call).y_btd, call);
    std::vector<Tensor> steps;
    Tensor state = zero;
    for (int64_t t = 0; t < x.dim(1); ++t) {
      const Scanned step = Scan(model, Narrow(x, 1, t, 1), state, call);
      steps.push_back(step.y_btd);
      state = step.state_bp2;
    }
    return Gated(Concat(steps, 1), call);
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    state.Set("x", Tensor::Zeros({batch, modes_, 2}, d_.dtype(), d_.device()));
    return state;
  }

  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    CHECK(!rows.end_b.defined()) << "a stream is not padded on the right";
    const Tensor x = nn::WithoutPadding(x_btd, rows);
    const Scanned scanned = Scan(Step(state), x, state->Get("x"), call);
    state->Set("x", scanned.state_bp2);
    return Gated(scanned.y_btd, call);
  }

 private:
  // The matrices of one call: real ones that take and give pairs.
  struct Model {
    Tensor a_p2;
    Tensor in_qh;                   // [2P, H]: x -> B̄ x
    Tensor out_hq, out_reverse_hq;  // [H, 2P]: the state -> Re(C x), times 2 of half the modes
  };
  struct Scanned {
    Tensor y_btd, state_bp2;
  };

  Model Discretised() const {
    const s5::Discrete discrete =
        s5::Discretise(lambda_re_p_, lambda_im_p_, log_step_p_, b_ph2_, discretisation_);
    Model model{discrete.a_p2, Reshape(Permute(discrete.b_ph2, {0, 2, 1}), {2 * modes_, width_})};
    // Re(c x) = c_re x_re - c_im x_im.
    Tensor sign = Tensor::Full({2}, factor_, d_.dtype(), d_.device());
    if (!sign.is_meta()) Write(sign, 1, -factor_);
    const auto real_part = [&](const Tensor& c_hp2) {
      return Reshape(Mul(c_hp2, sign), {width_, 2 * modes_});
    };
    model.out_hq = real_part(c_hp2_);
    if (c_reverse_hp2_.defined()) model.out_reverse_hq = real_part(c_reverse_hp2_);
    return model;
  }

  // The matrices are made once a stream, but for every call whose gradients are recorded.
  Model Step(nn::State* state) const {
    if (RecordingEnabled()) return Discretised();
    if (!state->Has("a")) {
      const Model made = Discretised();
      state->Set("a", made.a_p2, nn::State::Kind::kDerived);
      state->Set("in", made.in_qh, nn::State::Kind::kDerived);
      state->Set("out", made.out_hq, nn::State::Kind::kDerived);
    }
    return {state->Get("a"), state->Get("in"), state->Get("out"), Tensor()};
  }

  // The state space model alone, without its gate.
  Scanned Scan(const Model& model, const Tensor& x_btd, const Tensor& initial_bp2,
               const nn::Call& call) const {
    const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1);
    const auto flat = [&](const Tensor& h) { return Reshape(h, {batch, rows, 2 * modes_}); };
    const Tensor u = Reshape(Linear(x_btd, model.in_qh), {batch, rows, modes_, 2});
    const DiagonalScanResult forward = DiagonalScan(model.a_p2, u, initial_bp2);
    Tensor y = Linear(flat(call.Tap("states", forward.h_btp2)), model.out_hq);
    if (model.out_reverse_hq.defined()) {
      const Tensor h = DiagonalScan(model.a_p2, u, Tensor(), /*reverse=*/true).h_btp2;
      y = Add(y, Linear(flat(h), model.out_reverse_hq));
    }
    return {Add(y, Mul(x_btd, d_)), forward.final_bp2};
  }

  Tensor Gated(const Tensor& s, const nn::Call& call) const {
    Tensor y = s;
    if (gate_ != S5Config::NONE) y = Gelu(s, /*tanh_approximation=*/true);
    if (HasGate()) {
      const Tensor gate = Sigmoid(Linear(y, w_gate_(), gate_bias_));
      if (gate_ == S5Config::HALF_GLU2) y = s;
      if (gate_ == S5Config::FULL_GLU) y = Linear(y, w_value_(), value_bias_);
      y = Mul(y, gate);
    }
    return call.training && dropout_ > 0 ? Dropped(y, call) : y;
  }

  bool HasGate() const { return gate_ != S5Config::NONE && gate_ != S5Config::GELU; }

  // Whole channels are left out, at all rows of a sample alike.
  Tensor Dropped(const Tensor& y, const nn::Call& call) const {
    const Rng rng = call.rng.Child(call.path).Child("dropout");
    const Tensor keep = Tensor::Empty({y.dim(0), 1, width_}, y.dtype(), y.device());
    for (int64_t i = 0; i < keep.numel() && !keep.is_meta(); ++i)
      Write(keep, i, rng.Uniform(i) < dropout_ ? 0 : 1 / (1 - dropout_));
    return Mul(y, keep);
  }

  MixerTraits traits_;
  int64_t width_ = 0, modes_ = 0;
  double factor_ = 1, dropout_ = 0;
  S5Config::Gate gate_ = S5Config::NONE;
  s5::Discretisation discretisation_;
  Tensor lambda_re_p_, lambda_im_p_, log_step_p_, b_ph2_, c_hp2_, d_;
  Tensor c_reverse_hp2_;  // undefined: causal
  nn::Weight w_gate_, w_value_;
  Tensor gate_bias_, value_bias_;
};

absl::Status Check(const S5Config& config) {
  constexpr int64_t kMostState = 1 << 16, kLargestBlock = 1 << 10;
  if (config.state() < 1 || config.state() > kMostState)
    return Refuse("state", config.state(), absl::StrCat("1 to ", kMostState));
  if (config.blocks() < 1 || config.state() % config.blocks() != 0)
    return Refuse("blocks", config.blocks(), absl::StrCat("a divisor of state: ", config.state()));
  const int64_t block = config.state() / config.blocks();
  if (config.conjugate_symmetry() && block % 2 != 0) {
    return Refuse("blocks", config.blocks(),
                  absl::StrCat("blocks of an even size of state: ", config.state(),
                               ", as conjugate_symmetry keeps half of each"));
  }
  if (block > kLargestBlock) {
    return Refuse("blocks", config.blocks(),
                  absl::StrCat("blocks of at most ", kLargestBlock, " of state: ", config.state()));
  }
  if (!(config.dt_min() > 0)) return Refuse("dt_min", config.dt_min(), "> 0");
  if (!(config.dt_max() >= config.dt_min()))
    return Refuse("dt_max", config.dt_max(), absl::StrCat("dt_min: ", config.dt_min(), " or more"));
  if (!(config.step_rescale() > 0)) return Refuse("step_rescale", config.step_rescale(), "> 0");
  if (!(config.dropout() >= 0 && config.dropout() < 1))
    return Refuse("dropout", config.dropout(), "in [0, 1)");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Mixer>> S5::Create(const S5Config& config, const BuildArgs& args) {
  LR_RETURN_IF_ERROR(Check(config));
  auto mixer = std::make_unique<S5>();
  const int64_t block_size = config.state() / config.blocks();
  const auto block =
      std::make_shared<const Block>(MakeBlock(block_size, config.conjugate_symmetry()));
  mixer->width_ = args.width;
  mixer->modes_ = block->modes * config.blocks();
  mixer->factor_ = config.conjugate_symmetry() ? 2 : 1;
  mixer->dropout_ = config.dropout();
  mixer->gate_ = config.gate();
  mixer->discretisation_ = {config.discretisation() == S5Config::BILINEAR, config.step_rescale(),
                            config.clip_eigenvalues()};

  const bool bidirectional = args.direction == nn::Direction::kBidirectional;
  MixerTraits& traits = mixer->traits_;
  traits.direction = args.direction;
  traits.streams = !bidirectional;
  if (!bidirectional) traits.forms.push_back(nn::Form::kRecurrent);
  traits.padding = MixerTraits::kBothSides;
  traits.taps = {"states"};

  const auto tags = [](bool in_group, bool decay) {
    nn::Tags t;
    if (in_group) t.group = "ssm";
    t.decay = decay;
    return t;
  };
  const S5Config::Groups groups = config.groups();
  const nn::Tags of_state = tags(true, false), of_rest = tags(false, true);
  const nn::Tags of_b = groups == S5Config::B_AND_C_DECAY        ? tags(true, true)
                        : groups == S5Config::B_FAST_AND_C_DECAY ? of_rest
                                                                 : of_state;
  const nn::Tags of_c = groups == S5Config::NO_B_C_DECAY ? of_state : of_rest;
  const int64_t modes = mixer->modes_, width = args.width;
  const nn::Scope& scope = args.scope;
  mixer->lambda_re_p_ = scope.Param("lambda_re", {modes}, Eigenvalues(block, 0), of_state);
  mixer->lambda_im_p_ = scope.Param("lambda_im", {modes}, Eigenvalues(block, 1), of_state);
  mixer->log_step_p_ =
      scope.Param("log_step", {modes}, LogUniform(config.dt_min(), config.dt_max()),
                  config.dt_global() ? of_rest : of_state);
  mixer->b_ph2_ = scope.Param("b", {modes, width, 2}, InputMatrix(block), of_b);
  const auto state = static_cast<double>(config.state());
  const nn::Init output = config.output_init() == S5Config::COMPLEX_NORMAL
                              ? nn::Normal(std::sqrt(0.5))
                          : config.output_init() == S5Config::LECUN_NORMAL
                              ? OutputMatrix(block, 1 / (state * static_cast<double>(width)))
                              : OutputMatrix(block, 1 / state);
  mixer->c_hp2_ = scope.Param("c", {width, modes, 2}, output, of_c);
  if (bidirectional)
    mixer->c_reverse_hp2_ = scope.Param("c_reverse", {width, modes, 2}, output, of_c);
  mixer->d_ = scope.Param("d", {width}, nn::Normal(1), of_c.group == "ssm" ? of_state : of_rest);
  if (mixer->HasGate()) {
    mixer->w_gate_ = scope.Linear("w_gate", {width, width}, Dense());
    mixer->gate_bias_ = scope.Param("gate_bias", {width}, nn::Zeros());
  }
  if (config.gate() == S5Config::FULL_GLU) {
    mixer->w_value_ = scope.Linear("w_value", {width, width}, Dense());
    mixer->value_bias_ = scope.Param("value_bias", {width}, nn::Zeros());
  }
  return mixer;
}

LR_REGISTER_PLUGIN(Mixer, S5Config, S5::Create);

}  // namespace
}  // namespace longrange
