#include <algorithm>
#include <cmath>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/norm/norm.h"
#include "kernels/norm/reference.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using simd::VecF;

// Rows of a task: by shape alone, so that the partial sums of dweight and dbias are always the same
// ones.
constexpr int64_t kMaxTasks = 64;
int64_t RowGrain(int64_t rows) { return std::max<int64_t>(8, (rows + kMaxTasks - 1) / kMaxTasks); }

void CheckVector(const Tensor& v, const Tensor& x, int64_t size, const char* name) {
  if (!v.defined()) return;
  CHECK_EQ(v.numel(), size) << name << " for x " << x.shape();
  CHECK(v.dtype() == x.dtype()) << name << " is " << Name(v.dtype()) << ", x " << Name(x.dtype());
}

template <typename T>
T* DataOrNull(const Tensor& t) {
  return t.defined() ? t.mutable_data<T>() : nullptr;
}

struct Sizes {
  int64_t rows, d;
};

Sizes CheckRows(const Tensor& x, const Tensor& y) {
  CHECK_GE(x.rank(), 1);
  CHECK(x.shape() == y.shape()) << x.shape() << " and " << y.shape();
  CHECK(x.dtype() == y.dtype()) << Name(x.dtype()) << " and " << Name(y.dtype());
  const int64_t d = x.dim(-1);
  return {d == 0 ? 0 : x.numel() / d, d};
}

// One row; kCentred: LayerNorm. w and b may be null.
template <bool kCentred>
void ForwardRow(int64_t d, const float* x, const float* w, const float* b, float eps, float* y,
                float* mean, float* rstd) {
  VecF mu = simd::Zero();
  if (kCentred) {
    const auto [sum] =
        simd::SumLanes<1>(d, [&](auto lanes, int64_t i, VecF* s) { s[0] += lanes.Load(x + i); });
    *mean = sum / d;
    mu = simd::Splat(*mean);
  }
  const auto [squares] = simd::SumLanes<1>(d, [&](auto lanes, int64_t i, VecF* s) {
    VecF v = lanes.Load(x + i);
    if (kCentred) v = lanes.Keep(v - mu, simd::Zero());
    s[0] = simd::Fma(v, v, s[0]);
  });
  *rstd = 1 / std::sqrt(squares / d + eps);
  const VecF scale = simd::Splat(*rstd);
  simd::ForLanes(d, [&](auto lanes, int64_t i) {
    VecF v = lanes.Load(x + i);
    if (kCentred) v -= mu;
    v *= scale;
    if (w != nullptr) v *= lanes.Load(w + i);
    if (b != nullptr) v += lanes.Load(b + i);
    lanes.Store(y + i, v);
  });
}

template <bool kCentred>
void Forward(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps, const Tensor& y,
             const Tensor& mean_r, const Tensor& rstd_r) {
  const auto [rows, d] = CheckRows(x, y);
  CheckVector(weight, x, d, "weight");
  CheckVector(bias, x, d, "bias");
  CheckVector(mean_r, x, rows, "mean");
  CheckVector(rstd_r, x, rows, "rstd");
  const TraceSpan span(kCentred ? "LayerNormForward" : "RmsNormForward");
  RecordCost((kCentred ? 7.0 : 4.0) * x.numel(), 2.0 * x.bytes());
  if (x.is_meta()) return;
  if (x.dtype() == DType::kFloat64) {
    reference::NormForward(rows, d, kCentred, x.data<double>(), DataOrNull<double>(weight),
                           DataOrNull<double>(bias), eps, y.mutable_data<double>(),
                           DataOrNull<double>(mean_r), rstd_r.mutable_data<double>());
    return;
  }
  const float* from = x.data<float>();
  const float* w = DataOrNull<float>(weight);
  const float* b = DataOrNull<float>(bias);
  float* to = y.mutable_data<float>();
  float* mean = DataOrNull<float>(mean_r);
  float* rstd = rstd_r.mutable_data<float>();
  const int64_t width = d;
  ParallelForRange(rows, RowGrain(rows), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      ForwardRow<kCentred>(width, from + r * width, w, b, eps, to + r * width,
                           kCentred ? mean + r : nullptr, rstd + r);
    }
  });
}

// One row of dx, and its part of dweight and dbias added to dw and db; w, dw and db may be null.
template <bool kCentred>
void BackwardRow(int64_t d, const float* x, const float* w, float mean, float rstd, const float* dy,
                 float* dx, float* dw, float* db) {
  const VecF mu = simd::Splat(mean), scale = simd::Splat(rstd);
  const auto sums = simd::SumLanes<2>(d, [&](auto lanes, int64_t i, VecF* s) {
    VecF normed = lanes.Load(x + i);
    if (kCentred) normed -= mu;
    VecF g = lanes.Load(dy + i);  // zeros behind the end, so that both terms are
    if (w != nullptr) g *= lanes.Load(w + i);
    s[0] = simd::Fma(g, normed, s[0]);
    if (kCentred) s[1] += g;
  });
  const VecF mean_gx = simd::Splat(sums[0] * rstd / d), mean_g = simd::Splat(sums[1] / d);
  simd::ForLanes(d, [&](auto lanes, int64_t i) {
    VecF normed = lanes.Load(x + i);
    if (kCentred) normed -= mu;
    normed *= scale;
    const VecF grad = lanes.Load(dy + i);
    VecF g = grad;
    if (w != nullptr) g *= lanes.Load(w + i);
    if (dw != nullptr) lanes.Store(dw + i, simd::Fma(grad, normed, lanes.Load(dw + i)));
    if (db != nullptr) lanes.Store(db + i, lanes.Load(db + i) + grad);
    g -= normed * mean_gx;
    if (kCentred) g -= mean_g;
    lanes.Store(dx + i, g * scale);
  });
}

template <bool kCentred>
void Backward(const Tensor& x, const Tensor& weight, const Tensor& mean_r, const Tensor& rstd_r,
              const Tensor& dy, const Tensor& dx, const Tensor& dweight, const Tensor& dbias) {
  const auto [rows, d] = CheckRows(x, dy);
  CheckRows(x, dx);
  CheckVector(weight, x, d, "weight");
  CheckVector(dweight, x, d, "dweight");
  CheckVector(dbias, x, d, "dbias");
  CheckVector(mean_r, x, rows, "mean");
  CheckVector(rstd_r, x, rows, "rstd");
  const TraceSpan span(kCentred ? "LayerNormBackward" : "RmsNormBackward");
  RecordCost((kCentred ? 14.0 : 11.0) * x.numel(), 3.0 * x.bytes());
  if (x.is_meta()) return;
  if (x.dtype() == DType::kFloat64) {
    reference::NormBackward(rows, d, kCentred, x.data<double>(), DataOrNull<double>(weight),
                            DataOrNull<double>(mean_r), rstd_r.data<double>(), dy.data<double>(),
                            dx.mutable_data<double>(), DataOrNull<double>(dweight),
                            DataOrNull<double>(dbias));
    return;
  }
  const int64_t width = d, grain = RowGrain(rows), num_tasks = (rows + grain - 1) / grain;
  const float* from = x.data<float>();
  const float* w = DataOrNull<float>(weight);
  const float* mean = DataOrNull<float>(mean_r);
  const float* rstd = rstd_r.data<float>();
  const float* grad = dy.data<float>();
  float* to = dx.mutable_data<float>();
  float* dw = DataOrNull<float>(dweight);
  float* db = DataOrNull<float>(dbias);
  // A task's sums of dweight and dbias; the rows of `partial` are added in order at the end.
  Tensor partial = Tensor::Zeros({num_tasks, 2, width});
  float* sums = partial.mutable_data<float>();
  ParallelForRange(rows, grain, [&](int64_t begin, int64_t end) {
    float* own = sums + begin / grain * 2 * width;
    for (int64_t r = begin; r < end; ++r) {
      BackwardRow<kCentred>(width, from + r * width, w, kCentred ? mean[r] : 0, rstd[r],
                            grad + r * width, to + r * width, dw != nullptr ? own : nullptr,
                            db != nullptr ? own + width : nullptr);
    }
  });
  const auto add_up = [&](int64_t which, float* total) {
    if (total == nullptr) return;
    std::fill(total, total + width, 0.f);
    for (int64_t task = 0; task < num_tasks; ++task) {
      const float* part = sums + (2 * task + which) * width;
      simd::ForLanes(width, [&](auto lanes, int64_t i) {
        lanes.Store(total + i, lanes.Load(total + i) + lanes.Load(part + i));
      });
    }
  };
  add_up(0, dw);
  add_up(1, db);
}

}  // namespace

void RmsNormForward(const Tensor& x, const Tensor& weight, double eps, const Tensor& y,
                    const Tensor& rstd_r) {
  Forward<false>(x, weight, Tensor(), eps, y, Tensor(), rstd_r);
}

void RmsNormBackward(const Tensor& x, const Tensor& weight, const Tensor& rstd_r, const Tensor& dy,
                     const Tensor& dx, const Tensor& dweight) {
  Backward<false>(x, weight, Tensor(), rstd_r, dy, dx, dweight, Tensor());
}

void LayerNormForward(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                      const Tensor& y, const Tensor& mean_r, const Tensor& rstd_r) {
  CHECK(mean_r.defined());
  Forward<true>(x, weight, bias, eps, y, mean_r, rstd_r);
}

void LayerNormBackward(const Tensor& x, const Tensor& weight, const Tensor& mean_r,
                       const Tensor& rstd_r, const Tensor& dy, const Tensor& dx,
                       const Tensor& dweight, const Tensor& dbias) {
  CHECK(mean_r.defined());
  Backward<true>(x, weight, mean_r, rstd_r, dy, dx, dweight, dbias);
}

}  // namespace longrange::kernels
