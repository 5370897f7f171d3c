#include "common/report/table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/report/xml_checker.h"

namespace longrange {
namespace report {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Table Perplexities() {
  Table table;
  table.caption = "Perplexity";
  table.columns = {{"arm", ""}, {"128", "length", 2, Best::kLowest}, {"512", "length"}};
  table.rows = {{{"direct", Number(3.949, 0.021), Number(10.9)}, "frozen"},
                {{"PI", Number(3.951, 0.02), Number(128.75)}},
                {{"YaRN", Number(4.1), Missing()}}};
  return table;
}

std::string RenderAndCheck(const Table& table) {
  const std::string markup = Render(table).markup();
  EXPECT_EQ(CheckXml(markup).error, "");
  return markup;
}

size_t Occurrences(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(TableTest, NumbersStandOnTheirPoints) {
  const std::string markup = RenderAndCheck(Perplexities());
  EXPECT_THAT(markup, HasSubstr("<span class=\"w\" style=\"width:1ch\">3</span>"
                                "<span class=\"f\" style=\"width:2.5ch\">.95</span>"
                                "<span class=\"s\" style=\"width:5.32ch\">± 0.02</span>"));
  // Room for the widest number of the column, and for the spread that one row has.
  EXPECT_THAT(markup, HasSubstr("<span class=\"w\" style=\"width:3ch\">10</span>"));
  EXPECT_THAT(markup, HasSubstr("<span class=\"s\" style=\"width:5.32ch\"></span>"));
}

TEST(TableTest, TheBestIsBoldWithWhatReadsTheSame) {
  EXPECT_EQ(Occurrences(RenderAndCheck(Perplexities()), "n best"), 2u);  // 3.949 and 3.951.
  Table table = Perplexities();
  table.columns[1].best = Best::kHighest;
  EXPECT_THAT(RenderAndCheck(table), HasSubstr("n best\"><span class=\"w\" style=\"width:1ch\">4"));
  table.columns[1].digits = 3;
  table.columns[1].best = Best::kLowest;
  EXPECT_EQ(Occurrences(RenderAndCheck(table), "n best"), 1u);
  for (Row& row : table.rows) row.cells[1] = Number(NAN);
  EXPECT_THAT(RenderAndCheck(table), Not(HasSubstr("n best")));
}

TEST(TableTest, GroupsHeadingsAndMissingCells) {
  const std::string markup = RenderAndCheck(Perplexities());
  EXPECT_THAT(markup, HasSubstr("class=\"group\" colspan=\"2\"><span>length</span>"));
  EXPECT_THAT(markup, HasSubstr("scope=\"rowgroup\" colspan=\"3\"><span>frozen</span>"));
  EXPECT_THAT(markup, HasSubstr("class=\"n none\">–</td>"));
  Table table = Perplexities();
  table.rows[0].cells.resize(1);
  EXPECT_EQ(Occurrences(RenderAndCheck(table), "n none"), 3u);
  table.rows[0].cells.resize(9);
  EXPECT_DEATH(Render(table), "too many cells");
}

TEST(TableTest, OddInputs) {
  RenderAndCheck(Table());
  Table table = Perplexities();
  table.caption = "</figcaption><script>";
  table.footnotes = {"a < b"};
  table.columns[0].header = "\"<arm>\"";
  table.columns[1].group = "<group>";
  table.rows[0].cells = {"</td><script>", Number(INFINITY, NAN), Number(1e300, INFINITY)};
  table.rows[1].cells = {"a", Count(870016), Element("b", {}, "x")};
  const std::string markup = RenderAndCheck(table);
  EXPECT_THAT(markup, Not(HasSubstr("<script")));
  EXPECT_THAT(markup, HasSubstr("<b>x</b>"));
  EXPECT_THAT(markup, HasSubstr("870\u202F016"));
  EXPECT_EQ(markup, Render(table).markup());
}

}  // namespace
}  // namespace report
}  // namespace longrange
