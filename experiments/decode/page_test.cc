#include "experiments/decode/page.h"

#include "common/report/xml_checker.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

DecodeResults Results() {
  DecodeResults results;
  results.settings.add_context(1024);
  results.settings.add_context(2048);
  results.threads = 2;
  results.arms = {{"fixed", 1000, true}, {"cached <k, v>", 900, false}};
  results.steps = {{"fixed", 1024, 4096, 1e6, 1e-3, 0.5},
                   {"fixed", 2048, 4096, 1e6, 1.1e-3, 1},
                   {"cached <k, v>", 1024, 1 << 20, 2e6, 2e-3, 0.5},
                   {"cached <k, v>", 2048, 2 << 20, 3e6, 4e-3, 1.5}};
  results.forms = {{"fixed", "chunked", 512, 1e9, 0, 0.01, false},
                   {"fixed", "parallel", 512, 2e9, 1e-6, 0.02, true},
                   {"fixed", "chunked", 1024, 2e9, 0, 0.02, false},
                   {"fixed", "parallel", 1024, 8e9, 2e-6, 0.05, true}};
  return results;
}

const DecodeFinding* Find(const std::vector<DecodeFinding>& findings, const std::string& id) {
  for (const DecodeFinding& finding : findings)
    if (finding.id == id) return &finding;
  return nullptr;
}

TEST(DecodePage, SaysWhatWasMeasured) {
  const std::string page = DecodePage(Results());
  const report::XmlReport xml = report::CheckXml(page.substr(page.find("<html")));
  EXPECT_EQ(xml.error, "");
  EXPECT_THAT(xml.texts, Contains("tokens seen before"));
  EXPECT_THAT(page, HasSubstr("cached &lt;k, v&gt;"));
}

TEST(DecodePage, Findings) {
  const std::vector<DecodeFinding> findings = Findings(Results());
  EXPECT_EQ(findings.size(), 4u);  // the cache is not said to be constant
  EXPECT_EQ(Find(findings, "fixed/step")->verdict, report::Verdict::kHolds);
  EXPECT_EQ(Find(findings, "fixed/forms")->verdict, report::Verdict::kHolds);
  EXPECT_EQ(Find(findings, "fixed/chunked_growth")->verdict, report::Verdict::kHolds);
  EXPECT_EQ(Find(findings, "fixed/parallel_growth")->verdict, report::Verdict::kDoesNotHold);
  DecodeResults slower = Results();
  slower.steps[1].seconds = 1.3e-3;
  EXPECT_EQ(Find(Findings(slower), "fixed/step")->verdict, report::Verdict::kDoesNotHold);
  DecodeResults larger = Results();
  larger.steps[1].state_bytes += 8;
  EXPECT_EQ(Find(Findings(larger), "fixed/step")->verdict, report::Verdict::kDoesNotHold);
  DecodeResults apart = Results();
  apart.forms[3].difference = 1e-3;
  EXPECT_EQ(Find(Findings(apart), "fixed/forms")->verdict, report::Verdict::kDoesNotHold);
}

TEST(DecodePage, Text) {
  EXPECT_THAT(DecodeText(Results()),
              HasSubstr("      1024         1000         4.0          500      1024.0\n"));
}

}  // namespace
}  // namespace longrange
