// Rotary embedding of queries or keys.

#include <benchmark/benchmark.h>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/rotary/rotary.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

void Run(benchmark::State& state, bool interleaved) {
  const int64_t b = state.range(0), t = state.range(1), h = state.range(2), d = state.range(3);
  const Tensor x = RandomNormal({b, t, h, d}, Rng(1));
  const Tensor c = Tensor::Empty({t, d / 2}), s = Tensor::Empty({t, d / 2});
  std::vector<double> positions(t);
  for (int64_t i = 0; i < t; ++i) positions[i] = i;
  RotaryTable(positions, RandomUniform({d / 2}, Rng(2), 0, 1), 1, c, s);
  Tensor y = Tensor::EmptyLike(x);
  const Tensor wide = x.To(DType::kFloat64), exact = Tensor::EmptyLike(wide);
  Rotary(x, c, s, interleaved, y);
  Rotary(wide, c.To(DType::kFloat64), s.To(DType::kFloat64), interleaved, exact);
  if (!CompareRms(y, exact, kFloat32ForwardRms).passed) return state.SkipWithError("wrong result");
  TimeWork(state, [&] {
    Rotary(x, c, s, interleaved, y);
    benchmark::DoNotOptimize(y.raw_data());
  });
}

void Halves(benchmark::State& state) { Run(state, false); }
void Interleaved(benchmark::State& state) { Run(state, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"b", "t", "h", "d"})->Args({4, 1024, 8, 64})->UseRealTime();
}
BENCHMARK(Halves)->Name("Rotary/half_split")->Apply(Shapes);
BENCHMARK(Interleaved)->Name("Rotary/interleaved")->Apply(Shapes);

}  // namespace
}  // namespace longrange::kernels
