// Embedding and its gradient.

#include <benchmark/benchmark.h>

#include <cmath>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/embedding/embedding.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

void Both(benchmark::State& state) {
  const int64_t n = state.range(0), v = state.range(1), d = state.range(2);
  const Tensor table = RandomNormal({v, d}, Rng(1)), dy = RandomNormal({n, d}, Rng(2));
  // Frequencies as in text: the most frequent ids take most places.
  const Tensor ids = Tensor::Empty({n}, DType::kInt32);
  for (int64_t i = 0; i < n; ++i) {
    ids.mutable_data<int32_t>()[i] = static_cast<int32_t>(std::pow(v, Rng(3).Uniform(i))) - 1;
  }
  const Tensor y = Tensor::EmptyLike(dy), dtable = Tensor::EmptyLike(table);
  const Tensor exact = Tensor::Empty({v, d}, DType::kFloat64);
  EmbeddingBackward(ids, dy, dtable);
  EmbeddingBackward(ids, dy.To(DType::kFloat64), exact);
  if (!CompareRms(dtable, exact, kFloat32GradientRms).passed) {
    return state.SkipWithError("wrong result");
  }
  TimeWork(state, [&] {
    EmbeddingForward(table, ids, y);
    EmbeddingBackward(ids, dy, dtable);
    benchmark::DoNotOptimize(dtable.raw_data());
  });
}
BENCHMARK(Both)
    ->Name("Embedding/forward_backward")
    ->ArgNames({"n", "v", "d"})
    ->Args({8192, 32000, 128})
    ->UseRealTime();

}  // namespace
}  // namespace longrange::kernels
