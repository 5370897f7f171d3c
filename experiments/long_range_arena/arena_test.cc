#include "experiments/long_range_arena/arena.h"

#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/paths.h"
#include "common/testing/matchers.h"

namespace longrange {
namespace {

std::string Folder() {
  const auto folder = RunfilePath("experiments/long_range_arena");
  CHECK(folder.ok()) << folder.status();
  return *folder;
}

// Every preset of every task makes a study of every mixer, or says why not; those that read files
// on their stand-ins.
TEST(Arena, EveryPresetOfEveryTask) {
  for (const char* preset : {"quick", "smoke", "small", "paper"}) {
    ArenaOptions options;
    options.preset = preset;
    options.stand_ins = true;
    LR_ASSERT_OK_AND_ASSIGN(const Arena arena, ReadArena(Folder(), options));
    EXPECT_EQ(arena.tasks.size(), options.preset == "paper" ? 6u : 5u);
    EXPECT_EQ(arena.mixers.front().name, "transformer");
    for (const NamedTask& task : arena.tasks) {
      LR_ASSERT_OK_AND_ASSIGN(const ArenaStudy made, MakeArenaStudy(arena, task, options));
      EXPECT_EQ(made.study.arms.size() + made.unserved.size(), arena.mixers.size());
      const StudySettings& settings = made.study.protocol.settings();
      EXPECT_EQ(settings.tuning().length(), made.study.protocol.trained_length()) << task.name;
      EXPECT_EQ(settings.evaluation().task_length(0), settings.tuning().length()) << task.name;
      // Where a row in front is read, causal mixers are left out by name; elsewhere nobody is.
      std::set<std::string> unserved;
      for (const Unserved& one : made.unserved) {
        unserved.insert(one.mixer);
        EXPECT_THAT(one.why, testing::HasSubstr("pooling: CLS")) << one.mixer;
      }
      const std::set<std::string> causal = {"mamba", "retnet"};
      EXPECT_EQ(unserved,
                settings.model().pooling() == ModelConfig::CLS ? causal : std::set<std::string>())
          << preset << " " << task.name;
    }
  }
}

// The paper's sizes (appendix A), as far as they can be read off.
TEST(Arena, ThePaperPresetIsThePapers) {
  ArenaOptions options;
  options.preset = "paper";
  options.stand_ins = true;
  options.mixers = {"transformer"};
  LR_ASSERT_OK_AND_ASSIGN(const Arena arena, ReadArena(Folder(), options));
  struct Size {
    const char* task;
    int64_t rows, width, steps, batch;
  };
  const std::vector<Size> sizes = {
      {"listops", 2000, 512, 5000, 32},      {"text", 4000, 512, 20000, 32},
      {"retrieval", 4000, 128, 5000, 32},    {"image", 1024, 64, 35156, 256},
      {"pathfinder", 1024, 128, 62500, 512}, {"path_x", 16384, 128, 500000, 64}};
  ASSERT_EQ(arena.tasks.size(), sizes.size());
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_EQ(arena.tasks[i].name, sizes[i].task);
    LR_ASSERT_OK_AND_ASSIGN(const ArenaStudy made, MakeArenaStudy(arena, arena.tasks[i], options));
    const StudySettings& settings = made.study.settings[0];
    EXPECT_EQ(settings.tuning().length(), sizes[i].rows);
    EXPECT_EQ(settings.model().width(), sizes[i].width);
    EXPECT_EQ(settings.tuning().steps(), sizes[i].steps);
    EXPECT_EQ(settings.tuning().batch(), sizes[i].batch);
  }
}

// A mixer's file may ask for the rows of a sequence.
TEST(Arena, RowsGoToTheMixer) {
  ArenaOptions options;
  options.mixers = {"s4"};
  options.tasks = {"listops"};
  LR_ASSERT_OK_AND_ASSIGN(const Arena arena, ReadArena(Folder(), options));
  LR_ASSERT_OK_AND_ASSIGN(const ArenaStudy made, MakeArenaStudy(arena, arena.tasks[0], options));
  EXPECT_THAT(made.study.settings[0].model().DebugString(),
              testing::HasSubstr("kernel_length: 128"));
  options.tasks = {"text"};
  LR_ASSERT_OK_AND_ASSIGN(const Arena text, ReadArena(Folder(), options));
  LR_ASSERT_OK_AND_ASSIGN(const StudySettings settings,
                          SpeedSettings(text.tasks[0], text.mixers[0], options, 3072));
  EXPECT_EQ(settings.tuning().length(), 3072);
  EXPECT_THAT(settings.model().DebugString(), testing::HasSubstr("kernel_length: 3072"));
}

TEST(Arena, FilesAreNamedOrStoodInFor) {
  ArenaOptions options;
  options.mixers = {"s5"};
  options.tasks = {"text"};
  options.data = {{"text", "/nowhere"}};
  LR_ASSERT_OK_AND_ASSIGN(const Arena arena, ReadArena(Folder(), options));
  LR_ASSERT_OK_AND_ASSIGN(const ArenaStudy real, MakeArenaStudy(arena, arena.tasks[0], options));
  EXPECT_THAT(real.study.protocol.settings().task().DebugString(),
              testing::AllOf(testing::HasSubstr("folder: \"/nowhere\""),
                             testing::Not(testing::HasSubstr("source"))));
  EXPECT_EQ(real.study.protocol.trained_length(), 1024);
  options.data.clear();
  LR_ASSERT_OK_AND_ASSIGN(const ArenaStudy made, MakeArenaStudy(arena, arena.tasks[0], options));
  EXPECT_THAT(made.study.protocol.settings().task().DebugString(),
              testing::HasSubstr("source: \"anarchism\""));
  options.preset = "paper";
  EXPECT_THAT(MakeArenaStudy(arena, arena.tasks[0], options).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "expected --data=text=FOLDER"));
}

TEST(Arena, ParsesData) {
  LR_ASSERT_OK_AND_ASSIGN(const auto data, ParseData("text=a,image=b=c"));
  EXPECT_EQ(data.at("text"), "a");
  EXPECT_EQ(data.at("image"), "b=c");
  for (const char* bad : {"text", "text=", "=a", "text=a,text=b"})
    EXPECT_THAT(ParseData(bad).status(), StatusIs(absl::StatusCode::kInvalidArgument, "--data"));
}

}  // namespace
}  // namespace longrange
