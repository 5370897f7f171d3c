// Attention with relative positions (Dai et al. 2019, section 3.3). B batch, T queries, S keys, H
// heads, P channels of a head, R distances, D width.

#ifndef LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_ATTENTION_H_
#define LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_ATTENTION_H_

#include <cstdint>

#include "common/tensor/tensor.h"

namespace longrange::transformer_xl {

// R_p = [sin(p f) | cos(p f)], f_i = 10000^(-2i / D), of the distances count - 1, .., 1, 0:
// [count, D]. D is even.
Tensor DistanceRows(int64_t count, int64_t width, DType dtype, Device device);

// [.., H P] -> [H, .., P]
Tensor ByHead(const Tensor& x, int64_t heads);

struct RelativeAttentionInputs {
  Tensor q_hbtp, k_hbsp, v_hbsp;
  Tensor r_hrp;        // W_R R, the largest distance first
  Tensor u_hp, v_hp;   // what a query adds towards contents, and towards positions
  int64_t offset = 0;  // query i stands at key offset + i
  int64_t window = 0;  // keys at distances below it are seen; 0: all up to the query
};

// softmax(((q + u) · k + (q + v) · r[distance]) / sqrt(P)) over the keys that a query sees, 0
// elsewhere: [H, B, T, S]. Distances from R on count as R - 1.
Tensor RelativeProbabilities(const RelativeAttentionInputs& in);
// The values [H, B, S, P] in these shares, heads side by side: [B, T, H P].
Tensor MixValues(const Tensor& p_hbts, const Tensor& v_hbsp);

// Both.
inline Tensor RelativeAttention(const RelativeAttentionInputs& in) {
  return MixValues(RelativeProbabilities(in), in.v_hbsp);
}

}  // namespace longrange::transformer_xl

#endif  // LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_ATTENTION_H_
