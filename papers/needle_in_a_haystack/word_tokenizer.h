// Words, blanks and signs as tokens: the regular expression \w+|\s+|[^\w\s] of Python's re, whose
// classes are those of Unicode.

#ifndef LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_WORD_TOKENIZER_H_
#define LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_WORD_TOKENIZER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/data/tokenizer.h"

namespace longrange::needle_in_a_haystack {

// \w: letters, digits and other numerals, and "_"; \s: white space.
bool IsWordCharacter(char32_t c);
bool IsSpaceCharacter(char32_t c);

// The pieces of a text in valid UTF-8, which join to the text: runs of word characters, runs of
// white space, and single characters of neither kind. A byte that is no UTF-8 is a piece, too.
std::vector<absl::string_view> SplitWords(absl::string_view text);

// How many words white space divides the text into (Python's len(text.split())).
int64_t CountWords(absl::string_view text);

// One token a piece. Ids 0..255 are bytes, which pieces outside the vocabulary are spelt in.
class WordTokenizer : public Tokenizer {
 public:
  // The vocabulary: the pieces of these texts.
  explicit WordTokenizer(const std::vector<std::string>& texts);

  int32_t vocab_size() const override { return 256 + static_cast<int32_t>(pieces_.size()); }
  std::vector<int32_t> Encode(absl::string_view text) const override;
  std::string Decode(absl::Span<const int32_t> ids) const override;
  absl::StatusOr<int32_t> SpecialId(absl::string_view name) const override;  // there is none

 private:
  std::vector<std::string> pieces_;
  std::map<std::string, int32_t, std::less<>> ids_;
};

}  // namespace longrange::needle_in_a_haystack

#endif  // LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_WORD_TOKENIZER_H_
