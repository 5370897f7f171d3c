// Batch norm as a differentiable operation; see kernels/norm/batch_norm.h.

#ifndef LONGRANGE_COMMON_AUTOGRAD_BATCH_NORM_H_
#define LONGRANGE_COMMON_AUTOGRAD_BATCH_NORM_H_

#include "common/tensor/tensor.h"

namespace longrange {

struct BatchNormResult {
  Tensor y_btd;
  Tensor mean_d, variance_d;  // of this batch; no gradient flows through them
};

// Each channel of x [B, T, D] normalised by its mean and biased variance over the rows [begin_b,
// end_b) of all samples (int64 [B]; undefined: no padding on that side), then times weight [D] plus
// bias [D]. y is 0 in padding.
BatchNormResult BatchNorm(const Tensor& x_btd, const Tensor& begin_b, const Tensor& end_b,
                          const Tensor& weight_d, const Tensor& bias_d, double epsilon);

// The same by statistics that are given: every row for itself.
Tensor BatchNormBy(const Tensor& mean_d, const Tensor& variance_d, const Tensor& x,
                   const Tensor& weight_d, const Tensor& bias_d, double epsilon);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_BATCH_NORM_H_
