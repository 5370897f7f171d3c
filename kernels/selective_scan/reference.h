// The selective scan from its equations, token by token in double: the truth of the tests and the
// float64 path of the kernel. Shapes as in selective_scan.h.

#ifndef LONGRANGE_KERNELS_SELECTIVE_SCAN_REFERENCE_H_
#define LONGRANGE_KERNELS_SELECTIVE_SCAN_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace longrange::kernels {
namespace reference {

struct SelectiveScanShape {
  int64_t b, t, d, n;
  int64_t b_groups, c_groups;  // of B and C; 0: constants of the channel, [D, N]
  bool softplus;
};

// Null where absent.
struct SelectiveScanArrays {
  const double *x, *delta, *a, *b, *c, *bias, *skip, *gate, *state;
};
struct SelectiveScanResults {
  double *x, *delta, *a, *b, *c, *bias, *skip, *gate, *state;
};

inline double Softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }
inline double Sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Where B (or C) of sample b, token t, channel d begins.
inline int64_t MapAt(const SelectiveScanShape& s, int64_t groups, int64_t b, int64_t t, int64_t d) {
  if (groups == 0) return d * s.n;
  return ((b * s.t + t) * groups + d / (s.d / groups)) * s.n;
}

inline double Delta(const SelectiveScanShape& s, const SelectiveScanArrays& in, int64_t at,
                    int64_t d) {
  const double raw = in.delta[at] + (in.bias == nullptr ? 0 : in.bias[d]);
  return s.softplus ? Softplus(raw) : raw;
}

// The states of sample b, channel d, [T + 1, N]: row t is before token t.
inline std::vector<double> States(const SelectiveScanShape& s, const SelectiveScanArrays& in,
                                  int64_t b, int64_t d) {
  std::vector<double> h((s.t + 1) * s.n, 0.0);
  if (in.state != nullptr) std::copy_n(in.state + (b * s.d + d) * s.n, s.n, h.begin());
  for (int64_t t = 0; t < s.t; ++t) {
    const int64_t at = (b * s.t + t) * s.d + d;
    const double delta = Delta(s, in, at, d);
    const double* b_n = in.b + MapAt(s, s.b_groups, b, t, d);
    for (int64_t n = 0; n < s.n; ++n) {
      h[(t + 1) * s.n + n] =
          std::exp(delta * in.a[d * s.n + n]) * h[t * s.n + n] + delta * b_n[n] * in.x[at];
    }
  }
  return h;
}

// <C_t, h_t> + skip x_t, before the gate.
inline double Ungated(const SelectiveScanShape& s, const SelectiveScanArrays& in,
                      const std::vector<double>& h, int64_t b, int64_t t, int64_t d) {
  const double* c_n = in.c + MapAt(s, s.c_groups, b, t, d);
  double y = in.skip == nullptr ? 0 : in.skip[d] * in.x[(b * s.t + t) * s.d + d];
  for (int64_t n = 0; n < s.n; ++n) y += c_n[n] * h[(t + 1) * s.n + n];
  return y;
}

inline void SelectiveScan(const SelectiveScanShape& s, const SelectiveScanArrays& in, double* y,
                          double* last) {
  for (int64_t b = 0; b < s.b; ++b) {
    for (int64_t d = 0; d < s.d; ++d) {
      const std::vector<double> h = States(s, in, b, d);
      for (int64_t t = 0; t < s.t; ++t) {
        const int64_t at = (b * s.t + t) * s.d + d;
        const double gate = in.gate == nullptr ? 1 : in.gate[at] * Sigmoid(in.gate[at]);
        y[at] = Ungated(s, in, h, b, t, d) * gate;
      }
      std::copy_n(h.begin() + s.t * s.n, s.n, last + (b * s.d + d) * s.n);
    }
  }
}

// Gradients where the result is not null, added to what is there. dlast may be null (zero).
inline void SelectiveScanBackward(const SelectiveScanShape& s, const SelectiveScanArrays& in,
                                  const double* dy, const double* dlast,
                                  const SelectiveScanResults& out) {
  for (int64_t b = 0; b < s.b; ++b) {
    for (int64_t d = 0; d < s.d; ++d) {
      const std::vector<double> h = States(s, in, b, d);
      std::vector<double> dh(s.n, 0.0);
      if (dlast != nullptr) std::copy_n(dlast + (b * s.d + d) * s.n, s.n, dh.begin());
      for (int64_t t = s.t - 1; t >= 0; --t) {
        const int64_t at = (b * s.t + t) * s.d + d;
        double dy_t = dy[at];
        if (in.gate != nullptr) {
          const double z = in.gate[at], sigmoid = Sigmoid(z);
          out.gate[at] += dy_t * Ungated(s, in, h, b, t, d) * sigmoid * (1 + z * (1 - sigmoid));
          dy_t *= z * sigmoid;
        }
        if (in.skip != nullptr) {
          out.skip[d] += dy_t * in.x[at];
          out.x[at] += dy_t * in.skip[d];
        }
        const double delta = Delta(s, in, at, d), x = in.x[at];
        const int64_t at_b = MapAt(s, s.b_groups, b, t, d), at_c = MapAt(s, s.c_groups, b, t, d);
        double ddelta = 0;
        for (int64_t n = 0; n < s.n; ++n) {
          const double a = in.a[d * s.n + n], decay = std::exp(delta * a), before = h[t * s.n + n];
          out.c[at_c + n] += dy_t * h[(t + 1) * s.n + n];
          dh[n] += dy_t * in.c[at_c + n];
          out.b[at_b + n] += dh[n] * delta * x;
          out.x[at] += dh[n] * delta * in.b[at_b + n];
          ddelta += dh[n] * (a * decay * before + in.b[at_b + n] * x);
          out.a[d * s.n + n] += dh[n] * delta * decay * before;
          dh[n] *= decay;
        }
        if (s.softplus) {
          ddelta *= Sigmoid(in.delta[at] + (in.bias == nullptr ? 0 : in.bias[d]));
        }
        out.delta[at] += ddelta;
        if (in.bias != nullptr) out.bias[d] += ddelta;
      }
      if (in.state != nullptr) {
        for (int64_t n = 0; n < s.n; ++n) out.state[(b * s.d + d) * s.n + n] += dh[n];
      }
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SELECTIVE_SCAN_REFERENCE_H_
