// Causal convolution of each channel by a short filter of its own, as in Mamba and H3:
//
//   y_t = f(bias + sum_k weight_k x_{t - (K - 1) + k}),  k < K: weight_{K-1} meets the row itself
//
// where f is the identity or silu, and what stands before the first row is the tail handed in.
// B batch, T tokens, D channels, K taps.

#ifndef LONGRANGE_KERNELS_DEPTHWISE_CONVOLUTION_DEPTHWISE_CONVOLUTION_H_
#define LONGRANGE_KERNELS_DEPTHWISE_CONVOLUTION_DEPTHWISE_CONVOLUTION_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

struct DepthwiseConvolutionInputs {
  Tensor x_btd;      // [B, T, D]
  Tensor weight_dk;  // [D, K], K >= 1
  Tensor bias_d;     // [D], or undefined: 0
  Tensor tail_bkd;   // [B, K - 1, D], the rows before the first, oldest first; or undefined: 0
  bool silu = false;
};

struct DepthwiseConvolutionOutputs {
  Tensor y_btd;     // [B, T, D]
  Tensor tail_bkd;  // [B, K - 1, D], the last K - 1 rows seen
};

// Of the inputs, in their shapes; undefined where the input is.
struct DepthwiseConvolutionGradients {
  Tensor dx_btd, dweight_dk, dbias_d, dtail_bkd;
};

// float32: vectors of channels; float64: the plain loops of reference.h. CPU and meta. Any B, T and
// D, also 0. Bits do not depend on the number of threads or on the other samples of the batch.
DepthwiseConvolutionOutputs DepthwiseConvolutionForward(const DepthwiseConvolutionInputs& in);

// dtail_bkd, the gradient by the tail handed on, may be undefined (zero).
DepthwiseConvolutionGradients DepthwiseConvolutionBackward(const DepthwiseConvolutionInputs& in,
                                                           const Tensor& dy_btd,
                                                           const Tensor& dtail_bkd);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_DEPTHWISE_CONVOLUTION_DEPTHWISE_CONVOLUTION_H_
