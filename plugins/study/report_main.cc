// Makes the report of a study anew from its rows: after a change of the rules or of the page, no
// model has to be measured again.

#include <gflags/gflags.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"
#include "common/io/rows.h"
#include "plugins/study/report.h"
#include "plugins/study/summary.h"

namespace longrange {
namespace {

absl::Status Run(const CommandLine&) {
  const std::string folder = OutFolder("context_extension");
  LR_ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadRows(folder + "/rows.jsonl"));
  LR_ASSIGN_OR_RETURN(const std::vector<Row> records, ReadRows(folder + "/runs.jsonl"));
  LR_ASSIGN_OR_RETURN(const std::string summary, StudySummary(rows));
  LR_ASSIGN_OR_RETURN(const std::string html, StudyReport(rows, records));
  LR_RETURN_IF_ERROR(WriteFileAtomically(folder + "/report.html", html));
  std::printf("%s\nreport  %s/report.html\n", summary.c_str(), folder.c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(argc, argv,
                         {"Writes report.html in the output folder of a study (--out) anew, from "
                          "rows.jsonl and runs.jsonl there, and prints the summary.",
                          {{"Run", {"out"}}}},
                         longrange::Run);
}
