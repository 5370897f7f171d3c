// The golden cases that lie in the papers' folders.

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/testing/golden_file.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"
#include "plugins/golden/golden_adapter.h"

namespace longrange {
namespace {

class GoldensTest : public testing::TestWithParam<std::string> {};

TEST_P(GoldensTest, AllPass) {
  LR_ASSERT_OK_AND_ASSIGN(const std::string dir, RunfilePath("papers/" + GetParam() + "/goldens"));
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<GoldenFile> files, FindGoldenFiles(dir));
  ASSERT_FALSE(files.empty());
  for (const GoldenFile& file : files) {
    const GoldenReport report = RunGolden(file);
    EXPECT_TRUE(report.passed) << report.ToString();
  }
}

// Those with cases.
std::vector<std::string> PapersWithGoldens() {
  std::vector<std::string> papers;
  for (const char* paper : {LR_PAPERS}) {
    if (RunfilePath(absl::StrCat("papers/", paper, "/goldens")).ok()) papers.push_back(paper);
  }
  return papers;
}

TEST(GoldensFoldersTest, AreFound) { EXPECT_FALSE(PapersWithGoldens().empty()); }

INSTANTIATE_TEST_SUITE_P(Papers, GoldensTest, testing::ValuesIn(PapersWithGoldens()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return info.param;
                         });

}  // namespace
}  // namespace longrange
