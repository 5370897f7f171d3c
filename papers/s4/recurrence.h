// The step of a linear system, run over rows.
// B batch, T rows, H features, M modes (of each conjugate pair one), R rank, C outputs a feature.
// Complex tensors hold (re, im) in the dimension before the features, which are the lanes.

#ifndef LONGRANGE_PAPERS_S4_RECURRENCE_H_
#define LONGRANGE_PAPERS_S4_RECURRENCE_H_

#include "common/tensor/tensor.h"

namespace longrange::s4 {

// x_t = x_{t-1} + delta x_{t-1} - Σ_r g_r Re(w_r · x_{t-1}) + b u_t and y_t = Re(c · x_t), a dot
// being the sum over the modes. A slow mode has a small delta, which float32 holds more exactly
// than 1 + delta.
struct Recurrence {
  Tensor delta_m2h, b_m2h, c_cm2h;
  Tensor g_rm2h, w_rm2h;  // undefined: the matrix is diagonal
};

struct RecurResult {
  Tensor y_btch;
  Tensor state_bm2h;  // after the last row
};

// u [B, T, H] from the state given. Costs O(B T H M). Where gradients are recorded, every
// 32nd state is kept: M / 16 activations.
// All of one type, float32 or float64; differentiable by all, through the final state too.
RecurResult Recur(const Recurrence& system, const Tensor& u_bth, const Tensor& state_bm2h);

}  // namespace longrange::s4

#endif  // LONGRANGE_PAPERS_S4_RECURRENCE_H_
