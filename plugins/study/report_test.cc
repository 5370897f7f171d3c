#include "plugins/study/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "absl/strings/str_split.h"
#include "common/report/xml_checker.h"
#include "plugins/study/summary.h"
#include "plugins/study/synthetic_rows.h"

namespace longrange {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

// The page, checked to be well-formed.
std::string PageOf(const std::vector<Row>& rows, const std::vector<Row>& records) {
  const auto page = StudyReport(rows, records);
  EXPECT_TRUE(page.ok()) << page.status();
  if (!page.ok()) return "";
  EXPECT_EQ(report::CheckXml(*page).error, "");
  return *page;
}

std::string PageOf(const SyntheticStudy& made) { return PageOf(made.Rows(), made.Records()); }

std::string SummaryOf(const SyntheticStudy& made) {
  const auto text = StudySummary(made.Rows());
  EXPECT_TRUE(text.ok()) << text.status();
  return text.ok() ? *text : "";
}

TEST(StudyReportTest, HasEveryPart) {
  const std::string page = PageOf(AsInThePaper());
  for (const char* part :
       {"A made-up study", "Does it work?", "What was compared", "model.backbone.mixer.position",
        "Perplexity by length", "What more context gives", "Where in a long text the loss arises",
        "The needle", "Results in numbers", "Findings", "Cost", "The base model", "Configurations",
        "direct, frozen", "YaRN, tuned", "the lowest perplexity is that of tuned NTK",
        "over windows for frozen arms, over tuning seeds for tuned arms", "cpu, 2 threads",
        "Tuned at 256 tokens, 3 seeds"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("Needle not solved")));
  for (const char* id : {"S1", "S7", "perplexity", "needle", "gain", "base", "position",
                         "table-perplexity", "table-needle-difference"}) {
    EXPECT_THAT(report::CheckXml(page).ids, Contains(id));
  }
  EXPECT_EQ(page, PageOf(AsInThePaper()));
}

TEST(StudyReportTest, ABaseModelOfElsewhereIsSaidToBe) {
  const SyntheticStudy made = AsInThePaper();
  std::vector<Row> rows = made.Rows();
  EXPECT_THAT(PageOf(rows, made.Records()), HasSubstr(" tokens of “nothing”."));
  for (Row& row : rows) {
    if (row.String("kind").value_or("") == "base")
      row.Set("from", "other_study, base model, seed 5");
  }
  const std::string page = PageOf(rows, made.Records());
  EXPECT_THAT(page, HasSubstr(" tokens elsewhere (other_study, base model, seed 5)."));
  EXPECT_THAT(page, HasSubstr("other_study, base model, seed 5: 200 steps"));
  EXPECT_THAT(page, Not(HasSubstr(" tokens of “nothing”.")));
}

TEST(StudyReportTest, EveryArmHasItsMapAndItsLines) {
  const report::XmlReport page = report::CheckXml(PageOf(AsInThePaper()));
  for (const SyntheticArm& arm : AsInThePaper().arms) {
    EXPECT_THAT(page.texts,
                Contains(absl::StrCat(arm.method, ", ", arm.tuned ? "tuned" : "frozen")));
  }
  EXPECT_THAT(page.tooltips, Contains(HasSubstr("NTK: 512 → ")));
  EXPECT_THAT(page.tooltips, Contains("YaRN, tuned: 256, 50 % → 0.90"));
}

TEST(StudyReportTest, OtherTasksStridesAndWhatIsLeftAreShownWhereTheyAreThere) {
  const std::string without = PageOf(AsInThePaper());
  EXPECT_THAT(without, Not(HasSubstr("Other tasks")));
  EXPECT_THAT(without, Not(HasSubstr("table-stride")));
  EXPECT_THAT(without, Not(HasSubstr("Left to")));
  SyntheticStudy made = AsInThePaper();
  made.further_tasks = {"multi_key", "variable_tracking"};
  made.stride = true;
  made.left = "arms clex_tuned";
  const report::XmlReport page = report::CheckXml(PageOf(made));
  EXPECT_THAT(page.ids, Contains("other-tasks"));
  EXPECT_THAT(page.ids, Contains("table-stride"));
  EXPECT_THAT(page.texts, Contains("multi key"));
  EXPECT_THAT(page.tooltips, Contains(HasSubstr("NTK, tuned")));
  EXPECT_THAT(PageOf(made), HasSubstr("Left to <code>--preset=full</code>: arms clex_tuned."));
}

TEST(StudyReportTest, SaysLoudlyThatTheNeedleIsNotSolved) {
  SyntheticStudy made = AsInThePaper();
  made.base_score = 0.5;
  const std::string page = PageOf(made);
  const size_t in_summary = page.find("<strong>Needle not solved. </strong>");
  ASSERT_NE(in_summary, std::string::npos);
  EXPECT_LT(in_summary, page.find("<nav"));
  EXPECT_NE(page.find("<strong>Needle not solved. </strong>", in_summary + 1), std::string::npos);
  EXPECT_THAT(SummaryOf(made),
              HasSubstr("needle not solved: the base model's held-out score is 0.50"));
}

TEST(StudyReportTest, AnySubsetMakesAPage) {
  SyntheticStudy made = AsInThePaper();
  for (const SyntheticArm& arm : made.arms) {
    SyntheticStudy one = made;
    one.arms = {arm};
    PageOf(one);
    SummaryOf(one);
    one.arms[0].needle.clear();
    EXPECT_THAT(PageOf(one), HasSubstr("The rows hold no needle test."));
    one.arms[0].perplexity.clear();
    PageOf(one);
    SummaryOf(one);
  }
  made.arms.clear();
  PageOf(made);
  made = AsInThePaper();
  made.tuning_seeds = {4};
  EXPECT_THAT(PageOf(made), HasSubstr("Tuned at 256 tokens, 1 seed<"));
  made.base_seeds = {1, 2};
  EXPECT_THAT(PageOf(made), HasSubstr("over base models"));
  made.windows = 1;
  PageOf(made);
  EXPECT_THAT(PageOf(AsInThePaper().Rows(), {}), HasSubstr("What each arm took"));
  made = AsInThePaper();
  made.lengths = {100, 1000, 10000, 100000};
  PageOf(made);
  made.arms.push_back({"Self-Extend", false, {4, 4, 4, 4}, {}});
  made.arms.push_back({"CLEX", true, {4, 4, 4, 4}, {0.9}});
  EXPECT_THAT(PageOf(made), HasSubstr("Self-Extend"));
}

TEST(StudyReportTest, WhatWasNotMeasuredIsADash) {
  SyntheticStudy made = AsInThePaper();
  made.At("NTK", true).perplexity.resize(2);
  made.At("NTK", true).needle.resize(1);
  const std::string page = PageOf(made);
  EXPECT_THAT(page, HasSubstr("<td class=\"n none\">–</td>"));
  EXPECT_THAT(page, Not(HasSubstr("NaN")));
}

TEST(StudyReportTest, DivergedArmsStayOnThePage) {
  SyntheticStudy made = AsInThePaper();
  made.At("direct", false).perplexity = {4, 1e6, std::numeric_limits<double>::infinity(),
                                         std::nan("")};
  made.At("PI", true).perplexity[3] = std::numeric_limits<double>::infinity();
  const std::string page = PageOf(made);
  EXPECT_THAT(page, HasSubstr("∞"));
  EXPECT_THAT(page, HasSubstr("off scale"));
  for (SyntheticArm& arm : made.arms) arm.perplexity.assign(4, std::nan(""));
  PageOf(made);
  SummaryOf(made);
}

// The tuned arms as of a study without text, trained from scratch, at uniform depths.
std::vector<Row> SymbolRows(SyntheticStudy made) {
  std::vector<SyntheticArm> tuned;
  for (const SyntheticArm& arm : made.arms) {
    if (arm.tuned) tuned.push_back(arm);
  }
  made.arms = tuned;
  std::vector<Row> rows;
  for (const Row& row : made.Rows()) {
    const std::string kind = row.String("kind").value_or("");
    if (kind != "study" && kind != "run" && kind != "task" && kind != "further_task") continue;
    if (row.Find("depth") != nullptr && *row.Number("depth") != 50) continue;
    Row kept;
    for (const auto& [key, value] : row.fields()) {
      if (key != "depth") kept.Set(key, value);
    }
    if (kind == "study") {
      kept.Set("corpus", "").Set("corpus_checksum", "").Set("findings", "");
      kept.Set("from_scratch", true).Set("task", "needle").Set("extended_length", 512);
      kept.Set("config",
               "evaluation {\n  stream_rows: 100\n  longest_growing: 256\n}\n"
               "tuning {\n  length: 64\n  batch: 8\n  steps: 10\n  short_share: 0.5\n"
               "  short_length: 16\n  short_length: 32\n}\n");
    }
    rows.push_back(std::move(kept));
    if (kind == "run") {
      for (const int64_t step : {5, 10}) {
        rows.push_back(Row()
                           .Set("arm", *row.String("arm"))
                           .Set("base_seed", *row.Integer("base_seed"))
                           .Set("tuning_seed", *row.Integer("tuning_seed"))
                           .Set("kind", "check")
                           .Set("step", step)
                           .Set("score", 0.1 * static_cast<double>(step)));
      }
    }
    if (kind != "study") continue;
    rows.push_back(Row()
                       .Set("kind", "finding")
                       .Set("finding", "M1")
                       .Set("statement", "NTK answers at four times its length."));
    rows.push_back(Row()
                       .Set("kind", "comparison")
                       .Set("finding", "M1")
                       .Set("arm", "NTK_tuned")
                       .Set("figure", "score")
                       .Set("length", 256)
                       .Set("at_least", 0.8));
  }
  return rows;
}

TEST(StudyReportTest, AStudyWithoutTextHasScoresByLength) {
  SyntheticStudy made = AsInThePaper();
  made.further_tasks = {"multi_key"};
  const std::vector<Row> rows = SymbolRows(made);
  const std::string page = PageOf(rows, {});
  for (const char* part :
       {"Score by length", "8 arms trained from scratch on examples of 64 tokens of “needle”",
        "3 seeds each", "At 64 tokens, as trained: ", "At 512 tokens, the longest: NTK 2x, 2x",
        "read in pieces of 100 with the state carried", "measured up to 256 tokens",
        "40 examples a length.", "NTK answers at four times its length.", "Findings", "Cost",
        "10 steps, 8 × 64 tokens a step, as many tokens in shorter sequences (16, 32 tokens) in a "
        "share of 0.5 of the steps",
        "a guess"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, HasSubstr("data, tokens, order, optimiser, seeds"));
  for (const char* word : {"needle score", "erplexity", "corpus", "frozen"})
    EXPECT_THAT(page, Not(HasSubstr(word)));
  const report::XmlReport read = report::CheckXml(page);
  for (const char* id :
       {"scores", "scores-multi_key", "table-score", "table-score-difference", "learning", "M1"})
    EXPECT_THAT(read.ids, Contains(id));
  EXPECT_THAT(read.tooltips, Contains(HasSubstr("NTK: 512 → 0.60")));
  const auto summary = StudySummary(rows);
  ASSERT_TRUE(summary.ok()) << summary.status();
  EXPECT_THAT(*summary, HasSubstr("score at"));
  EXPECT_THAT(*summary, HasSubstr("M1  holds"));
  EXPECT_THAT(*summary, Not(HasSubstr("needle")));
  EXPECT_THAT(*summary, Not(HasSubstr("perplexity")));
}

TEST(StudyReportTest, FiguresAlongTrainingHaveAPanelEach) {
  SyntheticStudy made = AsInThePaper();
  std::vector<Row> with_text = made.Rows(), symbols = SymbolRows(made);
  for (std::vector<Row>* rows : {&with_text, &symbols}) {
    EXPECT_THAT(PageOf(*rows, {}), Not(HasSubstr("Along training")));
    for (const char* figure : {"best_match", "in_context"}) {
      for (const char* arm : {"NTK_tuned", "PI_tuned"}) {
        Row row;
        row.Set("kind", "course").Set("arm", arm);
        row.Set("base_seed", made.base_seeds[0]).Set("tuning_seed", made.tuning_seeds[0]);
        row.Set("length", 48).Set("probe", "heads").Set("figure", figure);
        row.Set("steps", "0 50 100").Set("values", "0.125 0.25 0.75");
        rows->push_back(row);
        rows->push_back(row.Set("layer", 0).Set("values", "0.5 0.5 0.5"));
      }
    }
    rows->push_back(Row()
                        .Set("kind", "probe")
                        .Set("arm", "NTK_tuned")
                        .Set("base_seed", made.base_seeds[0])
                        .Set("tuning_seed", made.tuning_seeds[0])
                        .Set("length", 48)
                        .Set("probe", "heads")
                        .Set("figure", "share")
                        .Set("value", 0.375));
    const std::string page = PageOf(*rows, {});
    for (const char* part : {"Along training", "best match", "in context", "Inside the models",
                             "heads measured on sequences of 48 tokens"})
      EXPECT_THAT(page, HasSubstr(part));
    const report::XmlReport read = report::CheckXml(page);
    EXPECT_THAT(read.ids, Contains("along"));
    EXPECT_THAT(read.tooltips, Contains(HasSubstr("NTK: 100 → 0.75")));
  }
}

TEST(StudySummaryTest, ManyLengthsTakeSeveralTables) {
  SyntheticStudy made = AsInThePaper();
  made.lengths.clear();
  for (SyntheticArm& arm : made.arms) {
    arm.perplexity.clear();
    arm.needle.clear();
  }
  for (int64_t length = 64; length <= 1 << 20; length *= 2) {
    made.lengths.push_back(length);
    for (SyntheticArm& arm : made.arms) arm.needle.push_back(0.5);
  }
  const auto summary = StudySummary(SymbolRows(made));
  ASSERT_TRUE(summary.ok()) << summary.status();
  for (const absl::string_view line : absl::StrSplit(*summary, '\n')) EXPECT_LE(line.size(), 110);
  for (const int64_t length : made.lengths)
    EXPECT_THAT(*summary, HasSubstr(absl::StrCat(" ", length)));
}

TEST(StudyReportTest, AnySubsetOfAStudyWithoutTextMakesAPage) {
  SyntheticStudy made = AsInThePaper();
  made.tuning_seeds = {1};
  for (const SyntheticArm& arm : AsInThePaper().arms) {
    if (!arm.tuned) continue;
    made.arms = {arm};
    PageOf(SymbolRows(made), {});
    made.arms[0].needle.resize(1);
    EXPECT_THAT(PageOf(SymbolRows(made), {}), Not(HasSubstr("NaN")));
    made.arms[0].needle.clear();
    EXPECT_THAT(PageOf(SymbolRows(made), {}), HasSubstr("The rows hold no scores."));
  }
  made.arms.clear();
  PageOf(SymbolRows(made), {});
}

TEST(StudyReportTest, HostileTextIsText) {
  SyntheticStudy made = AsInThePaper();
  std::vector<Row> rows = made.Rows();
  for (Row& row : rows) {
    for (const char* key : {"label", "method", "note", "differs", "config", "title", "question",
                            "compares", "corpus"}) {
      if (row.Find(key) != nullptr)
        row.Set(key, "</style><script>alert('1')</script>&\"]]>\x01{}; -> }\n}\n}");
    }
  }
  const std::string page = PageOf(rows, made.Records());
  EXPECT_THAT(report::CheckXml(page).elements, Not(Contains("script")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;"));
}

TEST(StudyReportTest, RefusesBrokenRows) {
  std::vector<Row> rows = AsInThePaper().Rows();
  rows[10] = Row().Set("kind", "window");
  EXPECT_THAT(StudyReport(rows, {}).status().ToString(), HasSubstr("row 11: key \"arm\""));
  EXPECT_THAT(StudySummary(rows).status().ToString(), HasSubstr("row 11: key \"arm\""));
}

TEST(StudySummaryTest, IsAlignedAndFits) {
  const std::string text = SummaryOf(AsInThePaper());
  EXPECT_THAT(text, HasSubstr("S1  holds "));
  EXPECT_THAT(text, HasSubstr("S9  holds "));
  size_t frozen = 0, tuned = 0;
  for (const std::string& line : std::vector<std::string>(absl::StrSplit(text, '\n'))) {
    size_t columns = 0;
    for (const char c : line) columns += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    EXPECT_LE(columns, 100) << line;
    if (line.find("direct, frozen") == 0) frozen = frozen == 0 ? columns : frozen;
    if (line.find("NTK, tuned") == 0) tuned = tuned == 0 ? columns : tuned;
  }
  EXPECT_GT(frozen, 40);
  EXPECT_EQ(frozen, tuned);
  EXPECT_EQ(text.back(), '\n');
}

}  // namespace
}  // namespace longrange
