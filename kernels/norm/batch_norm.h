// Batch norm (Ioffe & Szegedy 2015) of sequences: each channel by its mean and variance over the
// real rows of the whole batch. B batch, T rows, D channels. float32 or float64, all tensors of one
// type.

#ifndef LONGRANGE_KERNELS_NORM_BATCH_NORM_H_
#define LONGRANGE_KERNELS_NORM_BATCH_NORM_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// y = (x - mean) / sqrt(variance + eps) · weight + bias. mean and variance (biased) [D] are those
// of this batch and are written. Rows [begin_b, end_b) of each sample (int64 [B], each undefined:
// no padding on that side) are real, at least one of them; y is 0 in the others, which are not
// read. weight, bias [D].
void BatchNormForward(const Tensor& x_btd, const Tensor& begin_b, const Tensor& end_b,
                      const Tensor& weight_d, const Tensor& bias_d, double eps, const Tensor& y_btd,
                      const Tensor& mean_d, const Tensor& variance_d);

// Gradients of the above, overwritten, the statistics being functions of x; dx is 0 in rows that
// are not real, and may be dy.
void BatchNormBackward(const Tensor& x_btd, const Tensor& begin_b, const Tensor& end_b,
                       const Tensor& weight_d, double eps, const Tensor& mean_d,
                       const Tensor& variance_d, const Tensor& dy_btd, const Tensor& dx_btd,
                       const Tensor& dweight_d, const Tensor& dbias_d);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_NORM_BATCH_NORM_H_
