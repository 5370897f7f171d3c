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
#include "common/io/rows.h"
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
  const double needed = MemoryOf(settings), available = static_cast<double>(AvailableBytes());
  if (FLAGS_dry_run) {
    absl::PrintF("%d systems at %d lengths; some %sB of memory\n", settings.arm_size(),
                 settings.length_size(), FormatCount(needed));
    return absl::OkStatus();
  }
  if (available > 0 && needed > available) {
    return absl::ResourceExhaustedError(
        absl::StrCat("length ", *settings.length().rbegin(), " needs ", FormatCount(needed),
                     "B of memory, and the machine has ", FormatCount(available), "B left"));
  }
  const std::string out =
      OutFolder(FLAGS_preset == "default" ? "s4_kernel" : absl::StrCat("s4_kernel-", FLAGS_preset));
  if (PathExists(out) && !IsDirectory(out)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--out: ", out, " is a file (expected a folder, or nothing yet)"));
  }
  LR_RETURN_IF_ERROR(MakeDirs(out));
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
  const std::string rows = absl::StrCat(out, "/rows.jsonl"),
                    report = absl::StrCat(out, "/report.html");
  LR_RETURN_IF_ERROR(WriteRows(rows, DeterministicRows(*results)));
  LR_RETURN_IF_ERROR(WriteRows(absl::StrCat(out, "/runs.jsonl"), TimeRows(*results)));
  LR_RETURN_IF_ERROR(WriteFileAtomically(report, S4KernelPage(*results)));
  absl::PrintF("%s", S4KernelText(*results));
  if (!FLAGS_quiet) absl::FPrintF(stderr, "rows    %s\nreport  %s\n", rows, report);
  return absl::OkStatus();
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
