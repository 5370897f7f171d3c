#include "plugins/study/report.h"

namespace longrange {

absl::StatusOr<std::string> StudyReport(const std::vector<Row>&, const std::vector<Row>&) { return std::string(); }

}  // namespace longrange
