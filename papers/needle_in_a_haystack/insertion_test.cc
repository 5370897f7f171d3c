// Insertion at the edges; the original's own numbers are held against by the golden cases
// (//papers:goldens_test).

#include "papers/needle_in_a_haystack/insertion.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "common/data/tokenizer.h"
#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange::needle_in_a_haystack {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

Placement At(int64_t context_length, double depth_percent, int64_t buffer = 0) {
  Placement placement;
  placement.context_length = context_length;
  placement.depth_percent = depth_percent;
  placement.buffer = buffer;
  return placement;
}

// A token a byte.
std::string Insert(const std::string& text, const std::string& needle, const Placement& placement) {
  const ByteTokenizer bytes;
  const absl::StatusOr<Context> context = InsertNeedle(bytes, text, needle, placement);
  return context.ok() ? bytes.Decode(context->ids) : std::string(context.status().message());
}

TEST(InsertNeedleTest, GoesBackToThePeriod) {
  const std::string text = "One. Two. Three.";
  EXPECT_EQ(Insert(text, "!", At(100, 0)), "!One. Two. Three.");
  EXPECT_EQ(Insert(text, "!", At(100, 24)), "!One. Two. Three.");  // int(3.84)
  EXPECT_EQ(Insert(text, "!", At(100, 25)), "One.! Two. Three.");  // right after a period
  EXPECT_EQ(Insert(text, "!", At(100, 50)), "One.! Two. Three.");  // within a sentence
  EXPECT_EQ(Insert(text, "!", At(100, 99.99)), "One. Two.! Three.");
  EXPECT_EQ(Insert(text, "!", At(100, 100)), "One. Two. Three.!");
  EXPECT_EQ(Insert("no sentence ends", "!", At(100, 99)), "!no sentence ends");
  EXPECT_EQ(Insert("no sentence ends", "!", At(100, 100)), "no sentence ends!");
}

TEST(InsertNeedleTest, TheTextGivesWay) {
  // 10 tokens less a buffer of 3 and a needle of 2.
  EXPECT_EQ(Insert("a.bcdefghi", "<>", At(10, 50, 3)), "a.<>bcd");
  EXPECT_EQ(Insert("a.bcd", "<>", At(10, 50, 3)), "a.<>bcd");  // fits
  EXPECT_EQ(Insert("a.bcd", "<>", At(10, 100, 8)), "<>");
  EXPECT_EQ(Insert("", "<>", At(10, 50, 3)), "<>");
  EXPECT_EQ(Insert("", "", At(10, 50, 3)), "");
  EXPECT_EQ(Insert("a.", "", At(2, 100)), "a.");
}

TEST(InsertNeedleTest, OneTokenOfContext) {
  EXPECT_EQ(Insert("abc", "!", At(1, 0)), "!");
  EXPECT_EQ(Insert("abc", "!", At(1, 100)), "!");
  EXPECT_EQ(
      Insert("abc", "!?", At(1, 0)),
      "context_length: 1 with a buffer of 0 has no room for 2 tokens of needle (expected 2 or "
      "more)");
}

TEST(InsertNeedleTest, OverflowAsOriginal) {
  Placement placement = At(5, 100, 4);
  EXPECT_THAT(Insert("abcdef", "<->", placement), testing::HasSubstr("no room"));
  placement.overflow_as_original = true;
  EXPECT_EQ(Insert("abcdef", "<->", placement), "abcd<->");  // text[:5 - 4 - 3]
  EXPECT_EQ(Insert("ab", "<->", placement), "<->");
  EXPECT_EQ(Insert("a", "<->", placement), "<->");
}

TEST(InsertNeedleTest, RefusalsNameTheValue) {
  EXPECT_EQ(Insert("a", "!", At(0, 0)), "context_length: 0 (expected 1 token or more)");
  EXPECT_EQ(Insert("a", "!", At(-5, 0)), "context_length: -5 (expected 1 token or more)");
  EXPECT_EQ(Insert("a", "!", At(9, -0.1)), "depth_percent: -0.1 (expected 0 to 100)");
  EXPECT_EQ(Insert("a", "!", At(9, 100.5)), "depth_percent: 100.5 (expected 0 to 100)");
  EXPECT_EQ(Insert("a", "!", At(9, kNaN)), "depth_percent: nan (expected 0 to 100)");
  EXPECT_EQ(Insert("a", "!", At(9, 0, -1)), "buffer: -1 (expected 0 to 1099511627776 tokens)");
  EXPECT_EQ(Insert("a", "!", At(9, 0, std::numeric_limits<int64_t>::max())),
            "buffer: 9223372036854775807 (expected 0 to 1099511627776 tokens)");
  EXPECT_THAT(TrimText(ByteTokenizer(), "a", 0),
              StatusIs(absl::StatusCode::kInvalidArgument, "context_length: 0"));
  EXPECT_THAT(InsertNeedles(ByteTokenizer(), "a", {}, At(9, 0)),
              StatusIs(absl::StatusCode::kInvalidArgument, "needles: none"));
}

TEST(InsertNeedlesTest, EachIsDeeperInTheLongerContext) {
  const ByteTokenizer bytes;
  const std::string text = "a.b.c.d.e.";
  LR_ASSERT_OK_AND_ASSIGN(const Context some, InsertNeedles(bytes, text, {"X", "Y"}, At(99, 20)));
  // 20 %: token 2 of 10; 60 %: token int(6.6) of 11, back to 5.
  EXPECT_EQ(bytes.Decode(some.ids), "a.Xb.Yc.d.e.");
  EXPECT_THAT(some.insertion_percent, ElementsAre(DoubleEq(200.0 / 11), DoubleEq(500.0 / 12)));
  LR_ASSERT_OK_AND_ASSIGN(const Context last, InsertNeedles(bytes, text, {"X", "Y"}, At(11, 100)));
  EXPECT_EQ(bytes.Decode(last.ids), "a.b.c.d.eXY");
  EXPECT_THAT(last.insertion_percent, IsEmpty());
  LR_ASSERT_OK_AND_ASSIGN(const Context none, InsertNeedles(bytes, "", {"", ""}, At(1, 50)));
  EXPECT_THAT(none.ids, IsEmpty());
}

TEST(TrimTextTest, CutsTokens) {
  EXPECT_THAT(TrimText(ByteTokenizer(), "abcdef", 4), IsOkAndHolds(std::string("abcd")));
  EXPECT_THAT(TrimText(ByteTokenizer(), "abc", 4), IsOkAndHolds(std::string("abc")));
  EXPECT_THAT(TrimText(ByteTokenizer(), "", 1), IsOkAndHolds(std::string()));
}

TEST(GridTest, Lengths) {
  EXPECT_THAT(LengthGrid(1000, 16000, 4), IsOkAndHolds(ElementsAre(1000, 6000, 11000, 16000)));
  EXPECT_THAT(LengthGrid(1, 4, 3), IsOkAndHolds(ElementsAre(1, 2, 4)));  // 2.5 to the even one
  EXPECT_THAT(LengthGrid(1, 6, 3), IsOkAndHolds(ElementsAre(1, 4, 6)));
  EXPECT_THAT(LengthGrid(7, 9, 1), IsOkAndHolds(ElementsAre(7)));
  EXPECT_THAT(LengthGrid(7, 7, 2), IsOkAndHolds(ElementsAre(7, 7)));
  for (const auto& [smallest, largest, count] : std::vector<std::tuple<int64_t, int64_t, int64_t>>{
           {0, 5, 2},
           {5, 4, 2},
           {1, 2, 0},
           {1, 2, -1},
           {1, std::numeric_limits<int64_t>::max(), 2},
           {1, 2, int64_t{1} << 40}}) {
    EXPECT_THAT(LengthGrid(smallest, largest, count),
                StatusIs(absl::StatusCode::kInvalidArgument, "expected"));
  }
}

TEST(GridTest, Depths) {
  EXPECT_THAT(DepthGrid(0, 100, 3, DepthSpacing::kLinear), IsOkAndHolds(ElementsAre(0, 50, 100)));
  EXPECT_THAT(DepthGrid(0, 100, 9, DepthSpacing::kLinear),
              IsOkAndHolds(ElementsAre(0, 12, 25, 38, 50, 62, 75, 88, 100)));
  EXPECT_THAT(DepthGrid(0, 100, 3, DepthSpacing::kSigmoid), IsOkAndHolds(ElementsAre(0, 50, 100)));
  EXPECT_THAT(DepthGrid(50, 60, 2, DepthSpacing::kSigmoid), IsOkAndHolds(ElementsAre(50, 26.894)));
  EXPECT_THAT(DepthGrid(30, 30, 1, DepthSpacing::kLinear), IsOkAndHolds(ElementsAre(30)));
  for (const auto& [first, last] :
       std::vector<std::pair<double, double>>{{-1, 100}, {0, 101}, {9, 8}, {kNaN, 9}, {0, kNaN}}) {
    EXPECT_THAT(DepthGrid(first, last, 2, DepthSpacing::kLinear),
                StatusIs(absl::StatusCode::kInvalidArgument, "expected 0 <= first"));
  }
}

}  // namespace
}  // namespace longrange::needle_in_a_haystack
