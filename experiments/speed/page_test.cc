#include "experiments/speed/page.h"

#include "common/report/xml_checker.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

SpeedResults Results() {
  SpeedResults results;
  results.threads = 2;
  results.peak = {2e11, 5e10};
  results.peer = "torch <2>";
  WorkRow softmax{"Softmax/forward/rows:4", true, 4e9, 5e9, {0.2, 0.1, 0.3}, {0.4, 0.3, 0.6}};
  WorkRow gemm{"Gemm/m:1/k:1/n:1", true, 1e11, 1e9, {1}, {}};
  WorkRow step{"TrainingStep/mamba/b:1", false, 1e10, 1e9, {0.5}, {5}};
  results.work = {softmax, gemm, step};
  results.layers = {{"attention", "", 256, 1},
                    {"attention", "", 512, 4},
                    {"Mamba", "attention", 256, 2},
                    {"Mamba", "attention", 512, 2}};
  results.decode = {{"attention", "", 256, 1}, {"Mamba", "attention", 256, 2}};
  return results;
}

TEST(SpeedPage, SaysWhatWasMeasured) {
  const std::string page = SpeedPage(Results());
  const report::XmlReport xml = report::CheckXml(page.substr(page.find("<html")));
  EXPECT_EQ(xml.error, "");
  EXPECT_THAT(xml.texts, Contains("what the machine can do"));
  EXPECT_THAT(page, HasSubstr("Softmax/forward/rows:4"));
  EXPECT_THAT(page, HasSubstr("200 GFLOP/s"));
  EXPECT_THAT(page, HasSubstr("torch &lt;2&gt;"));
  EXPECT_THAT(page, HasSubstr("overtakes at 362 rows"));
  EXPECT_THAT(page, HasSubstr("does not overtake up to 256 rows"));
}

TEST(SpeedPage, WithoutAPeerThereAreNoRatios) {
  SpeedResults results = Results();
  results.peer.clear();
  for (WorkRow& row : results.work) row.peer.clear();
  EXPECT_THAT(SpeedPage(results), Not(HasSubstr("Ratio")));
  EXPECT_THAT(SpeedText(results), Not(HasSubstr("ratio")));
}

TEST(SpeedPage, Text) {
  const std::string text = SpeedText(Results());
  EXPECT_THAT(text, HasSubstr("2 threads; peak 200 GFLOP/s, memory 50.0 GB/s"));
  // 0.1 s for the bytes of the softmax, and ratios of 2, 3 and 2.
  EXPECT_THAT(text, HasSubstr("200.000     20.0     25.0     50    400.000  2.00 (2.00-3.00)"));
  EXPECT_THAT(text, HasSubstr("1 compared with torch <2>, geometric mean of the ratios 10.00"));
  EXPECT_THAT(text, HasSubstr("Mamba, against attention: overtakes at 362 rows"));
}

TEST(SpeedPage, RowsThatRepeatHoldNoTimes) {
  const SpeedResults results = Results();
  for (const Row& row : DeterministicRows(results)) {
    EXPECT_EQ(row.Find("seconds"), nullptr);
    EXPECT_NE(row.Find("flops"), nullptr);
  }
  EXPECT_EQ(TimeRows(results).size(), 1u + 3 + 4 + 1 + 2 + 1);
}

}  // namespace
}  // namespace longrange
