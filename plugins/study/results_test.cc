#include "plugins/study/results.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "plugins/study/synthetic_rows.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr double kInf = std::numeric_limits<double>::infinity();

// An arm whose windows at length 8 have these losses, run by run.
StudyArmResults ArmOf(const std::vector<std::vector<double>>& nll_rw, bool tuned) {
  StudyArmResults arm;
  arm.tuned = tuned;
  for (size_t r = 0; r < nll_rw.size(); ++r) {
    StudyRun run;
    run.tuning_seed = tuned ? static_cast<int64_t>(r) : -1;
    for (size_t w = 0; w < nll_rw[r].size(); ++w)
      run.windows[8][static_cast<int64_t>(w)] = {nll_rw[r][w], 2 * nll_rw[r][w]};
    arm.runs.push_back(std::move(run));
  }
  return arm;
}

TEST(ReadStudyTest, SortsArmsByMethodAndKeepsAllThatWasMeasured) {
  SyntheticStudy made;
  made.arms = {{"Zeta", true, {4}, {}},
               {"yarn", true, {4, 5}, {}},
               {"direct", true, {}, {0.5}},
               {"direct", false, {4}, {}}};
  const auto study = ReadStudy(made.Rows(), made.Records());
  ASSERT_TRUE(study.ok()) << study.status();
  EXPECT_THAT(study->methods, ElementsAre("direct", "yarn", "Zeta"));
  std::vector<std::string> names;
  for (const StudyArmResults& arm : study->arms) names.push_back(arm.name);
  EXPECT_THAT(names, ElementsAre("direct_frozen", "direct_tuned", "yarn_tuned", "Zeta_tuned"));
  EXPECT_THAT(study->lengths, ElementsAre(64, 128));
  EXPECT_THAT(study->task_lengths, ElementsAre(64));
  EXPECT_THAT(study->depths, ElementsAre(0, 50, 100));
  EXPECT_EQ(study->arms[2].runs.size(), 3);
  EXPECT_EQ(study->arms[2].runs[1].windows.at(128).size(), 16);
  ASSERT_TRUE(study->arms[2].runs[2].record.has_value());
  EXPECT_EQ(study->arms[2].runs[2].record->training_seconds, 12.5);
  ASSERT_TRUE(study->bases[0].record.has_value());
  EXPECT_EQ(study->bases[0].checks.size(), 2);
  EXPECT_EQ(study->Find("YARN", true).size(), 1);
  EXPECT_EQ(study->Spoken(study->arms[0]), "frozen direct");
}

TEST(ReadStudyTest, NamesRowAndKeyOfWhatItCannotUse) {
  const auto error = [](size_t index, const Row& replacement) {
    std::vector<Row> rows = AsInThePaper().Rows();
    rows[index] = replacement;
    const auto study = ReadStudy(rows, {});
    EXPECT_EQ(study.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(study.status().message());
  };
  const std::vector<Row> rows = AsInThePaper().Rows();
  ASSERT_EQ(*rows[4].String("kind"), "run");
  ASSERT_EQ(*rows[5].String("kind"), "window");
  EXPECT_THAT(error(5, Row(rows[5]).Set("nll", "a lot")),
              HasSubstr("row 6: key \"nll\": expected a number"));
  EXPECT_THAT(error(5, Row().Set("kind", "window")), HasSubstr("row 6: key \"arm\""));
  EXPECT_THAT(error(5, Row(rows[5]).Set("arm", "nobody")),
              HasSubstr("row 6: key \"arm\": no run of 'nobody'"));
  EXPECT_THAT(error(6, rows[5]), HasSubstr("row 7: key \"window\": a second window 0"));
  EXPECT_THAT(error(5, Row(rows[5]).Set("kind", "windows")),
              HasSubstr("row 6: key \"kind\": unknown kind \"windows\""));
  EXPECT_THAT(error(5, Row().Set("arm", "x")), HasSubstr("row 6: key \"kind\""));
  EXPECT_THAT(error(5, rows[4]), HasSubstr("row 6: key \"arm\": a second run"));
  EXPECT_THAT(error(1, rows[0]), HasSubstr("row 2: a second row of kind \"study\""));
  EXPECT_THAT(error(0, Row(rows[0]).Set("trained_length", 0)),
              HasSubstr("row 1: key \"trained_length\""));
  EXPECT_THAT(error(0, rows[1]), HasSubstr("row 2: key \"base_seed\""));
  const Row cell = Row()
                       .Set("kind", "task")
                       .Set("arm", "direct_frozen")
                       .Set("base_seed", 7)
                       .Set("tuning_seed", -1)
                       .Set("task", "needle")
                       .Set("length", 64)
                       .Set("depth", 10.0)
                       .Set("examples", 4)
                       .Set("score", 0.5)
                       .Set("scores", "1 0 0.5 0.5")
                       .Set("logprob", -1.0);
  EXPECT_THAT(error(5, Row(cell).Set("score", 1.5)), HasSubstr("row 6: key \"score\""));
  EXPECT_THAT(error(5, Row(cell).Set("score", "nan")), HasSubstr("row 6: key \"score\""));
  EXPECT_THAT(error(5, Row(cell).Set("examples", 0)), HasSubstr("row 6: key \"examples\""));
  EXPECT_THAT(error(5, Row(cell).Set("examples", 5)),
              HasSubstr("row 6: key \"scores\": expected one of each of 5 examples, got 4"));
  EXPECT_THAT(error(5, Row(cell).Set("scores", "1 2 0 0")), HasSubstr("got \"2\""));
  EXPECT_THAT(error(5, Row(cell).Set("depth", 101.0)), HasSubstr("row 6: key \"depth\""));
  EXPECT_FALSE(ReadStudy({}, {}).ok());
}

TEST(ReadStudyTest, CoursesAreOfTheirRun) {
  const SyntheticStudy made = AsInThePaper();
  const std::vector<Row> rows = made.Rows();
  const int64_t seed = made.tuning_seeds.back();
  const auto with = [&](const char* steps, const char* values) {
    std::vector<Row> more = rows;
    more.push_back(Row()
                       .Set("kind", "course")
                       .Set("arm", "NTK_tuned")
                       .Set("base_seed", made.base_seeds[0])
                       .Set("tuning_seed", seed)
                       .Set("length", 64)
                       .Set("probe", "p")
                       .Set("figure", "loss")
                       .Set("layer", 3)
                       .Set("steps", steps)
                       .Set("values", values));
    return ReadStudy(more, {});
  };
  const auto study = with("0 50", "4 1.5");
  ASSERT_TRUE(study.ok()) << study.status();
  for (const StudyArmResults& arm : study->arms) {
    for (const StudyRun& run : arm.runs) {
      const bool mine = arm.name == "NTK_tuned" && run.tuning_seed == seed;
      ASSERT_EQ(run.courses.size(), mine ? 1u : 0u);
      if (!mine) continue;
      EXPECT_EQ(run.courses[0].where, "layer 3");
      EXPECT_EQ(run.courses[0].values[1], std::make_pair(int64_t{50}, 1.5));
    }
  }
  EXPECT_THAT(std::string(with("0 50", "4").status().message()),
              HasSubstr("key \"values\": 2 steps and 1 values"));
}

TEST(ReadStudyTest, RecordsBelongToRunsThatThereAre) {
  const SyntheticStudy made = AsInThePaper();
  std::vector<Row> records = made.Records();
  records.push_back(records[3]);
  EXPECT_THAT(ReadStudy(made.Rows(), records).status().ToString(),
              HasSubstr(": a second record of \"YaRN_frozen-7-abcdef\""));
  records = made.Records();
  records[1].Set("run", "PI_frozen-8-abcdef");
  EXPECT_THAT(ReadStudy(made.Rows(), records).status().ToString(),
              HasSubstr("record 2: key \"run\""));
}

TEST(EstimatesTest, PerplexityOfOneRunIsOverWindows) {
  const StudyEstimate estimate = Perplexity(ArmOf({{1, 2, 3}}, false), 8);
  EXPECT_NEAR(estimate.value, std::exp(2), 1e-12);
  EXPECT_NEAR(estimate.error, std::exp(2) / std::sqrt(3), 1e-12);
  EXPECT_EQ(estimate.degrees_of_freedom, 2);
}

TEST(EstimatesTest, PerplexityOfSeveralIsOverSeedsUnlessAskedOtherwise) {
  const StudyArmResults arm = ArmOf({{1, 2, 3}, {2, 3, 7}}, true);  // means 2 and 4
  EXPECT_EQ(SpreadOf(arm), StudySpread::kTuningSeeds);
  EXPECT_NEAR(Perplexity(arm, 8).value, std::exp(3), 1e-12);
  EXPECT_NEAR(Perplexity(arm, 8).error, std::exp(3) * 1, 1e-12);
  EXPECT_NEAR(Perplexity(arm, 8, true).error, std::exp(3) * std::sqrt(3.25 / 3), 1e-12);
}

TEST(EstimatesTest, DifferencesArePairedByWindowAndSeed) {
  // a - b is {1, 2, 3} and {2, 3, 7}, though both differ wildly between windows and seeds.
  const StudyArmResults a = ArmOf({{101, 52, 13}, {12, 33, 807}}, true),
                        b = ArmOf({{100, 50, 10}, {10, 30, 800}}, true);
  const StudyEstimate difference = NllDifference(a, 8, b, 8);
  EXPECT_NEAR(difference.value, 3, 1e-12);
  const double windows = 3.25 / 3, seeds = 2.0 / 2;  // squared errors
  EXPECT_NEAR(difference.error, std::sqrt(windows + seeds), 1e-12);
  EXPECT_NEAR(difference.degrees_of_freedom,
              std::pow(windows + seeds, 2) / (windows * windows / 2 + seeds * seeds), 1e-12);
  EXPECT_NEAR(Margin(difference), 4.302652730 * difference.error,
              1e-6);  // t of 2 degrees of freedom, as 2.7 rounded down
  EXPECT_NEAR(NllDifference(a, 8, b, 8, /*tail=*/true).value, 6, 1e-12);
}

TEST(EstimatesTest, AMarginIsAtLeastTwoErrors) {
  EXPECT_EQ(Margin({0, 3, 1e12}), 6);
  EXPECT_NEAR(Margin({0, 3, 10}), 3 * 2.228138852, 1e-6);
}

TEST(EstimatesTest, AFrozenRunIsThePartnerOfEveryTuning) {
  const StudyArmResults tuned = ArmOf({{1, 2, 3}, {2, 3, 7}}, true),
                        frozen = ArmOf({{10, 0, 5}}, false);
  EXPECT_NEAR(NllDifference(tuned, 8, frozen, 8).value, 3 - 5, 1e-12);
  EXPECT_NEAR(NllDifference(frozen, 8, tuned, 8).value, 5 - 3, 1e-12);
  EXPECT_NEAR(NllDifference(tuned, 8, frozen, 8).error, NllDifference(frozen, 8, tuned, 8).error,
              1e-12);
}

TEST(EstimatesTest, SeveralBaseModelsAreTheReplicates) {
  StudyArmResults arm = ArmOf({{1, 1}, {3, 3}, {5, 5}, {9, 9}}, true);
  for (size_t r = 0; r < 4; ++r)
    arm.runs[r].base_seed = r < 2 ? 1 : 2, arm.runs[r].tuning_seed = static_cast<int64_t>(r % 2);
  EXPECT_EQ(SpreadOf(arm), StudySpread::kBaseSeeds);
  EXPECT_NEAR(Perplexity(arm, 8).value, std::exp(4.5), 1e-9);  // of 2 and 7
  EXPECT_NEAR(Perplexity(arm, 8).error, std::exp(4.5) * 2.5, 1e-9);
}

// One run of a task at 8 tokens: examples at depths 0 and 100 of which the first few score 1.
StudyArmResults ArmOfScores(int first, int second) {
  StudyArmResults arm;
  arm.runs.resize(1);
  for (const auto& [depth, answered] : {std::pair(0.0, first), {100.0, second}}) {
    StudyCell& cell = arm.runs[0].grids["t"][8][depth];
    for (int i = 0; i < 8; ++i) cell.scores.push_back(i < answered ? 1 : 0);
    cell.score = answered / 8.0;
  }
  return arm;
}

TEST(EstimatesTest, TaskScores) {
  const StudyArmResults a = ArmOfScores(4, 8);
  const double va = (13.0 / 18) * (5.0 / 18) / 18;  // 12 of 16, one and one added
  EXPECT_NEAR(TaskScore(a, "t", 8).value, 0.75, 1e-12);
  EXPECT_NEAR(TaskScore(a, "t", 8).error, std::sqrt(va), 1e-12);
  EXPECT_GT(TaskScore(ArmOfScores(8, 8), "t", 8).error, 0);
  EXPECT_TRUE(std::isnan(TaskScore(a, "t", 9).value));
  EXPECT_TRUE(std::isnan(TaskScore(a, "u", 8).value));
  // Cells that lie so far back, or several tasks.
  EXPECT_NEAR(TaskScore(a, {{"t"}, {8}, 8}).value, 0.5, 1e-12);
  EXPECT_NEAR(TaskScore(a, {{"t"}, {8}, 0, 1}).value, 1, 1e-12);
  EXPECT_NEAR(TaskScore(a, {{"t", "u"}, {8, 9}, 0}).value, 0.75, 1e-12);
}

TEST(EstimatesTest, TaskDifferencesArePairedByExample) {
  const StudyArmResults a = ArmOfScores(4, 8), b = ArmOfScores(2, 4);
  const StudyEstimate difference = TaskDifference(a, b, {{"t"}, {8}, 0});
  EXPECT_NEAR(difference.value, 6.0 / 16, 1e-12);
  // Of 16 examples a alone answers 6, b alone none; 0.5, 0.5 and 1 without a difference added.
  EXPECT_NEAR(difference.error, std::sqrt((7.0 - 36.0 / 18) / 17 / 18), 1e-12);
  EXPECT_NEAR(TaskDifference(b, a, {{"t"}, {8}, 0}).value, -6.0 / 16, 1e-12);
  EXPECT_EQ(TaskDifference(a, a, {{"t"}, {8}, 0}).value, 0);
  EXPECT_GT(TaskDifference(a, a, {{"t"}, {8}, 0}).error, 0);
  EXPECT_TRUE(std::isnan(TaskDifference(a, b, {{"t"}, {9}, 0}).value));
}

// Runs of one arm whose "loss" went so, looked at every 50 steps.
StudyArmResults ArmOfCourses(const std::vector<std::vector<double>>& losses) {
  StudyArmResults arm;
  arm.tuned = true;
  for (const std::vector<double>& loss : losses) {
    StudyRun run;
    run.tuning_seed = static_cast<int64_t>(arm.runs.size()) + 1;
    StudyFigureCourse other = {"p", "loss", "layer 0, head 1", 8, {{0, 77.0}}},
                      course = {"p", "loss", "", 8, {}};
    for (size_t i = 0; i < loss.size(); ++i)
      course.values.emplace_back(50 * static_cast<int64_t>(i), loss[i]);
    run.courses = {other, course};
    run.figures = {{"q", "rise", "", 8, 0.5}};
    arm.runs.push_back(run);
  }
  return arm;
}

TEST(EstimatesTest, WhatIsReadFromACourse) {
  const StudyArmResults arm = ArmOfCourses({{4, 3.9, 3, 1.5, 1.4, 1.6}});
  const auto read = [&](StudyReading::Kind kind, double level = 0, int64_t before = 0,
                        int64_t within = 100) {
    return ReadingOf(arm.runs[0], {kind, "loss", within, before, level});
  };
  EXPECT_EQ(read(StudyReading::kLast), 1.6);
  EXPECT_EQ(read(StudyReading::kLeast), 1.4);
  EXPECT_EQ(read(StudyReading::kMost), 4);
  EXPECT_DOUBLE_EQ(read(StudyReading::kFall), 2.4);  // from step 50 to 150
  EXPECT_DOUBLE_EQ(read(StudyReading::kFallStep), 100);
  EXPECT_DOUBLE_EQ(read(StudyReading::kFall, 0, 0, 50), 1.5);
  EXPECT_DOUBLE_EQ(read(StudyReading::kFall, 0, 150), 1);  // steps 0 and 100 are left
  EXPECT_EQ(read(StudyReading::kFirstStep, 3.95), 0);
  EXPECT_TRUE(std::isnan(read(StudyReading::kFirstStep, 4)));
  EXPECT_TRUE(std::isnan(ReadingOf(arm.runs[0], {StudyReading::kLast, "none"})));
  // After training, of a probe of the evaluation.
  EXPECT_EQ(ReadingOf(arm.runs[0], {StudyReading::kLast, "rise"}), 0.5);
  EXPECT_TRUE(std::isnan(ReadingOf(arm.runs[0], {StudyReading::kMost, "rise"})));
}

TEST(EstimatesTest, ReadingsAreOverSeedsAndPaired) {
  const StudyArmResults a = ArmOfCourses({{4, 2}, {4, 1}, {4, 3}}),
                        b = ArmOfCourses({{4, 3}, {4, 2}, {4, 4}});
  const StudyReading last = {StudyReading::kLast, "loss"}, most = {StudyReading::kMost, "loss"};
  EXPECT_NEAR(ReadingEstimate(a, nullptr, last, {}).value, 2, 1e-12);
  EXPECT_NEAR(ReadingEstimate(a, nullptr, last, {}).error, 1 / std::sqrt(3.0), 1e-12);
  EXPECT_NEAR(ReadingEstimate(a, nullptr, most, last).value, 2, 1e-12);
  EXPECT_NEAR(ReadingEstimate(a, &b, last, {}).value, -1, 1e-12);
  EXPECT_NEAR(ReadingEstimate(a, &b, last, {}).error, 0, 1e-12);
  EXPECT_TRUE(std::isnan(ReadingEstimate(ArmOfCourses({{4, 2}}), nullptr, last, {}).error));
}

TEST(EstimatesTest, WhatIsMissingOrDivergedStaysVisible) {
  const StudyArmResults good = ArmOf({{1, 2}}, false), bad = ArmOf({{1, kInf}}, false),
                        single = ArmOf({{1}}, false);
  EXPECT_TRUE(std::isnan(Perplexity(good, 9).value));
  EXPECT_EQ(Perplexity(bad, 8).value, kInf);
  EXPECT_EQ(NllDifference(bad, 8, good, 8).value, kInf);
  EXPECT_TRUE(std::isnan(NllDifference(bad, 8, bad, 8).value));
  EXPECT_TRUE(std::isnan(Margin(Perplexity(single, 8))));  // one window has no spread
  EXPECT_EQ(NllDifference(good, 8, single, 8).value, 0);   // the window that both have
  SyntheticStudy made;
  made.arms = {{"direct", false, {4}, {}}};
  std::vector<Row> rows = made.Rows();
  rows[5].Set("nll", "nan");
  const auto study = ReadStudy(rows, {});
  ASSERT_TRUE(study.ok()) << study.status();
  EXPECT_EQ(Perplexity(study->arms[0], 64).value, kInf);
}

}  // namespace
}  // namespace longrange
