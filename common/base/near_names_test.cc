#include "common/base/near_names.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(NearNamesTest, FindsSlips) {
  const std::vector<std::string> known = {"steps", "seed",  "threads", "position_interpolation",
                                          "out",   "output"};
  EXPECT_THAT(NearNames("stpes", known), ElementsAre("steps"));
  EXPECT_THAT(NearNames("sede", known), ElementsAre("seed"));
  EXPECT_THAT(NearNames("thread", known), ElementsAre("threads"));
  EXPECT_THAT(NearNames("posi", known), ElementsAre("position_interpolation"));
  EXPECT_THAT(NearNames("uot", known), ElementsAre("out"));
  EXPECT_THAT(NearNames("outpt", known), ElementsAre("output"));
  EXPECT_THAT(NearNames("checkpoint", known), IsEmpty());
  EXPECT_THAT(NearNames("", known), IsEmpty());
}

TEST(NearNamesTest, NearestFirstAndThreeAtMost) {
  EXPECT_THAT(NearNames("abcdef", std::vector<std::string>{"abcdxy", "abcdez", "abcdef", "abcde"}),
              ElementsAre("abcdef", "abcde", "abcdez"));
}

TEST(NearNamesTest, Phrase) {
  EXPECT_EQ(DidYouMean("sed", std::vector<std::string>{"seed"}, "--"), "; did you mean '--seed'?");
  EXPECT_EQ(DidYouMean("colour", std::vector<std::string>{"coloura", "colourb"}),
            "; did you mean 'coloura' or 'colourb'?");
  EXPECT_EQ(DidYouMean("x", std::vector<std::string>{"seed"}), "");
}

}  // namespace
}  // namespace longrange
