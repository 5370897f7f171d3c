// Speed of the short causal convolution, with silu, as a Mamba layer has it.

#include <benchmark/benchmark.h>

#include "common/base/rng.h"
#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "kernels/depthwise_convolution/depthwise_convolution.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

void Run(benchmark::State& state, bool with_gradients) {
  const int64_t b = state.range(0), d = state.range(1), l = state.range(2), k = state.range(3);
  DepthwiseConvolutionInputs in;
  in.x_btd = RandomNormal({b, l, d}, Rng(1));
  in.weight_dk = RandomNormal({d, k}, Rng(2));
  in.bias_d = RandomNormal({d}, Rng(3));
  in.silu = true;
  const Tensor dy = RandomNormal({b, l, d}, Rng(4));
  DepthwiseConvolutionInputs wide = in;
  for (Tensor* t : {&wide.x_btd, &wide.weight_dk, &wide.bias_d}) *t = t->To(DType::kFloat64);
  if (!CompareRms(DepthwiseConvolutionForward(in).y_btd, DepthwiseConvolutionForward(wide).y_btd,
                  kFloat32ForwardRms)
           .passed ||
      !CompareRms(DepthwiseConvolutionBackward(in, dy, Tensor()).dx_btd,
                  DepthwiseConvolutionBackward(wide, dy.To(DType::kFloat64), Tensor()).dx_btd,
                  kFloat32GradientRms)
           .passed) {
    return state.SkipWithError("differs from the reference");
  }
  TimeWork(state, [&] {
    benchmark::DoNotOptimize(DepthwiseConvolutionForward(in).y_btd.raw_data());
    if (with_gradients) {
      benchmark::DoNotOptimize(DepthwiseConvolutionBackward(in, dy, Tensor()).dx_btd.raw_data());
    }
  });
}

void ForwardOnly(benchmark::State& state) { Run(state, false); }
void Both(benchmark::State& state) { Run(state, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"b", "d", "l", "k"})->Args({4, 256, 1024, 4})->UseRealTime();
  b->Unit(benchmark::kMillisecond);
}
BENCHMARK(ForwardOnly)->Name("DepthwiseConvolution/forward")->Apply(Shapes);
BENCHMARK(Both)->Name("DepthwiseConvolution/forward_backward")->Apply(Shapes);

}  // namespace
}  // namespace longrange::kernels
