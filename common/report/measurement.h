// What a program leaves that measures once and reports: experiments/decode, papers/s4/kernel.

#ifndef LONGRANGE_COMMON_REPORT_MEASUREMENT_H_
#define LONGRANGE_COMMON_REPORT_MEASUREMENT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/io/rows.h"

namespace longrange::report {

struct Measurement {
  std::vector<Row> rows;  // figures that a second run repeats
  std::vector<Row> runs;  // times, and what else a second run does not repeat
  std::string page;       // HTML
  std::string text;       // for the terminal
};

// Writes rows.jsonl, runs.jsonl and report.html into the folder, which is there, and prints the
// text; says on standard error where the files are, unless --quiet.
absl::Status WriteMeasurement(const std::string& folder, const Measurement& measurement);

}  // namespace longrange::report

#endif  // LONGRANGE_COMMON_REPORT_MEASUREMENT_H_
