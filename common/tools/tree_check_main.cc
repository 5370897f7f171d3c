// Prints what common/tools/tree_check.h finds in the repository; presubmit.sh runs it.

#include <cstdio>
#include <string>
#include <vector>

#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/tools/tree_check.h"

DEFINE_string(root, ".", "The repository");

int main(int argc, char** argv) {
  size_t found = 0;
  const int code = longrange::Main(
      argc, argv,
      {"Checks lists, files and includes of the source tree that Bazel cannot; a line a finding, "
       "with its cure.",
       {{"Where", {"root"}}}},
      [&](const longrange::CommandLine&) -> absl::Status {
        LR_ASSIGN_OR_RETURN(const std::vector<longrange::TreeFinding> findings,
                            longrange::CheckTree(longrange::UserPath(FLAGS_root)));
        found = findings.size();
        for (const longrange::TreeFinding& finding : findings)
          std::printf("%s\n", finding.ToString().c_str());
        return absl::OkStatus();
      });
  return code == 0 && found > 0 ? 1 : code;
}
