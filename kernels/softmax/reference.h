// Softmax from its equation, in double: the truth of the tests and the float64 path of the kernel.

#ifndef LONGRANGE_KERNELS_SOFTMAX_REFERENCE_H_
#define LONGRANGE_KERNELS_SOFTMAX_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace longrange::kernels {
namespace reference {

// y_i = exp(x_i - max) / sum_j exp(x_j - max) for each row of x [rows, d]; a row of -inf gives
// zeros.
inline void SoftmaxForward(int64_t rows, int64_t d, const double* x, double* y) {
  for (int64_t r = 0; r < rows; ++r, x += d, y += d) {
    double max = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t i = 0; i < d; ++i) max = std::max(max, x[i]);
    if (max == -std::numeric_limits<double>::infinity()) max = 0;
    for (int64_t i = 0; i < d; ++i) sum += std::exp(x[i] - max);
    for (int64_t i = 0; i < d; ++i) y[i] = sum == 0 ? 0 : std::exp(x[i] - max) / sum;
  }
}

// dx_i = y_i (dy_i - sum_j y_j dy_j).
inline void SoftmaxBackward(int64_t rows, int64_t d, const double* y, const double* dy,
                            double* dx) {
  for (int64_t r = 0; r < rows; ++r, y += d, dy += d, dx += d) {
    double dot = 0;
    for (int64_t i = 0; i < d; ++i) dot += y[i] * dy[i];
    for (int64_t i = 0; i < d; ++i) dx[i] = y[i] * (dy[i] - dot);
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SOFTMAX_REFERENCE_H_
