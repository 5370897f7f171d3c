// The program of every study (common/bazel/study.bzl): LR_STUDY is the folder it is made from,
// "experiments/context_extension".

#include <gflags/gflags.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "plugins/study/load.h"
#include "plugins/study/runner.h"

DEFINE_string(preset, "",
              "Settings laid over the protocol, by name (above); none: the protocol's own");
DEFINE_string(arms, "", "Run only these arms, e.g. direct_tuned,yarn_tuned; none: all");
DEFINE_string(study, "",
              "Folder with another protocol.textproto and arms/; none: the one of this study");
DEFINE_string(
    checkpoint, "",
    "Folder of a trained model (plugins/checkpoint) to take for the base model; none: it is "
    "trained");
DEFINE_string(
    corpus, "",
    "Text to train and measure on: 'anarchism', 'bible_kjv', or a file or folder of text");

namespace longrange {
namespace {

absl::Status Run(const CommandLine& line) {
  StudyOptions options;
  options.preset = FLAGS_preset;
  options.set = line.set;
  if (!FLAGS_corpus.empty()) options.set.push_back("data.corpus=" + FLAGS_corpus);
  options.arms = absl::StrSplit(FLAGS_arms, ',', absl::SkipEmpty());
  if (options.arms.empty() && !FLAGS_arms.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("--arms=", FLAGS_arms, ": expected names with commas between them"));
  options.checkpoint = UserPath(FLAGS_checkpoint);
  options.quiet = FLAGS_quiet;
  std::string folder = UserPath(FLAGS_study);
  if (folder.empty()) {
    LR_ASSIGN_OR_RETURN(folder, RunfilePath(LR_STUDY));
  }
  LR_ASSIGN_OR_RETURN(const Study study, LoadStudy(folder, options));
  options.out =
      OutFolder(options.preset.empty() ? study.protocol.name()
                                       : absl::StrCat(study.protocol.name(), "-", options.preset));
  if (FLAGS_dry_run) {
    LR_ASSIGN_OR_RETURN(const std::string text, DescribeStudy(study));
    fputs(text.c_str(), stdout);
    return absl::OkStatus();
  }
  return RunStudy(study, options);
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  const std::string presets =
      longrange::PresetHelp(longrange::RunfilePath(LR_STUDY).value_or(LR_STUDY));
  return longrange::Main(argc, argv,
                         {absl::StrCat("Runs the controlled study in " LR_STUDY
                                       ": every arm under the same budget, one report.\n"
                                       "What it asks, and what came out: README.md there.",
                                       presets.empty() ? "" : "\n", presets),
                          {{"Study", {"preset", "arms", "corpus", "checkpoint", "study", "set"}},
                           {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}}},
                         longrange::Run);
}
