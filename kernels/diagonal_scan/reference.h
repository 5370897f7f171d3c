// The diagonal scan step by step, in double: the truth of the tests and the float64 path of the
// kernel.

#ifndef LONGRANGE_KERNELS_DIAGONAL_SCAN_REFERENCE_H_
#define LONGRANGE_KERNELS_DIAGONAL_SCAN_REFERENCE_H_

#include <complex>
#include <cstdint>

namespace longrange::kernels {
namespace reference {

struct DiagonalScanShape {
  int64_t b, t, p;
  bool per_step;  // a [b, t, p], else [p]
  bool reverse;
};

using Complex = std::complex<double>;

// h_t = a_t h_{t-1} + u_t, in the order of the steps. initial (zero) and final may be null.
inline void DiagonalScanForward(const DiagonalScanShape& s, const Complex* a, const Complex* u,
                                const Complex* initial, Complex* h, Complex* final) {
  for (int64_t b = 0; b < s.b; ++b) {
    for (int64_t p = 0; p < s.p; ++p) {
      Complex state = initial != nullptr ? initial[b * s.p + p] : 0;
      for (int64_t step = 0; step < s.t; ++step) {
        const int64_t at = (b * s.t + (s.reverse ? s.t - 1 - step : step)) * s.p + p;
        state = a[s.per_step ? at : p] * state + u[at];
        h[at] = state;
      }
      if (final != nullptr) final[b * s.p + p] = state;
    }
  }
}

// g_t = dh_t + conj(a_{t+1}) g_{t+1}, du_t = g_t, da_t = conj(h_{t-1}) g_t, from the last step to
// the first; what reaches the initial state is conj(a_0) g_0. initial, dfinal (zeros), da and
// dinitial may be null.
inline void DiagonalScanBackward(const DiagonalScanShape& s, const Complex* a,
                                 const Complex* initial, const Complex* h, const Complex* dh,
                                 const Complex* dfinal, Complex* du, Complex* da,
                                 Complex* dinitial) {
  if (da != nullptr && !s.per_step) {
    for (int64_t p = 0; p < s.p; ++p) da[p] = 0;
  }
  for (int64_t b = 0; b < s.b; ++b) {
    for (int64_t p = 0; p < s.p; ++p) {
      Complex carry = dfinal != nullptr ? dfinal[b * s.p + p] : 0;
      for (int64_t step = s.t - 1; step >= 0; --step) {
        const int64_t at = (b * s.t + (s.reverse ? s.t - 1 - step : step)) * s.p + p;
        const Complex g = dh[at] + carry;
        Complex before = initial != nullptr ? initial[b * s.p + p] : 0;
        if (step > 0) before = h[s.reverse ? at + s.p : at - s.p];
        if (da != nullptr && s.per_step) da[at] = std::conj(before) * g;
        if (da != nullptr && !s.per_step) da[p] += std::conj(before) * g;
        carry = std::conj(a[s.per_step ? at : p]) * g;
        du[at] = g;
      }
      if (dinitial != nullptr) dinitial[b * s.p + p] = carry;
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_DIAGONAL_SCAN_REFERENCE_H_
