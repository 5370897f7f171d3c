// Decoding with a state of fixed size against decoding with a cache: time of a token and bytes of
// state behind contexts of growing length; and the forms of a layer, on a whole sequence.

#include <gflags/gflags.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/command_line.h"
#include "common/base/interrupt.h"
#include "common/base/paths.h"
#include "common/base/process_memory.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "common/report/measurement.h"
#include "experiments/decode/measure.h"
#include "experiments/decode/page.h"

DEFINE_string(preset, "default",
              "Settings: 'default' (minutes), 'smoke' (seconds) or 'paper' (RetNet's 6.7 B)");
DEFINE_string(mixers, "", "Arms of the settings, comma-separated; none: all");

namespace longrange {
namespace {

absl::StatusOr<DecodeSettings> ReadSettings(const CommandLine& line) {
  LR_ASSIGN_OR_RETURN(
      const std::string path,
      RunfilePath(absl::StrCat("experiments/decode/presets/", FLAGS_preset, ".textproto")));
  LR_ASSIGN_OR_RETURN(DecodeSettings settings, ParseTextProtoFile<DecodeSettings>(path));
  LR_RETURN_IF_ERROR(SetFields(&settings, line.set));
  LR_RETURN_IF_ERROR(CheckSettings(settings));
  if (FLAGS_mixers.empty()) return settings;
  DecodeSettings chosen = settings;
  chosen.clear_arm();
  for (const absl::string_view name : absl::StrSplit(FLAGS_mixers, ',')) {
    std::vector<std::string> known;
    bool found = false;
    for (const DecodeArm& arm : settings.arm()) {
      known.push_back(arm.name());
      if (arm.name() != name) continue;
      found = true;
      *chosen.add_arm() = arm;
    }
    if (!found) {
      return absl::InvalidArgumentError(absl::StrCat("--mixers: '", name, "' (expected some of ",
                                                     absl::StrJoin(known, ", "), ")"));
    }
  }
  const absl::Status status = CheckSettings(chosen);
  return status.ok() ? absl::StatusOr<DecodeSettings>(chosen) : Annotate(status, "--mixers");
}

absl::Status Run(const CommandLine& line) {
  LR_ASSIGN_OR_RETURN(const DecodeSettings settings, ReadSettings(line));
  double needed = 0;
  for (const DecodeArm& arm : settings.arm()) {
    const absl::StatusOr<Forecast> forecast = ForecastOf(settings, arm);
    if (!forecast.ok()) return Annotate(forecast.status(), absl::StrCat("arm ", arm.name()));
    const auto bytes = static_cast<double>(forecast->memory_bytes);
    if (FLAGS_dry_run) {
      absl::PrintF("%s: %s parameters, %sB of state behind the longest context, %sB of memory\n",
                   arm.name(), FormatCount(static_cast<double>(forecast->parameters)),
                   FormatCount(static_cast<double>(forecast->state_bytes)), FormatCount(bytes));
    }
    needed = std::max(needed, bytes);  // one arm at a time
  }
  if (FLAGS_dry_run) return absl::OkStatus();
  LR_RETURN_IF_ERROR(RequireMemory(needed, "an arm", "take shorter contexts or a smaller width"));
  const std::string out =
      OutFolder(FLAGS_preset == "default" ? "decode" : absl::StrCat("decode-", FLAGS_preset));
  LR_RETURN_IF_ERROR(MakeOutFolder(out));
  CatchInterrupts();
  Progress progress({"measurements", PlannedRows(settings)},
                    FLAGS_quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  absl::StatusOr<DecodeResults> results = Measure(settings, [&](const std::string& what) {
    progress.Advance(1, 0, what);
    return !Interrupted();
  });
  if (absl::IsCancelled(results.status()))
    return absl::CancelledError("stopped; nothing is written, the same command starts anew");
  LR_RETURN_IF_ERROR(results.status());
  progress.Finish();
  return report::WriteMeasurement(out, {DeterministicRows(*results), TimeRows(*results),
                                        DecodePage(*results), DecodeText(*results)});
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Times decoding, a token at a time, behind contexts of growing length, and counts the bytes "
       "of state; then the forms of each layer on whole sequences.\n"
       "Models of random weights. --set changes the settings: "
       "--set width=256, --set context=1024,65536. README.md beside it says what is measured.",
       {{"Experiment", {"preset", "mixers", "set"}},
        {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}},
       {{"preset", {"default", "smoke", "paper"}}}},
      longrange::Run);
}
