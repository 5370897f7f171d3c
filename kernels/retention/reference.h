// Retention from its equations, in double: the truth of the tests and the float64 path of the
// kernel.

#ifndef LONGRANGE_KERNELS_RETENTION_REFERENCE_H_
#define LONGRANGE_KERNELS_RETENTION_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace longrange::kernels {
namespace reference {

struct RetentionShape {
  int64_t b, t, h, d, e;  // q, k [b, t, h, d], v [b, t, h, e], state [b, h, d, e]
};

// In chunks (Eq. 7): with one row a chunk it is the recurrence (Eq. 6), with one chunk of all rows
// the parallel form (Eq. 5). `state` holds S before the first row, and after the last one on
// return.
inline void RetentionForward(const RetentionShape& s, const std::vector<double>& log_decay,
                             int64_t chunk, const double* q, const double* k, const double* v,
                             double* out, double* state) {
  for (int64_t bh = 0; bh < s.b * s.h; ++bh, state += s.d * s.e) {
    const int64_t b = bh / s.h, h = bh % s.h;
    const auto power = [&](int64_t n) { return std::exp(static_cast<double>(n) * log_decay[h]); };
    const auto row = [&](int64_t t) { return (b * s.t + t) * s.h + h; };
    for (int64_t first = 0; first < s.t; first += chunk) {
      const int64_t end = std::min(first + chunk, s.t);
      for (int64_t t = first; t < end; ++t) {
        const double* q_t = q + row(t) * s.d;
        double* out_t = out + row(t) * s.e;
        std::fill(out_t, out_t + s.e, 0.0);
        for (int64_t i = 0; i < s.d; ++i) {
          const double weight = power(t - first + 1) * q_t[i];
          for (int64_t j = 0; j < s.e; ++j) out_t[j] += weight * state[i * s.e + j];
        }
        for (int64_t u = first; u <= t; ++u) {
          double score = 0;
          for (int64_t i = 0; i < s.d; ++i) score += q_t[i] * k[row(u) * s.d + i];
          score *= power(t - u);
          for (int64_t j = 0; j < s.e; ++j) out_t[j] += score * v[row(u) * s.e + j];
        }
      }
      for (int64_t i = 0; i < s.d * s.e; ++i) state[i] *= power(end - first);
      for (int64_t t = first; t < end; ++t) {
        for (int64_t i = 0; i < s.d; ++i) {
          const double weight = power(end - 1 - t) * k[row(t) * s.d + i];
          for (int64_t j = 0; j < s.e; ++j) state[i * s.e + j] += weight * v[row(t) * s.e + j];
        }
      }
    }
  }
}

// By the recurrence: once forward for S and dq, once backward for dS, dk and dv. `state` is S
// before the first row, null: zeros; `dstate` holds the gradient of S after the last row, and that
// of S before the first one on return.
inline void RetentionBackward(const RetentionShape& s, const std::vector<double>& log_decay,
                              const double* q, const double* k, const double* v,
                              const double* state, const double* dout, double* dq, double* dk,
                              double* dv, double* dstate) {
  std::vector<double> memory(s.d * s.e);
  for (int64_t bh = 0; bh < s.b * s.h; ++bh, dstate += s.d * s.e) {
    const int64_t b = bh / s.h, h = bh % s.h;
    const double decay = std::exp(log_decay[h]);
    const auto row = [&](int64_t t) { return (b * s.t + t) * s.h + h; };
    for (int64_t i = 0; i < s.d * s.e; ++i)
      memory[i] = state != nullptr ? state[bh * s.d * s.e + i] : 0;
    for (int64_t t = 0; t < s.t; ++t) {
      for (int64_t i = 0; i < s.d; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < s.e; ++j) {
          double& m = memory[i * s.e + j];
          m = decay * m + k[row(t) * s.d + i] * v[row(t) * s.e + j];
          sum += m * dout[row(t) * s.e + j];
        }
        dq[row(t) * s.d + i] = sum;
      }
    }
    for (int64_t t = s.t - 1; t >= 0; --t) {
      double* dv_t = dv + row(t) * s.e;
      std::fill(dv_t, dv_t + s.e, 0.0);
      for (int64_t i = 0; i < s.d; ++i) {
        double sum = 0;
        for (int64_t j = 0; j < s.e; ++j) {
          double& m = dstate[i * s.e + j];
          m += q[row(t) * s.d + i] * dout[row(t) * s.e + j];
          sum += m * v[row(t) * s.e + j];
          dv_t[j] += m * k[row(t) * s.d + i];
          m *= decay;
        }
        dk[row(t) * s.d + i] = sum;
      }
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_RETENTION_REFERENCE_H_
