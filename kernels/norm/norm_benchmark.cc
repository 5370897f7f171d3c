// RMSNorm, LayerNorm and batch norm with all gradients.

#include <benchmark/benchmark.h>

#include <cmath>

#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/norm/batch_norm.h"
#include "kernels/norm/norm.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Layer {
  bool centred;
  Tensor x, weight, bias, dy;
  Tensor y, mean, rstd, dx, dweight, dbias;

  void Forward() {
    y = Tensor();  // so that its memory is taken again
    y = Tensor::EmptyLike(x);
    if (centred) {
      LayerNormForward(x, weight, bias, 1e-5, y, mean, rstd);
    } else {
      RmsNormForward(x, weight, 1e-5, y, rstd);
    }
  }
  void Backward() {
    dx = Tensor();
    dx = Tensor::EmptyLike(x);
    if (centred) {
      LayerNormBackward(x, weight, mean, rstd, dy, dx, dweight, dbias);
    } else {
      RmsNormBackward(x, weight, rstd, dy, dx, dweight);
    }
  }
};

Layer Make(bool centred, const Tensor& x, const Tensor& weight, const Tensor& bias,
           const Tensor& dy) {
  const Tensor row = Tensor::Empty({x.dim(0)}, x.dtype());
  return {centred,
          x,
          weight,
          bias,
          dy,
          Tensor(),
          row,
          Tensor::EmptyLike(row),
          Tensor(),
          Tensor::EmptyLike(weight),
          Tensor::EmptyLike(bias)};
}

void Run(benchmark::State& state, bool centred, bool backward) {
  const int64_t rows = state.range(0), d = state.range(1);
  const Rng rng(1);
  Layer layer =
      Make(centred, RandomNormal({rows, d}, rng.Child("x")), RandomNormal({d}, rng.Child("weight")),
           RandomNormal({d}, rng.Child("bias")), RandomNormal({rows, d}, rng.Child("dy")));
  const auto wide = [](const Tensor& t) { return t.To(DType::kFloat64); };
  Layer exact = Make(centred, wide(layer.x), wide(layer.weight), wide(layer.bias), wide(layer.dy));
  for (Layer* l : {&layer, &exact}) {
    l->Forward();
    l->Backward();
  }
  if (!CompareRms(layer.y, exact.y, kFloat32ForwardRms).passed ||
      !CompareRms(layer.dx, exact.dx, kFloat32GradientRms).passed ||
      !CompareRms(layer.dweight, exact.dweight, kFloat32GradientRms).passed) {
    return state.SkipWithError("wrong result");
  }
  exact = Layer();
  TimeWork(state, [&] {
    layer.Forward();
    if (backward) layer.Backward();
    benchmark::DoNotOptimize(layer.y.raw_data());
  });
}

void RmsForward(benchmark::State& state) { Run(state, false, false); }
void RmsBoth(benchmark::State& state) { Run(state, false, true); }
void LayerForward(benchmark::State& state) { Run(state, true, false); }
void LayerBoth(benchmark::State& state) { Run(state, true, true); }

void BatchBoth(benchmark::State& state) {
  const int64_t rows = state.range(0), d = state.range(1);
  const Rng rng(1);
  const auto run = [](const Tensor& x, const Tensor& weight, const Tensor& dy) {
    const Tensor y = Tensor::EmptyLike(x), dx = Tensor::EmptyLike(x);
    const Tensor mean = Tensor::EmptyLike(weight), variance = Tensor::EmptyLike(weight),
                 dweight = Tensor::EmptyLike(weight), dbias = Tensor::EmptyLike(weight);
    BatchNormForward(x, Tensor(), Tensor(), weight, weight, 1e-5, y, mean, variance);
    BatchNormBackward(x, Tensor(), Tensor(), weight, 1e-5, mean, variance, dy, dx, dweight, dbias);
    return std::vector<Tensor>{y, dx, dweight};
  };
  const Tensor x = RandomNormal({8, rows / 8, d}, rng.Child("x")),
               weight = RandomNormal({d}, rng.Child("weight")),
               dy = RandomNormal(x.shape(), rng.Child("dy"));
  {
    const std::vector<Tensor> made = run(x, weight, dy),
                              exact = run(x.To(DType::kFloat64), weight.To(DType::kFloat64),
                                          dy.To(DType::kFloat64));
    for (int i = 0; i < 3; ++i) {
      const double allowed = i == 0 ? kFloat32ForwardRms : kFloat32GradientRms;
      if (!CompareRms(made[i], exact[i], allowed).passed)
        return state.SkipWithError("wrong result");
    }
  }
  TimeWork(state, [&] { benchmark::DoNotOptimize(run(x, weight, dy)[0].raw_data()); });
}

void Shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"rows", "d"})->Args({8192, 512})->UseRealTime();
}
BENCHMARK(RmsForward)->Name("RmsNorm/forward")->Apply(Shapes);
BENCHMARK(RmsBoth)->Name("RmsNorm/forward_backward")->Apply(Shapes);
BENCHMARK(LayerForward)->Name("LayerNorm/forward")->Apply(Shapes);
BENCHMARK(LayerBoth)->Name("LayerNorm/forward_backward")->Apply(Shapes);
BENCHMARK(BatchBoth)->Name("BatchNorm/forward_backward")->Apply(Shapes);

}  // namespace
}  // namespace longrange::kernels
