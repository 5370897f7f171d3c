#include "common/eval/rouge.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include "absl/strings/ascii.h"
#include "common/eval/porter_stemmer.h"

namespace longrange::eval {
namespace {

constexpr size_t kStemFrom = 4;  // letters

}  // namespace

std::vector<std::string> RougeWords(absl::string_view text) {
  std::vector<std::string> words;
  bool within = false;
  for (const char c : text) {
    const bool is_word = absl::ascii_isalnum(static_cast<unsigned char>(c));
    if (is_word && !within) words.emplace_back();
    if (is_word) words.back() += absl::ascii_tolower(static_cast<unsigned char>(c));
    within = is_word;
  }
  for (std::string& word : words) {
    if (word.size() >= kStemFrom) word = PorterStem(word);
  }
  return words;
}

RougeScore Rouge1(absl::string_view reference, absl::string_view response) {
  const std::vector<std::string> wanted = RougeWords(reference), got = RougeWords(response);
  std::map<std::string, int64_t> left;
  for (const std::string& word : wanted) ++left[word];
  int64_t shared = 0;
  for (const std::string& word : got) {
    const auto it = left.find(word);
    if (it == left.end() || it->second == 0) continue;
    --it->second;
    ++shared;
  }
  RougeScore score;
  if (shared == 0) return score;
  score.precision = static_cast<double>(shared) / static_cast<double>(got.size());
  score.recall = static_cast<double>(shared) / static_cast<double>(wanted.size());
  score.f = 2 * score.precision * score.recall / (score.precision + score.recall);
  return score;
}

}  // namespace longrange::eval
