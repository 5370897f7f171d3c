// The report of a study: one self-contained HTML page made from its rows, and a short text for the
// terminal.

#ifndef LONGRANGE_PLUGINS_STUDY_REPORT_H_
#define LONGRANGE_PLUGINS_STUDY_REPORT_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/rows.h"

namespace longrange {

// `rows` as in rows.jsonl, `records` as in runs.jsonl (see runner.h); any subset of arms, lengths
// and seeds makes a page. InvalidArgument: a row that cannot be used, by number and key.
absl::StatusOr<std::string> StudyReport(const std::vector<Row>& rows,
                                        const std::vector<Row>& records);

// Perplexity and needle of every arm, and what became of the findings: lines of at most 100
// columns, each ended. Errors as above.
absl::StatusOr<std::string> StudySummary(const std::vector<Row>& rows);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_REPORT_H_
