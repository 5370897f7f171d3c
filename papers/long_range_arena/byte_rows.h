// Documents as rows of bytes, and the checks of the configs of tasks that read them.

#ifndef LONGRANGE_PAPERS_LONG_RANGE_ARENA_BYTE_ROWS_H_
#define LONGRANGE_PAPERS_LONG_RANGE_ARENA_BYTE_ROWS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/base/rng.h"

namespace longrange::long_range_arena {

// Tokens "<byte0>" to "<byte255>" and, as byte kPadByte, "<pad>".
inline constexpr int64_t kPadByte = 256;
void AppendByteTokens(std::vector<std::string>* tokens);

// The ids of the bytes of a text and of padding behind them, `length` in all. Returns how many rows
// are real: those of the text, but one at least.
int64_t FillBytes(absl::string_view text, int64_t length,
                  absl::FunctionRef<int32_t(int64_t byte)> id_of, std::vector<int32_t>* ids);

// Documents come from a folder of files or from corpora that stand in, by exactly one of the two
// fields: nothing is put in the place of anything unasked.
absl::Status CheckOrigin(absl::string_view folder, const std::vector<std::string>& sources,
                         double shortest);
absl::Status CheckMaxLength(int64_t max_length);

// Bytes of a passage that stands in for a document of `most` bytes at most: from the share
// `shortest` of them up, all as likely.
int64_t PassageLength(int64_t most, double shortest, RngStream* draw);

}  // namespace longrange::long_range_arena

#endif  // LONGRANGE_PAPERS_LONG_RANGE_ARENA_BYTE_ROWS_H_
