#include "common/autograd/retention.h"

#include <vector>

#include "common/autograd/tape.h"

namespace longrange {

RetentionResult Retention(const kernels::RetentionInputs& in) {
  kernels::RetentionInputs kept = in;
  kept.q_bthd = in.q_bthd.Detach();
  kept.k_bthd = in.k_bthd.Detach();
  kept.v_bthe = in.v_bthe.Detach();
  const bool from_state = in.state_bhde.defined();
  if (from_state) kept.state_bhde = in.state_bhde.Detach();
  const kernels::RetentionOutputs made = kernels::RetentionForward(kept);
  std::vector<Tensor> inputs = {in.q_bthd, in.k_bthd, in.v_bthe};
  if (from_state) inputs.push_back(in.state_bhde);
  if (WillRecord(inputs)) {
    Record("Retention", inputs, {made.out_bthe, made.state_bhde},
           [kept, from_state](const std::vector<Tensor>& dy) {
             const kernels::RetentionGradients g = kernels::RetentionBackward(kept, dy[0], dy[1]);
             std::vector<Tensor> gradients = {g.dq_bthd, g.dk_bthd, g.dv_bthe};
             if (from_state) gradients.push_back(g.dstate_bhde);
             return gradients;
           });
  }
  return {made.out_bthe, made.state_bhde};
}

}  // namespace longrange
