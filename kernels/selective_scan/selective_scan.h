// The selective scan of Mamba (Gu and Dao 2023, section 3 and Algorithm 2): a linear recurrence by
// channel whose step size and whose maps in and out of the state depend on the token.
//
//   delta_t = softplus(raw_t + bias)                          (or raw_t + bias)
//   h_t     = exp(delta_t A) h_{t-1} + delta_t B_t x_t        N states a channel; Euler for B
//   y_t     = (<C_t, h_t> + skip x_t) silu(z_t)
//
// B batch, T tokens, D channels, N states of a channel, G groups of D / G neighbouring channels.
// Nothing of size [B, T, D, N] is held: the way forward keeps the states at the borders of chunks
// (a quarter of an activation at most where T fills the chunks), the way back computes those inside again.

#ifndef LONGRANGE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_
#define LONGRANGE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

struct SelectiveScanInputs {
  Tensor x_btd;      // [B, T, D]
  Tensor delta_btd;  // [B, T, D], raw
  Tensor a_dn;       // [D, N], negative for a state that fades
  // Both either by token, [B, T, G, N], G a divisor of D; or constants of the channel, [D, N] (the
  // recurrence without selection).
  Tensor b, c;
  bool softplus = true;  // delta = softplus(raw + bias), else raw + bias

  // Optional.
  Tensor bias_d;     // [D]; none: 0
  Tensor skip_d;     // [D]; none: 0
  Tensor gate_btd;   // [B, T, D], z; none: y is not gated
  Tensor state_bdn;  // [B, D, N], h before the first token; none: 0
};

struct SelectiveScanOutputs {
  Tensor y_btd;     // [B, T, D]
  Tensor last_bdn;  // [B, D, N], h after the last token
  // For the way back, where asked for: the states before each chunk of tokens, in a layout of the
  // kernel's own. Undefined in float64, where the way back needs none.
  Tensor borders;
};

// Of the inputs in the same shapes; undefined where the input is.
struct SelectiveScanGradients {
  Tensor dx_btd, ddelta_btd, da_dn, db, dc, dbias_d, dskip_d, dgate_btd, dstate_bdn;
};

// float32: the fused kernel; float64: the plain loops of reference.h. CPU and meta; on meta only
// shapes and cost. Any B, T, D and N, also 0. Bits do not depend on the number of threads or on the
// other samples of the batch.
SelectiveScanOutputs SelectiveScanForward(const SelectiveScanInputs& in, bool keep_borders);

// From the inputs of a forward call, the borders it kept, and the gradients by its outputs;
// dlast_bdn may be undefined (zero). The sums over channels in db and dc, and over tokens in da,
// are taken in an order that depends on the shape alone.
SelectiveScanGradients SelectiveScanBackward(const SelectiveScanInputs& in, const Tensor& borders,
                                             const Tensor& dy_btd, const Tensor& dlast_bdn);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SELECTIVE_SCAN_SELECTIVE_SCAN_H_
