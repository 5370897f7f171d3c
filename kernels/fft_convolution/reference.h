// Long convolution from its equation, in double: the truth of the tests.

#ifndef LONGRANGE_KERNELS_FFT_CONVOLUTION_REFERENCE_H_
#define LONGRANGE_KERNELS_FFT_CONVOLUTION_REFERENCE_H_

#include <algorithm>
#include <cstdint>

namespace longrange::kernels {
namespace reference {

struct ConvolutionShape {
  int64_t b, t, d;     // x, y [b, t, d]
  int64_t past = 0;    // filter [past, d]
  int64_t future = 0;  // future filter [future, d]; 0: causal
};

// sum_j past[j] x[t - j] + sum_j future[j] x[t + 1 + j] + skip x[t], times gate[t] where there is
// one. `skip` [d] and `gate` [b, t, d] may be null.
inline void Convolution(const ConvolutionShape& s, const double* x, const double* past,
                        const double* future, const double* skip, const double* gate, double* y) {
  for (int64_t i = 0; i < s.b * s.t * s.d; ++i) {
    const int64_t c = i % s.d, t = i / s.d % s.t;
    double sum = skip != nullptr ? skip[c] * x[i] : 0;
    for (int64_t j = 0; j < std::min(s.past, t + 1); ++j) {
      sum += past[j * s.d + c] * x[i - j * s.d];
    }
    for (int64_t j = 0; j < std::min(s.future, s.t - t - 1); ++j) {
      sum += future[j * s.d + c] * x[i + (j + 1) * s.d];
    }
    y[i] = gate != nullptr ? gate[i] * sum : sum;
  }
}

// Gradients of everything, overwritten; those of a null input are not touched.
inline void ConvolutionBackward(const ConvolutionShape& s, const double* x, const double* past,
                                const double* future, const double* skip, const double* gate,
                                const double* dy, double* dx, double* dpast, double* dfuture,
                                double* dskip, double* dgate) {
  const int64_t size = s.b * s.t * s.d;
  std::fill(dx, dx + size, 0.0);
  std::fill(dpast, dpast + s.past * s.d, 0.0);
  if (future != nullptr) std::fill(dfuture, dfuture + s.future * s.d, 0.0);
  if (skip != nullptr) std::fill(dskip, dskip + s.d, 0.0);
  if (gate != nullptr) Convolution(s, x, past, future, skip, nullptr, dgate);
  for (int64_t i = 0; i < size; ++i) {
    const int64_t c = i % s.d, t = i / s.d % s.t;
    const double g = gate != nullptr ? gate[i] * dy[i] : dy[i];
    if (gate != nullptr) dgate[i] *= dy[i];
    if (skip != nullptr) {
      dx[i] += skip[c] * g;
      dskip[c] += x[i] * g;
    }
    for (int64_t j = 0; j < std::min(s.past, t + 1); ++j) {
      dx[i - j * s.d] += past[j * s.d + c] * g;
      dpast[j * s.d + c] += x[i - j * s.d] * g;
    }
    for (int64_t j = 0; j < std::min(s.future, s.t - t - 1); ++j) {
      dx[i + (j + 1) * s.d] += future[j * s.d + c] * g;
      dfuture[j * s.d + c] += x[i + (j + 1) * s.d] * g;
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_FFT_CONVOLUTION_REFERENCE_H_
