// Reading a text with the memory of Transformer-XL kept, against reading the window of every token
// anew: Table 9 of the paper, at any size.

#include <gflags/gflags.h>

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
#include "common/report/measurement.h"
#include "papers/transformer_xl/evaluation_speed/measure.h"
#include "papers/transformer_xl/evaluation_speed/page.h"

DEFINE_string(preset, "default",
              "Settings: 'default' (a minute or two), 'smoke' (seconds) or 'paper' (Table 9)");

namespace longrange {
namespace {

absl::Status Run(const CommandLine& line) {
  LR_ASSIGN_OR_RETURN(const std::string path,
                      RunfilePath(absl::StrCat("papers/transformer_xl/evaluation_speed/presets/",
                                               FLAGS_preset, ".textproto")));
  LR_ASSIGN_OR_RETURN(EvaluationSpeedSettings settings,
                      ParseTextProtoFile<EvaluationSpeedSettings>(path));
  LR_RETURN_IF_ERROR(SetFields(&settings, line.set));
  LR_RETURN_IF_ERROR(CheckSettings(settings));
  if (FLAGS_dry_run) {
    absl::PrintF("%d attention lengths, three ways, %d rounds\n", settings.attention_size(),
                 settings.rounds());
    return absl::OkStatus();
  }
  const std::string out = OutFolder(
      FLAGS_preset == "default" ? "transformer_xl_evaluation_speed"
                                : absl::StrCat("transformer_xl_evaluation_speed-", FLAGS_preset));
  LR_RETURN_IF_ERROR(MakeOutFolder(out));
  CatchInterrupts();
  Progress progress({"rounds", settings.attention_size() + settings.rounds()},
                    FLAGS_quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  const absl::StatusOr<EvaluationSpeedResults> results =
      MeasureEvaluationSpeed(settings, [&](const std::string& what) {
        progress.Advance(1, 0, what);
        return !Interrupted();
      });
  if (absl::IsCancelled(results.status()))
    return absl::CancelledError("stopped; nothing is written, the same command starts anew");
  LR_RETURN_IF_ERROR(results.status());
  progress.Finish();
  return report::WriteMeasurement(
      out, {DeterministicRows(*results), TimeRows(*results), EvaluationSpeedPage(*results),
            EvaluationSpeedText(*results)});
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Times a token of Transformer-XL by attention length: with the memory kept, token by token "
       "and by segments, and with the window of every token read anew.\n"
       "Models of random weights. --set changes the settings: --set width=256, "
       "--set attention=64,4096.",
       {{"Experiment", {"preset", "set"}},
        {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}},
       {{"preset", {"default", "smoke", "paper"}}}},
      longrange::Run);
}
