// The linear recurrence of diagonal state space models, over complex channels that do not mix:
// h_t = a_t h_{t-1} + u_t. B batch, T steps, P channels; a complex number is a pair (re, im) in the
// last dimension. float32 or float64, all tensors of one type.

#ifndef LONGRANGE_KERNELS_DIAGONAL_SCAN_DIAGONAL_SCAN_H_
#define LONGRANGE_KERNELS_DIAGONAL_SCAN_DIAGONAL_SCAN_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// h [B, T, P, 2] of u [B, T, P, 2]. a: [P, 2], the same at every step, or [B, T, P, 2]. The state
// before the first step is initial [B, P, 2], zero where undefined; final [B, P, 2] gets the one
// after the last, and may be undefined. reverse: the steps go from T - 1 down to 0, so that h_t =
// a_t h_{t+1} + u_t.
//
// Few channels of a long sequence are cut along T: a piece's end follows from its entry by the
// product of its factors, which must be representable (|a| up to 1.08 or so; where |a| <= 1, as in
// a stable model, always).
void DiagonalScanForward(const Tensor& a, const Tensor& u_btp2, const Tensor& initial_bp2,
                         bool reverse, const Tensor& h_btp2, const Tensor& final_bp2);

// Gradients of the above from its h, overwritten: du; da in the form of a; dinitial. Those of real
// and imaginary parts, as pairs. dfinal undefined: zero. da and dinitial may be undefined.
//   g_t = dh_t + conj(a_{t+1}) g_{t+1},  du_t = g_t,  da_t = conj(h_{t-1}) g_t
void DiagonalScanBackward(const Tensor& a, const Tensor& initial_bp2, bool reverse,
                          const Tensor& h_btp2, const Tensor& dh_btp2, const Tensor& dfinal_bp2,
                          const Tensor& du_btp2, const Tensor& da, const Tensor& dinitial_bp2);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_DIAGONAL_SCAN_DIAGONAL_SCAN_H_
