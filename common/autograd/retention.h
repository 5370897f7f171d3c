// Retention as a differentiable op; see kernels/retention.

#ifndef LONGRANGE_COMMON_AUTOGRAD_RETENTION_H_
#define LONGRANGE_COMMON_AUTOGRAD_RETENTION_H_

#include "common/tensor/tensor.h"
#include "kernels/retention/retention.h"

namespace longrange {

struct RetentionResult {
  Tensor out_bthe;
  Tensor state_bhde;
};
// Gradients flow to q, k, v and the state before the first row, from the rows and the state after
// the last one.
RetentionResult Retention(const kernels::RetentionInputs& in);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_RETENTION_H_
