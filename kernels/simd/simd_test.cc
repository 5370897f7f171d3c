// Vector exponentials against double precision, and the lane helpers against plain loops.

#include "kernels/simd/simd.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace longrange::kernels {
namespace simd {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Distance in units of the last place of the float nearest to `want`.
double UlpError(float got, double want) {
  const float near = static_cast<float>(want);
  if (std::isinf(near)) return got == near ? 0 : kInfinity;
  const float ulp = std::nextafter(std::fabs(near), kInfinity) - std::fabs(near);
  return std::fabs(got - want) / ulp;
}

float Lane0(VecF v) { return v[0]; }

TEST(Exp, FewUlp) {
  double worst_exp = 0, worst_exp2 = 0;
  for (double x = -110; x <= 95; x += 0.00137) {
    const float f = static_cast<float>(x);
    const double exp_error = UlpError(Lane0(Exp(Splat(f))), std::exp(static_cast<double>(f)));
    const double exp2_error =
        UlpError(Lane0(Exp2(Splat(f * 1.4f))), std::exp2(static_cast<double>(f * 1.4f)));
    ASSERT_TRUE(exp_error <= 1.5) << f;
    ASSERT_TRUE(exp2_error <= 2.5) << f * 1.4f;
    worst_exp = std::max(worst_exp, exp_error);
    worst_exp2 = std::max(worst_exp2, exp2_error);
  }
  RecordProperty("worst_exp_ulp", std::to_string(worst_exp));
  RecordProperty("worst_exp2_ulp", std::to_string(worst_exp2));
}

TEST(Sigmoid, ReachesBothEnds) {
  EXPECT_EQ(Lane0(Sigmoid(Splat(0.0f))), 0.5f);
  EXPECT_EQ(Lane0(Sigmoid(Splat(200.0f))), 1.0f);
  EXPECT_NEAR(Lane0(Sigmoid(Splat(-200.0f))), 0.0f, 1e-38f);
  EXPECT_NEAR(Lane0(Sigmoid(Splat(1.0f))), 0.7310585786300049, 1e-7);
}

TEST(Exp, SpecialValues) {
  for (const auto f : {Exp, Exp2}) {
    EXPECT_EQ(Lane0(f(Splat(0))), 1);
    EXPECT_EQ(Lane0(f(Splat(-kInfinity))), 0);
    EXPECT_EQ(Lane0(f(Splat(-3e38f))), 0);
    EXPECT_EQ(Lane0(f(Splat(kInfinity))), kInfinity);
    EXPECT_EQ(Lane0(f(Splat(3e38f))), kInfinity);
    EXPECT_TRUE(std::isnan(Lane0(f(Splat(std::numeric_limits<float>::quiet_NaN())))));
  }
}

TEST(Lanes, HelpersMatchLoops) {
  float in[2 * kLanes];
  for (int i = 0; i < 2 * kLanes; ++i) in[i] = static_cast<float>((i * 7) % 11) - 4;
  float sum = 0, max = -kInfinity;
  for (int i = 0; i < kLanes; ++i) {
    sum += in[i];
    max = std::max(max, in[i]);
  }
  EXPECT_EQ(HorizontalSum(Load(in)), sum);
  EXPECT_EQ(HorizontalMax(Load(in)), max);
  for (int n = 0; n <= kLanes; ++n) {
    float out[2 * kLanes];
    Store(out, Splat(9));
    StorePartial(out, n, LoadPartial(in, n));
    const VecF loaded = LoadPartial(in, n);
    const VecF chosen = SelectBits((1u << n) - 1, Load(in), Splat(5));
    for (int i = 0; i < kLanes; ++i) {
      EXPECT_EQ(out[i], i < n ? in[i] : 9);
      EXPECT_EQ(loaded[i], i < n ? in[i] : 0);
      EXPECT_EQ(chosen[i], i < n ? in[i] : 5);
      EXPECT_EQ(Abs(Load(in))[i], std::fabs(in[i]));
      EXPECT_EQ(Fma(Load(in), Splat(2), Splat(1))[i], in[i] * 2 + 1);
      EXPECT_EQ(Max(Load(in), Splat(1))[i], std::max(in[i], 1.0f));
      EXPECT_EQ(Min(Load(in), Splat(1))[i], std::min(in[i], 1.0f));
    }
  }
}

TEST(Lanes, TransposeSwapsRowsAndLanes) {
  VecF rows[kLanes];
  for (int i = 0; i < kLanes; ++i) rows[i] = ToFloat(Iota() + 100 * i);
  Transpose(rows);
  for (int i = 0; i < kLanes; ++i) {
    for (int j = 0; j < kLanes; ++j) EXPECT_EQ(rows[i][j], 100 * j + i);
  }
}

}  // namespace
}  // namespace simd
}  // namespace longrange::kernels
