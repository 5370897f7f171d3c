#include "common/autograd/selective_scan.h"

#include <vector>

#include "common/autograd/tape.h"

namespace longrange {

SelectiveScanResult SelectiveScan(const kernels::SelectiveScanInputs& inputs) {
  const std::vector<Tensor> recorded = {inputs.x_btd,  inputs.delta_btd, inputs.a_dn,
                                        inputs.b,      inputs.c,         inputs.bias_d,
                                        inputs.skip_d, inputs.gate_btd,  inputs.state_bdn};
  const bool record = WillRecord(recorded);
  const kernels::SelectiveScanOutputs made = kernels::SelectiveScanForward(inputs, record);
  if (record) {
    kernels::SelectiveScanInputs kept = inputs;
    for (Tensor* t : {&kept.x_btd, &kept.delta_btd, &kept.a_dn, &kept.b, &kept.c, &kept.bias_d,
                      &kept.skip_d, &kept.gate_btd, &kept.state_bdn}) {
      if (t->defined()) *t = t->Detach();
    }
    Record("SelectiveScan", recorded, {made.y_btd, made.last_bdn},
           [kept, borders = made.borders](const std::vector<Tensor>& dy) {
             const kernels::SelectiveScanGradients g = kernels::SelectiveScanBackward(
                 kept, borders, dy[0].defined() ? dy[0] : Tensor::ZerosLike(kept.x_btd), dy[1]);
             return std::vector<Tensor>{g.dx_btd,  g.ddelta_btd, g.da_dn,     g.db,        g.dc,
                                        g.dbias_d, g.dskip_d,    g.dgate_btd, g.dstate_bdn};
           });
  }
  return {made.y_btd, made.last_bdn};
}

}  // namespace longrange
