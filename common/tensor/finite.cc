#include "common/tensor/finite.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longrange {
namespace {

// A value is finite unless all bits of its exponent are set. Index of the first that is not; -1:
// none.
template <typename Bits>
int64_t FirstWithExponent(const void* data, int64_t count, Bits exponent) {
  constexpr int64_t kBlock = 1024;  // without a branch inside, so that the compiler vectorises it
  const Bits* bits = static_cast<const Bits*>(data);
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t end = std::min(count, begin + kBlock);
    Bits bad = 0;
    for (int64_t i = begin; i < end; ++i)
      bad |= static_cast<Bits>((bits[i] & exponent) == exponent);
    if (bad == 0) continue;
    for (int64_t i = begin;; ++i) {
      if ((bits[i] & exponent) == exponent) return i;
    }
  }
  return -1;
}

int64_t FirstIndex(const Tensor& t) {
  switch (t.dtype()) {
    case DType::kFloat32:
      return FirstWithExponent<uint32_t>(t.raw_data(), t.numel(), 0x7f800000u);
    case DType::kFloat64:
      return FirstWithExponent<uint64_t>(t.raw_data(), t.numel(), 0x7ff0000000000000u);
    case DType::kBFloat16:
      return FirstWithExponent<uint16_t>(t.raw_data(), t.numel(), 0x7f80u);
    default:
      return -1;
  }
}

}  // namespace

std::string FirstNonFinite(const Tensor& t) {
  if (t.is_meta()) return "";
  const int64_t flat = FirstIndex(t);
  if (flat < 0) return "";
  const double value = t.View({t.numel()}).ViewRows(flat, flat + 1).ToDoubles()[0];
  std::vector<int64_t> place(static_cast<size_t>(t.rank()));
  int64_t rest = flat;
  for (int d = t.rank() - 1; d >= 0; --d) {
    place[static_cast<size_t>(d)] = rest % t.dim(d);
    rest /= t.dim(d);
  }
  return absl::StrCat(std::isnan(value) ? "NaN"
                      : value > 0       ? "inf"
                                        : "-inf",
                      " at [", absl::StrJoin(place, ", "), "]");
}

}  // namespace longrange
