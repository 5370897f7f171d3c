#include "common/data/tokenizer.h"

#include <glog/logging.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

constexpr int32_t kBytes = 256;

void CheckNames(const std::vector<std::string>& names) {
  std::set<std::string> distinct;
  for (const std::string& name : names) {
    CHECK(!name.empty() && distinct.insert(name).second)
        << "special token '" << name << "' is empty or named twice";
  }
}

// Where `name` stands in the list.
absl::StatusOr<int32_t> IndexOf(absl::string_view name, const std::vector<std::string>& names) {
  const auto it = std::find(names.begin(), names.end(), name);
  if (it == names.end()) {
    return absl::NotFoundError(absl::StrCat(
        "no special token '", name,
        "' in the tokenizer; there are: ", names.empty() ? "none" : absl::StrJoin(names, ", ")));
  }
  return static_cast<int32_t>(it - names.begin());
}

// The names of tokens that follow `first` other ids, which are bytes.
std::string DecodeNames(absl::Span<const int32_t> ids, int32_t first,
                        absl::Span<const std::string> names) {
  const int64_t vocabulary = first + static_cast<int64_t>(names.size());
  std::string text;
  for (const int32_t id : ids) {
    CHECK(id >= 0 && id < vocabulary) << "token id " << id << " of a vocabulary of " << vocabulary;
    if (id < first) {
      text += static_cast<char>(id);
    } else {
      text += names[static_cast<size_t>(id - first)];
    }
  }
  return text;
}

}  // namespace

ByteTokenizer::ByteTokenizer(std::vector<std::string> specials) : specials_(std::move(specials)) {
  CheckNames(specials_);
}

std::vector<int32_t> ByteTokenizer::Encode(absl::string_view text) const {
  std::vector<int32_t> ids(text.size());
  std::transform(text.begin(), text.end(), ids.begin(),
                 [](char c) { return int32_t{static_cast<unsigned char>(c)}; });
  return ids;
}

std::string DecodeBytesAndNames(absl::Span<const int32_t> ids,
                                absl::Span<const std::string> names) {
  return DecodeNames(ids, kBytes, names);
}

std::string ByteTokenizer::Decode(absl::Span<const int32_t> ids) const {
  return DecodeBytesAndNames(ids, specials_);
}

absl::StatusOr<int32_t> ByteTokenizer::SpecialId(absl::string_view name) const {
  LR_ASSIGN_OR_RETURN(const int32_t index, IndexOf(name, specials_));
  return kBytes + index;
}

SymbolTokenizer::SymbolTokenizer(std::vector<std::string> names) : names_(std::move(names)) {
  CheckNames(names_);
}

std::vector<int32_t> SymbolTokenizer::Encode(absl::string_view text) const {
  CHECK(text.empty()) << "text for a tokenizer of symbols: " << text.substr(0, 32);
  return {};
}

std::string SymbolTokenizer::Decode(absl::Span<const int32_t> ids) const {
  return DecodeNames(ids, 0, names_);
}

absl::StatusOr<int32_t> SymbolTokenizer::SpecialId(absl::string_view name) const {
  return IndexOf(name, names_);
}

}  // namespace longrange
