// The report of a study: one self-contained HTML page made from its rows.

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

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_REPORT_H_
