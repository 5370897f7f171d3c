#include "common/eval/rouge.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange::eval {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(RougeTest, Words) {
  EXPECT_THAT(RougeWords("Eating sandwiches, at Dolores-Park sunny_day 2023!"),
              ElementsAre("eat", "sandwich", "at", "dolor", "park", "sunni", "day", "2023"));
  // Words of up to three letters stay as they are; letters beyond a-z separate.
  EXPECT_THAT(RougeWords("was its caf\xC3\xA9s"), ElementsAre("was", "its", "caf", "s"));
  EXPECT_THAT(RougeWords(" .,\n"), IsEmpty());
  EXPECT_THAT(RougeWords(""), IsEmpty());
}

// Values of rouge_score 0.1.2, RougeScorer(["rouge1"], use_stemmer=True).
TEST(RougeTest, Rouge1) {
  const RougeScore score = Rouge1("The cats were running", "a cat runs; the cat ran");
  EXPECT_DOUBLE_EQ(score.precision, 0.5);
  EXPECT_DOUBLE_EQ(score.recall, 0.75);
  EXPECT_DOUBLE_EQ(score.f, 0.6);
  // A word counts as often as it occurs in both.
  EXPECT_DOUBLE_EQ(Rouge1("the the cat", "the the the").f, 2.0 / 3);
  EXPECT_DOUBLE_EQ(Rouge1("Dolores Park", "dolores-park").f, 1);
  EXPECT_EQ(Rouge1("a b", "c").f, 0);
  EXPECT_EQ(Rouge1("", "").f, 0);
  EXPECT_EQ(Rouge1("x", "").recall, 0);
}

}  // namespace
}  // namespace longrange::eval
