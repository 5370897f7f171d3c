#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "kernels/gated/gated.h"
#include "kernels/gated/reference.h"

namespace longrange {
namespace {

constexpr int64_t kGrain = 16384;  // elements a task

void CheckSame(const Tensor& a, const Tensor& b) {
  CHECK(a.shape() == b.shape()) << a.shape() << " and " << b.shape();
  CHECK(a.dtype() == b.dtype()) << Name(a.dtype()) << " and " << Name(b.dtype());
}

template <typename Fn>
void ForEach(const Tensor& x, Fn&& fn) {
  ParallelForRange(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) fn(i);
  });
}

template <typename T>
void Map1(const Tensor& x, const Tensor& y, double (*f)(double)) {
  const T* from = x.data<T>();
  T* to = y.mutable_data<T>();
  ForEach(x, [&](int64_t i) { to[i] = f(from[i]); });
}

template <typename T>
void Map2(const Tensor& x, const Tensor& dy, const Tensor& dx, double (*f)(double)) {
  const T* from = x.data<T>();
  const T* grad = dy.data<T>();
  T* to = dx.mutable_data<T>();
  ForEach(x, [&](int64_t i) { to[i] = grad[i] * f(from[i]); });
}

template <typename T>
void GateForward(const Tensor& a, const Tensor& b, const Tensor& y) {
  const T* pa = a.data<T>();
  const T* pb = b.data<T>();
  T* py = y.mutable_data<T>();
  ForEach(a, [&](int64_t i) { py[i] = reference::Silu(pa[i]) * pb[i]; });
}

template <typename T>
void GateBackward(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da,
                  const Tensor& db) {
  const T* pa = a.data<T>();
  const T* pb = b.data<T>();
  const T* pdy = dy.data<T>();
  T* pda = da.mutable_data<T>();
  T* pdb = db.mutable_data<T>();
  ForEach(a, [&](int64_t i) {
    const double x = pa[i], g = pdy[i], gate = pb[i];
    pda[i] = g * gate * reference::SiluGradient(x);
    pdb[i] = g * reference::Silu(x);
  });
}

void Apply(const Tensor& x, const Tensor& y, double (*f)(double)) {
  CheckSame(x, y);
  RecordCost(5.0 * x.numel(), 2.0 * x.bytes());
  if (x.is_meta()) return;
  x.dtype() == DType::kFloat64 ? Map1<double>(x, y, f) : Map1<float>(x, y, f);
}

void ApplyGradient(const Tensor& x, const Tensor& dy, const Tensor& dx, double (*f)(double)) {
  CheckSame(x, dy);
  CheckSame(x, dx);
  RecordCost(9.0 * x.numel(), 3.0 * x.bytes());
  if (x.is_meta()) return;
  x.dtype() == DType::kFloat64 ? Map2<double>(x, dy, dx, f) : Map2<float>(x, dy, dx, f);
}

}  // namespace

void SwiGluForward(const Tensor& a, const Tensor& b, const Tensor& y) {
  CheckSame(a, b);
  CheckSame(a, y);
  RecordCost(6.0 * a.numel(), 3.0 * a.bytes());
  if (a.is_meta()) return;
  a.dtype() == DType::kFloat64 ? GateForward<double>(a, b, y) : GateForward<float>(a, b, y);
}

void SwiGluBackward(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da,
                    const Tensor& db) {
  CheckSame(a, b);
  CheckSame(a, dy);
  CheckSame(a, da);
  CheckSame(a, db);
  RecordCost(12.0 * a.numel(), 5.0 * a.bytes());
  if (a.is_meta()) return;
  a.dtype() == DType::kFloat64 ? GateBackward<double>(a, b, dy, da, db)
                               : GateBackward<float>(a, b, dy, da, db);
}

void SiluForward(const Tensor& x, const Tensor& y) { Apply(x, y, reference::Silu); }

void SiluBackward(const Tensor& x, const Tensor& dy, const Tensor& dx) {
  ApplyGradient(x, dy, dx, reference::SiluGradient);
}

void GeluForward(const Tensor& x, const Tensor& y, bool tanh_approximation) {
  Apply(x, y, tanh_approximation ? reference::GeluTanh : reference::Gelu);
}

void GeluBackward(const Tensor& x, const Tensor& dy, const Tensor& dx, bool tanh_approximation) {
  ApplyGradient(x, dy, dx,
                tanh_approximation ? reference::GeluTanhGradient : reference::GeluGradient);
}

}  // namespace longrange
