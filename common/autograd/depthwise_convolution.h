// The short causal convolution of each channel on the tape; equation and shapes are those of
// kernels/depthwise_convolution/depthwise_convolution.h.

#ifndef LONGRANGE_COMMON_AUTOGRAD_DEPTHWISE_CONVOLUTION_H_
#define LONGRANGE_COMMON_AUTOGRAD_DEPTHWISE_CONVOLUTION_H_

#include "common/tensor/tensor.h"
#include "kernels/depthwise_convolution/depthwise_convolution.h"

namespace longrange {

struct DepthwiseConvolutionResult {
  Tensor y_btd;     // [B, T, D]
  Tensor tail_bkd;  // [B, K - 1, D], the rows to go on from
};

// Gradients flow to every input and from both results.
DepthwiseConvolutionResult DepthwiseConvolution(const kernels::DepthwiseConvolutionInputs& inputs);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_DEPTHWISE_CONVOLUTION_H_
