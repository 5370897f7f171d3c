// Findings that a protocol states itself (StudyProtocol.finding), each judged by its comparisons
// and the rule of comparison.h. A score's margin joins the spread over examples and that over
// seeds, so that a few examples, all answered, do not decide.

#ifndef LONGRANGE_PLUGINS_STUDY_DECLARED_FINDINGS_H_
#define LONGRANGE_PLUGINS_STUDY_DECLARED_FINDINGS_H_

#include <vector>

#include "plugins/study/comparison.h"
#include "plugins/study/results.h"

namespace longrange {

// In the order of the protocol. One whose arms or lengths were not measured is not run.
std::vector<Finding> DeclaredFindings(const StudyResults& study);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_DECLARED_FINDINGS_H_
