// Attention in plain differentiable operations: what the fused kernel computes, with the
// probabilities in memory. For probes that look at or replace them, and as the second path that
// tests hold the kernel against.

#ifndef LONGRANGE_PLUGINS_ATTENTION_PLAIN_ATTENTION_H_
#define LONGRANGE_PLUGINS_ATTENTION_PLAIN_ATTENTION_H_

#include <functional>

#include "common/tensor/tensor.h"
#include "kernels/attention/attention.h"

namespace longrange {

// Same inputs and output [B, T, H, E] as the kernel; memory O(B H T S). `tap` gets the
// probabilities [B, H, T, S] and returns them or what shall stand in their place.
Tensor PlainAttention(const kernels::AttentionInputs& inputs,
                      const std::function<Tensor(const Tensor& p_bhts)>& tap);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_ATTENTION_PLAIN_ATTENTION_H_
