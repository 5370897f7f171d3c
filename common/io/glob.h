// Patterns of names.

#ifndef LONGRANGE_COMMON_IO_GLOB_H_
#define LONGRANGE_COMMON_IO_GLOB_H_

#include "absl/strings/string_view.h"

namespace longrange {

// Does all of `text` match `pattern`, where each `*` stands for any run of characters, also none?
bool GlobMatch(absl::string_view pattern, absl::string_view text);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_GLOB_H_
