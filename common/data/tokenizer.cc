#include "common/data/tokenizer.h"

#include <glog/logging.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longrange {
namespace {

constexpr int32_t kBytes = 256;

}  // namespace

ByteTokenizer::ByteTokenizer(std::vector<std::string> specials) : specials_(std::move(specials)) {
  std::set<std::string> distinct;
  for (const std::string& name : specials_) {
    CHECK(!name.empty() && distinct.insert(name).second)
        << "special token '" << name << "' is empty or named twice";
  }
}

std::vector<int32_t> ByteTokenizer::Encode(absl::string_view text) const {
  std::vector<int32_t> ids(text.size());
  std::transform(text.begin(), text.end(), ids.begin(),
                 [](char c) { return int32_t{static_cast<unsigned char>(c)}; });
  return ids;
}

std::string DecodeBytesAndNames(absl::Span<const int32_t> ids,
                                absl::Span<const std::string> names) {
  const int64_t vocabulary = kBytes + static_cast<int64_t>(names.size());
  std::string text;
  for (const int32_t id : ids) {
    CHECK(id >= 0 && id < vocabulary) << "token id " << id << " of a vocabulary of " << vocabulary;
    if (id < kBytes) {
      text += static_cast<char>(id);
    } else {
      text += names[static_cast<size_t>(id - kBytes)];
    }
  }
  return text;
}

std::string ByteTokenizer::Decode(absl::Span<const int32_t> ids) const {
  return DecodeBytesAndNames(ids, specials_);
}

absl::StatusOr<int32_t> ByteTokenizer::SpecialId(absl::string_view name) const {
  const auto it = std::find(specials_.begin(), specials_.end(), name);
  if (it == specials_.end()) {
    return absl::NotFoundError(
        absl::StrCat("no special token '", name, "' in the tokenizer; there are: ",
                     specials_.empty() ? "none" : absl::StrJoin(specials_, ", ")));
  }
  return kBytes + static_cast<int32_t>(it - specials_.begin());
}

}  // namespace longrange
