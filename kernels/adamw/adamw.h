// AdamW: Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2), and the norm for
// clipping.

#ifndef LONGRANGE_KERNELS_ADAMW_ADAMW_H_
#define LONGRANGE_KERNELS_ADAMW_ADAMW_H_

#include <cstdint>

#include "common/tensor/tensor.h"

namespace longrange::kernels {

struct AdamWOptions {
  double learning_rate = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  int64_t step = 1;           // 1-based: of the bias correction
  double gradient_scale = 1;  // the gradient is multiplied by this first (clipping, averaging)
};

// One update of parameter and of the moments m, v (zeros before step 1); all of one shape and type.
// The arithmetic is torch.optim.AdamW's: decay by 1 - learning_rate · weight_decay, then parameter
// -= learning_rate / (1 - beta1^step) · m / (sqrt(v) / sqrt(1 - beta2^step) + epsilon).
void AdamWStep(const AdamWOptions& options, const Tensor& gradient, const Tensor& parameter,
               const Tensor& m, const Tensor& v);

// Sum of the squares of all elements, added in double in a fixed order. On meta 0.
double SumOfSquares(const Tensor& t);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_ADAMW_ADAMW_H_
