#include "plugins/study/declared_findings.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugins/study/findings.h"
#include "plugins/study/synthetic_rows.h"

namespace longrange {
namespace {

using ::longrange::report::Verdict;
using ::testing::HasSubstr;

// A row of a comparison; further bounds are set by the caller.
Row Comparison(const std::string& arm, const std::string& figure, int64_t length) {
  return Row()
      .Set("kind", "comparison")
      .Set("finding", "F")
      .Set("arm", arm)
      .Set("figure", figure)
      .Set("length", length);
}

// The finding that these comparisons state of AsInThePaper(): scores of 40 examples at three depths
// and three seeds, perplexities of 16 windows.
Finding Judged(const std::vector<Row>& comparisons) {
  SyntheticStudy made = AsInThePaper();
  std::vector<Row> rows = {made.Rows()[0]};
  rows[0].Set("findings", "");
  rows.push_back(Row().Set("kind", "finding").Set("finding", "F").Set("statement", "It works."));
  rows.insert(rows.end(), comparisons.begin(), comparisons.end());
  const std::vector<Row> all = made.Rows();
  rows.insert(rows.end(), all.begin() + 1, all.end());
  const auto study = ReadStudy(rows, {});
  EXPECT_TRUE(study.ok()) << study.status();
  if (!study.ok()) return Finding();
  const std::vector<Finding> findings = StudyFindings(*study);
  EXPECT_EQ(findings.size(), 1u);
  EXPECT_EQ(findings[0].id, "F");
  EXPECT_EQ(findings[0].statement, "It works.");
  return findings[0];
}

TEST(DeclaredFindingsTest, AScoreIsHeldAgainstBounds) {
  const auto verdict = [](double at_least) {
    return Judged({Comparison("NTK_tuned", "score", 64).Set("at_least", at_least)}).verdict;
  };
  // Tuned NTK has 0.99, rounded to 40 of 40 examples, with the spread of 120 examples.
  EXPECT_EQ(verdict(0.9), Verdict::kHolds);
  EXPECT_EQ(verdict(0.999), Verdict::kCannotBeSeen);
  EXPECT_EQ(Judged({Comparison("direct_frozen", "score", 512).Set("at_least", 0.5)}).verdict,
            Verdict::kDoesNotHold);
  EXPECT_EQ(Judged({Comparison("direct_frozen", "score", 512).Set("at_most", 0.1)}).verdict,
            Verdict::kHolds);
  const Finding finding = Judged({Comparison("NTK_tuned", "score", 64).Set("at_least", 0.9),
                                  Comparison("NTK_tuned", "score", 128).Set("at_least", 0.9),
                                  Comparison("direct_frozen", "score", 128).Set("at_most", 0.6)});
  EXPECT_EQ(finding.verdict, Verdict::kHolds);
  EXPECT_EQ(finding.rule,
            "At 64, 128 tokens, the score of NTK, tuned is at least 0.9; at 128 tokens, the score "
            "of direct, frozen is at most 0.6.");
  EXPECT_THAT(finding.measured, HasSubstr("The score of NTK, tuned: 1.000 ± 0.0"));
  EXPECT_THAT(finding.measured, HasSubstr("; the score of direct, frozen: 0.300 ± 0.0"));
}

TEST(DeclaredFindingsTest, ADifferenceOfScoresIsPaired) {
  const auto verdict = [](double at_least) {
    return Judged({Comparison("NTK_tuned", "score", 256)
                       .Set("against", "PI_frozen")
                       .Set("at_least", at_least)})
        .verdict;
  };
  // 1 against 0.4.
  EXPECT_EQ(verdict(0.4), Verdict::kHolds);
  EXPECT_EQ(verdict(0.6), Verdict::kCannotBeSeen);
  EXPECT_EQ(verdict(0.8), Verdict::kDoesNotHold);
  const Finding finding = Judged(
      {Comparison("NTK_tuned", "score", 256).Set("against", "PI_frozen").Set("at_least", 0.4)});
  EXPECT_THAT(finding.rule, HasSubstr("the score of NTK, tuned less that of PI, frozen is at "
                                      "least 0.4."));
}

TEST(DeclaredFindingsTest, PerplexitiesAreComparedAsRatios) {
  const auto verdict = [](const char* against, double at_most) {
    Row row = Comparison("NTK_tuned", "perplexity", 256).Set("at_most", at_most);
    if (*against != '\0') row.Set("against", against);
    return Judged({row}).verdict;
  };
  // 3.5, with a spread of windows of 0.1 in nats; against 9: 0.39.
  EXPECT_EQ(verdict("", 4.5), Verdict::kHolds);
  EXPECT_EQ(verdict("", 2.5), Verdict::kDoesNotHold);
  EXPECT_EQ(verdict("", 3.5), Verdict::kCannotBeSeen);
  EXPECT_EQ(verdict("PI_frozen", 0.4), Verdict::kHolds);
  EXPECT_EQ(verdict("PI_frozen", 0.38), Verdict::kDoesNotHold);
}

TEST(DeclaredFindingsTest, CoursesAreReadAndCompared) {
  SyntheticStudy made = AsInThePaper();
  const std::vector<Row> all = made.Rows();
  const auto judged = [&](const Row& comparison) {
    std::vector<Row> rows = {all[0]};
    rows[0].Set("findings", "");
    rows.push_back(Row().Set("kind", "finding").Set("finding", "F").Set("statement", "It falls."));
    rows.push_back(comparison);
    rows.insert(rows.end(), all.begin() + 1, all.end());
    for (const int64_t seed : made.tuning_seeds) {
      for (const char* arm : {"NTK_tuned", "PI_tuned"}) {
        const bool falls = std::string(arm) == "NTK_tuned";
        rows.push_back(Row()
                           .Set("kind", "course")
                           .Set("arm", arm)
                           .Set("base_seed", made.base_seeds[0])
                           .Set("tuning_seed", seed)
                           .Set("length", 64)
                           .Set("probe", "p")
                           .Set("figure", "loss")
                           .Set("steps", "0 50 100")
                           .Set("values", falls ? absl::StrCat("4 3 1.", seed) : "4 4 3.5"));
      }
    }
    const auto study = ReadStudy(rows, {});
    EXPECT_TRUE(study.ok()) << study.status();
    return study.ok() ? StudyFindings(*study)[0] : Finding();
  };
  const auto reading = [](const char* arm, const char* kind) {
    return Row()
        .Set("kind", "course_comparison")
        .Set("finding", "F")
        .Set("arm", arm)
        .Set("figure", "loss")
        .Set("reading", kind)
        .Set("within", 100)
        .Set("level", 0.0)
        .Set("before", 0);
  };
  const Finding fall = judged(reading("NTK_tuned", "fall").Set("at_least", 2.0));
  EXPECT_EQ(fall.verdict, Verdict::kHolds);
  EXPECT_EQ(fall.rule, "The deepest fall of “loss” within 100 steps of NTK, tuned is at least 2.");
  EXPECT_THAT(fall.measured,
              HasSubstr("The deepest fall of “loss” within 100 steps of NTK, tuned: 2."));
  EXPECT_EQ(judged(reading("PI_tuned", "fall").Set("at_least", 2.0)).verdict,
            Verdict::kDoesNotHold);
  EXPECT_EQ(
      judged(reading("NTK_tuned", "last").Set("against", "PI_tuned").Set("at_most", -1.0)).verdict,
      Verdict::kHolds);
  Row less = reading("NTK_tuned", "most").Set("at_least", 2.0);
  less.Set("less_figure", "loss")
      .Set("less_reading", "last")
      .Set("less_within", 100)
      .Set("less_level", 0.0)
      .Set("less_before", 0);
  EXPECT_EQ(judged(less).verdict, Verdict::kHolds);
  const Finding never =
      judged(reading("NTK_tuned", "first_step").Set("level", 9.0).Set("at_most", 50.0));
  EXPECT_EQ(never.verdict, Verdict::kNotRun);
  EXPECT_EQ(never.measured, "Lacking: the first step with “loss” above 9 of NTK, tuned.");
}

TEST(DeclaredFindingsTest, WhatLacksIsSaid) {
  const Finding no_arm = Judged({Comparison("mamba", "score", 64).Set("at_least", 0.5)});
  EXPECT_EQ(no_arm.verdict, Verdict::kNotRun);
  EXPECT_EQ(no_arm.measured, "Lacking: the score of mamba at 64 tokens.");
  const Finding no_length = Judged({Comparison("NTK_tuned", "score", 64).Set("at_least", 0.5),
                                    Comparison("NTK_tuned", "score", 99).Set("at_least", 0.5)});
  EXPECT_EQ(no_length.verdict, Verdict::kNotRun);
  EXPECT_THAT(no_length.measured, HasSubstr("Lacking: the score of NTK, tuned at 99 tokens. The"));
}

}  // namespace
}  // namespace longrange
