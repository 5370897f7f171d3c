// HiPPO (Gu et al. 2020): linear systems x' = A x + B u whose state holds the coefficients of u's
// past in an orthogonal basis. State space layers (S4, S5) start from them, in the normal form of
// Gu, Goel, Ré 2022 (S4, section 3.4). All in float64; complex tensors end in a dimension of 2,
// (re, im). N state size, M modes kept, R rank.

#ifndef LONGRANGE_COMMON_HIPPO_HIPPO_H_
#define LONGRANGE_COMMON_HIPPO_HIPPO_H_

#include <cstdint>

#include "common/tensor/tensor.h"

namespace longrange::hippo {

// Which past is remembered: all of it, evenly scaled (LegS); a sliding window, in Legendre
// polynomials (LegT) or in sines and cosines (Fourier).
enum class Measure { kLegS, kLegT, kFourier };

struct System {
  Tensor a_nn, b_n;
  // A + Σ_r P_r P_rᵀ is a multiple of the identity plus a skew matrix, hence normal. R = 2 for
  // LegT, else 1.
  Tensor p_rn;
};

// n >= 1; even for Fourier.
System MakeSystem(Measure measure, int64_t n);

// A + Σ_r P_r P_rᵀ = V diag(Λ) V*, the columns of V orthonormal.
struct NormalForm {
  Tensor lambda_m2;    // by ascending imaginary part
  Tensor v_nm2;        // in each column the first component that is not zero is positive
  Tensor b_m2, p_rm2;  // V* B, V* P
};

enum class Modes {
  kAll,   // M = N
  kHalf,  // M = N / 2 (N even): of each conjugate pair the mode with Im Λ <= 0, so that
          // A = 2 Re(V diag(Λ) V*) - Σ_r P_r P_rᵀ
};

// Never of A itself, whose eigenvectors grow exponentially with N: the real part of Λ is the mean
// of the diagonal, the rest a Hermitian problem.
NormalForm Diagonalise(const System& system, Modes modes);

// The diagonal systems of Gu et al. 2022b (S4D): Λ [N/2, 2], one mode of each conjugate pair. n is
// even.
enum class Diagonal {
  kLin,   // -1/2 - iπm
  kInv,   // -1/2 - i(N/π)(N/(2m+1) - 1)
  kQuad,  // -1/2 - i(2m+1)²/π
  kReal,  // -(m+1)
  kLegS,  // the Λ of LegS
};
Tensor DiagonalModes(Diagonal kind, int64_t n);

}  // namespace longrange::hippo

#endif  // LONGRANGE_COMMON_HIPPO_HIPPO_H_
