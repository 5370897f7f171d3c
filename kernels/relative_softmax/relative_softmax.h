// Attention probabilities from scores of content and scores by distance (Dai et al.,
// "Transformer-XL", ACL 2019, section 3.3). G matrices (batch times heads), T queries, S keys, R
// distances.

#ifndef LONGRANGE_KERNELS_RELATIVE_SOFTMAX_RELATIVE_SOFTMAX_H_
#define LONGRANGE_KERNELS_RELATIVE_SOFTMAX_RELATIVE_SOFTMAX_H_

#include <cstdint>

#include "common/tensor/tensor.h"

namespace longrange::kernels {

struct RelativeSoftmaxOptions {
  int64_t offset = 0;  // query i stands at key offset + i
  int64_t window =
      0;  // keys at distances below it are seen; 0: all that do not lie behind the query
  double scale = 1;
};

// p[g, i, :] = softmax over the keys j that query i sees of
//   scale (content[g, i, j] + position[g, i, column]),  distance = offset + i - j >= 0,
// where the columns of `position` run from the largest distance, R - 1, to 0, and larger distances
// take the first one. p is 0 where a key is not seen; what stands there is never read. A query that
// sees no key gives zeros. float32 or float64.
void RelativeSoftmaxForward(const Tensor& content_gts, const Tensor& position_gtr,
                            const RelativeSoftmaxOptions& options, const Tensor& p_gts);

// Gradients of sum(p * dp), overwritten.
void RelativeSoftmaxBackward(const Tensor& p_gts, const Tensor& dp_gts,
                             const RelativeSoftmaxOptions& options, const Tensor& dcontent_gts,
                             const Tensor& dposition_gtr);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_RELATIVE_SOFTMAX_RELATIVE_SOFTMAX_H_
