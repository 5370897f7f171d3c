// Retention (Sun et al. 2023, section 2): causal linear attention whose memory decays by a fixed
// factor gamma of each head.
//   out[t] = sum over s <= t of gamma^(t - s) (q[t] . k[s]) v[s]
//          = q[t] S[t],  S[t] = gamma S[t - 1] + k[t]^T v[t]
// B batch, T rows, H heads, D channels of a head's queries and keys, E of its values. A sum of
// weights to divide by is one more value channel of ones.

#ifndef LONGRANGE_KERNELS_RETENTION_RETENTION_H_
#define LONGRANGE_KERNELS_RETENTION_RETENTION_H_

#include <cstdint>
#include <vector>

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// float32 or float64, all tensors of one type.
struct RetentionInputs {
  Tensor q_bthd, k_bthd, v_bthe;
  std::vector<double> log_decay_h;  // ln gamma, at most 0; not differentiable
  Tensor state_bhde;                // S before the first row; undefined: zeros
  // Rows of a chunk: pairs of rows inside one meet directly, all else goes through S (Eq. 7). 1 is
  // the recurrence row by row (Eq. 6), T or more the parallel form (Eq. 5); 0: as is fastest. The
  // forms are one function, computed in different orders.
  int64_t chunk = 0;
};

struct RetentionOutputs {
  Tensor out_bthe;
  Tensor state_bhde;  // S after the last row
};
RetentionOutputs RetentionForward(const RetentionInputs& in);

struct RetentionGradients {
  Tensor dq_bthd, dk_bthd, dv_bthe;
  Tensor dstate_bhde;  // with respect to the S before the first row, given or not
};
// dout [B, T, H, E] and dstate [B, H, D, E] are the gradients of the outputs; undefined: zero.
// Nothing of the forward is kept: memory is that of the inputs and outputs, and some states.
RetentionGradients RetentionBackward(const RetentionInputs& in, const Tensor& dout_bthe,
                                     const Tensor& dstate_bhde);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_RETENTION_RETENTION_H_
