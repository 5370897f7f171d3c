#include "common/autograd/depthwise_convolution.h"

#include <vector>

#include "common/autograd/tape.h"

namespace longrange {

DepthwiseConvolutionResult DepthwiseConvolution(const kernels::DepthwiseConvolutionInputs& inputs) {
  const kernels::DepthwiseConvolutionOutputs made = kernels::DepthwiseConvolutionForward(inputs);
  const std::vector<Tensor> recorded = {inputs.x_btd, inputs.weight_dk, inputs.bias_d,
                                        inputs.tail_bkd};
  if (WillRecord(recorded)) {
    kernels::DepthwiseConvolutionInputs kept = inputs;
    for (Tensor* t : {&kept.x_btd, &kept.weight_dk, &kept.bias_d, &kept.tail_bkd}) {
      if (t->defined()) *t = t->Detach();
    }
    Record("DepthwiseConvolution", recorded, {made.y_btd, made.tail_bkd},
           [kept](const std::vector<Tensor>& dy) {
             const kernels::DepthwiseConvolutionGradients g = kernels::DepthwiseConvolutionBackward(
                 kept, dy[0].defined() ? dy[0] : Tensor::ZerosLike(kept.x_btd), dy[1]);
             return std::vector<Tensor>{g.dx_btd, g.dweight_dk, g.dbias_d, g.dtail_bkd};
           });
  }
  return {made.y_btd, made.tail_bkd};
}

}  // namespace longrange
