// What came out of a study, as text for the terminal.

#ifndef LONGRANGE_PLUGINS_STUDY_SUMMARY_H_
#define LONGRANGE_PLUGINS_STUDY_SUMMARY_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/rows.h"

namespace longrange {

// Perplexity and task of every arm, and what became of the findings: lines of at most 100 columns,
// each ended. `rows` and errors as of StudyReport.
absl::StatusOr<std::string> StudySummary(const std::vector<Row>& rows);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_SUMMARY_H_
