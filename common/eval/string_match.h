// Answers that are right where they contain what was asked for.

#ifndef LONGRANGE_COMMON_EVAL_STRING_MATCH_H_
#define LONGRANGE_COMMON_EVAL_STRING_MATCH_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange::eval {

// Equal but for white space at both ends (pass keys).
bool ExactMatch(absl::string_view prediction, absl::string_view reference);

// The share of the references that the prediction contains, upper and lower case (of ASCII) alike;
// NaN without references.
double ShareContained(absl::string_view prediction, const std::vector<std::string>& references);

// RULER's metrics (Hsieh et al., COLM 2024, section 3; eval/synthetic/constants.py), over
// predictions p with references[p]: the mean of ShareContained (all; the needle tasks) or of
// whether one reference is contained (part; question answering), in percent with two decimals.
// InvalidArgument where there are no predictions, a list for each is missing, or a list is empty.
absl::StatusOr<double> StringMatchAll(const std::vector<std::string>& predictions,
                                      const std::vector<std::vector<std::string>>& references);
absl::StatusOr<double> StringMatchPart(const std::vector<std::string>& predictions,
                                       const std::vector<std::vector<std::string>>& references);

// The nearest number with so many decimals; an exact tie goes to the even digit.
double RoundToDecimals(double value, int decimals);

}  // namespace longrange::eval

#endif  // LONGRANGE_COMMON_EVAL_STRING_MATCH_H_
