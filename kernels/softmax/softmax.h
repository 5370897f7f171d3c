// Softmax over the last dimension. float32 or float64.

#ifndef LONGRANGE_KERNELS_SOFTMAX_SOFTMAX_H_
#define LONGRANGE_KERNELS_SOFTMAX_SOFTMAX_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// y_i = exp(x_i - max x) / sum_j exp(x_j - max x) for each row of x [..., D]. A row of -inf only
// (nothing to attend to) gives zeros. y may be x.
void SoftmaxForward(const Tensor& x, const Tensor& y);

// dx_i = y_i (dy_i - sum_j y_j dy_j), overwritten. dx may be dy.
void SoftmaxBackward(const Tensor& y, const Tensor& dy, const Tensor& dx);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SOFTMAX_SOFTMAX_H_
