// ROUGE (Lin, "ROUGE: A package for automatic evaluation of summaries", 2004): n-grams that a
// response shares with a reference.

#ifndef LONGRANGE_COMMON_EVAL_ROUGE_H_
#define LONGRANGE_COMMON_EVAL_ROUGE_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace longrange::eval {

// All in [0, 1]; 0 where a text has no word.
struct RougeScore {
  double precision = 0;  // of the response's words, those in the reference
  double recall = 0;     // of the reference's words, those in the response
  double f = 0;          // harmonic mean
};

// Words as the package rouge_score makes them: runs of a-z and 0-9 after lower-casing; of more than
// three letters, the Porter stem.
std::vector<std::string> RougeWords(absl::string_view text);

// ROUGE-1: words are counted as often as they occur in both.
RougeScore Rouge1(absl::string_view reference, absl::string_view response);

}  // namespace longrange::eval

#endif  // LONGRANGE_COMMON_EVAL_ROUGE_H_
