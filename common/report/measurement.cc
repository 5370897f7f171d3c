#include "common/report/measurement.h"

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/command_line.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"

namespace longrange::report {

absl::Status WriteMeasurement(const std::string& folder, const Measurement& measurement) {
  const std::string rows = absl::StrCat(folder, "/rows.jsonl"),
                    page = absl::StrCat(folder, "/report.html");
  LR_RETURN_IF_ERROR(WriteRows(rows, measurement.rows));
  LR_RETURN_IF_ERROR(WriteRows(absl::StrCat(folder, "/runs.jsonl"), measurement.runs));
  LR_RETURN_IF_ERROR(WriteFileAtomically(page, measurement.page));
  absl::PrintF("%s", measurement.text);
  if (!FLAGS_quiet) absl::FPrintF(stderr, "rows    %s\nreport  %s\n", rows, page);
  return absl::OkStatus();
}

}  // namespace longrange::report
