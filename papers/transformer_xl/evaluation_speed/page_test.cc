#include "papers/transformer_xl/evaluation_speed/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/report/xml_checker.h"
#include "common/testing/matchers.h"

namespace longrange {
namespace {

using testing::HasSubstr;

// The window takes attention^exponent milliseconds, the memory one, by segments half of one.
EvaluationSpeedResults Results(double exponent) {
  EvaluationSpeedResults results;
  results.threads = 2;
  for (const int64_t attention : {64, 128, 256}) {
    results.settings.add_attention(attention);
    for (const ReadingWay way : kReadingWays) {
      EvaluationSpeedRow row;
      row.way = way;
      row.attention = attention;
      const double window = std::pow(static_cast<double>(attention), exponent);
      row.seconds = way == ReadingWay::kWindow     ? 1e-3 * window
                    : way == ReadingWay::kSegments ? 5e-4
                                                   : 1e-3;
      row.flops = way == ReadingWay::kWindow ? static_cast<double>(attention) : 1;
      results.rows.push_back(row);
    }
  }
  return results;
}

TEST(EvaluationSpeedPageTest, LinearGrowthHasExponentOne) {
  const EvaluationSpeedResults linear = Results(1);
  EXPECT_NEAR(ExponentOf(linear, ReadingWay::kMemory, false), 1, 1e-12);
  EXPECT_NEAR(ExponentOf(linear, ReadingWay::kSegments, true), 1, 1e-12);
  EXPECT_DOUBLE_EQ(SpeedUp(linear, ReadingWay::kSegments, 128), 256);
  ASSERT_EQ(Findings(linear).size(), 2);
  for (const EvaluationSpeedFinding& finding : Findings(linear))
    EXPECT_EQ(finding.verdict, report::Verdict::kHolds) << finding.measured;
  for (const double exponent : {0.7, 1.3}) {
    for (const EvaluationSpeedFinding& finding : Findings(Results(exponent)))
      EXPECT_EQ(finding.verdict, report::Verdict::kDoesNotHold) << finding.measured;
  }
}

TEST(EvaluationSpeedPageTest, PageAndRows) {
  const EvaluationSpeedResults results = Results(1);
  EXPECT_EQ(report::CheckXml(EvaluationSpeedPage(results)).error, "");
  EXPECT_THAT(EvaluationSpeedText(results), HasSubstr("holds: From 64 to 256 tokens"));
  EXPECT_THAT(DeterministicRows(results)[2].Number("flops"), IsOkAndHolds(64));
  EXPECT_EQ(DeterministicRows(results)[0].Find("seconds"), nullptr);
  EXPECT_THAT(TimeRows(results)[0].Number("times_as_fast"), IsOkAndHolds(64));
}

}  // namespace
}  // namespace longrange
