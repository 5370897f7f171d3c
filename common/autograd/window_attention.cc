#include "common/autograd/window_attention.h"

#include <vector>

#include "common/autograd/tape.h"

namespace longrange {

Tensor WindowAttention(const kernels::WindowAttentionInputs& in) {
  kernels::WindowAttentionInputs kept = in;
  for (Tensor* t : {&kept.q_bthd, &kept.k_bshd, &kept.v_bshe}) *t = t->Detach();
  const kernels::AttentionOutputs made = kernels::WindowAttentionForward(kept);
  const std::vector<Tensor> inputs = {in.q_bthd, in.k_bshd, in.v_bshe};
  if (WillRecord(inputs)) {
    const kernels::AttentionOutputs kept_made{made.out_bthe.Detach(), made.lse_bht};
    Record("WindowAttention", inputs, {made.out_bthe},
           [kept, kept_made](const std::vector<Tensor>& dy) {
             const kernels::AttentionGradients g =
                 kernels::WindowAttentionBackward(kept, kept_made, dy[0]);
             return std::vector<Tensor>{g.dq_bthd, g.dk_bshd, g.dv_bshe};
           });
  }
  return made.out_bthe;
}

}  // namespace longrange
