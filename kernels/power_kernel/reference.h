// Kernel of a diagonal state space model from its equation, in double: the truth of the tests.

#ifndef LONGRANGE_KERNELS_POWER_KERNEL_REFERENCE_H_
#define LONGRANGE_KERNELS_POWER_KERNEL_REFERENCE_H_

#include <algorithm>
#include <complex>
#include <cstdint>

namespace longrange::kernels {
namespace reference {

struct PowerShape {
  int64_t c, h, n;  // c outputs a feature, h features, n conjugate pairs
  int64_t length;
};

// kernel[c, l, h] = 2 Re sum_n c[c, h, n] exp(l log_a[h, n]).
inline void PowerKernel(const PowerShape& s, const std::complex<double>* c,
                        const std::complex<double>* log_a, double* kernel) {
  for (int64_t i = 0; i < s.c * s.length * s.h; ++i) {
    const int64_t h = i % s.h, l = i / s.h % s.length, channel = i / (s.h * s.length);
    double sum = 0;
    for (int64_t n = 0; n < s.n; ++n) {
      sum += 2 * (c[(channel * s.h + h) * s.n + n] *
                  std::exp(static_cast<double>(l) * log_a[h * s.n + n]))
                     .real();
    }
    kernel[i] = sum;
  }
}

// dc and dlog_a as real pairs (the gradient by re, by im), overwritten. Of w = f(z), f analytic,
// the pair for z is the conjugate of f' times that for w.
inline void PowerKernelBackward(const PowerShape& s, const std::complex<double>* c,
                                const std::complex<double>* log_a, const double* dkernel,
                                std::complex<double>* dc, std::complex<double>* dlog_a) {
  std::fill(dc, dc + s.c * s.h * s.n, 0.0);
  std::fill(dlog_a, dlog_a + s.h * s.n, 0.0);
  for (int64_t i = 0; i < s.c * s.length * s.h; ++i) {
    const int64_t h = i % s.h, l = i / s.h % s.length, channel = i / (s.h * s.length);
    for (int64_t n = 0; n < s.n; ++n) {
      const int64_t at = (channel * s.h + h) * s.n + n;
      const std::complex<double> power = std::exp(static_cast<double>(l) * log_a[h * s.n + n]);
      dc[at] += 2 * dkernel[i] * std::conj(power);
      dlog_a[h * s.n + n] += 2 * dkernel[i] * static_cast<double>(l) * std::conj(c[at] * power);
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_POWER_KERNEL_REFERENCE_H_
