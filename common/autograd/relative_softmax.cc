#include "common/autograd/relative_softmax.h"

#include <vector>

#include "common/autograd/tape.h"

namespace longrange {

Tensor RelativeSoftmax(const Tensor& content_gts, const Tensor& position_gtr,
                       const kernels::RelativeSoftmaxOptions& options) {
  const Tensor p = Tensor::EmptyLike(content_gts);
  kernels::RelativeSoftmaxForward(content_gts.Detach(), position_gtr.Detach(), options, p);
  if (WillRecord({content_gts, position_gtr})) {
    Record(
        "RelativeSoftmax", {content_gts, position_gtr}, {p},
        [kept = p.Detach(), shape = position_gtr.shape(), options](const std::vector<Tensor>& dp) {
          const Tensor dcontent = Tensor::EmptyLike(kept),
                       dposition = Tensor::Empty(shape, kept.dtype(), kept.device());
          kernels::RelativeSoftmaxBackward(kept, dp[0], options, dcontent, dposition);
          return std::vector<Tensor>{dcontent, dposition};
        });
  }
  return p;
}

}  // namespace longrange
