// The gate of a gated linear unit as a differentiable op.

#ifndef LONGRANGE_COMMON_AUTOGRAD_GLU_H_
#define LONGRANGE_COMMON_AUTOGRAD_GLU_H_

#include "common/tensor/tensor.h"

namespace longrange {

// sigmoid(gate) * value (Dauphin et al. 2017), same shapes. Differentiable by both.
Tensor Glu(const Tensor& gate, const Tensor& value);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_GLU_H_
