// "did you mean ...?" for names that a user mistyped.

#ifndef LONGRANGE_COMMON_BASE_NEAR_NAMES_H_
#define LONGRANGE_COMMON_BASE_NEAR_NAMES_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace longrange {

// The names that `name` may be a slip for, nearest first, three at most: by edit distance up to a
// third of the longer one's length, or sharing a beginning of four letters.
std::vector<std::string> NearNames(absl::string_view name, absl::Span<const std::string> known);

// "; did you mean 'seed'?", or nothing where no name is near: to be put behind an error.
std::string DidYouMean(absl::string_view name, absl::Span<const std::string> known,
                       absl::string_view prefix = "");

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_NEAR_NAMES_H_
