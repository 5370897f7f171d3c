#include "papers/needle_in_a_haystack/insertion.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/eval/string_match.h"

namespace longrange::needle_in_a_haystack {
namespace {

constexpr int64_t kMostPoints = 1'000'000;  // of a grid

absl::Status CheckCount(int64_t count) {
  if (count >= 1 && count <= kMostPoints) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("count: ", count, " (expected 1 to ", kMostPoints, ")"));
}

// numpy.linspace: both ends exact.
std::vector<double> Linspace(double first, double last, int64_t count) {
  std::vector<double> x;
  const double step = count > 1 ? (last - first) / static_cast<double>(count - 1) : 0;
  for (int64_t i = 0; i < count; ++i) x.push_back(static_cast<double>(i) * step + first);
  if (count > 1) x.back() = last;
  return x;
}

absl::Status CheckPlacement(const Placement& placement) {
  if (placement.context_length < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("context_length: ", placement.context_length, " (expected 1 token or more)"));
  }
  if (!(placement.depth_percent >= 0 && placement.depth_percent <= 100)) {
    return absl::InvalidArgumentError(
        absl::StrCat("depth_percent: ", placement.depth_percent, " (expected 0 to 100)"));
  }
  constexpr int64_t kMost = int64_t{1} << 40;
  if (placement.buffer < 0 || placement.buffer > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("buffer: ", placement.buffer, " (expected 0 to ", kMost, " tokens)"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> TrimText(const Tokenizer& tokenizer, absl::string_view text,
                                     int64_t context_length) {
  Placement placement;
  placement.context_length = context_length;
  LR_RETURN_IF_ERROR(CheckPlacement(placement));
  const std::vector<int32_t> ids = tokenizer.Encode(text);
  if (static_cast<int64_t>(ids.size()) <= context_length) return std::string(text);
  return tokenizer.Decode(absl::MakeSpan(ids).subspan(0, static_cast<size_t>(context_length)));
}

absl::StatusOr<Context> InsertNeedle(const Tokenizer& tokenizer, absl::string_view text,
                                     absl::string_view needle, const Placement& placement) {
  return InsertNeedles(tokenizer, text, {std::string(needle)}, placement);
}

absl::StatusOr<Context> InsertNeedles(const Tokenizer& tokenizer, absl::string_view text,
                                      const std::vector<std::string>& needles,
                                      const Placement& placement) {
  LR_RETURN_IF_ERROR(CheckPlacement(placement));
  if (needles.empty()) return absl::InvalidArgumentError("needles: none (expected one or more)");
  std::vector<std::vector<int32_t>> hidden;
  int64_t needle_tokens = 0;
  for (const std::string& needle : needles) {
    hidden.push_back(tokenizer.Encode(needle));
    needle_tokens += static_cast<int64_t>(hidden.back().size());
  }
  const std::vector<int32_t> periods = tokenizer.Encode(".");

  Context context;
  std::vector<int32_t>& ids = context.ids;
  ids = tokenizer.Encode(text);
  const int64_t budget = placement.context_length - placement.buffer,
                text_tokens = static_cast<int64_t>(ids.size());
  if (text_tokens + needle_tokens > budget) {
    int64_t room = budget - needle_tokens;
    if (room < 0) {
      if (!placement.overflow_as_original) {
        return absl::InvalidArgumentError(absl::StrCat(
            "context_length: ", placement.context_length, " with a buffer of ", placement.buffer,
            " has no room for ", needle_tokens, " tokens of needle (expected ",
            placement.buffer + needle_tokens, " or more)"));
      }
      room = std::max<int64_t>(0, text_tokens + room);
    }
    ids.resize(static_cast<size_t>(std::min(room, text_tokens)));
  }

  double depth = placement.depth_percent;
  const double interval = (100 - depth) / static_cast<double>(needles.size());
  for (const std::vector<int32_t>& needle : hidden) {
    if (depth == 100) {
      ids.insert(ids.end(), needle.begin(), needle.end());
      continue;
    }
    auto cut = static_cast<size_t>(static_cast<double>(ids.size()) * (depth / 100));
    while (cut > 0 && std::find(periods.begin(), periods.end(), ids[cut - 1]) == periods.end())
      --cut;
    ids.insert(ids.begin() + static_cast<int64_t>(cut), needle.begin(), needle.end());
    if (!ids.empty()) {
      context.insertion_percent.push_back(static_cast<double>(cut) /
                                          static_cast<double>(ids.size()) * 100);
    }
    depth += interval;
  }
  return context;
}

absl::StatusOr<std::vector<int64_t>> LengthGrid(int64_t smallest, int64_t largest, int64_t count) {
  LR_RETURN_IF_ERROR(CheckCount(count));
  constexpr int64_t kLongest = int64_t{1} << 52;
  if (smallest < 1 || largest < smallest || largest > kLongest) {
    return absl::InvalidArgumentError(absl::StrCat("lengths from ", smallest, " to ", largest,
                                                   " (expected 1 <= smallest <= largest)"));
  }
  std::vector<int64_t> lengths;
  for (const double x :
       Linspace(static_cast<double>(smallest), static_cast<double>(largest), count)) {
    lengths.push_back(std::llrint(x));
  }
  return lengths;
}

absl::StatusOr<std::vector<double>> DepthGrid(double first, double last, int64_t count,
                                              DepthSpacing spacing) {
  LR_RETURN_IF_ERROR(CheckCount(count));
  if (!(first >= 0 && first <= last && last <= 100)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "depths from ", first, " to ", last, " percent (expected 0 <= first <= last <= 100)"));
  }
  std::vector<double> depths;
  for (const double x : Linspace(first, last, count)) {
    if (spacing == DepthSpacing::kLinear) {
      depths.push_back(std::nearbyint(x));
    } else if (x == 0 || x == 100) {
      depths.push_back(x);
    } else {
      depths.push_back(eval::RoundToDecimals(100 / (1 + std::exp(0.1 * (x - 50))), 3));
    }
  }
  return depths;
}

}  // namespace longrange::needle_in_a_haystack
