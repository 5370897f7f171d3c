// Attention within a window around each query, at a dilation of its own for each head, and beside
// it to a few keys that all queries see; one softmax over both. Beltagy, Peters, Cohan,
// "Longformer: The Long-Document Transformer" (2020), section 3.1.
//
// B batch, T queries, S keys, H heads, D width of q and k, E width of v and of the output. Work and
// memory go by the keys that are seen: the keys of a dilated head fall into residue classes, in
// each of which the window is a plain one, and the keys that all see are gathered. Each of these is
// a call of the tiled attention (attention.h).

#ifndef LONGRANGE_KERNELS_ATTENTION_WINDOW_ATTENTION_H_
#define LONGRANGE_KERNELS_ATTENTION_WINDOW_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "kernels/attention/attention.h"

namespace longrange::kernels {

struct WindowAttentionInputs {
  Tensor q_bthd, k_bshd, v_bshe;  // [B, T, H, D], [B, S, H, D], [B, S, H, E]

  // Query i stands at key p = S - T + i. Head h sees keys p + dilation[h] t for t in
  // [-back, ahead], as far as they are there.
  int64_t back = 0, ahead = 0;
  std::vector<int64_t> dilation_h = {1};  // one for all heads, or one a head

  // Keys that all queries of a sample see, in the window or not: ascending, for each of the B
  // samples. Empty: none.
  std::vector<std::vector<int64_t>> global_b;

  // Padding, as of AttentionInputs. A global key that is padding is none.
  Tensor begin_b, end_b;
  Tensor query_begin_b, query_end_b;

  double scale = 0;  // of the scores; 0: 1 / sqrt(D)
};

// float32 and float64, CPU and meta, as AttentionForward.
AttentionOutputs WindowAttentionForward(const WindowAttentionInputs& in);

// Gradients of sum(out * dout); `outputs` is what WindowAttentionForward gave for the same inputs.
AttentionGradients WindowAttentionBackward(const WindowAttentionInputs& in,
                                           const AttentionOutputs& outputs,
                                           const Tensor& dout_bthe);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_ATTENTION_WINDOW_ATTENTION_H_
