#include "common/base/near_names.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<int> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const int replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({replaced, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row.back();
}

}  // namespace

std::vector<std::string> NearNames(absl::string_view name, absl::Span<const std::string> known) {
  constexpr size_t kMost = 3, kBeginning = 4;
  std::vector<std::pair<int, std::string>> near;
  for (const std::string& candidate : known) {
    const int distance = EditDistance(name, candidate);
    const int allowed = std::max<int>(1, static_cast<int>(std::max(name.size(), candidate.size()) / 3));
    const bool same_beginning =
        name.size() >= kBeginning && absl::StartsWith(candidate, name.substr(0, kBeginning));
    if (distance <= allowed || same_beginning) near.emplace_back(distance, candidate);
  }
  std::sort(near.begin(), near.end());
  std::vector<std::string> names;
  for (size_t i = 0; i < std::min(kMost, near.size()); ++i) names.push_back(near[i].second);
  return names;
}

std::string DidYouMean(absl::string_view name, absl::Span<const std::string> known,
                       absl::string_view prefix) {
  const std::vector<std::string> near = NearNames(name, known);
  std::string text;
  for (size_t i = 0; i < near.size(); ++i) {
    absl::StrAppend(&text, i == 0 ? "; did you mean '" : " or '", prefix, near[i], "'");
  }
  return text.empty() ? text : text + "?";
}

}  // namespace longrange
