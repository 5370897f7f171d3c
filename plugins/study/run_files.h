// The files of a run that has been measured: rows.jsonl, and run.json, which is written last and
// holds the checksums of both.

#ifndef LONGRANGE_PLUGINS_STUDY_RUN_FILES_H_
#define LONGRANGE_PLUGINS_STUDY_RUN_FILES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/io/rows.h"

namespace longrange {

struct RunFiles {
  std::vector<Row> rows;
  Row record;  // what the run took
};

// The folder must be there.
absl::Status WriteRunFiles(const std::string& folder, const RunFiles& files);

// Nullopt: the run is not done, there is no run.json. DataLoss names the file that is not as it was
// written.
absl::StatusOr<std::optional<RunFiles>> ReadRunFiles(const std::string& folder);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_RUN_FILES_H_
