#include "kernels/retention/retention.h"

#include <cmath>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(23);

struct Case {
  int64_t b, t, h, d, e, chunk;
  bool state;
};
const Case kCases[] = {
    {1, 1, 1, 1, 1, 0, false},      {2, 0, 2, 3, 5, 0, true},
    {2, 1, 2, 4, 4, 0, true},       {2, 5, 3, 7, 9, 0, true},
    {2, 17, 3, 4, 5, 1, true},      {2, 17, 3, 4, 5, 5, true},
    {2, 17, 3, 20, 33, 7, false},   {1, 64, 2, 16, 32, 64, true},
    {1, 65, 2, 17, 31, 64, true},   {2, 100, 2, 32, 64, 0, true},
    {1, 131, 2, 33, 18, 100, true}, {1, 200, 2, 32, 48, 70, false},
    {1, 300, 1, 64, 64, 300, true}, {1, 300, 1, 64, 130, 1000, true},
    {1, 1000, 2, 64, 64, 0, true},  {3, 333, 1, 24, 16, 16, true},
};

std::vector<double> LogDecays(int64_t heads) {
  std::vector<double> log_decay_h;
  for (int64_t h = 0; h < heads; ++h)
    log_decay_h.push_back(h == 2 ? 0 : std::log1p(-std::exp2(-2.0 - static_cast<double>(3 * h))));
  return log_decay_h;
}

struct Inputs {
  RetentionInputs in;
  Tensor dout, dstate;
};

Inputs Make(const Case& c, DType dtype = DType::kFloat32) {
  const auto normal = [&](const Shape& shape, const char* name) {
    return RandomNormal(shape, kRng.Child(name), 1, dtype);
  };
  Inputs made;
  made.in.q_bthd = normal({c.b, c.t, c.h, c.d}, "q");
  made.in.k_bthd = normal({c.b, c.t, c.h, c.d}, "k");
  made.in.v_bthe = normal({c.b, c.t, c.h, c.e}, "v");
  made.in.log_decay_h = LogDecays(c.h);
  if (c.state) made.in.state_bhde = normal({c.b, c.h, c.d, c.e}, "state");
  made.in.chunk = c.chunk;
  made.dout = normal({c.b, c.t, c.h, c.e}, "dout");
  if (c.state) made.dstate = normal({c.b, c.h, c.d, c.e}, "dstate");
  return made;
}

Inputs Converted(Inputs made, Tensor (*convert)(const Tensor&)) {
  for (Tensor* t : {&made.in.q_bthd, &made.in.k_bthd, &made.in.v_bthe, &made.in.state_bhde,
                    &made.dout, &made.dstate})
    *t = convert(*t);
  return made;
}

const char* const kNames[] = {"out", "state", "dq", "dk", "dv", "dstate"};

std::vector<Tensor> Compute(const Inputs& made) {
  const RetentionOutputs out = RetentionForward(made.in);
  const RetentionGradients g = RetentionBackward(made.in, made.dout, made.dstate);
  return {out.out_bthe, out.state_bhde, g.dq_bthd, g.dk_bthd, g.dv_bthe, g.dstate_bhde};
}

TEST(Retention, EqualsReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message()
                 << "t " << c.t << ", d " << c.d << ", e " << c.e << ", chunk " << c.chunk);
    const Inputs made = Make(c);
    const auto actual = Compute(made), expected = Compute(Converted(made, Double));
    for (int i = 0; i < 6; ++i)
      EXPECT_THAT(actual[i],
                  RmsClose(expected[i], i < 2 ? kFloat32ForwardRms : kFloat32GradientRms))
          << kNames[i];
  }
}

// Eq. 5 to 7 are one function, in double to rounding.
TEST(Retention, FormsAgree) {
  const Case c = {2, 23, 3, 4, 6, 23, true};
  const Inputs made = Make(c, DType::kFloat64);
  const auto parallel = Compute(made);
  for (const int64_t chunk : {1, 5, 7, 22, 100}) {
    Inputs other = made;
    other.in.chunk = chunk;
    const auto out = Compute(other);
    for (int i = 0; i < 6; ++i)
      EXPECT_THAT(out[i], RmsClose(parallel[i], kFloat64Rms)) << kNames[i] << ", chunk " << chunk;
  }
}

TEST(Retention, ByHand) {
  RetentionInputs in;
  in.q_bthd = Tensor::FromVector<float>({1, 3, 1, 1}, {1, 2, 3});
  in.k_bthd = Tensor::FromVector<float>({1, 3, 1, 1}, {1, 1, 2});
  in.v_bthe = Tensor::FromVector<float>({1, 3, 1, 1}, {4, 8, 1});
  in.log_decay_h = {std::log(0.5)};
  in.state_bhde = Tensor::FromVector<float>({1, 1, 1, 1}, {8});
  for (const int64_t chunk : {1, 2, 3}) {
    in.chunk = chunk;  // S = 4 + 4, 4 + 8, 6 + 2
    const RetentionOutputs out = RetentionForward(in);
    EXPECT_THAT(out.out_bthe,
                AllClose(Tensor::FromVector<float>({1, 3, 1, 1}, {8, 24, 24}), Tolerance{1e-6, 0}));
    EXPECT_NEAR(out.state_bhde.item(), 8, 1e-5);
  }
}

TEST(Retention, GradientOfReference) {
  const Case c = {2, 4, 2, 3, 2, 3, true};
  const Inputs made = Make(c, DType::kFloat64);
  const auto out = Compute(made);
  const auto loss = [&] {
    const RetentionOutputs o = RetentionForward(made.in);
    return Dot(o.out_bthe, made.dout) + Dot(o.state_bhde, made.dstate);
  };
  ExpectGradient(made.in.q_bthd, out[2], loss);
  ExpectGradient(made.in.k_bthd, out[3], loss);
  ExpectGradient(made.in.v_bthe, out[4], loss);
  ExpectGradient(made.in.state_bhde, out[5], loss);
}

// Cut anywhere, with S carried over, the rows are the same.
TEST(Retention, CarriesState) {
  const Case c = {2, 150, 2, 16, 24, 0, true};
  const Inputs made = Make(c);
  const RetentionOutputs whole = RetentionForward(made.in);
  const auto rows = [](const Tensor& x, int64_t begin, int64_t end) {
    const int64_t row = x.dim(2) * x.dim(3);
    Tensor part = Tensor::Empty({x.dim(0), end - begin, x.dim(2), x.dim(3)});
    for (int64_t b = 0; b < x.dim(0); ++b)
      std::copy_n(x.data<float>() + (b * x.dim(1) + begin) * row, (end - begin) * row,
                  part.mutable_data<float>() + b * (end - begin) * row);
    return part;
  };
  for (const std::vector<int64_t>& cuts :
       {std::vector<int64_t>{0, 75, 150}, {0, 1, 2, 67, 131, 150}, {0, 149, 150, 150}}) {
    RetentionInputs in = made.in;
    for (size_t i = 0; i + 1 < cuts.size(); ++i) {
      in.q_bthd = rows(made.in.q_bthd, cuts[i], cuts[i + 1]);
      in.k_bthd = rows(made.in.k_bthd, cuts[i], cuts[i + 1]);
      in.v_bthe = rows(made.in.v_bthe, cuts[i], cuts[i + 1]);
      const RetentionOutputs part = RetentionForward(in);
      if (cuts[i] < cuts[i + 1]) {
        EXPECT_THAT(part.out_bthe,
                    RmsClose(rows(whole.out_bthe, cuts[i], cuts[i + 1]), kFloat32ForwardRms));
      }
      in.state_bhde = part.state_bhde;
    }
    EXPECT_THAT(in.state_bhde, RmsClose(whole.state_bhde, kFloat32ForwardRms));
  }
}

// gamma^t leaves the range of float32 within a chunk; what it multiplies is gone, the rest is not.
TEST(Retention, StrongDecayIsFinite) {
  for (const int64_t chunk : {0, 1, 300}) {
    Inputs made = Make({1, 300, 1, 8, 8, chunk, true});
    made.in.log_decay_h = {std::log(1e-3)};
    const auto actual = Compute(made), expected = Compute(Converted(made, Double));
    for (int i = 0; i < 6; ++i)
      EXPECT_THAT(actual[i],
                  RmsClose(expected[i], i < 2 ? kFloat32ForwardRms : kFloat32GradientRms))
          << kNames[i];
  }
}

// gamma rounded to a float would be off by a thousandth of 1 - gamma.
TEST(Retention, SlowDecayKeepsItsRate) {
  for (const int64_t chunk : {0, 1}) {
    Inputs made = Make({1, 1, 1, 8, 8, chunk, true});
    made.in.log_decay_h = {std::log1p(-1e-5)};
    const Tensor state = made.in.state_bhde.Clone();
    constexpr int kSteps = 30000;  // to gamma^30000 = 0.74
    const Tensor nothing = Tensor::ZerosLike(made.in.k_bthd);
    made.in.k_bthd = nothing;
    for (int t = 0; t < kSteps; ++t) made.in.state_bhde = RetentionForward(made.in).state_bhde;
    const double kept = made.in.state_bhde.data<float>()[0] / state.data<float>()[0];
    EXPECT_NEAR(kept, std::exp(kSteps * std::log1p(-1e-5)), 1e-4) << chunk;
  }
}

TEST(Retention, LaterRowsChangeNothing) {
  for (const int64_t chunk : {0, 1, 200}) {
    Inputs made = Make({1, 200, 1, 16, 16, chunk, false});
    const Tensor before = RetentionForward(made.in).out_bthe;
    constexpr int64_t kChanged = 130;
    for (const Tensor* x : {&made.in.q_bthd, &made.in.k_bthd, &made.in.v_bthe}) {
      for (int64_t i = 0; i < 16; ++i) x->mutable_data<float>()[kChanged * 16 + i] += 5;
    }
    const Tensor after = RetentionForward(made.in).out_bthe;
    EXPECT_THAT(after.View({200, 16}).ViewRows(0, kChanged),
                BitEqual(before.View({200, 16}).ViewRows(0, kChanged)));
    EXPECT_NE(after.data<float>()[kChanged * 16], before.data<float>()[kChanged * 16]);
  }
}

TEST(Retention, SameBitsForAnyThreadCount) {
  for (const int64_t chunk : {0, 1, 700}) {
    const Inputs made = Make({1, 700, 2, 24, 40, chunk, true});
    ExpectSameBits([&] { return Compute(made); });
  }
}

TEST(Retention, MetaCountsWhatTheCpuCounts) {
  const Inputs made = Make({2, 100, 2, 8, 12, 0, true});
  const Cost cpu = CostOf([&] { Compute(made); });
  const Cost meta = CostOf([&] { Compute(Converted(made, Meta)); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(RetentionDeathTest, RefusesWhatDoesNotFit) {
  RetentionInputs in = Make({1, 3, 2, 4, 4, 0, true}).in;
  in.log_decay_h = {0};
  EXPECT_DEATH(RetentionForward(in), "decays of heads");
  in.log_decay_h = {0, 0.1};
  EXPECT_DEATH(RetentionForward(in), "ln gamma 0.1");
  in.log_decay_h = {0, 0};
  in.state_bhde = Tensor::Zeros({1, 2, 4, 5});
  EXPECT_DEATH(RetentionForward(in), "want a state \\[1, 2, 4, 4\\]");
}

}  // namespace
}  // namespace longrange::kernels
