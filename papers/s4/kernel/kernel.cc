// S4's three ways to the same output: the kernel from sums over the modes, its convolution by FFT,
// and the recurrence. How exact are the first two, and what does each cost?

#include <gflags/gflags.h>

#include <cstdio>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/command_line.h"
#include "common/base/interrupt.h"
#include "common/base/paths.h"
#include "common/base/process_memory.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "common/report/measurement.h"
#include "papers/s4/kernel/measure.h"
#include "papers/s4/kernel/page.h"

DEFINE_string(preset, "default",
              "Settings: 'default' (a minute), 'smoke' (seconds) or 'paper' (the layer of Path-X)");

namespace longrange {
namespace {

absl::Status Run(const CommandLine& line) {
  LR_ASSIGN_OR_RETURN(
      const std::string path,
      RunfilePath(absl::StrCat("papers/s4/kernel/presets/", FLAGS_preset, ".textproto")));
  LR_ASSIGN_OR_RETURN(S4KernelSettings settings, ParseTextProtoFile<S4KernelSettings>(path));
  LR_RETURN_IF_ERROR(SetFields(&settings, line.set));
  LR_RETURN_IF_ERROR(CheckSettings(settings));
  const double needed = MemoryOf(settings);
  if (FLAGS_dry_run) {
    absl::PrintF("%d systems at %d lengths; some %sB of memory\n", settings.arm_size(),
                 settings.length_size(), FormatCount(needed));
    return absl::OkStatus();
  }
  LR_RETURN_IF_ERROR(RequireMemory(needed, absl::StrCat("length ", *settings.length().rbegin()),
                                   "take shorter lengths"));
  const std::string out =
      OutFolder(FLAGS_preset == "default" ? "s4_kernel" : absl::StrCat("s4_kernel-", FLAGS_preset));
  LR_RETURN_IF_ERROR(MakeOutFolder(out));
  CatchInterrupts();
  Progress progress({"measurements", int64_t{settings.arm_size()} * settings.length_size()},
                    FLAGS_quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  const absl::StatusOr<S4KernelResults> results =
      MeasureS4Kernels(settings, [&](const std::string& what) {
        progress.Advance(1, 0, what);
        return !Interrupted();
      });
  if (absl::IsCancelled(results.status()))
    return absl::CancelledError("stopped; nothing is written, the same command starts anew");
  LR_RETURN_IF_ERROR(results.status());
  progress.Finish();
  return report::WriteMeasurement(out, {DeterministicRows(*results), TimeRows(*results),
                                        S4KernelPage(*results), S4KernelText(*results)});
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Holds S4's kernel and its convolution against the plain recurrence in float64, by length, "
       "and times each.\n"
       "Layers as they start, each made for the length that it is measured at. --set changes the "
       "settings: --set features=256, --set length=1024,65536.",
       {{"Experiment", {"preset", "set"}},
        {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}},
       {{"preset", {"default", "smoke", "paper"}}}},
      longrange::Run);
}
