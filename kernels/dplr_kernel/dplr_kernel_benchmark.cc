// The convolution kernel of S4, forward and with the gradients of all parameters. Each benchmark
// first holds its result against the reference at a short length.

#include <benchmark/benchmark.h>

#include <cmath>
#include <complex>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "kernels/dplr_kernel/dplr_kernel.h"
#include "kernels/dplr_kernel/reference.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Workload {
  int64_t h, n, l;  // n modes in conjugate pairs
};

DplrKernelInputs InputsOf(const Workload& w, DType dtype) {
  const int64_t pairs = w.n / 2;
  const auto normal = [&](const char* name) {
    return RandomNormal({1, w.h, pairs, 2}, Rng(1).Child(name), 1, dtype);
  };
  const Tensor lambda = RandomNormal({w.h, pairs, 2}, Rng(1).Child("lambda"), 30, DType::kFloat64),
               dt = RandomUniform({w.h}, Rng(1).Child("dt"), -5, -3, DType::kFloat64);
  for (int64_t i = 0; i < w.h * pairs; ++i) {
    double& re = lambda.mutable_data<double>()[2 * i];
    re = -0.1 - std::abs(re) / 30;
  }
  for (int64_t i = 0; i < w.h; ++i) dt.mutable_data<double>()[i] = std::exp(dt.data<double>()[i]);
  return {lambda.To(dtype), normal("p"), normal("b"), normal("c"), dt.To(dtype)};
}

bool Valid(Workload w) {
  w.h = 3;
  w.l = 200;
  const DplrKernelInputs wide = InputsOf(w, DType::kFloat64);
  const auto pairs = [](const Tensor& t) {
    return reinterpret_cast<const std::complex<double>*>(t.data<double>());
  };
  const Tensor expected = Tensor::Empty({1, w.l, w.h}, DType::kFloat64);
  reference::DplrKernel({1, w.h, w.n / 2, 1, 1, w.l}, pairs(wide.lambda_hn2), pairs(wide.p_rhn2),
                        pairs(wide.b_chn2), pairs(wide.c_chn2), wide.dt_h.data<double>(),
                        expected.mutable_data<double>());
  return CompareRms(DplrKernelForward(InputsOf(w, DType::kFloat32), w.l), expected,
                    kFloat32ForwardRms)
      .passed;
}

void Run(benchmark::State& state, const Workload& w, bool with_gradients) {
  if (!Valid(w)) return state.SkipWithError("differs from the reference");
  const DplrKernelInputs in = InputsOf(w, DType::kFloat32);
  const Tensor dkernel = RandomNormal({1, w.l, w.h}, Rng(1).Child("dkernel"));
  TimeWork(state, [&] {
    benchmark::DoNotOptimize(DplrKernelForward(in, w.l).raw_data());
    if (with_gradients) {
      benchmark::DoNotOptimize(DplrKernelBackward(in, dkernel).dt_h.raw_data());
    }
  });
}

int Register() {
  for (const int64_t l : {1024, 4096, 16384}) {
    for (const bool with_gradients : {false, true}) {
      const Workload w{128, 64, l};
      const std::string name =
          absl::StrCat("S4Kernel/", with_gradients ? "forward_backward" : "forward", "/h:", w.h,
                       "/n:", w.n, "/l:", w.l);
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
