// How fast it all is here: kernels and training steps against what the machine can do and, in turn,
// against PyTorch; and the lengths at which layers overtake attention.

#include <gflags/gflags.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/command_line.h"
#include "common/base/interrupt.h"
#include "common/base/paths.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/base/thread_pool.h"
#include "common/io/atomic_file.h"
#include "common/report/measurement.h"
#include "experiments/speed/measure.h"
#include "experiments/speed/page.h"
#include "experiments/speed/peer.h"

DEFINE_string(preset, "default", "Settings: 'default' (minutes) or 'smoke' (seconds)");
DEFINE_string(peers, "",
              "A Python with torch (and mambapy) that runs the same work in turn; none: no ratios");

namespace longrange {
namespace {

absl::Status Run(const CommandLine& line) {
  LR_ASSIGN_OR_RETURN(
      const std::string path,
      RunfilePath(absl::StrCat("experiments/speed/presets/", FLAGS_preset, ".textproto")));
  LR_ASSIGN_OR_RETURN(SpeedSettings settings, ParseTextProtoFile<SpeedSettings>(path));
  LR_RETURN_IF_ERROR(SetFields(&settings, line.set));
  LR_RETURN_IF_ERROR(CheckSettings(settings));
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> plan, Plan(settings));
  if (FLAGS_dry_run) {
    for (const std::string& work : plan) absl::PrintF("%s\n", work);
    return absl::OkStatus();
  }
  const std::string out =
      OutFolder(FLAGS_preset == "default" ? "speed" : absl::StrCat("speed-", FLAGS_preset));
  LR_RETURN_IF_ERROR(MakeOutFolder(out));
  CatchInterrupts();
  std::unique_ptr<Peer> peer;
  if (!FLAGS_peers.empty()) {
    LR_ASSIGN_OR_RETURN(const std::string script, RunfilePath("experiments/speed/peers.py"));
    // A bare name is looked for in PATH.
    const bool is_path = FLAGS_peers.find('/') != std::string::npos;
    LR_ASSIGN_OR_RETURN(
        peer, Peer::Start(is_path ? UserPath(FLAGS_peers) : FLAGS_peers, script, NumThreads()));
  }
  Progress progress({"measurements", static_cast<int64_t>(plan.size())},
                    FLAGS_quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  absl::StatusOr<SpeedResults> results =
      Measure(settings, peer.get(), [&](const std::string& what) {
        progress.Advance(1, 0, what);
        return !Interrupted();
      });
  if (absl::IsCancelled(results.status()) || (!results.ok() && Interrupted()))
    return absl::CancelledError("stopped; nothing is written, the same command starts anew");
  LR_RETURN_IF_ERROR(results.status());
  progress.Finish();
  return report::WriteMeasurement(out, {DeterministicRows(*results), TimeRows(*results),
                                        SpeedPage(*results), SpeedText(*results)});
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Times kernels and training steps, says what share of this machine's measured peaks they "
       "reach, and from which length on each layer overtakes attention, in training and in "
       "decoding.\n"
       "With --peers PyTorch does the same work in turn, and the ratio of the times is given. "
       "--set changes the settings: --set 'kernels=^(Retention|Softmax)/', --set rounds=5. "
       "README.md beside it says what is measured.",
       {{"Experiment", {"preset", "peers", "set"}},
        {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}},
       {{"preset", {"default", "smoke"}}}},
      longrange::Run);
}
