// Activations from their equations, in double: the truth of the tests and the float64 path of the
// kernels.

#ifndef LONGRANGE_KERNELS_GATED_REFERENCE_H_
#define LONGRANGE_KERNELS_GATED_REFERENCE_H_

#include <cmath>

namespace longrange::kernels {
namespace reference {

inline double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
inline double SigmoidGradient(double x) { return Sigmoid(x) * (1 - Sigmoid(x)); }

inline double Silu(double x) { return x * Sigmoid(x); }
inline double SiluGradient(double x) { return Sigmoid(x) * (1 + x * (1 - Sigmoid(x))); }

// x Φ(x), and Φ(x) + x φ(x).
inline double Gelu(double x) { return x * 0.5 * (1 + std::erf(x * M_SQRT1_2)); }
inline double GeluGradient(double x) {
  const double density = std::exp(-0.5 * x * x) * 0.5 * M_SQRT1_2 * M_2_SQRTPI;
  return 0.5 * (1 + std::erf(x * M_SQRT1_2)) + x * density;
}

// x/2 (1 + tanh u), u = sqrt(2/π) (x + 0.044715 x³).
inline double GeluTanh(double x) {
  const double u = M_SQRT1_2 * M_2_SQRTPI * (x + 0.044715 * x * x * x);
  return 0.5 * x * (1 + std::tanh(u));
}
inline double GeluTanhGradient(double x) {
  const double u = M_SQRT1_2 * M_2_SQRTPI * (x + 0.044715 * x * x * x);
  const double du = M_SQRT1_2 * M_2_SQRTPI * (1 + 3 * 0.044715 * x * x);
  const double t = std::tanh(u);
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * du;
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_GATED_REFERENCE_H_
