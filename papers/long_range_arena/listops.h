// ListOps (Nangia and Bowman 2018) as Long Range Arena makes it: nested prefix expressions over
// single digits, such as "[MAX 4 [SM 9 2 X 0 X", which has the value 4.

#ifndef LONGRANGE_PAPERS_LONG_RANGE_ARENA_LISTOPS_H_
#define LONGRANGE_PAPERS_LONG_RANGE_ARENA_LISTOPS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/rng.h"

namespace longrange::long_range_arena {

// Tokens: the digits 0 to 9, four operators and the bracket that closes each of them.
enum ListopsToken : int32_t { kMin = 10, kMax, kMed, kSum, kClose, kNumListopsTokens };

// "0" .. "9", "[MIN", "[MAX", "[MED", "[SM", "X".
absl::string_view ListopsName(int32_t token);

// Tokens of an expression, from either way of writing it: blank-separated tokens, or the nested
// form of the benchmark's files, "( ( ( [MAX 4 ) 3 ) ] )", whose parentheses are dropped.
// InvalidArgument names a token that is none.
absl::StatusOr<std::vector<int32_t>> ParseListops(absl::string_view text);

// The value 0 .. 9: MIN, MAX, MED (the median, rounded down) and SM (the sum modulo 10).
// InvalidArgument: not one whole expression.
absl::StatusOr<int32_t> EvaluateListops(absl::Span<const int32_t> tokens);

struct ListopsGrammar {
  // At this depth there are digits alone; the outermost operator has depth 1.
  int64_t max_depth = 10;
  int64_t max_args = 10;                        // of an operator; 2 or more, all as likely
  int64_t min_length = 501, max_length = 1999;  // in tokens
};

struct ListopsExpression {
  std::vector<int32_t> tokens;
  int32_t value = 0;
};

// An operator with a quarter of the probability, else a digit, at every depth below max_depth,
// drawn again until the length fits. ResourceExhausted where it never does.
absl::StatusOr<ListopsExpression> MakeListops(const ListopsGrammar& grammar, const Rng& rng);

}  // namespace longrange::long_range_arena

#endif  // LONGRANGE_PAPERS_LONG_RANGE_ARENA_LISTOPS_H_
