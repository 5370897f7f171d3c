// RMSNorm, LayerNorm and batch norm from their equations, in double: the truth of the tests and the
// float64 path of the kernels.

#ifndef LONGRANGE_KERNELS_NORM_REFERENCE_H_
#define LONGRANGE_KERNELS_NORM_REFERENCE_H_

#include <cmath>
#include <cstdint>

namespace longrange::kernels {
namespace reference {

// LayerNorm of each row of x [rows, d]; RMSNorm where centred is false (no mean, no bias): y = (x -
// mean) rstd w + b. weight, bias and mean may be null.
inline void NormForward(int64_t rows, int64_t d, bool centred, const double* x,
                        const double* weight, const double* bias, double eps, double* y,
                        double* mean, double* rstd) {
  for (int64_t r = 0; r < rows; ++r, x += d, y += d) {
    double mu = 0, square = 0;
    if (centred) {
      for (int64_t i = 0; i < d; ++i) mu += x[i] / d;
    }
    for (int64_t i = 0; i < d; ++i) square += (x[i] - mu) * (x[i] - mu) / d;
    const double s = 1 / std::sqrt(square + eps);
    for (int64_t i = 0; i < d; ++i) {
      y[i] =
          (x[i] - mu) * s * (weight != nullptr ? weight[i] : 1) + (bias != nullptr ? bias[i] : 0);
    }
    if (mean != nullptr) mean[r] = mu;
    rstd[r] = s;
  }
}

// With x̂ = (x - mean) rstd and g = dy · w, from d rstd / d x = -rstd² x̂ / d:
//   dx = rstd (g - x̂ mean(g x̂) - [centred] mean(g)),  dw = sum_r dy x̂,  db = sum_r dy.
// weight, mean, dweight and dbias may be null.
inline void NormBackward(int64_t rows, int64_t d, bool centred, const double* x,
                         const double* weight, const double* mean, const double* rstd,
                         const double* dy, double* dx, double* dweight, double* dbias) {
  for (int64_t i = 0; i < d; ++i) {
    if (dweight != nullptr) dweight[i] = 0;
    if (dbias != nullptr) dbias[i] = 0;
  }
  for (int64_t r = 0; r < rows; ++r, x += d, dy += d, dx += d) {
    const double mu = centred ? mean[r] : 0;
    double mean_g = 0, mean_gx = 0;
    for (int64_t i = 0; i < d; ++i) {
      const double normed = (x[i] - mu) * rstd[r];
      const double g = dy[i] * (weight != nullptr ? weight[i] : 1);
      if (centred) mean_g += g / d;
      mean_gx += g * normed / d;
    }
    for (int64_t i = 0; i < d; ++i) {
      const double normed = (x[i] - mu) * rstd[r];
      const double g = dy[i] * (weight != nullptr ? weight[i] : 1);
      if (dweight != nullptr) dweight[i] += dy[i] * normed;
      if (dbias != nullptr) dbias[i] += dy[i];
      dx[i] = rstd[r] * (g - normed * mean_gx - mean_g);
    }
  }
}

// Batch norm of x [rows, d] over the rows that are real (of which there are some); y is 0 in the
// others.
inline void BatchNormForward(int64_t rows, int64_t d, const uint8_t* real, const double* x,
                             const double* weight, const double* bias, double eps, double* y,
                             double* mean, double* variance) {
  double count = 0;
  for (int64_t r = 0; r < rows; ++r) count += real[r];
  for (int64_t i = 0; i < d; ++i) mean[i] = variance[i] = 0;
  for (int64_t at = 0; at < rows * d; ++at) {
    if (real[at / d]) mean[at % d] += x[at] / count;
  }
  for (int64_t at = 0; at < rows * d; ++at) {
    const double off = x[at] - mean[at % d];
    if (real[at / d]) variance[at % d] += off * off / count;
  }
  for (int64_t at = 0; at < rows * d; ++at) {
    const double normed = (x[at] - mean[at % d]) / std::sqrt(variance[at % d] + eps);
    y[at] = real[at / d] ? normed * weight[at % d] + bias[at % d] : 0;
  }
}

// With x̂ = (x - mean) / sqrt(variance + eps): dw = sum dy x̂, db = sum dy and, of n real rows,
//   dx = w / sqrt(variance + eps) (dy - db / n - x̂ dw / n).
inline void BatchNormBackward(int64_t rows, int64_t d, const uint8_t* real, const double* x,
                              const double* weight, double eps, const double* mean,
                              const double* variance, const double* dy, double* dx, double* dweight,
                              double* dbias) {
  double count = 0;
  for (int64_t r = 0; r < rows; ++r) count += real[r];
  for (int64_t i = 0; i < d; ++i) dweight[i] = dbias[i] = 0;
  const auto normed = [&](int64_t at) {
    return (x[at] - mean[at % d]) / std::sqrt(variance[at % d] + eps);
  };
  for (int64_t at = 0; at < rows * d; ++at) {
    if (!real[at / d]) continue;
    dbias[at % d] += dy[at];
    dweight[at % d] += dy[at] * normed(at);
  }
  for (int64_t at = 0; at < rows * d; ++at) {
    const int64_t i = at % d;
    const double off = dy[at] - dbias[i] / count - normed(at) * dweight[i] / count;
    dx[at] = real[at / d] ? weight[i] / std::sqrt(variance[i] + eps) * off : 0;
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_NORM_REFERENCE_H_
