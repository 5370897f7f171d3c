#include "kernels/selective_scan/selective_scan.h"

#include <cmath>
#include <string>
#include <vector>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(23);

struct Case {
  int64_t b, t, d, n, groups = 1;
  bool b_by_token = true, c_by_token = true;
  bool softplus = true, bias = true, skip = true, gate = true, state = true;
};

// Lengths around a chunk (64 tokens up to 16 states), channels and states off the vector.
const Case kCases[] = {
    {1, 1, 1, 1},
    {2, 5, 3, 2},
    {2, 16, 16, 4},
    {1, 19, 17, 5},
    {3, 64, 40, 16},
    {1, 65, 96, 16},
    {1, 257, 150, 16},
    {2, 130, 33, 3, 3},
    {1, 70, 80, 7, 4},
    {2, 300, 24, 33},
    {1, 37, 20, 6, 1, false, true},
    {1, 37, 20, 6, 2, true, false},
    {2, 90, 35, 5, 1, false, false},
    {2, 33, 20, 4, 1, true, true, false, false, false, false, false},
    {1, 80, 20, 16, 1, true, true, true, false, true, false, false},
    {1, 80, 20, 16, 1, true, true, true, true, false, true, true},
    {0, 5, 4, 2},
    {2, 0, 4, 2},
    {2, 5, 0, 2},
    {2, 5, 4, 0},
};

std::string Name(const Case& s) {
  return "b " + std::to_string(s.b) + " t " + std::to_string(s.t) + " d " + std::to_string(s.d) +
         " n " + std::to_string(s.n) + " groups " + std::to_string(s.groups);
}

struct Inputs {
  SelectiveScanInputs in;
  Tensor dy, dlast;
};

Inputs Make(const Case& s, DType dtype = DType::kFloat32) {
  const auto normal = [&](const Shape& shape, const char* name, double scale = 1) {
    return RandomNormal(shape, kRng.Child(name), scale, dtype);
  };
  const Shape map = {s.b, s.t, s.groups, s.n}, constant = {s.d, s.n};
  Inputs made;
  SelectiveScanInputs& in = made.in;
  in.x_btd = normal({s.b, s.t, s.d}, "x");
  in.delta_btd = s.softplus ? normal({s.b, s.t, s.d}, "delta", 2)
                            : RandomUniform({s.b, s.t, s.d}, kRng.Child("delta"), 0.01, 1, dtype);
  in.a_dn = RandomUniform({s.d, s.n}, kRng.Child("a"), -4, -0.05, dtype);
  in.b = normal(s.b_by_token ? map : constant, "b");
  in.c = normal(s.c_by_token ? map : constant, "c");
  in.softplus = s.softplus;
  if (s.bias) in.bias_d = normal({s.d}, "bias");
  if (s.skip) in.skip_d = normal({s.d}, "skip");
  if (s.gate) in.gate_btd = normal({s.b, s.t, s.d}, "gate");
  if (s.state) in.state_bdn = normal({s.b, s.d, s.n}, "state");
  made.dy = normal({s.b, s.t, s.d}, "dy");
  made.dlast = normal({s.b, s.d, s.n}, "dlast");
  return made;
}

template <typename Fn>
SelectiveScanInputs Each(SelectiveScanInputs in, Fn&& fn) {
  for (Tensor* t : {&in.x_btd, &in.delta_btd, &in.a_dn, &in.b, &in.c, &in.bias_d, &in.skip_d,
                    &in.gate_btd, &in.state_bdn}) {
    if (t->defined()) *t = fn(*t);
  }
  return in;
}

Inputs InDouble(const Inputs& x) {
  return {Each(x.in, [](const Tensor& t) { return Double(t); }), Double(x.dy), Double(x.dlast)};
}

const char* const kNames[] = {"y",  "last",  "dx",    "ddelta", "da",    "db",
                              "dc", "dbias", "dskip", "dgate",  "dstate"};

// In the order of kNames, undefined where there is none.
std::vector<Tensor> Compute(const Inputs& x) {
  const SelectiveScanOutputs out = SelectiveScanForward(x.in, true);
  const SelectiveScanGradients g = SelectiveScanBackward(x.in, out.borders, x.dy, x.dlast);
  return {out.y_btd, out.last_bdn, g.dx_btd,  g.ddelta_btd, g.da_dn,     g.db,
          g.dc,      g.dbias_d,    g.dskip_d, g.dgate_btd,  g.dstate_bdn};
}

void ExpectClose(const std::vector<Tensor>& got, const std::vector<Tensor>& expected) {
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_EQ(got[i].defined(), expected[i].defined()) << kNames[i];
    if (!got[i].defined()) continue;
    EXPECT_THAT(got[i], RmsClose(expected[i], i < 2 ? kFloat32ForwardRms : kFloat32GradientRms))
        << kNames[i];
  }
}

TEST(SelectiveScan, EqualsReference) {
  for (const Case& s : kCases) {
    SCOPED_TRACE(Name(s));
    const Inputs inputs = Make(s);
    ExpectClose(Compute(inputs), Compute(InDouble(inputs)));
  }
}

TEST(SelectiveScan, GradientsOfReference) {
  for (const Case& s : {Case{2, 3, 4, 2, 2}, Case{2, 3, 2, 2, 1, false, false},
                        Case{1, 3, 2, 2, 1, true, true, false, false, false, false, false}}) {
    SCOPED_TRACE(Name(s));
    const Inputs x = Make(s, DType::kFloat64);
    const std::vector<Tensor> out = Compute(x);
    const auto loss = [&] {
      const std::vector<Tensor> again = Compute(x);
      return Dot(again[0], x.dy) + Dot(again[1], x.dlast);
    };
    const Tensor* inputs[] = {&x.in.x_btd,  &x.in.delta_btd, &x.in.a_dn,
                              &x.in.b,      &x.in.c,         &x.in.bias_d,
                              &x.in.skip_d, &x.in.gate_btd,  &x.in.state_bdn};
    for (size_t i = 0; i < 9; ++i) {
      SCOPED_TRACE(kNames[i + 2]);
      if (inputs[i]->defined()) ExpectGradient(*inputs[i], out[i + 2], loss);
    }
  }
}

// One channel with one state, written out: h = (2 · 1, 2 · 1/4 + 3 · 2), A = -2 ln 2, delta = 1.
TEST(SelectiveScan, ByHand) {
  SelectiveScanInputs in;
  in.x_btd = Tensor::FromVector<float>({1, 2, 1}, {1, 2});
  in.delta_btd = Tensor::FromVector<float>({1, 2, 1}, {1, 1});
  in.a_dn = Tensor::FromVector<float>({1, 1}, {-1.3862944f});
  in.b = Tensor::FromVector<float>({1, 2, 1, 1}, {2, 3});
  in.c = Tensor::FromVector<float>({1, 2, 1, 1}, {1, 10});
  in.softplus = false;
  in.skip_d = Tensor::FromVector<float>({1}, {100});
  const SelectiveScanOutputs out = SelectiveScanForward(in, false);
  EXPECT_THAT(out.y_btd,
              AllClose(Tensor::FromVector<float>({1, 2, 1}, {102, 265}), Tolerance{1e-6, 0}));
  EXPECT_THAT(out.last_bdn,
              AllClose(Tensor::FromVector<float>({1, 1, 1}, {6.5}), Tolerance{1e-6, 0}));
  EXPECT_FALSE(out.borders.defined());
}

// Step sizes from 1e-30 to 1e4 and decays down to e^-1e5: what fades is 0, and nothing is NaN.
TEST(SelectiveScan, ExtremeStepsStayExact) {
  Case s{1, 100, 16, 16};
  Inputs x = Make(s);
  float* raw = x.in.delta_btd.mutable_data<float>();
  for (int64_t i = 0; i < x.in.delta_btd.numel(); ++i) {
    constexpr float kExtremes[] = {-70, 1e4f, -20, 0, 30, 200, -5};
    if (i % 3 == 0) raw[i] = kExtremes[i / 3 % 7];
  }
  float* a = x.in.a_dn.mutable_data<float>();
  for (int64_t i = 0; i < x.in.a_dn.numel(); ++i) a[i] *= i % 5 == 0 ? 20.f : 1.f;
  ExpectClose(Compute(x), Compute(InDouble(x)));
  x.in.delta_btd.Fill(-3e38);  // softplus is 0: the state stands still
  x.in.skip_d = x.in.gate_btd = Tensor();
  EXPECT_THAT(Compute(x)[1], BitEqual(x.in.state_bdn));
}

// A scan cut in two, its state handed on, is the scan: values and gradients.
TEST(SelectiveScan, AnyCutIsTheWhole) {
  const Case s{1, 90, 20, 5};
  const Inputs whole = InDouble(Make(s));
  const std::vector<Tensor> expected = Compute(whole);
  for (const int64_t cut : {1, 64, 89}) {
    SCOPED_TRACE(cut);
    const auto part = [&](int64_t begin, int64_t end) {
      const auto rows = [&](const Tensor& t) {
        return t.View({s.t, t.numel() / s.t}).ViewRows(begin, end).Clone();
      };
      Inputs some = whole;
      some.in.x_btd = rows(whole.in.x_btd).View({1, end - begin, s.d});
      some.in.delta_btd = rows(whole.in.delta_btd).View({1, end - begin, s.d});
      some.in.gate_btd = rows(whole.in.gate_btd).View({1, end - begin, s.d});
      some.in.b = rows(whole.in.b).View({1, end - begin, 1, s.n});
      some.in.c = rows(whole.in.c).View({1, end - begin, 1, s.n});
      some.dy = rows(whole.dy).View({1, end - begin, s.d});
      const auto narrow = [](const Tensor& t) { return t.To(DType::kFloat32); };
      return Inputs{Each(some.in, narrow), narrow(some.dy), narrow(some.dlast)};
    };
    Inputs first = part(0, cut), second = part(cut, s.t);
    const SelectiveScanOutputs before = SelectiveScanForward(first.in, true);
    second.in.state_bdn = before.last_bdn;
    const std::vector<Tensor> after = Compute(second);
    EXPECT_THAT(after[1], RmsClose(expected[1], kFloat32ForwardRms));
    const SelectiveScanGradients g =
        SelectiveScanBackward(first.in, before.borders, first.dy, after[10]);
    EXPECT_THAT(g.dstate_bdn, RmsClose(expected[10], kFloat32GradientRms));
    Tensor dx = Tensor::Empty({s.t, s.d});
    dx.ViewRows(0, cut).CopyFrom(g.dx_btd.View({cut, s.d}));
    dx.ViewRows(cut, s.t).CopyFrom(after[2].View({s.t - cut, s.d}));
    EXPECT_THAT(dx.View({1, s.t, s.d}), RmsClose(expected[2], kFloat32GradientRms));
  }
}

TEST(SelectiveScan, SameBitsForAnyThreadCount) {
  for (const Case& s : {Case{1, 150, 200, 8}, Case{3, 70, 90, 5, 3}}) {
    const Inputs x = Make(s);
    ExpectSameBits([&] {
      std::vector<Tensor> defined;
      for (const Tensor& t : Compute(x)) {
        if (t.defined()) defined.push_back(t);
      }
      return defined;
    });
  }
}

// A sample's bits do not depend on its neighbours.
TEST(SelectiveScan, SamplesAreIndependent) {
  const Case s{3, 70, 36, 6};
  const Inputs x = Make(s);
  const std::vector<Tensor> all = Compute(x);
  const auto sample = [](const Tensor& t) { return t.ViewRows(1, 2).Clone(); };
  Inputs one = x;
  for (Tensor* t : {&one.in.x_btd, &one.in.delta_btd, &one.in.b, &one.in.c, &one.in.gate_btd,
                    &one.in.state_bdn, &one.dy, &one.dlast})
    *t = sample(*t);
  const std::vector<Tensor> alone = Compute(one);
  for (const int i : {0, 1, 2, 3, 5, 6, 9, 10})
    EXPECT_THAT(sample(all[i]), BitEqual(alone[i])) << kNames[i];
}

// What a step holds grows with the tokens, not with the states of each.
TEST(SelectiveScan, MemoryDoesNotGrowWithStates) {
  const auto peak = [](int64_t states) {
    const Inputs x = Make({1, 2048, 256, states});
    SetNumThreads(2);
    const int64_t before = GetMemoryStats(Device::kCpu).live_bytes;
    ResetPeak(Device::kCpu);
    Compute(x);
    SetNumThreads(0);
    return GetMemoryStats(Device::kCpu).peak_bytes - before;
  };
  const double activation = 4.0 * 2048 * 256;
  // y, dx, ddelta, dgate, and what the kernel keeps for itself.
  EXPECT_LE(peak(16), 5.5 * activation);
  EXPECT_LE(peak(64), 7.5 * activation);  // a [B, T, D, N] tensor alone is 64
}

TEST(SelectiveScan, MetaCountsWhatTheCpuCounts) {
  const Inputs x = Make(kCases[6]);
  const Cost cpu = CostOf([&] { Compute(x); });
  const Cost meta = CostOf([&] {
    const std::vector<Tensor> out =
        Compute({Each(x.in, [](const Tensor& t) { return Meta(t); }), Meta(x.dy), Meta(x.dlast)});
    EXPECT_EQ(out[4].shape(), x.in.a_dn.shape());
  });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(SelectiveScanDeathTest, NamesWhatDoesNotFit) {
  Inputs x = Make({1, 3, 4, 2});
  x.in.b = Tensor::Zeros({1, 3, 3, 2});
  EXPECT_DEATH(SelectiveScanForward(x.in, false), "B and C are \\[B, T, G, N\\] or \\[D, N\\]");
  x = Make({1, 3, 4, 2});
  x.in.skip_d = Tensor::Zeros({3});
  EXPECT_DEATH(SelectiveScanForward(x.in, false), "got \\[3\\], expected \\[4\\]");
  x = Make({1, 3, 4, 2});
  EXPECT_DEATH(SelectiveScanBackward(x.in, Tensor(), x.dy, Tensor()), "kept no borders");
}

}  // namespace
}  // namespace longrange::kernels
