#include "plugins/study/course.h"

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

Row Figure(const char* figure, double value) {
  return Row()
      .Set("kind", "probe")
      .Set("length", 64)
      .Set("probe", "heads")
      .Set("figure", figure)
      .Set("value", value);
}

TEST(CourseTest, ARowAFigureAndPlace) {
  std::vector<Row> course;
  AddToCourse(0, {Figure("loss", 4.125), Figure("score", 0.1).Set("head", 0)}, &course);
  AddToCourse(50, {Figure("loss", 2), Figure("score", 0.3).Set("head", 1)}, &course);
  AddToCourse(75, {Figure("score", 1. / 3).Set("head", 0), Figure("loss", -1e-7)}, &course);
  ASSERT_EQ(course.size(), 3u);
  EXPECT_EQ(course[0].ToJson(), R"({"kind":"course","length":64,"probe":"heads","figure":"loss",)"
                                R"("steps":"0 50 75","values":"4.125 2 -1e-07"})");
  EXPECT_EQ(course[1].ToJson(),
            R"({"kind":"course","length":64,"probe":"heads","figure":"score","head":0,)"
            R"("steps":"0 75","values":"0.1 0.333333333"})");
  EXPECT_EQ(*course[2].Integer("head"), 1);
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> again, CourseFromText(CourseToText(course)));
  EXPECT_EQ(again, course);
}

TEST(CourseTest, ReadsWhatItWrote) {
  LR_ASSERT_OK_AND_ASSIGN(const auto course, ReadCourse("0 50 75", "4.125 2 -1e-07"));
  EXPECT_THAT(course, ElementsAre(Pair(0, 4.125), Pair(50, 2), Pair(75, -1e-7)));
}

TEST(CourseTest, RefusesWhatIsNoCourse) {
  const auto refused = [](const char* steps, const char* values, const char* why) {
    EXPECT_THAT(ReadCourse(steps, values), StatusIs(absl::StatusCode::kInvalidArgument, why));
  };
  refused("", "", "0 steps and 0 values");
  refused("0 1", "2", "2 steps and 1 values");
  refused("0 0", "2 3", "step \"0\"");
  refused("0 x", "2 3", "step \"x\"");
  refused("-1", "2", "step \"-1\"");
  refused("0 1", "2 three", "value \"three\"");
  EXPECT_THAT(CourseFromText("{\"a\":"), StatusIs(absl::StatusCode::kInvalidArgument, "course"));
}

}  // namespace
}  // namespace longrange
