// Speed of retention, forward and with all gradients. Each benchmark first holds the kernel against
// the double reference at a small length.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "kernels/retention/retention.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Workload {
  int64_t batch, heads, length, width, value_width;
  int64_t chunk = 0;
};

Tensor Normal(const Shape& shape, const char* name) {
  return RandomNormal(shape, Rng(1).Child(name), 0.1);
}

RetentionInputs InputsOf(const Workload& w) {
  RetentionInputs in;
  in.q_bthd = Normal({w.batch, w.length, w.heads, w.width}, "q");
  in.k_bthd = Normal({w.batch, w.length, w.heads, w.width}, "k");
  in.v_bthe = Normal({w.batch, w.length, w.heads, w.value_width}, "v");
  for (int64_t h = 0; h < w.heads; ++h)
    in.log_decay_h.push_back(std::log1p(-std::exp2(-5.0 - static_cast<double>(h))));
  in.chunk = w.chunk;
  return in;
}

bool Valid(Workload w, bool with_gradients) {
  w.length = std::min<int64_t>(w.length, 300);
  const RetentionInputs in = InputsOf(w);
  RetentionInputs wide = in;
  for (Tensor* t : {&wide.q_bthd, &wide.k_bthd, &wide.v_bthe}) *t = t->To(DType::kFloat64);
  const RetentionOutputs out = RetentionForward(in), want = RetentionForward(wide);
  if (!CompareRms(out.out_bthe, want.out_bthe, kFloat32ForwardRms).passed ||
      !CompareRms(out.state_bhde, want.state_bhde, kFloat32ForwardRms).passed)
    return false;
  if (!with_gradients) return true;
  const Tensor dout = Normal(out.out_bthe.shape(), "dout");
  const RetentionGradients g = RetentionBackward(in, dout, Tensor()),
                           want_g = RetentionBackward(wide, dout.To(DType::kFloat64), Tensor());
  return CompareRms(g.dq_bthd, want_g.dq_bthd, kFloat32GradientRms).passed &&
         CompareRms(g.dk_bthd, want_g.dk_bthd, kFloat32GradientRms).passed &&
         CompareRms(g.dv_bthe, want_g.dv_bthe, kFloat32GradientRms).passed;
}

void Run(benchmark::State& state, const Workload& w, bool with_gradients) {
  if (!Valid(w, with_gradients)) {
    state.SkipWithError("differs from the reference");
    return;
  }
  const RetentionInputs in = InputsOf(w);
  const Tensor dout = Normal(in.v_bthe.shape(), "dout");
  TimeWork(state, w.batch * w.length, [&] {
    benchmark::DoNotOptimize(RetentionForward(in).out_bthe.raw_data());
    if (with_gradients)
      benchmark::DoNotOptimize(RetentionBackward(in, dout, Tensor()).dq_bthd.raw_data());
  });
}

int Register() {
  const auto add = [](const std::string& arguments, const Workload& w) {
    for (const bool with_gradients : {false, true}) {
      const std::string name =
          absl::StrCat("Retention", with_gradients ? "/forward_backward/" : "/forward/", arguments);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [w, with_gradients](benchmark::State& state) { Run(state, w, with_gradients); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  };
  for (const int64_t l : {1024, 4096, 16384})
    add(absl::StrCat("b:1/h:8/l:", l, "/d:64"), {1, 8, l, 64, 64});
  add("b:4/h:4/l:1024/d:32/e:64", {4, 4, 1024, 32, 64});
  add("b:1/h:8/l:2048/d:64/parallel", {1, 8, 2048, 64, 64, 2048});
  add("b:1/h:8/l:1024/d:64/recurrent", {1, 8, 1024, 64, 64, 1});
  return 0;
}

const int registered = Register();

}  // namespace
}  // namespace longrange::kernels
