#include "common/report/line_chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "common/report/xml_checker.h"

namespace longrange {
namespace report {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr double kInf = std::numeric_limits<double>::infinity();

LineChart Perplexity() {
  LineChart chart;
  chart.title = "Perplexity";
  chart.x_label = "context length (tokens)";
  chart.y_label = "perplexity";
  chart.x_scale = Scale::kLog2;
  chart.y_scale = Scale::kLog10;
  chart.vertical_lines = {{128, "trained length 128"}, {512, "extended length 512"}};
  chart.series = {
      {"direct", {{128, 3.95, 0.05}, {256, 4.99, 0.1}, {512, 10.9, 0.4}, {1024, 20.3, 1}}},
      {"YaRN", {{128, 3.95, 0.05}, {256, 3.81, 0.1}, {512, 4.03, 0.4}, {1024, 4.70, 0.1}}}};
  return chart;
}

XmlReport RenderAndCheck(const LineChart& chart) {
  const std::string markup = Render(chart).markup();
  const XmlReport report = CheckXml(markup);
  EXPECT_EQ(report.error, "");
  // No coordinate may be a number that SVG cannot read.
  for (const char* word : {"=\"nan", "=\"inf", "=\"-nan", "Lnan", " nan", "Mnan"}) {
    EXPECT_THAT(markup, Not(HasSubstr(word)));
  }
  return report;
}

size_t Occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Of all lines of series.
size_t Segments(const std::string& markup) {
  size_t count = 0;
  const std::string opening = "<path class=\"line";
  for (size_t at = markup.find(opening); at != std::string::npos;
       at = markup.find(opening, at + 1)) {
    count += Occurrences(markup.substr(at, markup.find('>', at) - at), "L");
  }
  return count;
}

TEST(LineChartTest, ShowsAxesSeriesAndLines) {
  const XmlReport report = RenderAndCheck(Perplexity());
  for (const char* text : {"Perplexity", "context length (tokens)", "perplexity", "direct", "YaRN",
                           "128", "1024", "5", "10", "trained length 128", "extended length 512"}) {
    EXPECT_THAT(report.texts, Contains(text));
  }
  EXPECT_THAT(report.tooltips, Contains("direct: 512 → 10.90 ± 0.40"));
}

TEST(LineChartTest, SameInputSameBytes) {
  EXPECT_EQ(Render(Perplexity()).markup(), Render(Perplexity()).markup());
}

TEST(LineChartTest, CutsAtTheLimitAndSaysTheValue) {
  LineChart chart = Perplexity();
  EXPECT_THAT(RenderAndCheck(chart).texts, Not(Contains("off scale")));
  chart.y_max = 8;
  const XmlReport report = RenderAndCheck(chart);
  EXPECT_THAT(report.texts, Contains("off scale"));
  EXPECT_THAT(report.texts, Contains("10.9"));
  EXPECT_THAT(report.texts, Contains("20.3"));
  EXPECT_THAT(report.tooltips, Contains("direct: 1024 → 20.30 ± 1.0"));
  // The line of "direct" is cut between 256 and 512; the marker at 512 is gone from the plot, an
  // arrow is there.
  const size_t arrows =
      std::count(report.tooltips.begin(), report.tooltips.end(), "direct: 512 → 10.90 ± 0.40");
  EXPECT_EQ(arrows, 2u);  // The arrow and the written value.
}

TEST(LineChartTest, ValuesWithoutAPlaceAreWrittenAndBreakTheLine) {
  LineChart chart = Perplexity();
  chart.series[1].points[1].y = NAN;
  chart.series[1].points[2].y = kInf;
  XmlReport report = RenderAndCheck(chart);
  EXPECT_THAT(report.texts, Contains("NaN"));
  EXPECT_THAT(report.texts, Contains("no value"));
  EXPECT_THAT(report.texts, Contains("∞"));
  chart.series[1].points[1].y = 0;  // A logarithmic axis has no place for it.
  report = RenderAndCheck(chart);
  EXPECT_THAT(report.texts, Contains("0"));
  EXPECT_THAT(report.texts, Contains("off scale"));

  // One gap in the middle of four points: two lines instead of one.
  LineChart whole = Perplexity();
  whole.legend = Legend::kNone;
  whole.vertical_lines.clear();
  whole.series = {{"a", {{1, 1}, {2, 2}, {3, 3}, {4, 2}, {5, 1}}}};
  LineChart gap = whole;
  gap.series[0].points[2].y = NAN;
  EXPECT_EQ(Occurrences(Render(whole).markup(), "<path class=\"line"), 1u);
  EXPECT_EQ(Occurrences(Render(gap).markup(), "<path class=\"line"), 2u);
  EXPECT_EQ(Segments(Render(whole).markup()), 4u);
  EXPECT_EQ(Segments(Render(gap).markup()), 2u);
}

TEST(LineChartTest, PointsWithoutXAreCounted) {
  LineChart chart = Perplexity();
  chart.series[0].points[0].x = NAN;
  EXPECT_THAT(RenderAndCheck(chart).texts, Contains("1 point has no place on the x axis"));
  chart.series[1].points[0].x = -3;
  EXPECT_THAT(RenderAndCheck(chart).texts, Contains("2 points have no place on the x axis"));
}

TEST(LineChartTest, DegenerateInputs) {
  for (Scale x_scale : {Scale::kLinear, Scale::kLog2, Scale::kLog10}) {
    for (Scale y_scale : {Scale::kLinear, Scale::kLog2, Scale::kLog10}) {
      for (Legend legend : {Legend::kAuto, Legend::kLineEnds, Legend::kBelow, Legend::kNone}) {
        for (ErrorStyle errors : {ErrorStyle::kBars, ErrorStyle::kBand}) {
          LineChart chart;
          chart.x_scale = x_scale;
          chart.y_scale = y_scale;
          chart.legend = legend;
          chart.errors = errors;
          EXPECT_THAT(RenderAndCheck(chart).texts, Contains("no data"));
          chart.series = {{"empty", {}}};
          EXPECT_THAT(RenderAndCheck(chart).texts, Contains("no data"));
          chart.series = {{"one", {{5, 5, 1}}}};
          RenderAndCheck(chart);
          chart.series = {{"flat", {{1, 4}, {2, 4}, {3, 4}}}, {"zero", {{1, 0}, {2, 0}}}};
          RenderAndCheck(chart);
          chart.series = {{"none", {{1, NAN}, {2, kInf}, {3, -kInf}, {kInf, 2}, {NAN, NAN}}}};
          RenderAndCheck(chart);
          chart.series = {
              {"huge", {{-1e308, -1e308, kInf}, {1e308, 1e308, NAN}, {1e-320, 1e-320}}}};
          RenderAndCheck(chart);
          chart.series = {{"negative error", {{1, 1, -2}, {2, 2, -kInf}}}};
          chart.y_min = NAN;
          chart.y_max = -kInf;
          RenderAndCheck(chart);
          chart.y_min = 9;  // The wrong way round, and no data within.
          chart.y_max = 8;
          chart.x_min = chart.x_max = 3;
          RenderAndCheck(chart);
        }
      }
    }
  }
}

TEST(LineChartTest, LimitsTheWrongWayRoundAreTurned) {
  LineChart chart = Perplexity();
  chart.y_min = 3;
  chart.y_max = 9;
  LineChart turned = chart;
  std::swap(turned.y_min, turned.y_max);
  EXPECT_EQ(Render(turned).markup(), Render(chart).markup());
  EXPECT_NE(Render(Perplexity()).markup(), Render(chart).markup());
}

TEST(LineChartTest, AxesReachAlmostAsFarAsDoubles) {
  LineChart chart;
  chart.series = {{"huge", {{-1e308, -1e299}, {0, 0}, {1e308, 1e299}}}};
  const XmlReport report = RenderAndCheck(chart);
  EXPECT_THAT(report.texts, Contains("10²⁹⁹"));
  chart.series = {{"huge", {{0, -1e308}, {1, 1e308}}}};
  EXPECT_THAT(RenderAndCheck(chart).texts, Contains("10³⁰⁰"));
}

TEST(LineChartTest, HostileNames) {
  LineChart chart = Perplexity();
  chart.title = "<script>alert('t')</script>";
  chart.x_label = "\" onload=\"x";
  chart.series[0].name = "</text></svg><script>alert(1)</script>";
  chart.series[1].name = "日本語 & \xFF";
  chart.vertical_lines[0].label = "a]]>b";
  const XmlReport report = RenderAndCheck(chart);
  EXPECT_THAT(report.elements, Not(Contains("script")));
  EXPECT_THAT(report.texts, Contains("日本語 & \uFFFD"));
  EXPECT_THAT(report.texts, Contains("\" onload=\"x"));
}

TEST(LineChartTest, LongNamesGoBelowAndAreCutOnlyWhereTheyMust) {
  LineChart chart = Perplexity();
  chart.series[0].name = "a name that is far too long to stand beside the end of its line";
  EXPECT_THAT(RenderAndCheck(chart).texts, Contains(chart.series[0].name));
  chart.legend = Legend::kLineEnds;
  const XmlReport report = RenderAndCheck(chart);
  EXPECT_THAT(report.texts, Contains(StartsWith("a name that")));
  EXPECT_THAT(report.texts, Not(Contains(chart.series[0].name)));
  EXPECT_THAT(report.tooltips, Contains(chart.series[0].name));
}

TEST(LineChartTest, PairsShareColourAndMarkerAndDifferInFill) {
  LineChart chart = Perplexity();
  chart.series[0].color = chart.series[1].color = 2;
  chart.series[1].hollow = true;
  const std::string markup = Render(chart).markup();
  EXPECT_THAT(markup, HasSubstr("mark c2\""));
  EXPECT_THAT(markup, HasSubstr("mark c2 hollow\""));
  EXPECT_THAT(markup, Not(HasSubstr("c0")));
  EXPECT_THAT(markup, HasSubstr("stroke-dasharray=\"7 4\""));
}

TEST(LineChartTest, PointsAloneAndLinesAlone) {
  LineChart chart = Perplexity();
  const std::string both = Render(chart).markup();
  chart.series[0].dash = Dash::kNone;
  chart.series[0].marker = Marker::kCircle;
  chart.series[1].marker = Marker::kNone;
  const std::string each = Render(chart).markup();
  EXPECT_EQ(RenderAndCheck(chart).error, "");
  EXPECT_EQ(Segments(both), 6u);
  EXPECT_EQ(Segments(each), 3u);
  EXPECT_EQ(Occurrences(both, "\"mark c1"), 5u);  // four points and the key
  EXPECT_EQ(Occurrences(each, "\"mark c1"), 0u);
  EXPECT_EQ(Occurrences(each, "\"mark c0"), 5u);
}

TEST(LineChartTest, SeriesBeyondThePaletteDiffer) {
  LineChart chart;
  for (int i = 0; i < 2 * kSeriesColors; ++i) {
    chart.series.push_back({"s" + std::to_string(i), {{0, double(i)}, {1, double(i)}}});
  }
  const std::string markup = Render(chart).markup();
  // The key of series 0 is solid, that of series 7, of the same colour, is not.
  EXPECT_THAT(markup, HasSubstr("<path class=\"line c0\" d=\"M"));
  const size_t first = markup.find("<path class=\"line c0\"");
  const size_t second = markup.find("<path class=\"line c0\"", first + 1);
  ASSERT_NE(second, std::string::npos);
  const auto element = [&](size_t at) { return markup.substr(at, markup.find('>', at) - at); };
  EXPECT_THAT(element(first), Not(HasSubstr("dasharray")));
  EXPECT_THAT(element(second), Not(HasSubstr("M0 0")));
  EXPECT_NE(element(first).find("dasharray") == std::string::npos,
            element(second).find("dasharray") == std::string::npos);
}

}  // namespace
}  // namespace report
}  // namespace longrange
