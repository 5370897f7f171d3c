#include "kernels/gated/gated.h"

#include "kernels/gated/reference.h"
#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(9);

// y, da, db
std::vector<Tensor> SwiGlu(const Tensor& a, const Tensor& b, const Tensor& dy) {
  const Tensor y = Tensor::EmptyLike(a), da = Tensor::EmptyLike(a), db = Tensor::EmptyLike(a);
  SwiGluForward(a, b, y);
  SwiGluBackward(a, b, dy, da, db);
  return {y, da, db};
}

std::vector<Tensor> Glu(const Tensor& a, const Tensor& b, const Tensor& dy) {
  const Tensor y = Tensor::EmptyLike(a), da = Tensor::EmptyLike(a), db = Tensor::EmptyLike(a);
  GluForward(a, b, y);
  GluBackward(a, b, dy, da, db);
  return {y, da, db};
}

enum Activation { kSilu, kGelu, kGeluTanh };

// y, dx
std::vector<Tensor> Compute(Activation activation, const Tensor& x, const Tensor& dy) {
  const Tensor y = Tensor::EmptyLike(x), dx = Tensor::EmptyLike(x);
  if (activation == kSilu) {
    SiluForward(x, y);
    SiluBackward(x, dy, dx);
  } else {
    GeluForward(x, y, activation == kGeluTanh);
    GeluBackward(x, dy, dx, activation == kGeluTanh);
  }
  return {y, dx};
}

TEST(Gated, EqualsReference) {
  for (const int64_t n : {0, 1, 3, 17, 100, 513, 40000}) {
    SCOPED_TRACE(n);
    const Tensor a = RandomNormal({n}, kRng.Child("a"), 2), b = RandomNormal({n}, kRng.Child("b"));
    const Tensor dy = RandomNormal({n}, kRng.Child("dy"));
    for (const auto gate : {SwiGlu, Glu}) {
      const auto out = gate(a, b, dy), expected = gate(Double(a), Double(b), Double(dy));
      EXPECT_THAT(out[0], RmsClose(expected[0], kFloat32ForwardRms));
      EXPECT_THAT(out[1], RmsClose(expected[1], kFloat32GradientRms));
      EXPECT_THAT(out[2], RmsClose(expected[2], kFloat32GradientRms));
    }
    for (const Activation activation : {kSilu, kGelu, kGeluTanh}) {
      const auto y = Compute(activation, a, dy), want = Compute(activation, Double(a), Double(dy));
      EXPECT_THAT(y[0], RmsClose(want[0], kFloat32ForwardRms)) << activation;
      EXPECT_THAT(y[1], RmsClose(want[1], kFloat32GradientRms)) << activation;
    }
  }
}

// The tails by themselves: among ordinary values their errors would not show.
TEST(Gated, TailsEqualReference) {
  for (const double low : {-30.0, -6.0, -3.0, 3.0, 30.0}) {
    const Tensor x = RandomUniform({1000}, kRng.Child("x"), low, low + 3);
    const Tensor dy = Tensor::Full({1000}, 1);
    for (const Activation activation : {kSilu, kGelu, kGeluTanh}) {
      const auto y = Compute(activation, x, dy), want = Compute(activation, Double(x), Double(dy));
      // The absolute error is that of erfc in NormalDistribution(), times |x|.
      const Tolerance tolerance{1e-5, 3e-7};
      for (int i = 0; i < 2; ++i) {
        EXPECT_THAT(Double(y[i]), AllClose(want[i], tolerance)) << activation << " " << low;
      }
    }
  }
}

TEST(Gated, KnownValues) {
  EXPECT_NEAR(reference::Sigmoid(1), 0.7310585786300049, 1e-15);
  EXPECT_NEAR(reference::Silu(1), 0.7310585786300049, 1e-15);
  EXPECT_NEAR(reference::Gelu(1), 0.8413447460685429, 1e-15);      // Φ(1)
  EXPECT_NEAR(reference::GeluTanh(1), 0.8411919906082768, 1e-15);  // torch.nn.functional.gelu
}

TEST(Gated, GradientOfReference) {
  const Tensor a = RandomNormal({9}, kRng.Child("a"), 2, DType::kFloat64);
  const Tensor b = RandomNormal({9}, kRng.Child("b"), 1, DType::kFloat64);
  const Tensor dy = RandomNormal({9}, kRng.Child("dy"), 1, DType::kFloat64);
  for (const auto gate : {SwiGlu, Glu}) {
    const auto out = gate(a, b, dy);
    ExpectGradient(a, out[1], [&] { return Dot(gate(a, b, dy)[0], dy); });
    ExpectGradient(b, out[2], [&] { return Dot(gate(a, b, dy)[0], dy); });
  }
  for (const Activation activation : {kSilu, kGelu, kGeluTanh}) {
    ExpectGradient(a, Compute(activation, a, dy)[1],
                   [&] { return Dot(Compute(activation, a, dy)[0], dy); });
  }
}

TEST(Gated, ExtremeValues) {
  const Tensor x = Tensor::FromVector<float>({4}, {1e4, -1e4, 1e18, -1e18});
  const Tensor dy = Tensor::Full({4}, 1);
  for (const Activation activation : {kSilu, kGelu, kGeluTanh}) {
    const auto out = Compute(activation, x, dy);
    for (int64_t i = 0; i < 4; ++i) {
      const float at = x.data<float>()[i];
      EXPECT_FLOAT_EQ(out[0].data<float>()[i], at > 0 ? at : 0) << activation << " " << at;
      EXPECT_FLOAT_EQ(out[1].data<float>()[i], at > 0 ? 1 : 0) << activation << " " << at;
    }
  }
}

TEST(Gated, InPlace) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    const Tensor a = RandomNormal({37}, kRng.Child("a"), 1, dtype), dy = a.Clone();
    const Tensor b = RandomNormal({37}, kRng.Child("b"), 1, dtype);
    const auto out = SwiGlu(a, b, dy);
    const Tensor da = a.Clone(), db = b.Clone();
    SwiGluBackward(da, db, dy, da, db);
    EXPECT_THAT(da, BitEqual(out[1]));
    EXPECT_THAT(db, BitEqual(out[2]));
    SwiGluForward(a, b, b);
    EXPECT_THAT(b, BitEqual(out[0]));
  }
}

TEST(Gated, SameBitsForAnyThreadCount) {
  const Tensor x = RandomNormal({70001}, kRng.Child("x")), dy = RandomNormal({70001}, kRng);
  ExpectSameBits([&] { return SwiGlu(x, dy, x); });
  ExpectSameBits([&] { return Compute(kGelu, x, dy); });
}

TEST(Gated, MetaCountsWhatTheCpuCounts) {
  const Tensor x = Tensor::Zeros({6});
  const Cost cpu = CostOf([&] { SwiGlu(x, x, x), Compute(kGelu, x, x); });
  const Cost meta =
      CostOf([&] { SwiGlu(Meta(x), Meta(x), Meta(x)), Compute(kGelu, Meta(x), Meta(x)); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

}  // namespace
}  // namespace longrange::kernels
