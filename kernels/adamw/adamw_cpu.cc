#include <cmath>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/adamw/adamw.h"
#include "kernels/adamw/reference.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using simd::VecF;

constexpr int64_t kGrain = 16384;  // elements a task

template <typename T>
double Squares(const Tensor& t) {
  const T* x = t.data<T>();
  std::vector<double> partial((t.numel() + kGrain - 1) / kGrain);
  ParallelForRange(t.numel(), kGrain, [&](int64_t begin, int64_t end) {
    double lane[16] = {};
    int64_t i = begin;
    for (; i + 16 <= end; i += 16) {
      for (int l = 0; l < 16; ++l) lane[l] += static_cast<double>(x[i + l]) * x[i + l];
    }
    for (; i < end; ++i) lane[0] += static_cast<double>(x[i]) * x[i];
    double sum = 0;
    for (const double part : lane) sum += part;
    partial[begin / kGrain] = sum;
  });
  double sum = 0;
  for (const double part : partial) sum += part;
  return sum;
}

}  // namespace

void AdamWStep(const AdamWOptions& options, const Tensor& gradient, const Tensor& parameter,
               const Tensor& m, const Tensor& v) {
  for (const Tensor* t : {&gradient, &m, &v}) {
    CHECK(t->shape() == parameter.shape()) << t->shape() << " and " << parameter.shape();
    CHECK(t->dtype() == parameter.dtype())
        << Name(t->dtype()) << " and " << Name(parameter.dtype());
  }
  CHECK_GE(options.step, 1);
  const TraceSpan span("AdamWStep");
  RecordCost(15.0 * parameter.numel(), 7.0 * parameter.bytes());
  if (parameter.is_meta()) return;
  if (parameter.dtype() == DType::kFloat64) {
    reference::AdamWStep(options, parameter.numel(), gradient.data<double>(),
                         parameter.mutable_data<double>(), m.mutable_data<double>(),
                         v.mutable_data<double>());
    return;
  }
  const float* pg = gradient.data<float>();
  float* pp = parameter.mutable_data<float>();
  float* pm = m.mutable_data<float>();
  float* pv = v.mutable_data<float>();
  // The constants are computed in double and rounded once, as PyTorch's fused kernel does.
  const double step_size =
      options.learning_rate / (1 - std::pow(options.beta1, static_cast<double>(options.step)));
  const float scale = options.gradient_scale, beta1 = options.beta1, beta2 = options.beta2;
  const float keep1 = 1 - options.beta1, keep2 = 1 - options.beta2, eps = options.epsilon;
  const float decay = 1 - options.learning_rate * options.weight_decay, rate = step_size;
  const float correction =
      1 / std::sqrt(1 - std::pow(options.beta2, static_cast<double>(options.step)));
  ParallelForRange(parameter.numel(), kGrain, [&](int64_t begin, int64_t end) {
    simd::ForLanes(end - begin, [&](auto lanes, int64_t offset) {
      const int64_t i = begin + offset;
      const VecF g = lanes.Load(pg + i) * scale;
      const VecF first = beta1 * lanes.Load(pm + i) + keep1 * g;
      const VecF second = beta2 * lanes.Load(pv + i) + keep2 * g * g;
      lanes.Store(pm + i, first);
      lanes.Store(pv + i, second);
      const VecF move = rate * first / (simd::Sqrt(second) * correction + eps);
      lanes.Store(pp + i, decay * lanes.Load(pp + i) - move);
    });
  });
}

double SumOfSquares(const Tensor& t) {
  const TraceSpan span("SumOfSquares");
  RecordCost(2.0 * t.numel(), t.bytes());
  if (t.is_meta()) return 0;
  return t.dtype() == DType::kFloat64 ? Squares<double>(t) : Squares<float>(t);
}

}  // namespace longrange::kernels
