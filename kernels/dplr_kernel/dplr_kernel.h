// Convolution kernel of a diagonal-plus-low-rank state space model (S4: Gu, Goel, Ré; ICLR 2022;
// Algorithm 1 with Lambda - P P*, bilinear discretisation).
// C outputs a feature, H features, N/2 conjugate pairs of modes of which one each is given, R rank
// of the correction, L length. Complex tensors end in a dimension of 2: real part, imaginary part.

#ifndef LONGRANGE_KERNELS_DPLR_KERNEL_DPLR_KERNEL_H_
#define LONGRANGE_KERNELS_DPLR_KERNEL_DPLR_KERNEL_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// The state matrix of feature h is diag(lambda) - sum_r p_r p_r*, over the modes and their
// conjugates. float32 or float64, all of one type.
struct DplrKernelInputs {
  Tensor lambda_hn2;  // [H, N/2, 2], real parts negative
  Tensor p_rhn2;      // [R, H, N/2, 2]; R may be 0
  Tensor b_chn2;      // [C, H, N/2, 2], or [1, H, N/2, 2]: one for all outputs
  Tensor c_chn2;      // [C, H, N/2, 2]: C~ = C (I - dA^L), so it belongs to this length
  Tensor dt_h;        // [H], positive
};

// Returns K [C, L, H]: K[l] = C dA^l dB, l < L = `length`.
Tensor DplrKernelForward(const DplrKernelInputs& in, int64_t length);

// Gradients with respect to all inputs, as real pairs; the members are named as the inputs.
DplrKernelInputs DplrKernelBackward(const DplrKernelInputs& in, const Tensor& dkernel_clh);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_DPLR_KERNEL_DPLR_KERNEL_H_
