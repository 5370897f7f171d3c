// Mistakes planted in a small tree are found, each once, and nothing is found in a tree without
// them; nor in this repository.

#include "common/tools/tree_check.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Files = std::map<std::string, std::string>;

Files GoodTree() {
  return {
      {"WORKSPACE", ""},
      {"common/base/BUILD", "lr_cc_test(\n    srcs = [\"rng_test.cc\"],\n)\n"},
      {"common/base/rng.h", "#include <cstdint>\n"},
      {"common/base/rng_test.cc", "#include \"common/base/rng.h\"\n"},
      {"plugins/BUILD",
       "deps = [\n    \":a\",\n    \":b\",\n    \"//common/base:rng\",\n"
       "    \"//plugins/attention\",\n    \"//plugins/attention:rope\",\n"
       "    \"//third_party:absl\",\n    \"@com//:any\",\n]\n"},
      {"plugins/mixer.h", "#include \"absl/status/status.h\"\n#include \"common/base/rng.h\"\n"},
      {"papers/papers.bzl", "PAPERS = [\n    \"mega\",\n    \"s4\",\n]\n"},
      {"papers/claim_figure.h", ""},
      {"papers/mega/BUILD", "paper_plugin(name = \"mega\")\n"},
      {"papers/mega/README.md", ""},
      {"papers/mega/claims.textproto", ""},
      {"papers/s4/BUILD", "paper_plugin(name = \"s4\")\n"},
      {"papers/s4/README.md", ""},
      {"papers/s4/claims.textproto", ""},
      {"papers/s4/claims.cc", "#include \"papers/claim_figure.h\"\n"},
      {"papers/s4/conformance.textproto", ""},
      {"papers/s4/s4.cc",
       "#include \"papers/s4/s4.pb.h\"\nLR_REGISTER_PLUGIN(Mixer, S4Config, f);\n"},
      {"papers/s4/s4_test.cc", ""},
      {"papers/_skeleton/my_task/my_task.cc",
       "#include \"papers/_skeleton/my_task/my_task.pb.h\"\n"},
      {"experiments/one/BUILD", "study(name = \"one\")\n"},
      {"experiments/one/one_test.sh", ""},
      {"experiments/one/extra.cc",
       "#include \"papers/s4/s4.pb.h\"\n#include \"plugins/mixer.h\"\n"},
  };
}

std::vector<std::string> Check(const Files& files) {
  const std::string root = absl::StrCat(testing::TempDir(), "/tree");
  fs::remove_all(root);
  for (const auto& [path, text] : files) {
    fs::create_directories(fs::path(root + "/" + path).parent_path());
    CHECK(WriteFileAtomically(root + "/" + path, text).ok());
  }
  std::vector<std::string> lines;
  const auto findings = CheckTree(root);
  CHECK(findings.ok()) << findings.status();
  for (const TreeFinding& finding : *findings) lines.push_back(finding.ToString());
  return lines;
}

TEST(TreeCheckTest, FindsNothingInAGoodTree) { EXPECT_THAT(Check(GoodTree()), IsEmpty()); }

struct Mistake {
  const char* path;
  const char* text;  // null: the file is not there
  const char* finding;
};

TEST(TreeCheckTest, FindsEveryPlantedMistake) {
  for (const Mistake& mistake : std::vector<Mistake>{
           {"papers/papers.bzl", "PAPERS = [\n    \"s4\",\n    \"mega\",\n]\n",
            "papers/papers.bzl: 'mega' after 's4' (sort the list"},
           {"papers/papers.bzl", "PAPERS = [\n    \"mega\",\n]\n",
            "papers/s4: is not in papers/papers.bzl (add the line \"s4\",)"},
           {"papers/papers.bzl", "PAPERS = [\n    \"mega\",\n    \"s4\",\n    \"s5\",\n]\n",
            "papers/papers.bzl: 's5' has no folder"},
           {"papers/s4/README.md", nullptr, "papers/s4: has no README.md"},
           {"papers/mega/claims.textproto", nullptr, "papers/mega: has no claims.textproto"},
           {"papers/s4/conformance.textproto", nullptr,
            "papers/s4: registers a plugin and has no conformance.textproto"},
           {"common/base/BUILD", "", "common/base/rng_test.cc: is in no BUILD file"},
           {"experiments/one/BUILD", "", "experiments/one/one_test.sh: is in no BUILD file"},
           {"plugins/BUILD",
            "deps = [\n    \"//third_party:absl\",\n    \"//common/base:rng\",\n]\n",
            "plugins/BUILD:3: '//common/base:rng' after '//third_party:absl' (sort the list)"},
           {"common/base/rng.h", "\n#include \"plugins/mixer.h\"\n",
            "common/base/rng.h:2: includes plugins/mixer.h of a layer above"},
           {"plugins/mixer.h", "#include \"papers/s4/s4.h\"\n",
            "plugins/mixer.h:1: includes papers/s4/s4.h of a layer above"},
           {"papers/mega/mega.cc", "#include \"papers/s4/s4.h\"\n",
            "papers/mega/mega.cc:1: includes papers/s4/s4.h of another paper"},
           {"experiments/one/extra.cc", "#include \"papers/s4/s4.h\"\n",
            "experiments/one/extra.cc:1: includes papers/s4/s4.h of a paper"},
           {"common/base/rng.h", "#include <Eigen/Dense>\n",
            "common/base/rng.h:1: includes Eigen/Dense, and no target here names "
            "//third_party:eigen"},
       }) {
    Files files = GoodTree();
    if (mistake.text == nullptr) {
      files.erase(mistake.path);
    } else {
      files[mistake.path] = mistake.text;
    }
    const std::vector<std::string> findings = Check(files);
    ASSERT_EQ(findings.size(), 1u) << mistake.finding << ": " << testing::PrintToString(findings);
    EXPECT_THAT(findings[0], HasSubstr(mistake.finding));
  }
  EXPECT_THAT(CheckTree(testing::TempDir() + "/nothing"),
              StatusIs(absl::StatusCode::kNotFound, "has no WORKSPACE"));
}

// The sources themselves, which the runfiles link to: a folder that no list names is in no target's
// inputs. Hence the tags of this test.
TEST(TreeCheckTest, ThisRepositoryIsInOrder) {
  LR_ASSERT_OK_AND_ASSIGN(const std::string workspace, RunfilePath("WORKSPACE"));
  const fs::path root = fs::canonical(workspace).parent_path();
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<TreeFinding> findings, CheckTree(root.string()));
  for (const TreeFinding& finding : findings) ADD_FAILURE() << finding.ToString();
}

}  // namespace
}  // namespace longrange
