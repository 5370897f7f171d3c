#include "papers/s4/kernel/page.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/report/xml_checker.h"
#include "common/testing/matchers.h"

namespace longrange {
namespace {

using testing::HasSubstr;

S4KernelResults Results() {
  S4KernelResults results;
  results.threads = 2;
  S4KernelArm* arm = results.settings.add_arm();
  arm->set_name("legs");
  arm->mutable_config();
  for (const int64_t length : {1024, 2048}) {
    results.settings.add_length(length);
    S4KernelRow row;
    row.arm = "legs";
    row.length = length;
    row.kernel_rms = row.kernel_largest = row.kernel_wide_rms = row.recurrence_rms = 1e-7;
    row.output_rms = 2e-7;
    const double seconds = 1e-6 * static_cast<double>(length);
    row.kernel_seconds = row.convolution_seconds = row.recurrence_seconds = seconds;
    row.kernel_flops = row.convolution_flops = row.recurrence_flops =
        1e3 * static_cast<double>(length);
    row.kernel_both_seconds = row.convolution_both_seconds = row.step_seconds = seconds;
    results.rows.push_back(row);
  }
  return results;
}

TEST(S4KernelPageTest, FindingsAreJudgedByTheWorstLength) {
  S4KernelResults results = Results();
  for (const S4KernelFinding& finding : Findings(results))
    EXPECT_EQ(finding.verdict, report::Verdict::kHolds) << finding.statement;
  ASSERT_EQ(Findings(results).size(), 3);
  results.rows[0].kernel_rms = 2e-5;
  results.rows[1].output_rms = 2e-5;
  results.rows[1].kernel_flops *= 2;
  for (const S4KernelFinding& finding : Findings(results))
    EXPECT_EQ(finding.verdict, report::Verdict::kDoesNotHold) << finding.statement;
}

TEST(S4KernelPageTest, PageAndRows) {
  const S4KernelResults results = Results();
  EXPECT_EQ(report::CheckXml(S4KernelPage(results)).error, "");
  EXPECT_THAT(S4KernelText(results), HasSubstr("legs             2048"));
  EXPECT_THAT(DeterministicRows(results)[1].Number("kernel_rms"), IsOkAndHolds(1e-7));
  EXPECT_EQ(DeterministicRows(results)[1].Find("kernel_seconds"), nullptr);
  EXPECT_THAT(TimeRows(results)[0].Number("step_seconds"), IsOkAndHolds(1.024e-3));
}

}  // namespace
}  // namespace longrange
