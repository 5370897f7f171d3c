// The diagonal scan with all gradients.

#include <benchmark/benchmark.h>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/diagonal_scan/diagonal_scan.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Problem {
  Tensor a, u, dh;
  Tensor h, du, da;

  void Forward() {
    h = Tensor();  // so that its memory is taken again
    h = Tensor::EmptyLike(u);
    DiagonalScanForward(a, u, Tensor(), false, h, Tensor());
  }
  void Backward() {
    du = da = Tensor();
    du = Tensor::EmptyLike(u);
    da = Tensor::EmptyLike(a);
    DiagonalScanBackward(a, Tensor(), false, h, dh, Tensor(), du, da, Tensor());
  }
};

void Run(benchmark::State& state, bool per_step, bool backward) {
  const Shape rows{state.range(0), state.range(1), state.range(2), 2};
  const Rng rng(1);
  Problem problem{RandomNormal(per_step ? rows : Shape{rows[2], 2}, rng.Child("a"), 0.5),
                  RandomNormal(rows, rng.Child("u")), RandomNormal(rows, rng.Child("dh"))};
  // A normal factor of 0.5 is larger than 1 now and then: fixed ones would let the state grow.
  if (!per_step) problem.a = RandomUniform({rows[2], 2}, rng.Child("a"), -0.7, 0.7);
  const auto wide = [](const Tensor& t) { return t.To(DType::kFloat64); };
  Problem exact{wide(problem.a), wide(problem.u), wide(problem.dh)};
  for (Problem* p : {&problem, &exact}) {
    p->Forward();
    p->Backward();
  }
  if (!CompareRms(problem.h, exact.h, kFloat32ForwardRms).passed ||
      !CompareRms(problem.du, exact.du, kFloat32GradientRms).passed ||
      !CompareRms(problem.da, exact.da, kFloat32GradientRms).passed) {
    return state.SkipWithError("wrong result");
  }
  exact = Problem();
  TimeWork(state, [&] {
    problem.Forward();
    if (backward) problem.Backward();
    benchmark::DoNotOptimize(problem.h.raw_data());
  });
}

void Forward(benchmark::State& state) { Run(state, true, false); }
void Both(benchmark::State& state) { Run(state, true, true); }
void FixedForward(benchmark::State& state) { Run(state, false, false); }
void FixedBoth(benchmark::State& state) { Run(state, false, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"b", "l", "p"})->Args({4, 4096, 64})->UseRealTime();
}
void FixedShapes(benchmark::internal::Benchmark* b) {
  Shapes(b);
  b->Args({1, 16384, 8});
}
BENCHMARK(Forward)->Name("DiagonalScan/forward")->Apply(Shapes);
BENCHMARK(Both)->Name("DiagonalScan/forward_backward")->Apply(Shapes);
BENCHMARK(FixedForward)->Name("DiagonalScanFixed/forward")->Apply(FixedShapes);
BENCHMARK(FixedBoth)->Name("DiagonalScanFixed/forward_backward")->Apply(FixedShapes);

}  // namespace
}  // namespace longrange::kernels
