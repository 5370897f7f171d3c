// Causal convolution with a filter as long as the input, forward and with all gradients. Each
// benchmark first holds its result against the same in double, a sum of products at a short length.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/fft_convolution/fft_convolution.h"
#include "kernels/fft_convolution/reference.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Workload {
  int64_t b, d, l;
};

struct Problem {
  explicit Problem(const Workload& w, DType dtype = DType::kFloat32)
      : dy(RandomNormal({w.b, w.l, w.d}, Rng(1).Child("dy"), 1, dtype)) {
    in.x_btd = RandomNormal({w.b, w.l, w.d}, Rng(1).Child("x"), 1, dtype);
    in.filter_ld = RandomNormal({w.l, w.d}, Rng(1).Child("filter"), 1, dtype);
  }

  FftConvolutionGradients Backward() const {
    FftConvolutionGradients g;
    g.dx_btd = Tensor::EmptyLike(in.x_btd);
    g.dfilter_ld = Tensor::EmptyLike(in.filter_ld);
    FftConvolutionBackward(in, dy, g);
    return g;
  }

  FftConvolutionInputs in;
  Tensor dy;
};

bool Valid(Workload w) {
  w.l = std::min<int64_t>(w.l, 500);
  w.d = std::min<int64_t>(w.d, 20);
  const Problem narrow(w), wide(w, DType::kFloat64);
  const Tensor y = Tensor::EmptyLike(wide.dy), dx = Tensor::EmptyLike(wide.dy),
               dfilter = Tensor::EmptyLike(wide.in.filter_ld);
  const reference::ConvolutionShape s{w.b, w.l, w.d, w.l};
  const double* x = wide.in.x_btd.data<double>();
  const double* filter = wide.in.filter_ld.data<double>();
  reference::Convolution(s, x, filter, nullptr, nullptr, nullptr, y.mutable_data<double>());
  reference::ConvolutionBackward(s, x, filter, nullptr, nullptr, nullptr, wide.dy.data<double>(),
                                 dx.mutable_data<double>(), dfilter.mutable_data<double>(), nullptr,
                                 nullptr, nullptr);
  const FftConvolutionGradients g = narrow.Backward();
  return CompareRms(FftConvolutionForward(narrow.in), y, kFloat32ForwardRms).passed &&
         CompareRms(g.dx_btd, dx, kFloat32GradientRms).passed &&
         CompareRms(g.dfilter_ld, dfilter, kFloat32GradientRms).passed;
}

void Run(benchmark::State& state, const Workload& w, bool with_gradients) {
  if (!Valid(w)) return state.SkipWithError("differs from the reference");
  const Problem problem(w);
  TimeWork(state, w.b * w.l, [&] {
    benchmark::DoNotOptimize(FftConvolutionForward(problem.in).raw_data());
    if (with_gradients) benchmark::DoNotOptimize(problem.Backward().dx_btd.raw_data());
  });
}

int Register() {
  for (const int64_t l : {1024, 4096, 16384}) {
    for (const bool with_gradients : {false, true}) {
      const Workload w{4, 128, l};
      const std::string name =
          absl::StrCat("FftConvolution/", with_gradients ? "forward_backward" : "forward",
                       "/b:", w.b, "/d:", w.d, "/l:", w.l);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [w, with_gradients](benchmark::State& state) { Run(state, w, with_gradients); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  return 0;
}
const int kRegistered = Register();

}  // namespace
}  // namespace longrange::kernels
