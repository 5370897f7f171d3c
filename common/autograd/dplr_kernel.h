// The kernel of a diagonal-plus-low-rank state space model (S4) as a differentiable op.

#ifndef LONGRANGE_COMMON_AUTOGRAD_DPLR_KERNEL_H_
#define LONGRANGE_COMMON_AUTOGRAD_DPLR_KERNEL_H_

#include "common/tensor/tensor.h"

namespace longrange {

// K[c, l, h] = C dA^l dB, l < length, of the bilinear discretisation with step dt[h] of the state
// matrix diag(lambda) - sum_r p_r p_r*; one mode of each of N/2 conjugate pairs is given: lambda
// [H, N/2, 2], p [R, H, N/2, 2], b [C or 1, H, N/2, 2], c [C, H, N/2, 2], dt [H] -> [C, length, H].
// c is C~ = C (I - dA^length), the parameter that S4 trains. Complex numbers and their gradients
// are pairs (re, im). Costs O(H N length), and no tensor of that size.
Tensor DplrKernel(const Tensor& lambda_hn2, const Tensor& p_rhn2, const Tensor& b_chn2,
                  const Tensor& c_chn2, const Tensor& dt_h, int64_t length);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_DPLR_KERNEL_H_
