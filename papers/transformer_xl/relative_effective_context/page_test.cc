#include "papers/transformer_xl/relative_effective_context/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "common/report/xml_checker.h"
#include "common/testing/matchers.h"

namespace longrange {
namespace {

using testing::HasSubstr;

// Losses that fall by 0.1 with each of the first `reach` of six steps.
std::vector<std::vector<double>> Falling(size_t reach) {
  std::vector<std::vector<double>> losses;
  for (size_t k = 0; k < 6; ++k)
    losses.emplace_back(3, 2 - 0.1 * static_cast<double>(std::min(k + 1, reach)));
  return losses;
}

RelativeEffectiveContextResults Results() {
  RelativeEffectiveContextResults results;
  results.settings.set_step(10);
  results.settings.set_longest(60);
  results.settings.add_hardest(0.5);
  results.settings.add_hardest(1);
  for (const char* name : {"short", "long"}) results.settings.add_arm()->set_name(name);
  results.labels = {"short & sweet", "long"};
  results.seeds = {{1, {Falling(2), Falling(6)}}, {2, {Falling(4), Falling(5)}}};
  return results;
}

TEST(EffectiveContextPageTest, LengthsAreMeansOverSeeds) {
  const RelativeEffectiveContextResults results = Results();
  EXPECT_DOUBLE_EQ(EffectiveContextOf(results, 0, 1).tokens, 30);
  EXPECT_FALSE(EffectiveContextOf(results, 0, 1).open);
  EXPECT_DOUBLE_EQ(EffectiveContextOf(results, 1, 1).tokens, 55);
  EXPECT_TRUE(EffectiveContextOf(results, 1, 1).open);
}

TEST(EffectiveContextPageTest, PageAndRows) {
  const RelativeEffectiveContextResults results = Results();
  EXPECT_EQ(report::CheckXml(EffectiveContextPage(results)).error, "");
  EXPECT_THAT(EffectiveContextPage(results), HasSubstr("≥ 55"));
  EXPECT_THAT(EffectiveContextText(results), HasSubstr("1.900 / "));
  const std::vector<Row> rows = EffectiveContextRows(results);
  // Of two seeds and two arms: six contexts, and for each share five gains and a length.
  ASSERT_EQ(rows.size(), 2u * 2u * (6u + 2u * (5u + 1u)));
  EXPECT_THAT(rows[0].Number("nll"), IsOkAndHolds(testing::DoubleNear(1.9, 1e-12)));
  EXPECT_THAT(rows.back().Integer("tokens"), IsOkAndHolds(50));
  EXPECT_THAT(rows.back().Bool("open"), IsOkAndHolds(false));
}

}  // namespace
}  // namespace longrange
