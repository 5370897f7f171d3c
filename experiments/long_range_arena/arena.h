// Long Range Arena put together: tasks and mixers as their files describe them, and for each task
// the study (plugins/study) whose arms are the mixers that can serve it.

#ifndef LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_ARENA_H_
#define LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_ARENA_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/long_range_arena/arena.pb.h"
#include "plugins/study/load.h"

namespace longrange {

struct ArenaOptions {
  std::string preset = "quick";
  std::vector<std::string> tasks;           // by name; empty: all of the preset
  std::vector<std::string> mixers;          // by name; empty: all
  std::map<std::string, std::string> data;  // folder of a task's files
  bool stand_ins = false;                   // also in the preset "paper"
  std::vector<std::string> set;             // "path=value" on the settings of every task
};

// "text=FOLDER,image=FOLDER". InvalidArgument: not of that form, or a task twice.
absl::StatusOr<std::map<std::string, std::string>> ParseData(const std::string& text);

struct NamedTask {
  std::string name;  // of its file
  ArenaTask config;
};
struct NamedMixer {
  std::string name;
  ArenaMixer config;
};

struct Arena {
  std::string preset;
  std::vector<NamedTask> tasks;   // those chosen, in the paper's order
  std::vector<std::string> left;  // titles of those that the preset leaves out
  std::vector<NamedMixer> mixers;
  ArenaSpeed speed;
};

// Reads tasks/, mixers/ and speed.textproto of a folder. InvalidArgument: an unknown name or
// preset, or data for a task that reads no files.
absl::StatusOr<Arena> ReadArena(const std::string& folder, const ArenaOptions& options);

// A mixer that cannot serve a task, and why.
struct Unserved {
  std::string mixer, why;
};

struct ArenaStudy {
  Study study;  // its arms are the mixers that serve the task
  std::vector<Unserved> unserved;
};

// The study of one task. Every mixer is tried by itself: an arm that is refused, or whose model
// does not take the task's examples with their padding, is left out by name. The error of the first
// one where none serves.
absl::StatusOr<ArenaStudy> MakeArenaStudy(const Arena& arena, const NamedTask& task,
                                          const ArenaOptions& options);

// The settings of a mixer for measuring its speed: those of the task "text" of the preset at so
// many rows, answered from the mean. InvalidArgument: it takes no such length.
absl::StatusOr<StudySettings> SpeedSettings(const NamedTask& text, const NamedMixer& mixer,
                                            const ArenaOptions& options, int64_t rows);

// Can a model of these settings be trained on sequences of this length, padded behind their end?
absl::Status CanTrain(const StudySettings& settings, bool padded);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_ARENA_H_
