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

// An ordered object, which is searched from its beginning, may have this many keys.
inline constexpr int kMaxOrderedJsonKeys = 10000;

// Parses one JSON value with nothing but white space around it. InvalidArgument, with `what` (a
// path, "line 3 of x") and the place, for: anything that is not JSON in valid UTF-8, a key that an
// object has twice, too deep nesting, NUL bytes, values that would take more memory than the text
// and some 24 MB. Ordered keeps the keys of objects in the text's order.
absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what);
absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view what);

// ParseJson of a file of at most max_bytes.
absl::StatusOr<nlohmann::json> ReadJson(absl::string_view path,
                                        int64_t max_bytes = int64_t{16} << 20);

// One JSON value from each line of a file. Every line must hold one and end with "\n"; errors give
// the line's number. Memory as in ParseJson, for the file as a whole.
absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(absl::string_view path);

// For texts of any size, before nlohmann's lexer sees them, which holds the token it is at a few
// times over: refuses a string above max_string_bytes, and a number, a word or white space above
// kMaxJsonWordBytes. Whether the text is JSON is not looked at.
inline constexpr int64_t kMaxJsonWordBytes = int64_t{1} << 20;
absl::Status CheckJsonTokens(absl::string_view text, int64_t max_string_bytes);

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
