// Speed of attention, forward and with all gradients. Each benchmark first holds its plan against
// the double reference at a small size.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/testing/compare.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/branched_attention.h"
#include "kernels/attention/reference.h"
#include "kernels/attention/window_attention.h"
#include "kernels/timed_work.h"

namespace longrange::kernels {
namespace {

struct Workload {
  int64_t batch, heads, queries, keys, width;
  int64_t window;     // 0: all earlier keys
  int64_t table = 0;  // entries of a bias by distance; 0: none
};

SpanPlan PlanOf(const Workload& w) {
  return w.window > 0 ? SpanPlan::SlidingWindow(w.queries, w.keys, w.window)
                      : SpanPlan::Causal(w.queries, w.keys);
}

Tensor Normal(const Shape& shape, const char* name) {
  return RandomNormal(shape, Rng(1).Child(name));
}

AttentionInputs InputsOf(const Workload& w, const SpanPlan& plan) {
  AttentionInputs in;
  in.q_bthd = Normal({w.batch, w.queries, w.heads, w.width}, "q");
  in.k_bshd = Normal({w.batch, w.keys, w.heads, w.width}, "k");
  in.v_bshe = Normal({w.batch, w.keys, w.heads, w.width}, "v");
  in.plans = {&plan};
  if (w.table > 0) in.table_hr = Normal({w.heads, w.table}, "table");
  return in;
}

bool Valid(Workload w, bool with_gradients) {
  w.window = std::min<int64_t>(w.window, 100);
  w.keys = std::min<int64_t>(w.keys, 230);
  w.queries = std::min(w.queries, w.keys);
  const SpanPlan plan = PlanOf(w);
  const AttentionInputs in = InputsOf(w, plan);
  const AttentionOutputs out = AttentionForward(in), want = ReferenceAttentionForward(in);
  if (!CompareRms(out.out_bthe, want.out_bthe, kFloat32ForwardRms).passed) return false;
  if (!with_gradients) return true;
  const Tensor dout = Normal(out.out_bthe.shape(), "dout");
  const AttentionGradients g = AttentionBackward(in, out, dout);
  const AttentionGradients want_g = ReferenceAttentionBackward(in, want, dout);
  if (w.table > 0 && !CompareRms(g.dtable_hr, want_g.dtable_hr, kFloat32GradientRms).passed)
    return false;
  return CompareRms(g.dq_bthd, want_g.dq_bthd, kFloat32GradientRms).passed &&
         CompareRms(g.dk_bshd, want_g.dk_bshd, kFloat32GradientRms).passed &&
         CompareRms(g.dv_bshe, want_g.dv_bshe, kFloat32GradientRms).passed;
}

void Run(benchmark::State& state, const Workload& w, bool with_gradients) {
  if (!Valid(w, with_gradients)) {
    state.SkipWithError("differs from the reference");
    return;
  }
  const SpanPlan plan = PlanOf(w);
  const AttentionInputs in = InputsOf(w, plan);
  const Tensor dout = Normal(in.q_bthd.shape(), "dout");
  TimeWork(state, w.batch * w.queries, [&] {
    const AttentionOutputs out = AttentionForward(in);
    benchmark::DoNotOptimize(out.out_bthe.raw_data());
    if (with_gradients)
      benchmark::DoNotOptimize(AttentionBackward(in, out, dout).dq_bthd.raw_data());
  });
}

// Branches of all earlier keys: the last `near` in one, the others in the other, each with its own
// q and k (Self-Extend).
std::vector<SpanPlan> NearAndFar(int64_t length, int64_t near) {
  std::vector<std::vector<KeySpan>> near_rows, far_rows;
  for (int64_t i = 0; i < length; ++i) {
    const int64_t from = std::max<int64_t>(0, i - near + 1);
    near_rows.push_back({{from, i + 1}});
    far_rows.push_back({{0, from}});
  }
  return {SpanPlan::FromSpans(length, near_rows), SpanPlan::FromSpans(length, far_rows)};
}

void RunBranches(benchmark::State& state, const Workload& w, bool with_gradients) {
  const auto make = [](const Workload& workload, const std::vector<SpanPlan>& plans) {
    std::vector<AttentionInputs> branches;
    for (const SpanPlan& plan : plans) branches.push_back(InputsOf(workload, plan));
    branches[1].q_bthd = Normal(branches[0].q_bthd.shape(), "far q");
    branches[1].k_bshd = Normal(branches[0].k_bshd.shape(), "far k");
    branches[1].v_bshe = branches[0].v_bshe;
    return branches;
  };
  Workload small = w;
  small.queries = small.keys = 230;
  const std::vector<SpanPlan> small_plans = NearAndFar(small.keys, 100);
  std::vector<AttentionInputs> inputs = make(small, small_plans), in_double = inputs;
  for (AttentionInputs& branch : in_double) {
    for (Tensor* t : {&branch.q_bthd, &branch.k_bshd, &branch.v_bshe}) *t = t->To(DType::kFloat64);
  }
  if (!CompareRms(BranchedAttentionForward(inputs).out_bthe,
                  BranchedAttentionForward(in_double).out_bthe, kFloat32ForwardRms)
           .passed) {
    state.SkipWithError("differs from the reference");
    return;
  }
  const std::vector<SpanPlan> plans = NearAndFar(w.keys, w.window);
  inputs = make(w, plans);
  const Tensor dout = Normal(inputs[0].q_bthd.shape(), "dout");
  TimeWork(state, w.batch * w.queries, [&] {
    const AttentionOutputs out = BranchedAttentionForward(inputs);
    benchmark::DoNotOptimize(out.out_bthe.raw_data());
    if (with_gradients) {
      benchmark::DoNotOptimize(BranchedAttentionBackward(inputs, out, dout).dv_bshe.raw_data());
    }
  });
}

// Longformer's window: half of it on each side, some keys that all see, one dilation for all heads.
WindowAttentionInputs LongformerInputs(const Workload& w, int64_t dilation, int64_t globals) {
  WindowAttentionInputs in;
  in.q_bthd = Normal({w.batch, w.queries, w.heads, w.width}, "q");
  in.k_bshd = Normal({w.batch, w.keys, w.heads, w.width}, "k");
  in.v_bshe = Normal({w.batch, w.keys, w.heads, w.width}, "v");
  in.back = in.ahead = w.window / 2;
  in.dilation_h = {dilation};
  std::vector<int64_t> rows(static_cast<size_t>(globals));
  for (int64_t g = 0; g < globals; ++g) rows[g] = g * w.keys / globals;
  if (globals > 0) in.global_b.assign(static_cast<size_t>(w.batch), rows);
  return in;
}

void RunWindow(benchmark::State& state, const Workload& w, int64_t dilation, int64_t globals,
               bool with_gradients) {
  Workload small = w;
  small.queries = small.keys = 230;
  small.window = 20;
  const WindowAttentionInputs check = LongformerInputs(small, dilation, globals);
  WindowAttentionInputs in_double = check;
  for (Tensor* t : {&in_double.q_bthd, &in_double.k_bshd, &in_double.v_bshe})
    *t = t->To(DType::kFloat64);
  if (!CompareRms(WindowAttentionForward(check).out_bthe,
                  WindowAttentionForward(in_double).out_bthe, kFloat32ForwardRms)
           .passed) {
    state.SkipWithError("differs from the reference");
    return;
  }
  const WindowAttentionInputs in = LongformerInputs(w, dilation, globals);
  const Tensor dout = Normal(in.q_bthd.shape(), "dout");
  TimeWork(state, w.batch * w.queries, [&] {
    const AttentionOutputs out = WindowAttentionForward(in);
    benchmark::DoNotOptimize(out.out_bthe.raw_data());
    if (with_gradients)
      benchmark::DoNotOptimize(WindowAttentionBackward(in, out, dout).dq_bthd.raw_data());
  });
}

int Register() {
  const auto add = [](const std::string& family, const std::string& arguments, const Workload& w) {
    for (const bool with_gradients : {false, true}) {
      const std::string name =
          absl::StrCat(family, with_gradients ? "/forward_backward/" : "/forward/", arguments);
      benchmark::RegisterBenchmark(
          name.c_str(),
          [w, with_gradients](benchmark::State& state) { Run(state, w, with_gradients); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  };
  for (const int64_t l : {512, 1024, 2048, 4096}) {
    add("CausalAttention", absl::StrCat("b:1/h:8/l:", l, "/d:64"), {1, 8, l, l, 64, 0});
  }
  add("CausalAttention", "b:4/h:4/l:1024/d:32", {4, 4, 1024, 1024, 32, 0});
  add("TableBiasAttention", "b:1/h:8/l:2048/d:64/r:129", {1, 8, 2048, 2048, 64, 0, 129});
  add("TableBiasAttention", "b:4/h:4/l:1024/d:32/r:129", {4, 4, 1024, 1024, 32, 0, 129});
  for (const int64_t l : {4096, 16384}) {
    add("SlidingWindowAttention", absl::StrCat("b:1/h:4/l:", l, "/d:64/w:256"),
        {1, 4, l, l, 64, 256});
  }
  for (const int64_t l : {4096, 16384}) {
    for (const auto& [dilation, globals] :
         std::vector<std::pair<int64_t, int64_t>>{{1, 0}, {1, 4}, {4, 0}}) {
      const Workload w = {1, 4, l, l, 64, 256};
      for (const bool with_gradients : {false, true}) {
        benchmark::RegisterBenchmark(
            absl::StrCat("WindowAttention", with_gradients ? "/forward_backward" : "/forward",
                         "/b:1/h:4/l:", l, "/d:64/w:256/dilation:", dilation, "/global:", globals)
                .c_str(),
            [w, d = dilation, g = globals, with_gradients](benchmark::State& state) {
              RunWindow(state, w, d, g, with_gradients);
            })
            ->UseRealTime()
            ->Unit(benchmark::kMillisecond);
      }
    }
  }
  for (const int64_t l : {1024, 4096}) {
    const Workload w = {1, 8, l, l, 64, 256};
    for (const bool with_gradients : {false, true}) {
      benchmark::RegisterBenchmark(
          absl::StrCat("BranchedAttention", with_gradients ? "/forward_backward" : "/forward",
                       "/b:1/h:8/l:", l, "/d:64/near:256")
              .c_str(),
          [w, with_gradients](benchmark::State& state) { RunBranches(state, w, with_gradients); })
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  for (const int64_t cache : {1024, 16384}) {
    const Workload w = {1, 8, 1, cache, 64, 0};
    benchmark::RegisterBenchmark(
        absl::StrCat("DecodeAttention/b:1/h:8/cache:", cache, "/d:64").c_str(),
        [w](benchmark::State& state) {
          Run(state, w, false);
          state.SetBytesProcessed(state.iterations() * 2 * 4 * w.keys * w.heads * w.width);
        })
        ->UseRealTime()
        ->Unit(benchmark::kMicrosecond);
  }
  return 0;
}

const int registered = Register();

}  // namespace
}  // namespace longrange::kernels
