// The linear systems of a layer: from the trained parameters to the kernel of the convolution and
// to the step of the recurrence (Gu, Goel, Ré 2022, section 3 and appendix C). H features, S copies
// of (A, B, P), M = N/2 modes of which each stands for a conjugate pair, R rank, C outputs a
// feature. Complex tensors end in a dimension of 2, (re, im).

#ifndef LONGRANGE_PAPERS_S4_SYSTEM_H_
#define LONGRANGE_PAPERS_S4_SYSTEM_H_

#include <cstdint>

#include "common/tensor/tensor.h"
#include "papers/s4/recurrence.h"

namespace longrange::s4 {

// Over the modes and their conjugates, x' = (diag(Λ) - Σ_r P_r P_r*) x + B u, Λ = -exp(a_real) - i
// a_imag, and y = 2 Re(C x). Feature h has copy h % S. Tensors are of float32 or float64; what is
// made from them is differentiable.
struct System {
  Tensor dt_raw_h;  // dt = exp, or softplus, of it; times `rate`
  Tensor a_real_sm, a_imag_sm, b_sm2;
  Tensor p_rsm2;          // undefined: A is diagonal
  Tensor c_chm2;          // of a diagonal A C itself, else C~ = C (1 - dA^length)
  bool softplus = false;  // dt
  bool bilinear = true;   // else zero-order hold, of a diagonal A
  double rate = 1;
  int64_t length = 0;  // rows; unused where A is diagonal

  int64_t features() const { return dt_raw_h.dim(0); }
  bool diagonal() const { return !p_rsm2.defined(); }
};

// dt [H], rate included, in float64.
Tensor StepOf(const System& system);

// K [C, rows, H], y_t = sum over s <= t of K[t - s] u_s; in the type of the parameters. Also for
// more rows than `length`: C~ of twice the length is C~ (1 + dA^length).
Tensor KernelOf(const System& system, int64_t rows);

// The step of the same system, in float64: C is got back from C~ by a solve.
Recurrence Discretise(const System& system);
// In another type.
Recurrence CastTo(const Recurrence& r, DType dtype);

// C~ of an output map C, [C, H, M, 2] float64, for the system's length.
Tensor Truncated(const System& system, const Tensor& c_chm2);

}  // namespace longrange::s4

#endif  // LONGRANGE_PAPERS_S4_SYSTEM_H_
