#include <algorithm>
#include <cmath>

#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "kernels/norm/norm.h"
#include "kernels/norm/reference.h"

namespace longrange {
namespace {

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

void ForwardRow(int64_t d, bool centred, const float* x, const float* w, const float* b, float eps,
                float* y, float* mean, float* rstd) {
  double mu = 0, square = 0;
  if (centred) {
    for (int64_t i = 0; i < d; ++i) mu += x[i];
    mu /= d;
  }
  for (int64_t i = 0; i < d; ++i) square += (x[i] - mu) * (x[i] - mu);
  const double s = 1 / std::sqrt(square / d + eps);
  for (int64_t i = 0; i < d; ++i) {
    y[i] = (x[i] - mu) * s * (w != nullptr ? w[i] : 1) + (b != nullptr ? b[i] : 0);
  }
  if (mean != nullptr) *mean = mu;
  *rstd = s;
}

void Forward(bool centred, const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
             const Tensor& y, const Tensor& mean_r, const Tensor& rstd_r) {
  const auto [rows, d] = CheckRows(x, y);
  CheckVector(weight, x, d, "weight");
  CheckVector(bias, x, d, "bias");
  CheckVector(mean_r, x, rows, "mean");
  CheckVector(rstd_r, x, rows, "rstd");
  RecordCost((centred ? 7.0 : 4.0) * x.numel(), 2.0 * x.bytes());
  if (x.is_meta()) return;
  if (x.dtype() == DType::kFloat64) {
    reference::NormForward(rows, d, centred, x.data<double>(), DataOrNull<double>(weight),
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
      ForwardRow(width, centred, from + r * width, w, b, eps, to + r * width,
                 mean != nullptr ? mean + r : nullptr, rstd + r);
    }
  });
}

void BackwardRow(int64_t d, bool centred, const float* x, const float* w, float mean, float rstd,
                 const float* dy, float* dx, float* dw, float* db) {
  double mean_g = 0, mean_gx = 0;
  for (int64_t i = 0; i < d; ++i) {
    const float normed = (x[i] - mean) * rstd;
    const float g = dy[i] * (w != nullptr ? w[i] : 1);
    if (centred) mean_g += g;
    mean_gx += g * normed;
  }
  mean_g /= d;
  mean_gx /= d;
  for (int64_t i = 0; i < d; ++i) {
    const float normed = (x[i] - mean) * rstd;
    const float g = dy[i] * (w != nullptr ? w[i] : 1);
    if (dw != nullptr) dw[i] += dy[i] * normed;
    if (db != nullptr) db[i] += dy[i];
    dx[i] = rstd * (g - normed * mean_gx - mean_g);
  }
}

void Backward(bool centred, const Tensor& x, const Tensor& weight, const Tensor& mean_r,
              const Tensor& rstd_r, const Tensor& dy, const Tensor& dx, const Tensor& dweight,
              const Tensor& dbias) {
  const auto [rows, d] = CheckRows(x, dy);
  CheckRows(x, dx);
  CheckVector(weight, x, d, "weight");
  CheckVector(dweight, x, d, "dweight");
  CheckVector(dbias, x, d, "dbias");
  CheckVector(mean_r, x, rows, "mean");
  CheckVector(rstd_r, x, rows, "rstd");
  RecordCost((centred ? 14.0 : 11.0) * x.numel(), 3.0 * x.bytes());
  if (x.is_meta()) return;
  if (x.dtype() == DType::kFloat64) {
    reference::NormBackward(rows, d, centred, x.data<double>(), DataOrNull<double>(weight),
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
      BackwardRow(width, centred, from + r * width, w, centred ? mean[r] : 0, rstd[r],
                  grad + r * width, to + r * width, dw != nullptr ? own : nullptr,
                  db != nullptr ? own + width : nullptr);
    }
  });
  for (int64_t i = 0; i < width; ++i) {
    double w_sum = 0, b_sum = 0;
    for (int64_t task = 0; task < num_tasks; ++task) {
      w_sum += sums[task * 2 * width + i];
      b_sum += sums[(task * 2 + 1) * width + i];
    }
    if (dw != nullptr) dw[i] = w_sum;
    if (db != nullptr) db[i] = b_sum;
  }
}

}  // namespace

void RmsNormForward(const Tensor& x, const Tensor& weight, double eps, const Tensor& y,
                    const Tensor& rstd_r) {
  Forward(false, x, weight, Tensor(), eps, y, Tensor(), rstd_r);
}

void RmsNormBackward(const Tensor& x, const Tensor& weight, const Tensor& rstd_r, const Tensor& dy,
                     const Tensor& dx, const Tensor& dweight) {
  Backward(false, x, weight, Tensor(), rstd_r, dy, dx, dweight, Tensor());
}

void LayerNormForward(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                      const Tensor& y, const Tensor& mean_r, const Tensor& rstd_r) {
  CHECK(mean_r.defined());
  Forward(true, x, weight, bias, eps, y, mean_r, rstd_r);
}

void LayerNormBackward(const Tensor& x, const Tensor& weight, const Tensor& mean_r,
                       const Tensor& rstd_r, const Tensor& dy, const Tensor& dx,
                       const Tensor& dweight, const Tensor& dbias) {
  CHECK(mean_r.defined());
  Backward(true, x, weight, mean_r, rstd_r, dy, dx, dweight, dbias);
}

}  // namespace longrange
