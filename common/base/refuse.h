// How a value of a config or flag is refused.

#ifndef LONGRANGE_COMMON_BASE_REFUSE_H_
#define LONGRANGE_COMMON_BASE_REFUSE_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace longrange {

// InvalidArgument "field: got (expected expected)".
inline absl::Status Refuse(absl::string_view field, const absl::AlphaNum& got,
                           absl::string_view expected) {
  return absl::InvalidArgumentError(absl::StrCat(field, ": ", got, " (expected ", expected, ")"));
}

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_REFUSE_H_
