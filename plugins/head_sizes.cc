#include "plugins/head_sizes.h"

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"

namespace longrange {

absl::StatusOr<HeadSizes> CheckHeads(int64_t heads, int64_t kv_heads, int64_t head_width,
                                     int64_t width) {
  // Far above what anybody builds; products of two stay numbers.
  constexpr int64_t kMost = int64_t{1} << 20;
  if (heads < 1 || heads > kMost) return Refuse("heads", heads, absl::StrCat("1 to ", kMost));
  if (kv_heads < 0 || (kv_heads > 0 && heads % kv_heads != 0)) {
    return Refuse("kv_heads", kv_heads,
                  absl::StrCat("0, for as many as heads, or a divisor of heads, ", heads));
  }
  if (head_width < 0 || head_width > kMost) {
    return Refuse("head_width", head_width,
                  absl::StrCat("0, for the width divided by heads, or 1 to ", kMost));
  }
  if (head_width == 0 && width % heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("heads: ", heads, " does not divide the width ", width, "; set head_width"));
  }
  return HeadSizes{heads, kv_heads > 0 ? kv_heads : heads,
                   head_width > 0 ? head_width : width / heads};
}

}  // namespace longrange
