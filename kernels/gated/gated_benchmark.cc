// Activations of feed-forward layers.

#include <benchmark/benchmark.h>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/gated/gated.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

void SwiGlu(benchmark::State& state, bool backward) {
  const Shape shape{state.range(0), state.range(1)};
  const Tensor a = RandomNormal(shape, Rng(1).Child("a")),
               b = RandomNormal(shape, Rng(1).Child("b"));
  const Tensor dy = RandomNormal(shape, Rng(1).Child("dy"));
  const auto run = [](const Tensor& a, const Tensor& b, const Tensor& dy, bool backward) {
    std::vector<Tensor> out{Tensor::EmptyLike(a)};
    SwiGluForward(a, b, out[0]);
    if (backward) {
      out.insert(out.end(), {Tensor::EmptyLike(a), Tensor::EmptyLike(a)});
      SwiGluBackward(a, b, dy, out[1], out[2]);
    }
    return out;
  };
  auto out = run(a, b, dy, true);
  const auto exact =
      run(a.To(DType::kFloat64), b.To(DType::kFloat64), dy.To(DType::kFloat64), true);
  for (int i = 0; i < 3; ++i) {
    if (!CompareRms(out[i], exact[i], i == 0 ? kFloat32ForwardRms : kFloat32GradientRms).passed) {
      return state.SkipWithError("wrong result");
    }
  }
  out.clear();  // so that its memory is taken again
  TimeWork(state, [&] { benchmark::DoNotOptimize(run(a, b, dy, backward)[0].raw_data()); });
}

void Gelu(benchmark::State& state, bool tanh_approximation) {
  const Tensor x = RandomNormal({state.range(0), state.range(1)}, Rng(1));
  Tensor y = Tensor::EmptyLike(x), dx = Tensor::EmptyLike(x);
  const Tensor wide = x.To(DType::kFloat64), exact = Tensor::EmptyLike(wide);
  GeluForward(x, y, tanh_approximation);
  GeluForward(wide, exact, tanh_approximation);
  if (!CompareRms(y, exact, kFloat32ForwardRms).passed) return state.SkipWithError("wrong result");
  TimeWork(state, [&] {
    GeluForward(x, y, tanh_approximation);
    GeluBackward(x, y, dx, tanh_approximation);
    benchmark::DoNotOptimize(dx.raw_data());
  });
}

void SwiGluForwardOnly(benchmark::State& state) { SwiGlu(state, false); }
void SwiGluBoth(benchmark::State& state) { SwiGlu(state, true); }
void GeluExact(benchmark::State& state) { Gelu(state, false); }
void GeluTanh(benchmark::State& state) { Gelu(state, true); }

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "d"})->Args({8192, 512})->UseRealTime();
}
BENCHMARK(SwiGluForwardOnly)->Name("SwiGlu/forward")->Apply(Shapes);
BENCHMARK(SwiGluBoth)->Name("SwiGlu/forward_backward")->Apply(Shapes);
BENCHMARK(GeluExact)->Name("Gelu/forward_backward")->Apply(Shapes);
BENCHMARK(GeluTanh)->Name("GeluTanh/forward_backward")->Apply(Shapes);

}  // namespace
}  // namespace longrange::kernels
