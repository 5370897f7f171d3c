// bazel run //papers:goldens -- --dir=DIR [--paper=A,B]: runs golden cases, numbers of third-party
// implementations.

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "plugins/golden/golden_adapter.h"

DEFINE_string(dir, "", "Folder whose cases are run, at any depth");
DEFINE_string(paper, "",
              "Only cases of these papers (the `paper` of their metadata), separated by commas");

int main(int argc, char** argv) {
  longrange::GoldenTotals totals;
  const int code = longrange::Main(
      argc, argv,
      {"Runs golden cases and compares values and gradients with those of the reference "
       "implementations.\n"
       "A line a case; exits 1 if one failed.",
       {{"Cases", {"dir", "paper"}}, {"Run", {"threads"}}}},
      [&](const longrange::CommandLine&) -> absl::Status {
        if (FLAGS_dir.empty())
          return absl::InvalidArgumentError("--dir is missing: the folder with the golden cases");
        const std::vector<std::string> papers = absl::StrSplit(FLAGS_paper, ',', absl::SkipEmpty());
        LR_ASSIGN_OR_RETURN(
            totals, longrange::RunGoldens(longrange::UserPath(FLAGS_dir), papers, std::cout));
        return absl::OkStatus();
      });
  return code == 0 && totals.failed > 0 ? 1 : code;
}
