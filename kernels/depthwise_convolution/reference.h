// The short causal convolution from its equation, in double: the truth of the tests and the float64
// path of the kernel.

#ifndef LONGRANGE_KERNELS_DEPTHWISE_CONVOLUTION_REFERENCE_H_
#define LONGRANGE_KERNELS_DEPTHWISE_CONVOLUTION_REFERENCE_H_

#include <cmath>
#include <cstdint>

namespace longrange::kernels {
namespace reference {

struct DepthwiseConvolutionShape {
  int64_t b, t, d, k;
  bool silu;
};

// Null where absent: bias, tail.
struct DepthwiseConvolutionArrays {
  const double *x, *weight, *bias, *tail;
};

// Row i of the tail and x together; i < K - 1 + T.
inline double RowOf(const DepthwiseConvolutionShape& s, const DepthwiseConvolutionArrays& in,
                    int64_t b, int64_t i, int64_t d) {
  const int64_t before = s.k - 1;
  if (i >= before) return in.x[(b * s.t + i - before) * s.d + d];
  return in.tail == nullptr ? 0 : in.tail[(b * before + i) * s.d + d];
}

inline double Filtered(const DepthwiseConvolutionShape& s, const DepthwiseConvolutionArrays& in,
                       int64_t b, int64_t t, int64_t d) {
  double sum = in.bias == nullptr ? 0 : in.bias[d];
  for (int64_t k = 0; k < s.k; ++k) sum += in.weight[d * s.k + k] * RowOf(s, in, b, t + k, d);
  return sum;
}

inline void DepthwiseConvolution(const DepthwiseConvolutionShape& s,
                                 const DepthwiseConvolutionArrays& in, double* y, double* tail) {
  for (int64_t b = 0; b < s.b; ++b) {
    for (int64_t d = 0; d < s.d; ++d) {
      for (int64_t t = 0; t < s.t; ++t) {
        const double sum = Filtered(s, in, b, t, d);
        y[(b * s.t + t) * s.d + d] = s.silu ? sum / (1 + std::exp(-sum)) : sum;
      }
      for (int64_t i = 0; i < s.k - 1; ++i)
        tail[(b * (s.k - 1) + i) * s.d + d] = RowOf(s, in, b, s.t + i, d);
    }
  }
}

// Added to what is there; dbias and dtail may be null, dtail_out (by the tail handed on) too.
inline void DepthwiseConvolutionBackward(const DepthwiseConvolutionShape& s,
                                         const DepthwiseConvolutionArrays& in, const double* dy,
                                         const double* dtail_out, double* dx, double* dweight,
                                         double* dbias, double* dtail) {
  const int64_t before = s.k - 1;
  for (int64_t b = 0; b < s.b; ++b) {
    for (int64_t d = 0; d < s.d; ++d) {
      const auto add = [&](int64_t i, double gradient) {
        if (i >= before) {
          dx[(b * s.t + i - before) * s.d + d] += gradient;
        } else if (dtail != nullptr) {
          dtail[(b * before + i) * s.d + d] += gradient;
        }
      };
      for (int64_t t = 0; t < s.t; ++t) {
        double gradient = dy[(b * s.t + t) * s.d + d];
        if (s.silu) {
          const double sum = Filtered(s, in, b, t, d), sigmoid = 1 / (1 + std::exp(-sum));
          gradient *= sigmoid * (1 + sum * (1 - sigmoid));
        }
        if (dbias != nullptr) dbias[d] += gradient;
        for (int64_t k = 0; k < s.k; ++k) {
          dweight[d * s.k + k] += gradient * RowOf(s, in, b, t + k, d);
          add(t + k, gradient * in.weight[d * s.k + k]);
        }
      }
      for (int64_t i = 0; i < before && dtail_out != nullptr; ++i)
        add(s.t + i, dtail_out[(b * before + i) * s.d + d]);
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_DEPTHWISE_CONVOLUTION_REFERENCE_H_
