// Stems of English words (Porter, "An algorithm for suffix stripping", Program 14(3), 1980).

#ifndef LONGRANGE_COMMON_EVAL_PORTER_STEMMER_H_
#define LONGRANGE_COMMON_EVAL_PORTER_STEMMER_H_

#include <string>

#include "absl/strings/string_view.h"

namespace longrange::eval {

// The stem of a word of lower-case letters (other bytes count as consonants). Steps 1a to 5b of the
// paper with the departures of NLTK's PorterStemmer, which scores that are published with stemming
// rest on: a list of irregular forms, words of one or two letters kept, and others that the steps
// name.
std::string PorterStem(absl::string_view word);

}  // namespace longrange::eval

#endif  // LONGRANGE_COMMON_EVAL_PORTER_STEMMER_H_
