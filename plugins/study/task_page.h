// The report of a study without text: scores of a task by length.

#ifndef LONGRANGE_PLUGINS_STUDY_TASK_PAGE_H_
#define LONGRANGE_PLUGINS_STUDY_TASK_PAGE_H_

#include <string>

#include "plugins/study/results.h"

namespace longrange::study_report {

// A self-contained HTML page; any subset of arms, lengths and seeds makes one.
std::string TaskPageOf(const StudyResults& study);

}  // namespace longrange::study_report

#endif  // LONGRANGE_PLUGINS_STUDY_TASK_PAGE_H_
