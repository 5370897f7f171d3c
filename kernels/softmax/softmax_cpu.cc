#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/simd/lanes.h"
#include "kernels/softmax/reference.h"
#include "kernels/softmax/softmax.h"

namespace longrange::kernels {
namespace {

using simd::kLanes;
using simd::VecF;

constexpr int64_t kGrain = 16384;  // elements a task
int64_t RowGrain(int64_t d) { return std::max<int64_t>(1, kGrain / d); }

int64_t CheckRows(const Tensor& x, const Tensor& y) {
  CHECK_GE(x.rank(), 1);
  CHECK(x.shape() == y.shape()) << x.shape() << " and " << y.shape();
  CHECK(x.dtype() == y.dtype()) << Name(x.dtype()) << " and " << Name(y.dtype());
  return x.numel() == 0 ? 0 : x.numel() / x.dim(-1);
}

// Row lengths up to which the exponentials wait in a buffer on the stack, so that each result is
// written once.
constexpr int64_t kBuffer = 8192;

void ForwardRow(int64_t d, const float* x, float* buffer, float* y, bool stream) {
  float max = simd::MaxLanes(d, x, -std::numeric_limits<float>::infinity());
  if (max == -std::numeric_limits<float>::infinity()) max = 0;
  const VecF shift = simd::Splat(max);
  const auto [sum] = simd::SumLanes<1>(d, [&](auto lanes, int64_t i, VecF* s) {
    const VecF e = lanes.Keep(simd::Exp(lanes.Load(x + i) - shift), simd::Zero());
    lanes.Store(buffer + i, e);
    s[0] += e;
  });
  const VecF scale = simd::Splat(sum == 0 ? 0 : 1 / sum);
  if (stream) {
    for (int64_t i = 0; i < d; i += kLanes) simd::Stream(y + i, simd::Load(buffer + i) * scale);
  } else {
    simd::ForLanes(
        d, [&](auto lanes, int64_t i) { lanes.Store(y + i, lanes.Load(buffer + i) * scale); });
  }
}

void BackwardRow(int64_t d, const float* y, const float* dy, float* dx, bool stream) {
  const auto [sum] = simd::SumLanes<1>(d, [&](auto lanes, int64_t i, VecF* s) {
    s[0] = simd::Fma(lanes.Load(y + i), lanes.Load(dy + i), s[0]);
  });
  const VecF dot = simd::Splat(sum);
  if (stream) {
    for (int64_t i = 0; i < d; i += kLanes) {
      simd::Stream(dx + i, simd::Load(y + i) * (simd::Load(dy + i) - dot));
    }
  } else {
    simd::ForLanes(d, [&](auto lanes, int64_t i) {
      lanes.Store(dx + i, lanes.Load(y + i) * (lanes.Load(dy + i) - dot));
    });
  }
}

}  // namespace

void SoftmaxForward(const Tensor& x, const Tensor& y) {
  const int64_t rows = CheckRows(x, y);
  const TraceSpan span("SoftmaxForward");
  RecordCost(4.0 * x.numel(), 2.0 * x.bytes());
  if (x.is_meta() || rows == 0) return;
  const int64_t d = x.dim(-1);
  if (x.dtype() == DType::kFloat64) {
    reference::SoftmaxForward(rows, d, x.data<double>(), y.mutable_data<double>());
    return;
  }
  const float* from = x.data<float>();
  float* to = y.mutable_data<float>();
  const bool stream = d <= kBuffer && to != from && simd::Streamable(to, d, y.bytes());
  ParallelForRange(rows, RowGrain(d), [&](int64_t begin, int64_t end) {
    alignas(64) float buffer[kBuffer];
    for (int64_t r = begin; r < end; ++r) {
      ForwardRow(d, from + r * d, d <= kBuffer ? buffer : to + r * d, to + r * d, stream);
    }
    if (stream) simd::StreamFence();
  });
}

void SoftmaxBackward(const Tensor& y, const Tensor& dy, const Tensor& dx) {
  const int64_t rows = CheckRows(y, dy);
  CheckRows(y, dx);
  const TraceSpan span("SoftmaxBackward");
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
  const bool stream = to != grad && simd::Streamable(to, d, dx.bytes());
  ParallelForRange(rows, RowGrain(d), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      BackwardRow(d, probability + r * d, grad + r * d, to + r * d, stream);
    }
    if (stream) simd::StreamFence();
  });
}

}  // namespace longrange::kernels
