// One step of the optimiser.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/adamw/adamw.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

void Step(benchmark::State& state) {
  const int64_t n = state.range(0);
  const Tensor gradient = RandomNormal({n}, Rng(1)), parameter = RandomNormal({n}, Rng(2));
  const Tensor m = Tensor::Zeros({n}), v = Tensor::Zeros({n});
  AdamWOptions options{1e-3, 0.9, 0.999, 1e-8, 0.1, 1};
  const int64_t some = std::min<int64_t>(n, 10000);
  const auto wide = [&](const Tensor& t) { return t.ViewRows(0, some).To(DType::kFloat64); };
  const Tensor exact = wide(parameter);
  AdamWStep(options, wide(gradient), exact, wide(m), wide(v));
  AdamWStep(options, gradient, parameter, m, v);
  if (!CompareRms(parameter.ViewRows(0, some), exact, kFloat32ForwardRms).passed) {
    return state.SkipWithError("wrong result");
  }
  TimeWork(state, [&] {
    ++options.step;
    AdamWStep(options, gradient, parameter, m, v);
  });
}
BENCHMARK(Step)->Name("AdamW")->ArgName("n")->Arg(10000000)->UseRealTime();

void Norm(benchmark::State& state) {
  const int64_t n = state.range(0);
  const Tensor t = RandomNormal({n}, Rng(1));
  if (!(std::abs(SumOfSquares(t) / n - 1) < 0.01)) return state.SkipWithError("wrong result");
  TimeWork(state, [&] { benchmark::DoNotOptimize(SumOfSquares(t)); });
}
BENCHMARK(Norm)->Name("SumOfSquares")->ArgName("n")->Arg(10000000)->UseRealTime();

}  // namespace
}  // namespace longrange::kernels
