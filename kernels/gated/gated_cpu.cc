#include "absl/strings/string_view.h"
#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/gated/gated.h"
#include "kernels/gated/reference.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using simd::Sigmoid;
using simd::Splat;
using simd::VecF;

constexpr int64_t kGrain = 16384;  // elements a task; a multiple of the vector

// The formulas of reference.h on vectors.
LR_SIMD_INLINE VecF Silu(VecF x) { return x * Sigmoid(x); }
LR_SIMD_INLINE VecF SiluGradient(VecF x) {
  const VecF s = Sigmoid(x);
  return s * (1.0f + x * (1.0f - s));
}

// Φ(x), and in *density φ(x). With z = |x| / sqrt(2): erfc(z) = p(t) exp(-z²), t = 1 / (1 +
// 0.3275911 z), error 1.5e-7 (Abramowitz & Stegun 1964, 7.1.26).
LR_SIMD_INLINE VecF NormalDistribution(VecF x, VecF* density) {
  const VecF gauss = simd::Exp(x * x * -0.5f);
  const VecF t = 1.0f / simd::Fma(simd::Abs(x), Splat(0.3275911f * 0.70710678f), Splat(1.0f));
  VecF p = Splat(1.061405429f);
  p = simd::Fma(p, t, Splat(-1.453152027f));
  p = simd::Fma(p, t, Splat(1.421413741f));
  p = simd::Fma(p, t, Splat(-0.284496736f));
  p = simd::Fma(p, t, Splat(0.254829592f));
  const VecF half_tail = p * t * gauss * 0.5f;
  *density = gauss * 0.39894228f;
  return x < 0 ? half_tail : 1.0f - half_tail;
}
LR_SIMD_INLINE VecF Gelu(VecF x) {
  VecF density;
  return x * NormalDistribution(x, &density);
}
LR_SIMD_INLINE VecF GeluGradient(VecF x) {
  VecF density;
  const VecF distribution = NormalDistribution(x, &density);
  return distribution + x * density;
}

// (1 + tanh u) / 2 = sigmoid(2 u).
constexpr float kTwoRootTwoOverPi = 1.5957691216f;
LR_SIMD_INLINE VecF GeluTanh(VecF x) {
  return x * Sigmoid(kTwoRootTwoOverPi * x * (1.0f + 0.044715f * x * x));
}
LR_SIMD_INLINE VecF GeluTanhGradient(VecF x) {
  const VecF s = Sigmoid(kTwoRootTwoOverPi * x * (1.0f + 0.044715f * x * x));
  const VecF du = kTwoRootTwoOverPi * (1.0f + 3 * 0.044715f * x * x);
  return s + x * s * (1.0f - s) * du;
}

void CheckSame(const Tensor& a, const Tensor& b) {
  CHECK(a.shape() == b.shape()) << a.shape() << " and " << b.shape();
  CHECK(a.dtype() == b.dtype()) << Name(a.dtype()) << " and " << Name(b.dtype());
}

// body(lanes, i) for the vectors of all n elements, in parallel.
template <typename Body>
void ForVectors(int64_t n, Body&& body) {
  ParallelForRange(n, kGrain, [&](int64_t begin, int64_t end) {
    simd::ForLanes(end - begin, [&](auto lanes, int64_t i) { body(lanes, begin + i); });
  });
}

// y = f(x), by `exact` in double and `fast` on vectors of float.
template <typename Fast>
void Apply(const Tensor& x, const Tensor& y, double (*exact)(double), Fast&& fast) {
  CheckSame(x, y);
  const TraceSpan span("GateForward");
  RecordCost(5.0 * x.numel(), 2.0 * x.bytes());
  if (x.is_meta()) return;
  if (x.dtype() == DType::kFloat64) {
    const double* from = x.data<double>();
    double* to = y.mutable_data<double>();
    for (int64_t i = 0; i < x.numel(); ++i) to[i] = exact(from[i]);
    return;
  }
  const float* from = x.data<float>();
  float* to = y.mutable_data<float>();
  ForVectors(x.numel(),
             [&](auto lanes, int64_t i) { lanes.Store(to + i, fast(lanes.Load(from + i))); });
}

// dx = dy f'(x).
template <typename Fast>
void ApplyGradient(const Tensor& x, const Tensor& dy, const Tensor& dx, double (*exact)(double),
                   Fast&& fast) {
  CheckSame(x, dy);
  CheckSame(x, dx);
  const TraceSpan span("GateBackward");
  RecordCost(9.0 * x.numel(), 3.0 * x.bytes());
  if (x.is_meta()) return;
  if (x.dtype() == DType::kFloat64) {
    const double* from = x.data<double>();
    const double* grad = dy.data<double>();
    double* to = dx.mutable_data<double>();
    for (int64_t i = 0; i < x.numel(); ++i) to[i] = grad[i] * exact(from[i]);
    return;
  }
  const float* from = x.data<float>();
  const float* grad = dy.data<float>();
  float* to = dx.mutable_data<float>();
  ForVectors(x.numel(), [&](auto lanes, int64_t i) {
    lanes.Store(to + i, lanes.Load(grad + i) * fast(lanes.Load(from + i)));
  });
}

// y = f(a) b.
template <typename Fast>
void Gate(const Tensor& a, const Tensor& b, const Tensor& y, absl::string_view name,
          double (*exact)(double), Fast&& fast) {
  CheckSame(a, b);
  CheckSame(a, y);
  const TraceSpan span(name);
  RecordCost(6.0 * a.numel(), 3.0 * a.bytes());
  if (a.is_meta()) return;
  if (a.dtype() == DType::kFloat64) {
    const double* pa = a.data<double>();
    const double* pb = b.data<double>();
    double* py = y.mutable_data<double>();
    for (int64_t i = 0; i < a.numel(); ++i) py[i] = exact(pa[i]) * pb[i];
    return;
  }
  const float* pa = a.data<float>();
  const float* pb = b.data<float>();
  float* py = y.mutable_data<float>();
  ForVectors(a.numel(), [&](auto lanes, int64_t i) {
    lanes.Store(py + i, fast(lanes.Load(pa + i)) * lanes.Load(pb + i));
  });
}

// da = dy f'(a) b, db = dy f(a); fast(a, &slope) gives f and f'.
template <typename Fast>
void GateGradient(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da,
                  const Tensor& db, absl::string_view name, double (*exact)(double),
                  double (*exact_gradient)(double), Fast&& fast) {
  for (const Tensor* t : {&b, &dy, &da, &db}) CheckSame(a, *t);
  const TraceSpan span(name);
  RecordCost(12.0 * a.numel(), 5.0 * a.bytes());
  if (a.is_meta()) return;
  if (a.dtype() == DType::kFloat64) {
    const double* pa = a.data<double>();
    const double* pb = b.data<double>();
    const double* pdy = dy.data<double>();
    double* pda = da.mutable_data<double>();
    double* pdb = db.mutable_data<double>();
    for (int64_t i = 0; i < a.numel(); ++i) {
      const double x = pa[i], gated = pb[i], grad = pdy[i];
      pda[i] = grad * gated * exact_gradient(x);
      pdb[i] = grad * exact(x);
    }
    return;
  }
  const float* pa = a.data<float>();
  const float* pb = b.data<float>();
  const float* pdy = dy.data<float>();
  float* pda = da.mutable_data<float>();
  float* pdb = db.mutable_data<float>();
  ForVectors(a.numel(), [&](auto lanes, int64_t i) {
    const VecF x = lanes.Load(pa + i), gated = lanes.Load(pb + i), grad = lanes.Load(pdy + i);
    VecF slope;
    const VecF value = fast(x, &slope);
    lanes.Store(pda + i, grad * gated * slope);
    lanes.Store(pdb + i, grad * value);
  });
}

}  // namespace

void SwiGluForward(const Tensor& a, const Tensor& b, const Tensor& y) {
  Gate(a, b, y, "SwiGluForward", reference::Silu, [](VecF v) { return Silu(v); });
}

void SwiGluBackward(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da,
                    const Tensor& db) {
  GateGradient(a, b, dy, da, db, "SwiGluBackward", reference::Silu, reference::SiluGradient,
               [](VecF x, VecF* slope) {
                 const VecF s = Sigmoid(x);
                 *slope = s * (1.0f + x * (1.0f - s));
                 return x * s;
               });
}

void GluForward(const Tensor& a, const Tensor& b, const Tensor& y) {
  Gate(a, b, y, "GluForward", reference::Sigmoid, [](VecF v) { return Sigmoid(v); });
}

void GluBackward(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da,
                 const Tensor& db) {
  GateGradient(a, b, dy, da, db, "GluBackward", reference::Sigmoid, reference::SigmoidGradient,
               [](VecF x, VecF* slope) {
                 const VecF s = Sigmoid(x);
                 *slope = s * (1.0f - s);
                 return s;
               });
}

void SiluForward(const Tensor& x, const Tensor& y) {
  Apply(x, y, reference::Silu, [](VecF v) { return Silu(v); });
}

void SiluBackward(const Tensor& x, const Tensor& dy, const Tensor& dx) {
  ApplyGradient(x, dy, dx, reference::SiluGradient, [](VecF v) { return SiluGradient(v); });
}

void GeluForward(const Tensor& x, const Tensor& y, bool tanh_approximation) {
  if (tanh_approximation) {
    Apply(x, y, reference::GeluTanh, [](VecF v) { return GeluTanh(v); });
  } else {
    Apply(x, y, reference::Gelu, [](VecF v) { return Gelu(v); });
  }
}

void GeluBackward(const Tensor& x, const Tensor& dy, const Tensor& dx, bool tanh_approximation) {
  if (tanh_approximation) {
    ApplyGradient(x, dy, dx, reference::GeluTanhGradient,
                  [](VecF v) { return GeluTanhGradient(v); });
  } else {
    ApplyGradient(x, dy, dx, reference::GeluGradient, [](VecF v) { return GeluGradient(v); });
  }
}

}  // namespace longrange::kernels
