#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "kernels/softmax/reference.h"
#include "kernels/softmax/softmax.h"

namespace longrange {
namespace {

constexpr int64_t kGrain = 16384;  // elements a task
int64_t RowGrain(int64_t d) { return std::max<int64_t>(1, kGrain / d); }

int64_t CheckRows(const Tensor& x, const Tensor& y) {
  CHECK_GE(x.rank(), 1);
  CHECK(x.shape() == y.shape()) << x.shape() << " and " << y.shape();
  CHECK(x.dtype() == y.dtype()) << Name(x.dtype()) << " and " << Name(y.dtype());
  return x.numel() == 0 ? 0 : x.numel() / x.dim(-1);
}

void ForwardRow(int64_t d, const float* x, float* y) {
  float max = -std::numeric_limits<float>::infinity();
  for (int64_t i = 0; i < d; ++i) max = std::max(max, x[i]);
  if (max == -std::numeric_limits<float>::infinity()) max = 0;
  double sum = 0;
  for (int64_t i = 0; i < d; ++i) sum += y[i] = std::exp(x[i] - max);
  const float scale = sum == 0 ? 0 : 1 / sum;
  for (int64_t i = 0; i < d; ++i) y[i] *= scale;
}

void BackwardRow(int64_t d, const float* y, const float* dy, float* dx) {
  double dot = 0;
  for (int64_t i = 0; i < d; ++i) dot += y[i] * dy[i];
  for (int64_t i = 0; i < d; ++i) dx[i] = y[i] * (dy[i] - dot);
}

}  // namespace

void SoftmaxForward(const Tensor& x, const Tensor& y) {
  const int64_t rows = CheckRows(x, y);
  RecordCost(4.0 * x.numel(), 2.0 * x.bytes());
  if (x.is_meta() || rows == 0) return;
  const int64_t d = x.dim(-1);
  if (x.dtype() == DType::kFloat64) {
    reference::SoftmaxForward(rows, d, x.data<double>(), y.mutable_data<double>());
    return;
  }
  const float* from = x.data<float>();
  float* to = y.mutable_data<float>();
  ParallelForRange(rows, RowGrain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) ForwardRow(d, from + r * d, to + r * d);
  });
}

void SoftmaxBackward(const Tensor& y, const Tensor& dy, const Tensor& dx) {
  const int64_t rows = CheckRows(y, dy);
  CheckRows(y, dx);
  RecordCost(4.0 * y.numel(), 3.0 * y.bytes());
  if (y.is_meta() || rows == 0) return;
  const int64_t d = y.dim(-1);
  if (y.dtype() == DType::kFloat64) {
    reference::SoftmaxBackward(rows, d, y.data<double>(), dy.data<double>(),
                               dx.mutable_data<double>());
    return;
  }
  const float* probability = y.data<float>();
  const float* grad = dy.data<float>();
  float* to = dx.mutable_data<float>();
  ParallelForRange(rows, RowGrain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      BackwardRow(d, probability + r * d, grad + r * d, to + r * d);
    }
  });
}

}  // namespace longrange
