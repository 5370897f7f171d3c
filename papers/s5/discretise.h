// From continuous to discrete time, in float64 inside. P stored modes, H channels; complex numbers
// are pairs (re, im) in the last dimension.

#ifndef LONGRANGE_PAPERS_S5_DISCRETISE_H_
#define LONGRANGE_PAPERS_S5_DISCRETISE_H_

#include "common/tensor/tensor.h"

namespace longrange::s5 {

struct Discretisation {
  bool bilinear = false;  // else zero-order hold
  double step_rescale = 1;
  bool clip_eigenvalues = false;  // their real parts to at most -1e-4
};

struct Discrete {
  Tensor a_p2, b_ph2;
};

// x' = Λ x + B u as x_t = Ā x_{t-1} + B̄ u_t, with z = Λ Δ and Δ = step_rescale exp(log_step):
//   zero-order hold  Ā = e^z,                    B̄ = Λ⁻¹ (e^z - 1) B
//   bilinear         Ā = (1 + z/2) / (1 - z/2),  B̄ = Δ / (1 - z/2) B
// The quotient of the first is taken as Δ (e^z - 1) / z, which is smooth where Λ passes through 0.
// lambda_re, lambda_im, log_step [P], b [P, H, 2]; gradients flow to all. That of a clipped real
// part is 0.
Discrete Discretise(const Tensor& lambda_re_p, const Tensor& lambda_im_p, const Tensor& log_step_p,
                    const Tensor& b_ph2, const Discretisation& options);

}  // namespace longrange::s5

#endif  // LONGRANGE_PAPERS_S5_DISCRETISE_H_
