// Softmax over the last dimension.

#include <benchmark/benchmark.h>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/softmax/softmax.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

bool IsRight(const Tensor& x, const Tensor& dy, const Tensor& y, const Tensor& dx) {
  const Tensor wide = x.To(DType::kFloat64), dwide = dy.To(DType::kFloat64);
  const Tensor exact = Tensor::EmptyLike(wide), dexact = Tensor::EmptyLike(wide);
  SoftmaxForward(wide, exact);
  SoftmaxBackward(exact, dwide, dexact);
  return CompareRms(y, exact, kFloat32ForwardRms).passed &&
         CompareRms(dx, dexact, kFloat32GradientRms).passed;
}

void Run(benchmark::State& state, bool backward) {
  const int64_t rows = state.range(0), d = state.range(1);
  const Tensor x = RandomNormal({rows, d}, Rng(1).Child("x"));
  const Tensor dy = RandomNormal({rows, d}, Rng(1).Child("dy"));
  Tensor y = Tensor::EmptyLike(x), dx = Tensor::EmptyLike(x);
  SoftmaxForward(x, y);
  SoftmaxBackward(y, dy, dx);
  const int64_t some = std::min<int64_t>(rows, 64);
  if (!IsRight(x.ViewRows(0, some), dy.ViewRows(0, some), y.ViewRows(0, some),
               dx.ViewRows(0, some))) {
    return state.SkipWithError("wrong result");
  }
  TimeWork(state, [&] {
    y = Tensor();  // so that its memory is taken again
    y = Tensor::EmptyLike(x);
    SoftmaxForward(x, y);
    if (backward) {
      dx = Tensor();
      dx = Tensor::EmptyLike(x);
      SoftmaxBackward(y, dy, dx);
    }
    benchmark::DoNotOptimize(y.raw_data());
  });
}

void Forward(benchmark::State& state) { Run(state, false); }
void Both(benchmark::State& state) { Run(state, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "d"})->Args({4096, 4096})->UseRealTime();
}
BENCHMARK(Forward)->Name("Softmax/forward")->Apply(Shapes);
BENCHMARK(Both)->Name("Softmax/forward_backward")->Apply(Shapes);

}  // namespace
}  // namespace longrange::kernels
