// Checks that the tests of all kernel families share.

#ifndef LONGRANGE_KERNELS_TESTING_H_
#define LONGRANGE_KERNELS_TESTING_H_

#include <functional>
#include <vector>

#include "common/base/rng.h"
#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "common/tensor/tensor.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"

namespace longrange::kernels {

// Is the float64 tensor `gradient` the derivative of loss() by x? By central differences, x is
// moved in place.
inline void ExpectGradient(const Tensor& x, const Tensor& gradient,
                           const std::function<double()>& loss) {
  constexpr double kStep = 1e-5;
  const Tensor numeric = Tensor::Empty(x.shape(), DType::kFloat64);
  for (int64_t i = 0; i < x.numel(); ++i) {
    double& at = x.mutable_data<double>()[i];
    const double saved = at;
    at = saved + kStep;
    const double above = loss();
    at = saved - kStep;
    const double below = loss();
    at = saved;
    numeric.mutable_data<double>()[i] = (above - below) / (2 * kStep);
  }
  EXPECT_THAT(gradient.View(x.shape()), AllClose(numeric, kGradcheck));
}

// sum_i a_i b_i of float64 tensors: a loss whose gradient by a is b.
inline double Dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.numel(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
  return sum;
}

// run() gives the same bits with one thread, with several, and again.
inline void ExpectSameBits(const std::function<std::vector<Tensor>()>& run) {
  SetNumThreads(1);
  const std::vector<Tensor> first = run();
  for (const int num_threads : {2, 5, 2}) {
    SetNumThreads(num_threads);
    const std::vector<Tensor> again = run();
    ASSERT_EQ(again.size(), first.size());
    for (size_t i = 0; i < first.size(); ++i) {
      EXPECT_THAT(again[i], BitEqual(first[i]))
          << "output " << i << ", " << num_threads << " threads";
    }
  }
  SetNumThreads(0);
}

// The cost that run() records.
inline Cost CostOf(const std::function<void()>& run) {
  const CostScope scope;
  run();
  return scope.cost();
}

inline Tensor Double(const Tensor& t) { return t.defined() ? t.To(DType::kFloat64) : t; }
inline Tensor Meta(const Tensor& t) { return t.defined() ? t.To(Device::kMeta) : t; }

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_TESTING_H_
