// Cross-entropy on given logits, and fused with the output projection.

#include <benchmark/benchmark.h>

#include <algorithm>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Result {
  Tensor nll, lse, dx, dw;
};

Result OnLogits(const Tensor& logits, const Tensor& target, const Tensor& dnll, bool backward) {
  Result r{Tensor::EmptyLike(dnll), Tensor::EmptyLike(dnll)};
  CrossEntropyForward(logits, target, r.nll, r.lse);
  if (backward) {
    r.dx = Tensor::EmptyLike(logits);
    CrossEntropyBackward(logits, target, r.lse, dnll, r.dx);
  }
  return r;
}

Result Linear(const Tensor& x, const Tensor& w, const Tensor& target, const Tensor& dnll,
              bool backward) {
  Result r{Tensor::EmptyLike(dnll), Tensor::EmptyLike(dnll)};
  LinearCrossEntropyForward(x, w, target, r.nll, r.lse, Tensor());
  if (backward) {
    r.dx = Tensor::EmptyLike(x);
    r.dw = Tensor::EmptyLike(w);
    LinearCrossEntropyBackward(x, w, target, r.lse, dnll, r.dx, r.dw);
  }
  return r;
}

// The mean over rows: every row's gradient is 1 / rows.
void RunOnLogits(benchmark::State& state, bool backward) {
  const int64_t rows = state.range(0), v = state.range(1), some = std::min<int64_t>(rows, 32);
  const Tensor logits = RandomNormal({rows, v}, Rng(1)), target = RandomIds({rows}, Rng(2), v);
  const Tensor dnll = Tensor::Full({rows}, 1.0 / rows);
  Result out = OnLogits(logits, target, dnll, true);
  const Result exact =
      OnLogits(logits.ViewRows(0, some).To(DType::kFloat64), target.ViewRows(0, some),
               dnll.ViewRows(0, some).To(DType::kFloat64), true);
  if (!CompareRms(out.nll.ViewRows(0, some), exact.nll, kFloat32ForwardRms).passed ||
      !CompareRms(out.dx.ViewRows(0, some), exact.dx, kFloat32GradientRms).passed) {
    return state.SkipWithError("wrong result");
  }
  out = Result();  // so that its memory is taken again
  TimeWork(state, [&] {
    const Result r = OnLogits(logits, target, dnll, backward);
    double mean = 0;
    for (int64_t i = 0; i < rows; ++i) mean += r.nll.data<float>()[i];
    benchmark::DoNotOptimize(mean);
  });
}

void RunLinear(benchmark::State& state, bool backward) {
  const int64_t rows = state.range(0), d = state.range(1), v = state.range(2);
  const Tensor x = RandomNormal({rows, d}, Rng(1)), w = RandomNormal({v, d}, Rng(2), 0.1);
  const Tensor target = RandomIds({rows}, Rng(3), v), dnll = Tensor::Full({rows}, 1.0 / rows);
  const int64_t some = std::min<int64_t>(rows, 32);
  const auto few = [&](const Tensor& t) { return t.ViewRows(0, some); };
  const Result out = Linear(few(x), w, few(target), few(dnll), true);
  const Result exact = Linear(few(x).To(DType::kFloat64), w.To(DType::kFloat64), few(target),
                              few(dnll).To(DType::kFloat64), true);
  if (!CompareRms(out.nll, exact.nll, kFloat32ForwardRms).passed ||
      !CompareRms(out.dx, exact.dx, kFloat32GradientRms).passed ||
      !CompareRms(out.dw, exact.dw, kFloat32GradientRms).passed) {
    return state.SkipWithError("wrong result");
  }
  TimeWork(state,
           [&] { benchmark::DoNotOptimize(Linear(x, w, target, dnll, backward).nll.raw_data()); });
}

void Forward(benchmark::State& state) { RunOnLogits(state, false); }
void Both(benchmark::State& state) { RunOnLogits(state, true); }
void LinearForward(benchmark::State& state) { RunLinear(state, false); }
void LinearBoth(benchmark::State& state) { RunLinear(state, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "v"})->Args({4096, 8192})->UseRealTime();
}
void LinearShapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "d", "v"})->Args({4096, 128, 8192})->Args({2048, 512, 32000})->UseRealTime();
}
BENCHMARK(Forward)->Name("CrossEntropy/forward")->Apply(Shapes);
BENCHMARK(Both)->Name("CrossEntropy/forward_backward")->Apply(Shapes);
BENCHMARK(LinearForward)->Name("LinearCrossEntropy/forward")->Apply(LinearShapes);
BENCHMARK(LinearBoth)->Name("LinearCrossEntropy/forward_backward")->Apply(LinearShapes);

}  // namespace
}  // namespace longrange::kernels
