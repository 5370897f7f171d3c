// The kernel of a diagonal state space model, forward and with its gradients, at the sizes of
// S4Kernel.

#include <benchmark/benchmark.h>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/power_kernel/power_kernel.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

void Run(benchmark::State& state, bool with_gradients) {
  const int64_t h = state.range(0), n = state.range(1), l = state.range(2);
  const Tensor c = RandomNormal({1, h, n / 2, 2}, Rng(1));
  const Tensor log_a = RandomUniform({h, n / 2, 2}, Rng(2), -0.1, -0.001);
  const Tensor dkernel = RandomNormal({1, l, h}, Rng(3));
  if (!CompareRms(PowerKernelForward(c, log_a, l),
                  PowerKernelForward(c.To(DType::kFloat64), log_a.To(DType::kFloat64), l),
                  kFloat32ForwardRms)
           .passed) {
    return state.SkipWithError("differs from the same in double");
  }
  TimeWork(state, [&] {
    benchmark::DoNotOptimize(PowerKernelForward(c, log_a, l).raw_data());
    if (with_gradients) {
      benchmark::DoNotOptimize(PowerKernelBackward(c, log_a, dkernel).dc_chn2.raw_data());
    }
  });
}

void Forward(benchmark::State& state) { Run(state, false); }
void ForwardBackward(benchmark::State& state) { Run(state, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"h", "n", "l"})->UseRealTime()->Unit(benchmark::kMillisecond);
  for (const int64_t l : {1024, 4096, 16384}) b->Args({128, 64, l});
}
BENCHMARK(Forward)->Name("PowerKernel/forward")->Apply(Shapes);
BENCHMARK(ForwardBackward)->Name("PowerKernel/forward_backward")->Apply(Shapes);

}  // namespace
}  // namespace longrange::kernels
