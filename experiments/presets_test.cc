// Every preset of every study can be run: its protocol and its arms fit each other, at the paper's
// size too, which nobody tries on the way.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/testing/matchers.h"
#include "papers/s4/s4.pb.h"
#include "plugins/stack/stack.pb.h"
#include "plugins/study/load.h"

namespace longrange {
namespace {

using ::testing::HasSubstr;

// The folders below that hold a study, by path.
std::vector<std::string> Studies() {
  std::vector<std::string> folders;
  for (const std::string top : {"experiments", "papers"}) {
    const std::string root = RunfilePath(top).value_or("");
    for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
      if (entry.path().filename() == "protocol.textproto")
        folders.push_back(entry.path().parent_path().string());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

TEST(Presets, OfEveryStudyCanBeRun) {
  const std::vector<std::string> studies = Studies();
  ASSERT_GE(studies.size(), 15u);
  for (const std::string& folder : studies) {
    LR_ASSERT_OK_AND_ASSIGN(const Study plain, LoadStudy(folder, {}));
    for (const StudyProtocol::Preset& preset : plain.protocol.preset()) {
      StudyOptions options;
      options.preset = preset.name();
      EXPECT_THAT(LoadStudy(folder, options).status(), IsOk())
          << folder << " --preset=" << preset.name();
      EXPECT_FALSE(preset.description().empty()) << folder << " --preset=" << preset.name();
    }
  }
}

TEST(Presets, AreInTheHelp) {
  LR_ASSERT_OK_AND_ASSIGN(const std::string folder, RunfilePath("papers/mamba/induction_heads"));
  const std::string help = PresetHelp(folder);
  LR_ASSERT_OK_AND_ASSIGN(const Study study, LoadStudy(folder, {}));
  ASSERT_GE(study.protocol.preset_size(), 3);
  for (const StudyProtocol::Preset& preset : study.protocol.preset()) {
    EXPECT_THAT(help,
                HasSubstr(absl::StrCat("--preset=", preset.name(), ": ", preset.description())));
  }
  EXPECT_EQ(PresetHelp("no/such/folder"), "");
}

TEST(Presets, LayMoreOverOneArm) {
  LR_ASSERT_OK_AND_ASSIGN(const std::string folder, RunfilePath("papers/mamba/selective_copying"));
  const auto kernel_length = [&](const std::string& preset) -> int64_t {
    StudyOptions options;
    options.preset = preset;
    options.arms = {"s4"};
    const Study study = LoadStudy(folder, options).value();
    StackConfig stack;
    S4Config s4;
    EXPECT_TRUE(study.settings.at(0).model().backbone().UnpackTo(&stack));
    EXPECT_TRUE(stack.mixer().UnpackTo(&s4));
    EXPECT_EQ(s4.d_state(), 64);
    return s4.kernel_length();
  };
  EXPECT_EQ(kernel_length(""), 256);
  EXPECT_EQ(kernel_length("paper"), 4096);
}

}  // namespace
}  // namespace longrange
