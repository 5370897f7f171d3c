// AdamW from its paper, in double: the truth of the tests and the float64 path of the kernel.

#ifndef LONGRANGE_KERNELS_ADAMW_REFERENCE_H_
#define LONGRANGE_KERNELS_ADAMW_REFERENCE_H_

#include <cmath>
#include <cstdint>

#include "kernels/adamw/adamw.h"

namespace longrange::kernels {
namespace reference {

// Loshchilov & Hutter 2019, Algorithm 2 (lines 6-12), the schedule multiplier within learning_rate
// as in PyTorch.
inline void AdamWStep(const AdamWOptions& o, int64_t n, const double* gradient, double* parameter,
                      double* m, double* v) {
  for (int64_t i = 0; i < n; ++i) {
    const double g = gradient[i] * o.gradient_scale;
    m[i] = o.beta1 * m[i] + (1 - o.beta1) * g;
    v[i] = o.beta2 * v[i] + (1 - o.beta2) * g * g;
    const double m_hat = m[i] / (1 - std::pow(o.beta1, o.step));
    const double v_hat = v[i] / (1 - std::pow(o.beta2, o.step));
    parameter[i] -= o.learning_rate * o.weight_decay * parameter[i];
    parameter[i] -= o.learning_rate * m_hat / (std::sqrt(v_hat) + o.epsilon);
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_ADAMW_REFERENCE_H_
