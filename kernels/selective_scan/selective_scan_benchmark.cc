// Speed of the selective scan, forward and with all gradients; each workload first holds a short
// scan of its shape against the double form.

#include <benchmark/benchmark.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "kernels/selective_scan/selective_scan.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Workload {
  int64_t b, d, l, n;
  bool whole_layer;  // with softplus, bias, skip and gate, as in a Mamba layer
};

SelectiveScanInputs InputsOf(const Workload& w) {
  const auto normal = [](const Shape& shape, const char* name) {
    return RandomNormal(shape, Rng(1).Child(name));
  };
  SelectiveScanInputs in;
  in.x_btd = normal({w.b, w.l, w.d}, "x");
  in.a_dn = RandomUniform({w.d, w.n}, Rng(1).Child("a"), -1.5, -0.5);
  in.b = normal({w.b, w.l, 1, w.n}, "b");
  in.c = normal({w.b, w.l, 1, w.n}, "c");
  in.softplus = w.whole_layer;
  if (w.whole_layer) {
    in.delta_btd = normal({w.b, w.l, w.d}, "delta");
    in.bias_d = RandomUniform({w.d}, Rng(1).Child("bias"), -7, -2);
    in.skip_d = normal({w.d}, "skip");
    in.gate_btd = normal({w.b, w.l, w.d}, "gate");
  } else {
    in.delta_btd = RandomUniform({w.b, w.l, w.d}, Rng(1).Child("delta"), 0, 0.1);
  }
  return in;
}

bool Valid(Workload w, bool with_gradients) {
  w.l = 200;
  const SelectiveScanInputs in = InputsOf(w);
  SelectiveScanInputs wide = in;
  for (Tensor* t : {&wide.x_btd, &wide.delta_btd, &wide.a_dn, &wide.b, &wide.c, &wide.bias_d,
                    &wide.skip_d, &wide.gate_btd}) {
    if (t->defined()) *t = t->To(DType::kFloat64);
  }
  const SelectiveScanOutputs out = SelectiveScanForward(in, true),
                             want = SelectiveScanForward(wide, true);
  if (!CompareRms(out.y_btd, want.y_btd, kFloat32ForwardRms).passed) return false;
  if (!with_gradients) return true;
  const Tensor dy = RandomNormal(in.x_btd.shape(), Rng(1).Child("dy"));
  const SelectiveScanGradients g = SelectiveScanBackward(in, out.borders, dy, Tensor());
  const SelectiveScanGradients want_g =
      SelectiveScanBackward(wide, Tensor(), dy.To(DType::kFloat64), Tensor());
  return CompareRms(g.dx_btd, want_g.dx_btd, kFloat32GradientRms).passed &&
         CompareRms(g.ddelta_btd, want_g.ddelta_btd, kFloat32GradientRms).passed &&
         CompareRms(g.da_dn, want_g.da_dn, kFloat32GradientRms).passed &&
         CompareRms(g.db, want_g.db, kFloat32GradientRms).passed &&
         CompareRms(g.dc, want_g.dc, kFloat32GradientRms).passed;
}

void Run(benchmark::State& state, const Workload& w, bool with_gradients) {
  if (!Valid(w, with_gradients)) {
    state.SkipWithError("differs from the reference");
    return;
  }
  const SelectiveScanInputs in = InputsOf(w);
  const Tensor dy = RandomNormal(in.x_btd.shape(), Rng(1).Child("dy"));
  TimeWork(state, w.b * w.l, [&] {
    const SelectiveScanOutputs out = SelectiveScanForward(in, with_gradients);
    benchmark::DoNotOptimize(out.y_btd.raw_data());
    if (with_gradients) {
      benchmark::DoNotOptimize(
          SelectiveScanBackward(in, out.borders, dy, Tensor()).dx_btd.raw_data());
    }
  });
}

int Register() {
  const auto add = [](const char* family, const Workload& w) {
    for (const bool with_gradients : {false, true}) {
      const std::string name =
          absl::StrCat(family, with_gradients ? "/forward_backward/" : "/forward/", "b:", w.b,
                       "/d:", w.d, "/l:", w.l, "/n:", w.n);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [w, with_gradients](benchmark::State& state) { Run(state, w, with_gradients); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  };
  for (const int64_t l : {1024, 4096, 16384}) add("SelectiveScan", {1, 256, l, 16, false});
  for (const int64_t l : {1024, 4096}) add("MambaScan", {1, 256, l, 16, true});
  return 0;
}

const int registered = Register();

}  // namespace
}  // namespace longrange::kernels
