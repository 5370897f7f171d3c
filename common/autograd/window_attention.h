// Attention within a window, dilated by head, and to keys that all queries see; see
// kernels/attention/window_attention.h.

#ifndef LONGRANGE_COMMON_AUTOGRAD_WINDOW_ATTENTION_H_
#define LONGRANGE_COMMON_AUTOGRAD_WINDOW_ATTENTION_H_

#include "common/tensor/tensor.h"
#include "kernels/attention/window_attention.h"

namespace longrange {

// [B, T, H, E]. Gradients flow to q, k and v.
Tensor WindowAttention(const kernels::WindowAttentionInputs& inputs);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_WINDOW_ATTENTION_H_
