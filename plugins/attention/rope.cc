#include "plugins/attention/rope.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace longrange {

std::vector<double> RopeFrequencies(int64_t dims, double base) {
  CHECK_EQ(dims % 2, 0) << "rotary channels come in pairs";
  std::vector<double> inv_freq;
  for (int64_t j = 0; j < dims / 2; ++j) {
    inv_freq.push_back(std::pow(base, -2.0 * static_cast<double>(j) / static_cast<double>(dims)));
  }
  return inv_freq;
}

absl::StatusOr<int64_t> RotaryWidth(int64_t head_width, double partial) {
  if (!(partial > 0 && partial <= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("partial: ", partial, " (expected a share in (0, 1])"));
  }
  const int64_t dims = static_cast<int64_t>(static_cast<double>(head_width) * partial);
  if (dims < 2 || dims % 2 != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("rotary positions turn pairs of channels: ", dims, " of a head of ",
                     head_width, " is not even"));
  }
  return dims;
}

Tensor FrequencyTensor(const std::vector<double>& inv_freq) {
  return Tensor::FromVector<double>({static_cast<int64_t>(inv_freq.size())}, inv_freq);
}

}  // namespace longrange
