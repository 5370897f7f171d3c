#include "kernels/simd/wide.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace longrange::kernels {
namespace simd {
namespace {

template <typename T>
class WideTest : public testing::Test {};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(WideTest, Types);

TYPED_TEST(WideTest, OneWidthForBothTypes) {
  EXPECT_EQ(sizeof(Wide<TypeParam>), sizeof(VecF));
  EXPECT_EQ(kWideLanes<TypeParam> * sizeof(TypeParam), sizeof(VecF));
}

TYPED_TEST(WideTest, LoadsAndStoresWholeAndInPart) {
  using T = TypeParam;
  constexpr int kN = kWideLanes<T>;
  std::vector<T> from(kN + 1);
  for (int i = 0; i <= kN; ++i) from[i] = static_cast<T>(i + 1);
  for (int n = 0; n <= kN; ++n) {
    const Wide<T> v = LoadWidePartial(from.data() + 1, n);
    std::vector<T> to(kN, T{-1});
    StoreWidePartial(to.data(), n, LoadWide(from.data() + 1));
    for (int i = 0; i < kN; ++i) {
      EXPECT_EQ(v[i], i < n ? i + 2 : 0);
      EXPECT_EQ(to[i], i < n ? i + 2 : -1);
    }
  }
  std::vector<T> to(kN + 1);
  StoreWide(to.data() + 1, LoadWide(from.data()) + SplatWide(T{1}));
  for (int i = 0; i < kN; ++i) EXPECT_EQ(to[i + 1], i + 2);
}

TYPED_TEST(WideTest, Streams) {
  using T = TypeParam;
  alignas(sizeof(VecF)) T to[kWideLanes<T>];
  StreamWide(to, SplatWide(T{3}));
  StreamFence();
  for (const T value : to) EXPECT_EQ(value, 3);
}

TYPED_TEST(WideTest, Reciprocal) {
  using T = TypeParam;
  const double range = sizeof(T) == 4 ? 37 : 300;  // powers of ten
  for (double power = -range; power <= range; power += range / 1013) {
    for (const double sign : {-1.0, 1.0}) {
      const T x = static_cast<T>(sign * std::pow(10.0, power));
      const double exact = 1 / static_cast<double>(x);
      EXPECT_NEAR(Reciprocal(SplatWide(x))[kWideLanes<T> - 1], exact,
                  2 * std::numeric_limits<T>::epsilon() * std::abs(exact));
    }
  }
}

}  // namespace
}  // namespace simd
}  // namespace longrange::kernels
