#include "common/autograd/power_kernel.h"

#include <vector>

#include "common/autograd/tape.h"
#include "kernels/power_kernel/power_kernel.h"

namespace longrange {

Tensor PowerKernel(const Tensor& c_chn2, const Tensor& log_a_hn2, int64_t length) {
  const Tensor kernel = kernels::PowerKernelForward(c_chn2, log_a_hn2, length);
  if (WillRecord({c_chn2, log_a_hn2})) {
    Record("PowerKernel", {c_chn2, log_a_hn2}, {kernel},
           [c = c_chn2.Detach(), log_a = log_a_hn2.Detach()](const std::vector<Tensor>& dkernel) {
             const kernels::PowerKernelGradients g =
                 kernels::PowerKernelBackward(c, log_a, dkernel[0]);
             return std::vector<Tensor>{g.dc_chn2, g.dlog_a_hn2};
           });
  }
  return kernel;
}

}  // namespace longrange
