// Attention in float64, as the formula stands: O(T * S) memory and time. The truth that the tiled
// kernel is tested against, and the path that float64 tensors take.

#ifndef LONGRANGE_KERNELS_ATTENTION_REFERENCE_H_
#define LONGRANGE_KERNELS_ATTENTION_REFERENCE_H_

#include "kernels/attention/attention.h"

namespace longrange::kernels {

// The softmax weights, float64 [B, H, T, S]: 0 at keys that a row does not see; a row that sees no
// key is 0 throughout. Tensors of any floating type.
Tensor ReferenceAttentionProbabilities(const AttentionInputs& in);

// As AttentionForward and AttentionBackward; tensors of any floating type, results in float64.
AttentionOutputs ReferenceAttentionForward(const AttentionInputs& in);
AttentionGradients ReferenceAttentionBackward(const AttentionInputs& in,
                                              const AttentionOutputs& outputs,
                                              const Tensor& dout_bthe);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_ATTENTION_REFERENCE_H_
