// The generator, on a copy of the skeletons: what it writes is the skeletons but for the name, one
// line is added to the list, names that cannot work are refused, and an error leaves nothing
// behind. The skeletons, and what it writes of each, are built and tested in papers/_skeleton
// (common/bazel/generated_paper.bzl).

#include "papers/new_paper.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/paths.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

constexpr char kList[] = "\"\"\"Doc.\"\"\"\n\nPAPERS = [\n    \"bigbird\",\n    \"s4\",\n]\n";

class NewPaperTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(testing::TempDir(), "/",
                         testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::remove_all(root_);
    fs::create_directories(root_ + "/papers");
    fs::copy(*RunfilePath("papers/_skeleton"), root_ + "/papers/_skeleton",
             fs::copy_options::recursive);
    Write("papers/papers.bzl", kList);
    Write("papers/BUILD", "lr_cc_binary(\n    name = \"scoreboard\",\n)\n");
    Write("papers/s4/s4.proto", "message S4Config {}\n");
    Write("papers/rope_extension/rope_extension.proto", "message RopeExtensionYarnConfig {}\n");
    Write("plugins/mixer.h", "// Mamba is a mixer.\nclass Mixer {};\n");
    Write("common/autograd/ops.h", "Tensor SwiGlu(const Tensor& gate);\n");
    before_ = Files();
  }

  void Write(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(root_ + "/" + path).parent_path());
    ASSERT_THAT(WriteFileAtomically(root_ + "/" + path, text), IsOk());
  }

  // Every file and folder under the root, with its text.
  std::map<std::string, std::string> Files() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(root_)) {
      files[fs::relative(entry.path(), root_).string()] =
          entry.is_directory() ? "" : *ReadWholeFile(entry.path().string());
    }
    return files;
  }

  std::string root_;
  std::map<std::string, std::string> before_;
};

using KindTest = NewPaperTest;

TEST_P(KindTest, WritesTheSkeletonUnderItsName) {
  const std::string kind = GetParam(), mine = "my_" + kind;
  LR_ASSERT_OK_AND_ASSIGN(const std::string next, MakePaper(root_, "quux_zap", kind));
  EXPECT_THAT(next, HasSubstr("bazel test //papers/quux_zap/..."));
  EXPECT_THAT(next, HasSubstr("[type.googleapis.com/longrange.QuuxZapConfig] {}"));
  for (const char* placeholder : {"ONE", "NAME", "CONFIG"})
    EXPECT_THAT(next, testing::Not(HasSubstr(placeholder)));

  std::map<std::string, std::string> added = Files();
  EXPECT_EQ(added.at("papers/papers.bzl"),
            absl::StrReplaceAll(kList, {{"    \"s4\"", "    \"quux_zap\",\n    \"s4\""}}));
  added.erase("papers/papers.bzl");
  for (const auto& [path, text] : before_) {
    if (path == "papers/papers.bzl") continue;
    ASSERT_EQ(added.count(path), 1u) << path;
    EXPECT_EQ(added.at(path), text) << path;
    added.erase(path);
  }
  ASSERT_EQ(added.erase("papers/quux_zap"), 1u);
  size_t num_skeleton = 0;
  for (const auto& [path, text] : before_)
    num_skeleton += absl::StartsWith(path, absl::StrCat("papers/_skeleton/", mine, "/"));
  EXPECT_EQ(added.size(), num_skeleton);
  EXPECT_GE(num_skeleton, 7u);
  for (const auto& [path, text] : added) {
    // Back to the placeholder: the compiler has seen these words, in this order.
    const std::string original = absl::StrReplaceAll(path, {{"quux_zap", mine}});
    ASSERT_TRUE(absl::StartsWith(path, "papers/quux_zap/")) << path;
    const auto skeleton =
        before_.find(absl::StrReplaceAll(original, {{"papers/", "papers/_skeleton/"}}));
    ASSERT_NE(skeleton, before_.end()) << path;
    EXPECT_FALSE(absl::StrContains(text, mine) || absl::StrContains(text, CamelCase(mine)) ||
                 absl::StrContains(text, "_skeleton"))
        << path << ":\n"
        << text;
    EXPECT_EQ(absl::StrReplaceAll(text, {{"papers/quux_zap", "papers/_skeleton/" + mine},
                                         {"quux_zap", mine},
                                         {"QuuxZap", CamelCase(mine)},
                                         {"Quux zap", "My " + kind}}),
              skeleton->second)
        << path;
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, KindTest, testing::ValuesIn(NewPaperKinds()),
                         [](const testing::TestParamInfo<std::string>& info) {
                           return info.param;
                         });

TEST_F(NewPaperTest, TheListStaysSorted) {
  for (const char* name : {"alibi", "mega", "zebra"}) {
    LR_ASSERT_OK_AND_ASSIGN(const std::string list, WithPaper(kList, name));
    EXPECT_EQ(list.size(), std::string(kList).size() + std::string(name).size() + 8) << list;
    EXPECT_THAT(list, HasSubstr(absl::StrCat("\n    \"", name, "\",\n")));
  }
  EXPECT_EQ(*WithPaper(kList, "alibi"),
            "\"\"\"Doc.\"\"\"\n\nPAPERS = [\n    \"alibi\",\n    \"bigbird\",\n    \"s4\",\n]\n");
  EXPECT_EQ(*WithPaper(kList, "zebra"),
            "\"\"\"Doc.\"\"\"\n\nPAPERS = [\n    \"bigbird\",\n    \"s4\",\n    \"zebra\",\n]\n");
}

struct Refusal {
  const char *name, *kind, *says;
};

TEST_F(NewPaperTest, RefusesWhatCannotWorkAndLeavesNothing) {
  for (const Refusal& refusal : std::vector<Refusal>{
           {"Quux", "mixer", "expected snake_case"},
           {"quux-zap", "mixer", "expected snake_case"},
           {"quux__zap", "mixer", "expected snake_case"},
           {"quux_", "mixer", "expected snake_case"},
           {"_skeleton", "mixer", "expected snake_case"},
           {"4s", "mixer", "expected snake_case"},
           {"quux_2zap", "mixer", "expected snake_case"},
           {"../quux", "mixer", "expected snake_case"},
           {"quüx", "mixer", "expected snake_case"},
           {"a_very_long_name_that_nobody_would_want_to_type", "mixer", "at most 40"},
           {"while", "mixer", "a word of C++"},
           {"quux_test", "mixer", "ends like a test"},
           {"goldens", "mixer", "every paper's folder has"},
           {"all", "mixer", "every paper's folder has"},
           {"scoreboard", "mixer", "//papers:scoreboard is a target already"},
           {"s4", "mixer", "papers/s4 is there"},
           {"bigbird", "mixer", "has a line for 'bigbird' already"},
           {"mixer", "mixer", "plugins/mixer.h"},
           {"swi_glu", "mixer", "common/autograd/ops.h"},
           {"rope_extension_yarn", "scheme", "RopeExtensionYarnConfig"},
           {"quux", "mixr", "did you mean 'mixer'?"},
       }) {
    const absl::StatusOr<std::string> made = MakePaper(root_, refusal.name, refusal.kind);
    ASSERT_FALSE(made.ok()) << refusal.name;
    EXPECT_THAT(std::string(made.status().message()), HasSubstr(refusal.says));
    EXPECT_TRUE(Files() == before_) << refusal.name;
  }
  // A name in a comment is free.
  EXPECT_THAT(MakePaper(root_, "mamba", "mixer"), IsOk());
}

TEST_F(NewPaperTest, AnErrorLeavesNothing) {
  Write("papers/papers.bzl", "PAPERS = sorted(_PAPERS)\n");
  before_ = Files();
  EXPECT_THAT(MakePaper(root_, "quux", "mixer"),
              StatusIs(absl::StatusCode::kInvalidArgument, "found no list"));
  EXPECT_TRUE(Files() == before_);

  // A skeleton that cannot be read to its end.
  Write("papers/papers.bzl", kList);
  fs::create_directory(root_ + "/papers/_skeleton/my_mixer/zzz");
  before_ = Files();
  EXPECT_FALSE(MakePaper(root_, "quux", "mixer").ok());
  EXPECT_TRUE(Files() == before_);

  EXPECT_THAT(MakePaper(root_ + "/papers", "quux", "mixer"),
              StatusIs(absl::StatusCode::kFailedPrecondition, "expected the repository"));
}

}  // namespace
}  // namespace longrange
