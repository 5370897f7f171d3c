// The convolution kernel of a diagonal-plus-low-rank state space model from its equations, in
// double: the truth of the tests.

#ifndef LONGRANGE_KERNELS_DPLR_KERNEL_REFERENCE_H_
#define LONGRANGE_KERNELS_DPLR_KERNEL_REFERENCE_H_

#include <complex>
#include <cstdint>
#include <vector>

namespace longrange::kernels {
namespace reference {

struct DplrShape {
  int64_t c, h, n, rank;  // c outputs a feature, h features, n conjugate pairs
  int64_t b_c;            // c, or 1: one B for all outputs
  int64_t length;
};

// sum over all 2n modes of 2 dt x y / (2 (1 - omega) - (1 + omega) dt Lambda): the Cauchy sum
// r(x, y) over (1 + omega) / 2, finite at omega = -1 too. The pointers are at the first of n pairs;
// y is conjugated where `conjugate` is set.
inline std::complex<double> ScaledCauchySum(int64_t n, const std::complex<double>& omega, double dt,
                                            const std::complex<double>* lambda,
                                            const std::complex<double>* x,
                                            const std::complex<double>* y, bool conjugate) {
  std::complex<double> sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    const std::complex<double> v = dt * x[i] * (conjugate ? std::conj(y[i]) : y[i]);
    sum += 2.0 * v / (2.0 * (1.0 - omega) - (1.0 + omega) * dt * lambda[i]);
    sum += 2.0 * std::conj(v) / (2.0 * (1.0 - omega) - (1.0 + omega) * dt * std::conj(lambda[i]));
  }
  return sum;
}

// Solves the k x k system in place by Gauss's elimination with pivoting; `right` becomes the
// solution.
inline void Solve(int64_t k, std::vector<std::complex<double>> matrix,
                  std::vector<std::complex<double>>* right) {
  for (int64_t i = 0; i < k; ++i) {
    int64_t pivot = i;
    for (int64_t r = i + 1; r < k; ++r) {
      if (std::abs(matrix[r * k + i]) > std::abs(matrix[pivot * k + i])) pivot = r;
    }
    for (int64_t j = 0; j < k; ++j) std::swap(matrix[i * k + j], matrix[pivot * k + j]);
    std::swap((*right)[i], (*right)[pivot]);
    for (int64_t r = 0; r < k; ++r) {
      if (r == i) continue;
      const std::complex<double> factor = matrix[r * k + i] / matrix[i * k + i];
      for (int64_t j = i; j < k; ++j) matrix[r * k + j] -= factor * matrix[i * k + j];
      (*right)[r] -= factor * (*right)[i];
    }
  }
  for (int64_t i = 0; i < k; ++i) (*right)[i] /= matrix[i * k + i];
}

// lambda [h, n], p [rank, h, n], b [b_c, h, n], c [c, h, n] (C~ = C (I - dA^length)), dt [h] ->
// kernel [c, length, h], K_l = C dA^l dB. With e = (1 + omega) / 2 and r' the scaled sums, at the
// nodes omega_k = exp(-2 pi i k / length):
//   khat = r'(B, C~) - e r'(P, C~) (1 + e r'(P, P*))^-1 r'(B, P*)
// and K is the inverse real discrete Fourier transform of khat.
inline void DplrKernel(const DplrShape& s, const std::complex<double>* lambda,
                       const std::complex<double>* p, const std::complex<double>* b,
                       const std::complex<double>* c, const double* dt, double* kernel) {
  using Complex = std::complex<double>;
  const double turn = 2 * 3.14159265358979323846;
  const int64_t nodes = s.length / 2 + 1, plane = s.h * s.n;
  for (int64_t ch = 0; ch < s.c * s.h; ++ch) {
    const int64_t h = ch % s.h, channel = ch / s.h;
    const Complex* b_n = b + (s.b_c == 1 ? 0 : channel) * plane + h * s.n;
    const Complex* c_n = c + channel * plane + h * s.n;
    const Complex* lambda_n = lambda + h * s.n;
    std::vector<double> k(s.length, 0.0);
    for (int64_t node = 0; s.length > 0 && node < nodes; ++node) {
      const Complex omega =
          2 * node == s.length
              ? Complex(-1)
              : std::polar(1.0, -turn * static_cast<double>(node) / static_cast<double>(s.length));
      const Complex e = (1.0 + omega) / 2.0;
      const auto sum = [&](const Complex* x, const Complex* y, bool conjugate) {
        return ScaledCauchySum(s.n, omega, dt[h], lambda_n, x, y, conjugate);
      };
      std::vector<Complex> matrix(s.rank * s.rank), right(s.rank);
      for (int64_t i = 0; i < s.rank; ++i) {
        const Complex* p_i = p + i * plane + h * s.n;
        right[i] = sum(b_n, p_i, true);
        for (int64_t j = 0; j < s.rank; ++j) {
          matrix[i * s.rank + j] =
              (i == j ? 1.0 : 0.0) + e * sum(p + j * plane + h * s.n, p_i, true);
        }
      }
      Solve(s.rank, matrix, &right);
      Complex value = sum(b_n, c_n, false);
      for (int64_t i = 0; i < s.rank; ++i) {
        value -= e * sum(p + i * plane + h * s.n, c_n, false) * right[i];
      }
      const double weight = (node == 0 || 2 * node == s.length ? 1.0 : 2.0) / s.length;
      for (int64_t l = 0; l < s.length; ++l) {
        const double angle =
            turn * static_cast<double>(node * l % s.length) / static_cast<double>(s.length);
        k[l] += weight * (value * std::polar(1.0, angle)).real();
      }
    }
    for (int64_t l = 0; l < s.length; ++l) kernel[(channel * s.length + l) * s.h + h] = k[l];
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_DPLR_KERNEL_REFERENCE_H_
