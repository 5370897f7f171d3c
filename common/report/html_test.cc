#include "common/report/html.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/report/line_chart.h"
#include "common/report/style.h"
#include "common/report/table.h"
#include "common/report/xml_checker.h"

namespace longrange {
namespace report {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Page FullPage() {
  Page page;
  page.title = "Study <of> \"things\" & more";
  page.subtitle = "a < b";
  page.summary = KeyFigures({{"9", "arms"}}) + Paragraph(Html("It ") + Badge(Verdict::kHolds));
  LineChart chart;
  chart.series = {{"a", {{0, 1}, {1, 2}}}};
  page.sections = {
      {"Results & more", Figure(Render(chart), "A figure.", "curve") + Render(Table())},
      {"Results, more", Grid({Render(chart), Render(chart)}, 300), 2},
      {"Ünïcode 日本", BulletList({"a", Code("<b>")}) + Definitions({{"data", "text"}})},
      {"Raw", Details("Configuration", Preformatted("a {\n  b: \"<c>\"\n}")), 1, "raw"},
      {"!", Note(Strong("x") + Emphasis("y"))}};
  page.footer = Link("https://example.org/?a=1&b=2", "source");
  return page;
}

TEST(PageTest, IsOneWellFormedFileThatFetchesAndRunsNothing) {
  const std::string file = Render(FullPage());
  const XmlReport report = CheckXml(file);
  EXPECT_EQ(report.error, "");
  for (const char* element : {"script", "link", "img", "iframe", "object"}) {
    EXPECT_THAT(report.elements, Not(Contains(element)));
  }
  for (const char* part : {"@import", "url("}) EXPECT_THAT(file, Not(HasSubstr(part)));
  EXPECT_THAT(file, HasSubstr("default-src &#39;none&#39;"));
  EXPECT_THAT(file, HasSubstr("prefers-color-scheme: dark"));
  EXPECT_THAT(report.tooltips, Contains("Study <of> \"things\" & more"));
  EXPECT_EQ(file, Render(FullPage()));
}

TEST(PageTest, AnchorsAreUniqueAndListed) {
  const std::string file = Render(FullPage());
  EXPECT_THAT(CheckXml(file).ids,
              ElementsAre("results-more", "curve", "results-more-2", "n-code", "raw", "section"));
  for (const char* place : {"#results-more\"", "#results-more-2\"", "#raw\"", "#section\""}) {
    EXPECT_THAT(file, HasSubstr(std::string("href=\"") + place));
  }
  EXPECT_THAT(file, HasSubstr("<h3>Results, more</h3>"));
}

TEST(PageTest, EmptyPage) {
  EXPECT_EQ(CheckXml(Render(Page())).error, "");
  EXPECT_THAT(Render(Page()), Not(HasSubstr("<nav")));
}

TEST(PartsTest, Verdicts) {
  for (Verdict verdict :
       {Verdict::kHolds, Verdict::kDoesNotHold, Verdict::kCannotBeSeen, Verdict::kNotRun}) {
    const std::string badge = Badge(verdict).markup();
    EXPECT_EQ(CheckXml(badge).error, "");
    EXPECT_THAT(badge, HasSubstr("<span>" + VerdictText(verdict) + "</span>"));
  }
  EXPECT_EQ(VerdictText(Verdict::kCannotBeSeen), "cannot be seen at this scale");
}

TEST(PartsTest, LedgerHasTextAndEndOfEachLine) {
  EXPECT_EQ(Ledger({{"a < b", Strong("yes")}}).markup(),
            "<ul class=\"ledger\"><li><span>a &lt; b</span><span><strong>yes</strong></span></li>\n"
            "</ul>\n");
  EXPECT_TRUE(Ledger({}).empty());
}

TEST(PartsTest, LinksThatCouldRunSomethingAreText) {
  EXPECT_EQ(Link("https://a.org/x", "t").markup(), "<a href=\"https://a.org/x\">t</a>");
  EXPECT_EQ(Link("#place", "t").markup(), "<a href=\"#place\">t</a>");
  EXPECT_EQ(Link("rows.jsonl", "t").markup(), "<a href=\"rows.jsonl\">t</a>");
  EXPECT_EQ(Link("runs/a:b", "t").markup(), "<a href=\"runs/a:b\">t</a>");
  for (const char* url :
       {"javascript:alert(1)", "JavaScript:alert(1)", "data:text/html,x", "", " javascript:x"}) {
    EXPECT_EQ(Link(url, "t").markup(), "t") << url;
  }
}

TEST(StyleTest, StandsInXml) {
  EXPECT_THAT(StyleSheet(), Not(HasSubstr("<")));
  EXPECT_THAT(StyleSheet(), Not(HasSubstr("&")));
}

}  // namespace
}  // namespace report
}  // namespace longrange
