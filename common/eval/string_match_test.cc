#include "common/eval/string_match.h"

#include <cmath>
#include <string>
#include <vector>

#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange::eval {
namespace {

TEST(StringMatchTest, Exact) {
  EXPECT_TRUE(ExactMatch(" 71432\n", "71432"));
  EXPECT_FALSE(ExactMatch("71432.", "71432"));
  EXPECT_FALSE(ExactMatch("a", "A"));
}

TEST(StringMatchTest, ShareContained) {
  EXPECT_EQ(ShareContained("The RIVER was Cold", {"river", "cold", "warm", "WAS"}), 0.75);
  EXPECT_EQ(ShareContained("", {"x"}), 0);
  EXPECT_EQ(ShareContained("", {""}), 1);
  EXPECT_TRUE(std::isnan(ShareContained("x", {})));
}

TEST(StringMatchTest, PercentOfABatch) {
  const std::vector<std::string> predictions = {"1 2 none", "", "3 and 123"};
  const std::vector<std::vector<std::string>> references = {{"1", "2", "7"}, {"4"}, {"3"}};
  EXPECT_THAT(StringMatchAll(predictions, references), IsOkAndHolds(55.56));  // (2/3 + 0 + 1) / 3
  EXPECT_THAT(StringMatchPart(predictions, references), IsOkAndHolds(66.67));
  EXPECT_THAT(StringMatchPart({""}, {{"1"}}), IsOkAndHolds(0.0));
}

TEST(StringMatchTest, WhatCannotBeScoredIsRefused) {
  EXPECT_THAT(StringMatchAll({}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "predictions: none"));
  EXPECT_THAT(StringMatchAll({"a"}, {}),
              StatusIs(absl::StatusCode::kInvalidArgument, "references: 0 lists"));
  EXPECT_THAT(StringMatchPart({"a", "b"}, {{"a"}, {}}),
              StatusIs(absl::StatusCode::kInvalidArgument, "references[1]: an empty list"));
}

// As Python's round().
TEST(StringMatchTest, RoundToDecimals) {
  EXPECT_EQ(RoundToDecimals(3.125, 2), 3.12);
  EXPECT_EQ(RoundToDecimals(3.375, 2), 3.38);
  EXPECT_EQ(RoundToDecimals(2.675, 2), 2.67);  // the nearest double is below
  EXPECT_EQ(RoundToDecimals(-0.125, 2), -0.12);
  EXPECT_EQ(RoundToDecimals(97.9936, 3), 97.994);
}

}  // namespace
}  // namespace longrange::eval
