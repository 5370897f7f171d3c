// Speed of the softmax of relative attention, forward and with gradients: a segment behind a memory
// of its length.

#include <benchmark/benchmark.h>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "kernels/relative_softmax/relative_softmax.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Problem {
  Tensor content, position, dp, p, dcontent, dposition;
  RelativeSoftmaxOptions options;

  void Run(bool backward) {
    RelativeSoftmaxForward(content, position, options, p);
    if (backward) RelativeSoftmaxBackward(p, dp, options, dcontent, dposition);
  }
};

Problem ProblemOf(int64_t matrices, int64_t queries, DType dtype = DType::kFloat32) {
  const auto normal = [&](const char* name) {
    return RandomNormal({matrices, queries, 2 * queries}, Rng(1).Child(name)).To(dtype);
  };
  Problem problem = {normal("content"), normal("position"), normal("dp")};
  problem.p = Tensor::EmptyLike(problem.content);
  problem.dcontent = Tensor::EmptyLike(problem.content);
  problem.dposition = Tensor::EmptyLike(problem.content);
  problem.options = {queries, 0, 0.125};
  return problem;
}

void Run(benchmark::State& state, bool backward) {
  Problem small = ProblemOf(2, 100), exact = ProblemOf(2, 100, DType::kFloat64);
  small.Run(true);
  exact.Run(true);
  if (!CompareRms(small.p, exact.p, kFloat32ForwardRms).passed ||
      !CompareRms(small.dcontent, exact.dcontent, kFloat32GradientRms).passed ||
      !CompareRms(small.dposition, exact.dposition, kFloat32GradientRms).passed) {
    return state.SkipWithError("wrong result");
  }
  Problem problem = ProblemOf(state.range(0), state.range(1));
  TimeWork(state, [&] {
    problem.Run(backward);
    benchmark::DoNotOptimize(problem.p.raw_data());
  });
}

void Forward(benchmark::State& state) { Run(state, false); }
void Both(benchmark::State& state) { Run(state, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"g", "t"})->Args({32, 128})->Args({32, 512})->UseRealTime();
}
BENCHMARK(Forward)->Name("RelativeSoftmax/forward")->Apply(Shapes);
BENCHMARK(Both)->Name("RelativeSoftmax/forward_backward")->Apply(Shapes);

}  // namespace
}  // namespace longrange::kernels
