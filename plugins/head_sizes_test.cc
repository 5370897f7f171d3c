#include "plugins/head_sizes.h"

#include <cstdint>
#include <limits>

#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

TEST(HeadSizesTest, ZeroIsTheUsual) {
  LR_ASSERT_OK_AND_ASSIGN(const HeadSizes usual, CheckHeads(4, 0, 0, 24));
  EXPECT_EQ(usual.heads, 4);
  EXPECT_EQ(usual.kv_heads, 4);
  EXPECT_EQ(usual.head_width, 6);
  LR_ASSERT_OK_AND_ASSIGN(const HeadSizes own, CheckHeads(6, 2, 5, 16));
  EXPECT_EQ(own.kv_heads, 2);
  EXPECT_EQ(own.head_width, 5);
}

TEST(HeadSizesTest, WhatDoesNotFitIsNamed) {
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min(),
                    kHuge = std::numeric_limits<int64_t>::max();
  const auto refused = [](const absl::StatusOr<HeadSizes>& sizes, const char* why) {
    EXPECT_THAT(sizes.status(), StatusIs(absl::StatusCode::kInvalidArgument, why));
  };
  for (const int64_t bad : {kLeast, int64_t{0}, kHuge})
    refused(CheckHeads(bad, 0, 4, 16), "heads: ");
  for (const int64_t bad : {kLeast, int64_t{-1}, int64_t{3}, int64_t{8}, kHuge})
    refused(CheckHeads(4, bad, 4, 16), "kv_heads: ");
  for (const int64_t bad : {kLeast, int64_t{-1}, kHuge})
    refused(CheckHeads(4, 0, bad, 16), "head_width: ");
  refused(CheckHeads(3, 0, 0, 16), "heads: 3 does not divide the width 16; set head_width");
}

}  // namespace
}  // namespace longrange
