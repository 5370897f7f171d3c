// How much context do models use? A study trains them (protocol.textproto, arms/), then each
// predicts the same tokens behind contexts of growing length (contexts/).

#include <gflags/gflags.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/command_line.h"
#include "common/base/interrupt.h"
#include "common/base/paths.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "common/io/rows.h"
#include "papers/transformer_xl/relative_effective_context/measure.h"
#include "papers/transformer_xl/relative_effective_context/page.h"
#include "plugins/study/load.h"
#include "plugins/study/runner.h"

DEFINE_string(
    preset, "",
    "Settings laid over the protocol, by name (above); none: the protocol's own, minutes");
DEFINE_string(
    corpus, "",
    "Text to train and measure on: 'anarchism', 'bible_kjv', or a file or folder of text");

namespace longrange {
namespace {

constexpr char kFolder[] = "papers/transformer_xl/relative_effective_context";

absl::Status Run(const CommandLine& line) {
  StudyOptions options;
  options.preset = FLAGS_preset;
  options.set = line.set;
  if (!FLAGS_corpus.empty()) options.set.push_back("data.corpus=" + FLAGS_corpus);
  options.quiet = FLAGS_quiet;
  LR_ASSIGN_OR_RETURN(const std::string folder, RunfilePath(kFolder));
  LR_ASSIGN_OR_RETURN(const Study study, LoadStudy(folder, options));
  LR_ASSIGN_OR_RETURN(
      const RelativeEffectiveContextSettings settings,
      ParseTextProtoFile<RelativeEffectiveContextSettings>(absl::StrCat(
          folder, "/contexts/", FLAGS_preset.empty() ? "default" : FLAGS_preset, ".textproto")));
  LR_RETURN_IF_ERROR(CheckSettings(settings, study));
  options.out =
      OutFolder(options.preset.empty() ? study.protocol.name()
                                       : absl::StrCat(study.protocol.name(), "-", options.preset));
  if (FLAGS_dry_run) {
    LR_ASSIGN_OR_RETURN(const std::string text, DescribeStudy(study));
    fputs(text.c_str(), stdout);
    return absl::OkStatus();
  }
  LR_RETURN_IF_ERROR(RunStudy(study, options));
  CatchInterrupts();
  Progress progress({"contexts", PlannedContexts(settings, study.protocol.tuning_seed_size())},
                    FLAGS_quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  const absl::StatusOr<RelativeEffectiveContextResults> results =
      MeasureRelativeEffectiveContext(settings, study, options.out, [&](const std::string& what) {
        progress.Advance(1, 0, what);
        return !Interrupted();
      });
  if (absl::IsCancelled(results.status())) {
    return absl::CancelledError(
        "stopped; the models are kept, the same command measures their contexts anew");
  }
  LR_RETURN_IF_ERROR(results.status());
  progress.Finish();
  const std::string rows = absl::StrCat(options.out, "/effective_context.jsonl"),
                    page = absl::StrCat(options.out, "/effective_context.html");
  LR_RETURN_IF_ERROR(WriteRows(rows, EffectiveContextRows(*results)));
  LR_RETURN_IF_ERROR(WriteFileAtomically(page, EffectiveContextPage(*results)));
  absl::PrintF("\n%s", EffectiveContextText(*results));
  if (!FLAGS_quiet) absl::FPrintF(stderr, "rows    %s\nreport  %s\n", rows, page);
  return absl::OkStatus();
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  const std::string presets = longrange::PresetHelp(
      longrange::RunfilePath(longrange::kFolder).value_or(longrange::kFolder));
  return longrange::Main(
      argc, argv,
      {absl::StrCat(
           "Trains Transformer-XL, the same without recurrence and a transformer on real text, and "
           "measures the relative effective context length of each.\n"
           "What it is, and what came out: README.md beside it. --set changes the study's "
           "settings: --set tuning.steps=4000.\n",
           presets),
       {{"Study", {"preset", "corpus", "set"}},
        {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}}},
      longrange::Run);
}
