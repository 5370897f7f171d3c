// The pressure test's contexts (Kamradt 2023, github.com/gkamradt/LLMTest_NeedleInAHaystack): one
// or more sentences hidden in a long text, by tokens; and the grid of lengths and depths.
//
// n tokens of a context, p its depth in percent, b the buffer: tokens kept for the question and the
// answer. Names of functions in brackets are those of the original.

#ifndef LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_INSERTION_H_
#define LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_INSERTION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/data/tokenizer.h"

namespace longrange::needle_in_a_haystack {

struct Placement {
  int64_t context_length = 0;  // n, in tokens
  double depth_percent = 0;    // p in [0, 100]
  int64_t buffer = 200;        // b
  // What happens where the needles are longer than n - b. The original slices with the negative
  // number that is left: it drops as many tokens from the text's end, and the context becomes
  // longer than n - b. True: so does this. False: an error.
  bool overflow_as_original = false;
};

struct Context {
  std::vector<int32_t> ids;
  // Where each needle begins, in percent of the context as long as it was with that needle and
  // those before it. None for p = 100, as in the original.
  std::vector<double> insertion_percent;
};

// The first n tokens of the text (all, where it has fewer), as text [encode_and_trim].
// InvalidArgument where n < 1.
absl::StatusOr<std::string> TrimText(const Tokenizer& tokenizer, absl::string_view text,
                                     int64_t context_length);

// A context of the text, which TrimText has cut to n tokens, with one needle [insert_needle]. Where
// text and needle together have more than n - b tokens, the text keeps the first n - b - |needle|.
// p = 100: the needle is appended. Else it comes in at token int(|text| p / 100), moved back until
// a token of encode(".") stands before it, or to the front: so it splits no sentence, text without
// a period has it first, and with a tokenizer of larger pieces only those of the lone "." end a
// sentence. InvalidArgument names what of the placement is out of range.
absl::StatusOr<Context> InsertNeedle(const Tokenizer& tokenizer, absl::string_view text,
                                     absl::string_view needle, const Placement& placement);

// The same with K needles [insert_needles]: needle i at depth p + i (100 - p) / K of the context
// that the needles before it have made longer. The text is cut for all of them first. At least one.
absl::StatusOr<Context> InsertNeedles(const Tokenizer& tokenizer, absl::string_view text,
                                      const std::vector<std::string>& needles,
                                      const Placement& placement);

// round(linspace(smallest, largest, count)): lengths in tokens; halves go to the even number.
// InvalidArgument where count < 1, smallest < 1 or largest < smallest.
absl::StatusOr<std::vector<int64_t>> LengthGrid(int64_t smallest, int64_t largest, int64_t count);

enum class DepthSpacing {
  kLinear,  // round(x) for x in linspace(first, last, count)
  // x itself where it is 0 or 100, else 100 / (1 + exp(0.1 (x - 50))) with three decimals: denser
  // at both ends. It falls while x rises, so that the list is 0, 99.1, .., 0.9, 100: the original's
  // sign, harmless as the set is symmetric.
  kSigmoid,
};
// Depths in percent. InvalidArgument where count < 1 or the ends are not 0 <= first <= last <= 100.
absl::StatusOr<std::vector<double>> DepthGrid(double first, double last, int64_t count,
                                              DepthSpacing spacing);

}  // namespace longrange::needle_in_a_haystack

#endif  // LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_INSERTION_H_
