#include "common/nn/padding.h"

#include <limits>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange::nn {
namespace {

Rows RowsOf(const std::vector<int64_t>& begin, const std::vector<int64_t>& end) {
  Rows rows;
  const int64_t batch = static_cast<int64_t>(begin.size());
  rows.begin_b = Tensor::FromVector<int64_t>({batch}, begin);
  rows.end_b = Tensor::FromVector<int64_t>({batch}, end);
  return rows;
}

TEST(PaddingTest, NothingSaidIsNoPadding) {
  const Tensor x = Tensor::Full({2, 3, 4}, 1, DType::kFloat32);
  EXPECT_FALSE(PaddingOf(Rows(), x).defined());
  EXPECT_EQ(WithoutPadding(x, Rows()).data<float>(), x.data<float>());
}

TEST(PaddingTest, IsWhatLiesOutsideOfBeginAndEnd) {
  const Tensor x = Tensor::Full({4, 3, 2}, 1, DType::kFloat32);
  const Tensor padding = PaddingOf(RowsOf({0, 1, 3, -2}, {3, 2, 3, 9}), x);
  EXPECT_EQ(padding.shape(), (Shape{4, 3, 1}));
  EXPECT_THAT(padding.ToInts(), testing::ElementsAre(0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 0));
}

TEST(PaddingTest, RowsOfPaddingAreZerosEvenWhereTheyAreNotFinite) {
  Tensor x = Tensor::Full({1, 3, 2, 2}, 1, DType::kFloat32);
  for (int64_t i = 0; i < 4; ++i)
    x.mutable_data<float>()[i] = std::numeric_limits<float>::quiet_NaN();
  const Tensor real = WithoutPadding(x, RowsOf({1}, {2}));
  EXPECT_THAT(real.ToDoubles(), testing::ElementsAre(0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0));
}

TEST(PaddingDeathTest, PaddingInFrontEndsWithinTheRows) {
  const Tensor x = Tensor::Full({1, 3, 2}, 1, DType::kFloat32);
  EXPECT_DEATH(PaddingOf(RowsOf({4}, {5}), x), "ends within the rows");
}

}  // namespace
}  // namespace longrange::nn
