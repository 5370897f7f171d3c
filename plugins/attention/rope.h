// Rotary position embedding (RoFormer; Su et al. 2021): the frequencies that schemes start from.

#ifndef LONGRANGE_PLUGINS_ATTENTION_ROPE_H_
#define LONGRANGE_PLUGINS_ATTENTION_ROPE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/tensor/tensor.h"

namespace longrange {

// theta_j = base^(-2j/dims), j = 0 .. dims/2 - 1, in radians per position (Su et al.,
// section 3.2.2).
std::vector<double> RopeFrequencies(int64_t dims, double base);

// Rotating channels of a head of `head_width`, of which a share `partial` rotates: an even number
// of at least 2. InvalidArgument otherwise.
absl::StatusOr<int64_t> RotaryWidth(int64_t head_width, double partial);

// As the float64 tensor that Rotary holds.
Tensor FrequencyTensor(const std::vector<double>& inv_freq);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_ATTENTION_ROPE_H_
