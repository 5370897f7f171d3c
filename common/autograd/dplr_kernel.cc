#include "common/autograd/dplr_kernel.h"

#include <vector>

#include "common/autograd/tape.h"
#include "kernels/dplr_kernel/dplr_kernel.h"

namespace longrange {

Tensor DplrKernel(const Tensor& lambda_hn2, const Tensor& p_rhn2, const Tensor& b_chn2,
                  const Tensor& c_chn2, const Tensor& dt_h, int64_t length) {
  const kernels::DplrKernelInputs in{lambda_hn2.Detach(), p_rhn2.Detach(), b_chn2.Detach(),
                                     c_chn2.Detach(), dt_h.Detach()};
  const Tensor kernel = kernels::DplrKernelForward(in, length);
  const std::vector<Tensor> inputs = {lambda_hn2, p_rhn2, b_chn2, c_chn2, dt_h};
  if (WillRecord(inputs)) {
    Record("DplrKernel", inputs, {kernel}, [in](const std::vector<Tensor>& dkernel) {
      const kernels::DplrKernelInputs g = kernels::DplrKernelBackward(in, dkernel[0]);
      return std::vector<Tensor>{g.lambda_hn2, g.p_rhn2, g.b_chn2, g.c_chn2, g.dt_h};
    });
  }
  return kernel;
}

}  // namespace longrange
