#include "common/base/near_names.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

// Letters inserted, dropped, replaced, or swapped with their neighbour.
int EditDistance(absl::string_view a, absl::string_view b) {
  std::vector<std::vector<int>> d(a.size() + 1, std::vector<int>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = static_cast<int>(i + j);
        continue;
      }
      d[i][j] = std::min(
          {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

std::vector<std::string> NearNames(absl::string_view name, absl::Span<const std::string> known) {
  constexpr size_t kMost = 3, kBeginning = 4;
  // No name of ours is that long, and the distance takes time and memory of the product.
  if (name.size() > 100) return {};
  std::vector<std::pair<int, std::string>> near;
  for (const std::string& candidate : known) {
    const int distance = EditDistance(name, candidate);
    const int allowed =
        std::max<int>(1, static_cast<int>(std::max(name.size(), candidate.size()) / 3));
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
