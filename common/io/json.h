// Strict reading and repeatable writing of JSON, around nlohmann::json (its text parser only: the
// binary ones recurse).

#ifndef LONGRANGE_COMMON_IO_JSON_H_
#define LONGRANGE_COMMON_IO_JSON_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace longrange {

// Arrays and objects may be nested this deep.
inline constexpr int kMaxJsonDepth = 64;

// Parses one JSON value with nothing but white space around it. InvalidArgument, with `what` (a
// path, "line 3 of x") and the place, for: anything that is not JSON in valid UTF-8, a key that an
// object has twice, too deep nesting, NUL bytes. Ordered keeps the keys of objects in the text's
// order, which costs a linear search for each key.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what);
absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view what);

// ParseJson of a file of at most max_bytes.
absl::StatusOr<nlohmann::json> ReadJson(absl::string_view path,
                                        int64_t max_bytes = int64_t{64} << 20);

// One JSON value from each line of a file. Every line must hold one and end with "\n"; errors give
// the line's number.
absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(absl::string_view path);

// A JSON string literal with its quotes: `text` must be valid UTF-8 (CHECKed). Only what must be is
// escaped.
std::string JsonQuote(absl::string_view text);

// The shortest decimal that reads back as the same double, and as a floating number ("1.0", not
// "1"); NaN and the infinities, which JSON lacks, become the strings "nan", "inf" and "-inf" with
// their quotes.
std::string JsonNumber(double value);

bool IsValidUtf8(absl::string_view text);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_JSON_H_
