// RMSNorm (Zhang & Sennrich 2019) and LayerNorm (Ba et al. 2016) over the last dimension.
// R rows (all leading dimensions), D channels. float32 or float64, all tensors of one type.

#ifndef LONGRANGE_KERNELS_NORM_NORM_H_
#define LONGRANGE_KERNELS_NORM_NORM_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// y = x · rstd · weight with rstd = 1 / sqrt(mean(x²) + eps). x, y [..., D], weight [D] or
// undefined (ones), rstd_r has R elements. y may be x.
void RmsNormForward(const Tensor& x, const Tensor& weight, double eps, const Tensor& y,
                    const Tensor& rstd_r);

// Gradients of the above, overwritten; dweight [D] may be undefined. dx may be dy.
void RmsNormBackward(const Tensor& x, const Tensor& weight, const Tensor& rstd_r, const Tensor& dy,
                     const Tensor& dx, const Tensor& dweight);

// y = (x - mean) · rstd · weight + bias with rstd = 1 / sqrt(variance + eps), the variance taken
// over D (biased). weight and bias [D] may each be undefined. y may be x.
void LayerNormForward(const Tensor& x, const Tensor& weight, const Tensor& bias, double eps,
                      const Tensor& y, const Tensor& mean_r, const Tensor& rstd_r);

// Gradients of the above, overwritten; dweight and dbias [D] may each be undefined. dx may be dy.
void LayerNormBackward(const Tensor& x, const Tensor& weight, const Tensor& mean_r,
                       const Tensor& rstd_r, const Tensor& dy, const Tensor& dx,
                       const Tensor& dweight, const Tensor& dbias);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_NORM_NORM_H_
