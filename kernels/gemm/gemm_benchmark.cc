// Matrix products of square and language-model shapes; ..._t: b transposed (a linear layer), t_...:
// its weight gradient.

#include <benchmark/benchmark.h>

#include <cmath>

#include "common/base/rng.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/precision.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

Tensor Random(const Shape& shape, const char* name) {
  Tensor t = Tensor::Empty(shape);
  const Rng rng = Rng(1).Child(name);
  for (int64_t i = 0; i < t.numel(); ++i) t.mutable_data<float>()[i] = 2 * rng.Uniform(i) - 1;
  return t;
}

// c [m, n] = op(a) [m, k] · op(b) [k, n].
void Run(benchmark::State& state, const GemmOptions& options,
         Precision precision = Precision::kFloat32) {
  const PrecisionScope scope(precision);
  const int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const Tensor a = Random(options.transpose_a ? Shape{k, m} : Shape{m, k}, "a");
  const Tensor b = Random(options.transpose_b ? Shape{n, k} : Shape{k, n}, "b");
  Tensor c = Tensor::Empty({m, n});
  Gemm(a, b, c, options);
  for (int64_t at = 0; at < m * n; at += m * n / 16 + 1) {
    const int64_t i = at / n, j = at % n;
    double want = 0;
    for (int64_t l = 0; l < k; ++l) {
      want += static_cast<double>(a.data<float>()[options.transpose_a ? l * m + i : i * k + l]) *
              b.data<float>()[options.transpose_b ? j * k + l : l * n + j];
    }
    const double allowed = precision == Precision::kBfloat16 ? 1e-2 : 1e-5;
    if (!(std::abs(c.data<float>()[at] - want) <= allowed * std::sqrt(k))) {
      return state.SkipWithError("wrong product");
    }
  }
  TimeWork(state, [&] {
    c = Tensor();  // so that its memory is taken again
    c = Tensor::Empty({m, n});
    Gemm(a, b, c, options);
    benchmark::DoNotOptimize(c.raw_data());
  });
}

void BM_Gemm(benchmark::State& state) { Run(state, {}); }
void BM_Bfloat16(benchmark::State& state) { Run(state, {}, Precision::kBfloat16); }
void BM_Linear(benchmark::State& state) { Run(state, {false, true, false}); }
void BM_WeightGradient(benchmark::State& state) { Run(state, {true, false, false}); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"m", "k", "n"})
      ->Args({1024, 1024, 1024})
      ->Args({4096, 128, 384})
      ->Args({4096, 352, 128})
      ->Args({512, 512, 512})
      ->UseRealTime();
}
BENCHMARK(BM_Gemm)->Name("Gemm")->Apply(Shapes);
BENCHMARK(BM_Bfloat16)->Name("Gemm/bfloat16")->Apply(Shapes);
BENCHMARK(BM_Linear)
    ->Name("Gemm/transpose_b")
    ->ArgNames({"m", "k", "n"})
    ->Args({4096, 128, 128})
    ->Args({4096, 128, 352})
    ->Args({4096, 352, 128})
    ->Args({1, 128, 352})
    ->Args({8, 512, 2048})
    ->UseRealTime();
BENCHMARK(BM_WeightGradient)
    ->Name("Gemm/transpose_a")
    ->ArgNames({"m", "k", "n"})
    ->Args({128, 4096, 128})
    ->Args({128, 4096, 352})
    ->Args({352, 4096, 128})
    ->Args({512, 16384, 512})
    ->UseRealTime();

}  // namespace
}  // namespace longrange::kernels
