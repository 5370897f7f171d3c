// The kernel of a diagonal state space model as a differentiable op.

#ifndef LONGRANGE_COMMON_AUTOGRAD_POWER_KERNEL_H_
#define LONGRANGE_COMMON_AUTOGRAD_POWER_KERNEL_H_

#include "common/tensor/tensor.h"

namespace longrange {

// K[c, l, h] = 2 Re sum_n c[c, h, n] exp(l log_a[h, n]), l < length: c [C, H, N/2, 2] (output,
// input and the factor of the discretisation in one), log_a [H, N/2, 2] (dt Lambda for zero-order
// hold) -> [C, length, H]. Complex numbers and their gradients are pairs (re, im). Costs
// O(C H N length).
Tensor PowerKernel(const Tensor& c_chn2, const Tensor& log_a_hn2, int64_t length);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_POWER_KERNEL_H_
