// Text that came from outside, shown within an error message.

#ifndef LONGRANGE_COMMON_BASE_ONE_LINE_H_
#define LONGRANGE_COMMON_BASE_ONE_LINE_H_

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace longrange {

// Bytes of the first character of `text`; 0 where it is no well-formed UTF-8 (Unicode 15, table
// 3-7: no overlong forms, no surrogates, nothing above U+10FFFF), or empty.
size_t Utf8Length(absl::string_view text);

// `text` on one line, as valid UTF-8: control characters and what is no UTF-8 become \xHH, and
// after about max_bytes it is cut: "aaa... (1048576 bytes)".
std::string OneLine(absl::string_view text, size_t max_bytes = 200);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_ONE_LINE_H_
