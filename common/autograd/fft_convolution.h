// Long convolution over time as a differentiable op.

#ifndef LONGRANGE_COMMON_AUTOGRAD_FFT_CONVOLUTION_H_
#define LONGRANGE_COMMON_AUTOGRAD_FFT_CONVOLUTION_H_

#include "common/tensor/tensor.h"

namespace longrange {

// y[t] = gate[t] (sum_{j <= t} filter[j] x[t - j] + sum_j future[j] x[t + 1 + j] + skip x[t]), each
// channel by its own filters: x, gate [B, T, D], filter, future [L, D], skip [D]. future
// (undefined: causal), skip and gate may be undefined. Filters may be longer or shorter than T.
// Differentiable by all. Costs O(B D T log T), or O(B D T L) where the filter is short.
Tensor FftConvolution(const Tensor& x_btd, const Tensor& filter_ld, const Tensor& future_ld,
                      const Tensor& skip_d, const Tensor& gate_btd = Tensor());

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_FFT_CONVOLUTION_H_
