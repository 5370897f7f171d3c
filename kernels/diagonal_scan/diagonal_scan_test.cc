#include "kernels/diagonal_scan/diagonal_scan.h"

#include <cmath>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(17);

struct Case {
  int64_t b, t, p;
  bool per_step, reverse, initial;
};

struct Inputs {
  Tensor a, u, initial, dh, dfinal;
  bool reverse;
};

// Factors just inside the unit circle, as in a trained model, so that a state is remembered for
// hundreds of steps.
Inputs Make(const Case& s, DType dtype = DType::kFloat32) {
  const Shape rows{s.b, s.t, s.p, 2}, state{s.b, s.p, 2};
  Inputs in;
  in.a = Tensor::Empty(s.per_step ? rows : Shape{s.p, 2}, DType::kFloat64);
  for (int64_t i = 0; i < in.a.numel() / 2; ++i) {
    const double radius = 1 - 0.02 * kRng.Child("radius").Uniform(i),
                 angle = 6.283 * kRng.Child("angle").Uniform(i);
    in.a.mutable_data<double>()[2 * i] = radius * std::cos(angle);
    in.a.mutable_data<double>()[2 * i + 1] = radius * std::sin(angle);
  }
  in.a = in.a.To(dtype);
  in.u = RandomNormal(rows, kRng.Child("u"), 1, dtype);
  in.dh = RandomNormal(rows, kRng.Child("dh"), 1, dtype);
  in.dfinal = RandomNormal(state, kRng.Child("dfinal"), 1, dtype);
  if (s.initial) in.initial = RandomNormal(state, kRng.Child("initial"), 1, dtype);
  in.reverse = s.reverse;
  return in;
}

// h, final, du, da, and dinitial if there is an initial state.
std::vector<Tensor> Compute(const Inputs& in) {
  const Tensor h = Tensor::EmptyLike(in.u), final = Tensor::EmptyLike(in.dfinal);
  const Tensor du = Tensor::EmptyLike(in.u), da = Tensor::EmptyLike(in.a);
  const Tensor dinitial = in.initial.defined() ? Tensor::EmptyLike(in.initial) : Tensor();
  DiagonalScanForward(in.a, in.u, in.initial, in.reverse, h, final);
  DiagonalScanBackward(in.a, in.initial, in.reverse, h, in.dh, in.dfinal, du, da, dinitial);
  std::vector<Tensor> all{h, final, du, da};
  if (dinitial.defined()) all.push_back(dinitial);
  return all;
}

Inputs Converted(const Inputs& in, Tensor (*convert)(const Tensor&)) {
  return {convert(in.a),  convert(in.u),      convert(in.initial),
          convert(in.dh), convert(in.dfinal), in.reverse};
}

const Case kShapes[] = {{1, 1, 1},     {2, 0, 3},    {0, 5, 3},     {3, 7, 0},     {2, 65, 5},
                        {3, 64, 8},    {2, 300, 17}, {9, 129, 40},  {1, 200, 100}, {1, 2048, 1},
                        {1, 5001, 11}, {3, 2047, 3}, {1, 2049, 12}, {1, 40000, 2}};

TEST(DiagonalScan, EqualsReference) {
  for (const Case& shape : kShapes) {
    for (int kind = 0; kind < 8; ++kind) {
      const Case s{shape.b, shape.t, shape.p, (kind & 1) != 0, (kind & 2) != 0, (kind & 4) != 0};
      SCOPED_TRACE(testing::Message()
                   << s.b << " " << s.t << " " << s.p << " per step " << s.per_step << ", reverse "
                   << s.reverse << ", initial " << s.initial);
      const Inputs in = Make(s);
      const auto out = Compute(in), expected = Compute(Converted(in, Double));
      ASSERT_EQ(out.size(), expected.size());
      for (size_t i = 0; i < out.size(); ++i) {
        EXPECT_THAT(out[i], RmsClose(expected[i], i < 2 ? kFloat32ForwardRms : kFloat32GradientRms))
            << "output " << i;
      }
    }
  }
}

TEST(DiagonalScan, ByHand) {
  // i, then 2: 1 -> i * 1 + 3 = 3 + i -> 2 (3 + i) + i = 6 + 3i.
  const Tensor a = Tensor::FromVector<float>({1, 2, 1, 2}, {0, 1, 2, 0}),
               u = Tensor::FromVector<float>({1, 2, 1, 2}, {3, 0, 0, 1}),
               initial = Tensor::FromVector<float>({1, 1, 2}, {1, 0});
  const Tensor h = Tensor::EmptyLike(u), final = Tensor::EmptyLike(initial);
  DiagonalScanForward(a, u, initial, false, h, final);
  EXPECT_THAT(h, BitEqual(Tensor::FromVector<float>({1, 2, 1, 2}, {3, 1, 6, 3})));
  EXPECT_THAT(final, BitEqual(Tensor::FromVector<float>({1, 1, 2}, {6, 3})));
  // From the end: 2 * 1 + i = 2 + i -> i (2 + i) + 3 = 2 + 2i.
  DiagonalScanForward(a, u, initial, true, h, final);
  EXPECT_THAT(h, BitEqual(Tensor::FromVector<float>({1, 2, 1, 2}, {2, 2, 2, 1})));
  EXPECT_THAT(final, BitEqual(Tensor::FromVector<float>({1, 1, 2}, {2, 2})));
}

TEST(DiagonalScan, GradientOfReference) {
  for (int kind = 0; kind < 4; ++kind) {
    const Inputs in = Make({2, 4, 3, (kind & 1) != 0, (kind & 2) != 0, true}, DType::kFloat64);
    const auto out = Compute(in);
    const auto loss = [&] {
      const auto made = Compute(in);
      return Dot(made[0], in.dh) + Dot(made[1], in.dfinal);
    };
    ExpectGradient(in.u, out[2], loss);
    ExpectGradient(in.a, out[3], loss);
    ExpectGradient(in.initial, out[4], loss);
  }
}

// Two calls that pass the state on give what one gives.
TEST(DiagonalScan, StateCarriesOn) {
  const Inputs in = Make({1, 5000, 6, false, false, true});
  const auto whole = Compute(in);
  const int64_t cut = 2345;
  const auto rows = [&](int64_t begin, int64_t end) {
    return in.u.View({5000, 6, 2}).ViewRows(begin, end).View({1, end - begin, 6, 2});
  };
  const Tensor first = Tensor::EmptyLike(rows(0, cut)), second = Tensor::EmptyLike(rows(cut, 5000));
  const Tensor middle = Tensor::EmptyLike(in.initial), end = Tensor::EmptyLike(in.initial);
  DiagonalScanForward(in.a, rows(0, cut), in.initial, false, first, middle);
  DiagonalScanForward(in.a, rows(cut, 5000), middle, false, second, end);
  const Tensor h = whole[0].View({5000, 6, 2});
  EXPECT_THAT(second,
              RmsClose(Double(h.ViewRows(cut, 5000).View(second.shape())), kFloat32ForwardRms));
  EXPECT_THAT(end, RmsClose(Double(whole[1]), kFloat32ForwardRms));
}

// Where gradients of factors or state are not wanted, the others are the same.
TEST(DiagonalScan, WithoutGradientOfFactors) {
  for (const int64_t t : {100, 5000}) {
    const Inputs in = Make({1, t, 5, false, false, true});
    const auto out = Compute(in);
    const Tensor du = Tensor::EmptyLike(in.u);
    DiagonalScanBackward(in.a, in.initial, false, out[0], in.dh, in.dfinal, du, Tensor(), Tensor());
    EXPECT_THAT(du, BitEqual(out[2]));
  }
}

// The product of a piece's factors overflows; nothing has come in yet.
TEST(DiagonalScan, GrowingModesOfNothing) {
  Inputs in = Make({1, 4096, 1, false, false, false});
  in.a.Fill(0);
  in.a.mutable_data<float>()[0] = 1.2f;
  in.u.Fill(0);
  const Tensor h = Tensor::EmptyLike(in.u);
  DiagonalScanForward(in.a, in.u, Tensor(), false, h, Tensor());
  EXPECT_THAT(h, BitEqual(in.u));
}

TEST(DiagonalScan, SameBitsForAnyThreadCount) {
  for (const Case& s : {Case{2, 500, 40, false, false, true}, Case{1, 9000, 5, false, true, true},
                        Case{1, 9000, 9, true, false, false}}) {
    const Inputs in = Make(s);
    ExpectSameBits([&] { return Compute(in); });
  }
}

TEST(DiagonalScan, MetaCountsWhatTheCpuCounts) {
  for (const bool per_step : {false, true}) {
    const Inputs in = Make({2, 9, 3, per_step, false, true});
    const Cost cpu = CostOf([&] { Compute(in); });
    const Cost meta = CostOf([&] { Compute(Converted(in, Meta)); });
    EXPECT_GT(cpu.flops, 0);
    EXPECT_EQ(meta.flops, cpu.flops);
    EXPECT_EQ(meta.bytes, cpu.bytes);
  }
}

TEST(DiagonalScanDeathTest, RefusesFactorsThatDoNotFit) {
  const Tensor u = Tensor::Zeros({1, 3, 4, 2}), a = Tensor::Zeros({3, 2});
  EXPECT_DEATH(DiagonalScanForward(a, u, Tensor(), false, u, Tensor()),
               "factors \\[3, 2\\] for \\[1, 3, 4, 2\\]");
}

}  // namespace
}  // namespace longrange::kernels
