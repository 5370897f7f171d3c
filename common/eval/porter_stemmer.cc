#include "common/eval/porter_stemmer.h"

#include <cstdint>
#include <initializer_list>
#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longrange::eval {
namespace {

// A consonant is a letter other than a, e, i, o, u, and other than y preceded by a consonant.
bool IsConsonant(absl::string_view word, size_t i) {
  switch (word[i]) {
    case 'a':
    case 'e':
    case 'i':
    case 'o':
    case 'u':
      return false;
    case 'y': {
      // A run of y's alternates, so its parity decides.
      size_t first = i;
      while (first > 0 && word[first - 1] == 'y') --first;
      const bool first_is_consonant = first == 0 || !IsConsonant(word, first - 1);
      return first_is_consonant == ((i - first) % 2 == 0);
    }
    default:
      return true;
  }
}

// m of the form [C](VC){m}[V]: how often a consonant follows a vowel.
int64_t Measure(absl::string_view stem) {
  int64_t m = 0;
  bool after_vowel = false;
  for (size_t i = 0; i < stem.size(); ++i) {
    // As IsConsonant, from the letter before.
    const bool consonant =
        stem[i] == 'y' ? i == 0 || after_vowel : IsConsonant(stem.substr(i, 1), 0);
    if (consonant && after_vowel) ++m;
    after_vowel = !consonant;
  }
  return m;
}

bool HasVowel(absl::string_view stem) {
  for (size_t i = 0; i < stem.size(); ++i) {
    if (!IsConsonant(stem, i)) return true;
  }
  return false;
}

// Condition *d.
bool EndsInDoubleConsonant(absl::string_view word) {
  const size_t n = word.size();
  return n >= 2 && word[n - 1] == word[n - 2] && IsConsonant(word, n - 1);
}

// Condition *o: consonant, vowel, consonant, the last not w, x or y. NLTK: also a word that is just
// vowel and consonant.
bool EndsShort(absl::string_view word) {
  const size_t n = word.size();
  if (n == 2) return !IsConsonant(word, 0) && IsConsonant(word, 1);
  return n >= 3 && IsConsonant(word, n - 3) && !IsConsonant(word, n - 2) &&
         IsConsonant(word, n - 1) && word[n - 1] != 'w' && word[n - 1] != 'x' && word[n - 1] != 'y';
}

struct Rule {
  absl::string_view suffix, replacement;
};

// Applies the first rule whose suffix the word has, if what stands before the suffix has a measure
// above `above`; no later rule is tried.
std::string Replace(absl::string_view word, int64_t above, std::initializer_list<Rule> rules) {
  for (const Rule& rule : rules) {
    if (!absl::EndsWith(word, rule.suffix)) continue;
    const absl::string_view stem = word.substr(0, word.size() - rule.suffix.size());
    return Measure(stem) > above ? absl::StrCat(stem, rule.replacement) : std::string(word);
  }
  return std::string(word);
}

std::string Step1a(absl::string_view word) {
  // NLTK: "dies" -> "die", where the paper has "di".
  if (word.size() == 4 && absl::EndsWith(word, "ies")) return std::string(word.substr(0, 3));
  return Replace(word, -1, {{"sses", "ss"}, {"ies", "i"}, {"ss", "ss"}, {"s", ""}});
}

std::string Step1b(absl::string_view word) {
  // NLTK: "died" -> "die", "spied" -> "spi".
  if (absl::EndsWith(word, "ied")) {
    return std::string(word.substr(0, word.size() - (word.size() == 4 ? 1 : 2)));
  }
  if (absl::EndsWith(word, "eed")) return Replace(word, 0, {{"eed", "ee"}});
  absl::string_view stem;
  for (const absl::string_view suffix : {"ed", "ing"}) {
    if (!absl::EndsWith(word, suffix)) continue;
    const absl::string_view before = word.substr(0, word.size() - suffix.size());
    if (HasVowel(before)) stem = before;
  }
  if (stem.empty()) return std::string(word);
  for (const absl::string_view ending : {"at", "bl", "iz"}) {
    if (absl::EndsWith(stem, ending)) return absl::StrCat(stem, "e");
  }
  const char last = stem.back();
  if (EndsInDoubleConsonant(stem)) {
    const bool stays = last == 'l' || last == 's' || last == 'z';
    return std::string(stem.substr(0, stem.size() - (stays ? 0 : 1)));
  }
  return Measure(stem) == 1 && EndsShort(stem) ? absl::StrCat(stem, "e") : std::string(stem);
}

// NLTK: y after a consonant that is not the word's first letter ("fly" -> "fli"); the paper has any
// y after a vowel somewhere.
std::string Step1c(absl::string_view word) {
  const size_t n = word.size();
  if (n > 2 && word[n - 1] == 'y' && IsConsonant(word, n - 2)) {
    return absl::StrCat(word.substr(0, n - 1), "i");
  }
  return std::string(word);
}

std::string Step2(absl::string_view word) {
  // NLTK: what "alli" leaves goes through the step again.
  if (absl::EndsWith(word, "alli") && Measure(word.substr(0, word.size() - 4)) > 0) {
    return Step2(word.substr(0, word.size() - 2));
  }
  // NLTK: the l of "logi" counts in the measure.
  if (absl::EndsWith(word, "logi")) {
    return std::string(
        Measure(word.substr(0, word.size() - 3)) > 0 ? word.substr(0, word.size() - 1) : word);
  }
  return Replace(word, 0,
                 {{"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},
                  {"izer", "ize"},    {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"},
                  {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
                  {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"},
                  {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"},   {"biliti", "ble"},
                  {"fulli", "ful"}});
}

std::string Step3(absl::string_view word) {
  return Replace(word, 0,
                 {{"icate", "ic"},
                  {"ative", ""},
                  {"alize", "al"},
                  {"iciti", "ic"},
                  {"ical", "ic"},
                  {"ful", ""},
                  {"ness", ""}});
}

std::string Step4(absl::string_view word) {
  if (absl::EndsWith(word, "ion")) {
    const bool fits = absl::EndsWith(word, "sion") || absl::EndsWith(word, "tion");
    return fits ? Replace(word, 1, {{"ion", ""}}) : std::string(word);
  }
  return Replace(word, 1,
                 {{"al", ""},
                  {"ance", ""},
                  {"ence", ""},
                  {"er", ""},
                  {"ic", ""},
                  {"able", ""},
                  {"ible", ""},
                  {"ant", ""},
                  {"ement", ""},
                  {"ment", ""},
                  {"ent", ""},
                  {"ou", ""},
                  {"ism", ""},
                  {"ate", ""},
                  {"iti", ""},
                  {"ous", ""},
                  {"ive", ""},
                  {"ize", ""}});
}

std::string Step5(absl::string_view word) {
  if (absl::EndsWith(word, "e")) {
    const absl::string_view stem = word.substr(0, word.size() - 1);
    const int64_t m = Measure(stem);
    if (m > 1 || (m == 1 && !EndsShort(stem))) word = stem;
  }
  if (absl::EndsWith(word, "ll") && Measure(word.substr(0, word.size() - 1)) > 1) {
    word.remove_suffix(1);
  }
  return std::string(word);
}

}  // namespace

std::string PorterStem(absl::string_view word) {
  static const auto* irregular = new std::map<absl::string_view, absl::string_view>{
      {"sky", "sky"},        {"skies", "sky"},        {"dying", "die"},
      {"lying", "lie"},      {"tying", "tie"},        {"news", "news"},
      {"innings", "inning"}, {"inning", "inning"},    {"outings", "outing"},
      {"outing", "outing"},  {"cannings", "canning"}, {"canning", "canning"},
      {"howe", "howe"},      {"proceed", "proceed"},  {"exceed", "exceed"},
      {"succeed", "succeed"}};
  const auto it = irregular->find(word);
  if (it != irregular->end()) return std::string(it->second);
  if (word.size() <= 2) return std::string(word);
  return Step5(Step4(Step3(Step2(Step1c(Step1b(Step1a(word)))))));
}

}  // namespace longrange::eval
