#include "common/report/svg.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/report/xml_checker.h"

namespace longrange {
namespace report {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(SvgTest, IsWellFormedWithHostileText) {
  Svg svg(100, 50, "drawing", "label <&\"'>");
  svg.BeginGroup("g", "tip </title><script>");
  svg.Rect(1, 2, 3.456, 4, "cell", "#abcdef", "a & b");
  svg.Circle(5, 5, 2, "mark", "\"quoted\"");
  svg.Path({{0, 0}, {1, 1.5}}, true, "area");
  svg.Path({}, false, "line");
  svg.EndGroup();
  svg.Line(0, 0, 1, 1, "axis", "2 3");
  svg.Text(1, 2, "</text><b>", "label", Anchor::kEnd, true, "tip");
  const std::string markup = svg.Finish().markup();
  const XmlReport report = CheckXml(markup);
  EXPECT_EQ(report.error, "");
  EXPECT_THAT(report.texts, ElementsAre("</text><b>"));
  EXPECT_THAT(report.tooltips, ElementsAre("tip </title><script>", "a & b", "\"quoted\"", "tip"));
  EXPECT_THAT(markup, HasSubstr("d=\"M0 0L1 1.5Z\""));
  EXPECT_THAT(markup, HasSubstr("width=\"3.46\""));
  EXPECT_THAT(markup, HasSubstr("rotate(-90 1 2)"));
}

TEST(SvgDeathTest, GroupsMustBalance) {
  Svg svg(1, 1, "", "unbalanced");
  EXPECT_DEATH(svg.EndGroup(), "EndGroup without");
  svg.BeginGroup("g");
  EXPECT_DEATH(svg.Finish(), "'unbalanced' is not ended");
}

TEST(TextTest, Width) {
  EXPECT_DOUBLE_EQ(TextWidth("00", 10), 12.72);
  EXPECT_LT(TextWidth("iii", 10), TextWidth("mmm", 10));
  EXPECT_GT(TextWidth("abc", 10, /*bold=*/true), TextWidth("abc", 10));
  EXPECT_GT(TextWidth("日本", 10), 20);
  EXPECT_EQ(TextWidth("", 10), 0);
}

TEST(TextTest, WrapAndTruncate) {
  EXPECT_THAT(WrapText("aa bb  cc", 10, TextWidth("aa bb", 10)), ElementsAre("aa bb", "cc"));
  EXPECT_THAT(WrapText("incomprehensibilities a", 10, 5),
              ElementsAre("incomprehensibilities", "a"));
  EXPECT_TRUE(WrapText("", 10, 100).empty());
  EXPECT_EQ(TruncateText("short", 10, 100), "short");
  const std::string cut = TruncateText("a rather long ñame", 10, 60);
  EXPECT_LE(TextWidth(cut, 10), 60);
  EXPECT_EQ(cut.substr(cut.size() - 3), "…");
}

TEST(LayoutTest, StackIntoRows) {
  EXPECT_THAT(StackIntoRows({{0, 10}, {5, 15}, {12, 20}, {16, 30}}, 1), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(StackIntoRows({{0, 10}, {10, 20}}, 0), ElementsAre(0, 0));
  EXPECT_THAT(StackIntoRows({}, 1), ElementsAre());
}

TEST(LayoutTest, SpreadApart) {
  EXPECT_THAT(SpreadApart({10, 50}, 10, 0, 100), ElementsAre(10, 50));
  EXPECT_THAT(SpreadApart({50, 50, 50}, 10, 0, 100), ElementsAre(40, 50, 60));
  EXPECT_THAT(SpreadApart({0, 0}, 10, 0, 100), ElementsAre(0, 10));
  EXPECT_THAT(SpreadApart({100, 100}, 10, 0, 100), ElementsAre(90, 100));
  EXPECT_THAT(SpreadApart({5, 5, 5}, 10, 0, 10), ElementsAre(0, 5, 10));  // No room: closer.
  EXPECT_THAT(SpreadApart({}, 10, 0, 10), ElementsAre());
}

}  // namespace
}  // namespace report
}  // namespace longrange
