// Convolution kernel of a diagonal state space model: a Vandermonde product (S4D: Gu, Gupta, Goel,
// Ré; NeurIPS 2022, section 3.2).
// C outputs a feature, H features, N/2 conjugate pairs of modes of which one each is given, L
// length. Complex tensors end in a dimension of 2: real part, imaginary part.

#ifndef LONGRANGE_KERNELS_POWER_KERNEL_POWER_KERNEL_H_
#define LONGRANGE_KERNELS_POWER_KERNEL_POWER_KERNEL_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// K[c, l, h] = 2 Re sum_n c[c, h, n] a[h, n]^l, l < L = `length`, where log_a is the complex
// logarithm of a (dt Lambda for zero-order hold); any branch. Powers are made in double, so they do
// not drift. c_chn2 [C, H, N/2, 2], log_a_hn2 [H, N/2, 2] -> [C, L, H]; float32 or float64.
Tensor PowerKernelForward(const Tensor& c_chn2, const Tensor& log_a_hn2, int64_t length);

struct PowerKernelGradients {
  Tensor dc_chn2;
  Tensor dlog_a_hn2;
};
// Gradients as real pairs.
PowerKernelGradients PowerKernelBackward(const Tensor& c_chn2, const Tensor& log_a_hn2,
                                         const Tensor& dkernel_clh);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_POWER_KERNEL_POWER_KERNEL_H_
