// The softmax of relative attention as a differentiable op; see kernels/relative_softmax.

#ifndef LONGRANGE_COMMON_AUTOGRAD_RELATIVE_SOFTMAX_H_
#define LONGRANGE_COMMON_AUTOGRAD_RELATIVE_SOFTMAX_H_

#include "common/tensor/tensor.h"
#include "kernels/relative_softmax/relative_softmax.h"

namespace longrange {

// [G, T, S] from scores of content [G, T, S] and by distance [G, T, R].
Tensor RelativeSoftmax(const Tensor& content_gts, const Tensor& position_gtr,
                       const kernels::RelativeSoftmaxOptions& options);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_RELATIVE_SOFTMAX_H_
