#include "papers/s4/init.h"

#include <algorithm>
#include <cmath>

#include "common/autograd/tape.h"
#include "common/hippo/hippo.h"

namespace longrange::s4 {
namespace {

// The released code's bounds: of -Re Λ, which is stored as a logarithm, and of Im V*B.
constexpr double kLeastDecay = 1e-4, kMostImaginaryB = 2;

// A, B and P at the start, in float64: of all copies the same.
struct Start {
  Tensor lambda_m2, b_m2;
  Tensor p_rm2;  // undefined: diagonal
};

Start StartOf(S4Config::Init init, int64_t n) {
  const auto low_rank = [&](hippo::Measure measure) {
    const hippo::NormalForm form =
        hippo::Diagonalise(hippo::MakeSystem(measure, n), hippo::Modes::kHalf);
    const Tensor b = form.b_m2.Clone();
    for (int64_t i = 1; i < b.numel(); i += 2) {
      double& imaginary = b.mutable_data<double>()[i];
      imaginary = std::clamp(imaginary, -kMostImaginaryB, kMostImaginaryB);
    }
    return Start{form.lambda_m2, b, form.p_rm2};
  };
  const auto diagonal = [&](hippo::Diagonal kind) {
    const Tensor ones = Tensor::Zeros({n / 2, 2}, DType::kFloat64);
    for (int64_t i = 0; i < n; i += 2) ones.mutable_data<double>()[i] = 1;
    return Start{hippo::DiagonalModes(kind, n), ones, Tensor()};
  };
  switch (init) {
    case S4Config::LEGS:
      return low_rank(hippo::Measure::kLegS);
    case S4Config::LEGT:
      return low_rank(hippo::Measure::kLegT);
    case S4Config::FOURIER:
      return low_rank(hippo::Measure::kFourier);
    case S4Config::S4D_LEGS:
      return diagonal(hippo::Diagonal::kLegS);
    case S4Config::S4D_LIN:
      return diagonal(hippo::Diagonal::kLin);
    case S4Config::S4D_INV:
      return diagonal(hippo::Diagonal::kInv);
    case S4Config::S4D_QUAD:
      return diagonal(hippo::Diagonal::kQuad);
    case S4Config::S4D_REAL:
      return diagonal(hippo::Diagonal::kReal);
  }
  LOG(FATAL) << "no such init";
}

// value(rng, i) for element i of the parameter.
template <typename Value>
nn::Init Each(Value value) {
  return [value](const Rng& rng, const Tensor& parameter) {
    if (parameter.is_meta()) return;
    const Tensor filled = Tensor::Empty(parameter.shape(), DType::kFloat64);
    for (int64_t i = 0; i < filled.numel(); ++i) filled.mutable_data<double>()[i] = value(rng, i);
    parameter.CopyFrom(filled.To(parameter.dtype()));
  };
}

}  // namespace

bool IsDiagonal(const S4Config& config) {
  switch (config.init()) {
    case S4Config::LEGS:
    case S4Config::LEGT:
    case S4Config::FOURIER:
      return false;
    default:
      return true;
  }
}

System CreateSystem(const S4Config& config, int64_t width, int64_t outputs,
                    const nn::Scope& scope) {
  const Start start = StartOf(config.init(), config.d_state());
  const int64_t modes = config.d_state() / 2, copies = config.n_ssm() > 0 ? config.n_ssm() : width;
  nn::Tags tags;
  tags.group = config.group();
  tags.decay = false;
  System system;
  system.softplus = config.dt_transform() == S4Config::SOFTPLUS;
  system.bilinear = start.p_rm2.defined() || config.discretization() == S4Config::BILINEAR;
  system.rate = config.rate();
  system.length = config.kernel_length();
  const double low = std::log(config.dt_min()), high = std::log(config.dt_max());
  system.dt_raw_h = scope.Param(
      "dt_raw", {width}, Each([low, high, softplus = system.softplus](const Rng& rng, int64_t i) {
        const double log_dt = low + (high - low) * rng.Uniform(i), dt = std::exp(log_dt);
        return softplus ? dt + std::log(-std::expm1(-dt)) : log_dt;
      }),
      tags);
  // All copies start alike: element i of a parameter is that of the start, counted round.
  const auto lambda = [&](int64_t part) {
    return [part, l = start.lambda_m2, modes](const Rng&, int64_t i) {
      return -l.data<double>()[2 * (i % modes) + part];
    };
  };
  system.a_real_sm =
      scope.Param("a_real", {copies, modes}, Each([decay = lambda(0)](const Rng& rng, int64_t i) {
                    return std::log(std::max(decay(rng, i), kLeastDecay));
                  }),
                  tags);
  system.a_imag_sm = scope.Param("a_imag", {copies, modes}, Each(lambda(1)), tags);
  system.b_sm2 = scope.Param("b", {copies, modes, 2}, Each([b = start.b_m2](const Rng&, int64_t i) {
                               return b.data<double>()[i % b.numel()];
                             }),
                             tags);
  if (start.p_rm2.defined()) {
    const int64_t rank = start.p_rm2.dim(0);
    system.p_rsm2 = scope.Param("p", {rank, copies, modes, 2},
                                Each([p = start.p_rm2, modes, copies](const Rng&, int64_t i) {
                                  const int64_t r = i / (copies * modes * 2);
                                  return p.data<double>()[r * modes * 2 + i % (modes * 2)];
                                }),
                                tags);
  }
  // C is a complex normal number of variance 1, both parts together; where A is not diagonal it is
  // C~ that is trained.
  const Shape c_shape = {outputs, width, modes, 2};
  const nn::Init init_c = [&system, &c_shape](const Rng& rng, const Tensor& parameter) {
    if (parameter.is_meta()) return;
    const NoGradScope no_grad;
    const Tensor c = Tensor::Empty(c_shape, DType::kFloat64);
    for (int64_t i = 0; i < c.numel(); ++i)
      c.mutable_data<double>()[i] = std::sqrt(0.5) * rng.Normal(i);
    parameter.CopyFrom(Truncated(system, c).To(parameter.dtype()));
  };
  system.c_chm2 = scope.Param("c", c_shape, init_c);
  return system;
}

}  // namespace longrange::s4
