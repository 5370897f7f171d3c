// Cross-entropy from its equation, in double: the truth of the tests and the float64 path of the
// kernels.

#ifndef LONGRANGE_KERNELS_CROSS_ENTROPY_REFERENCE_H_
#define LONGRANGE_KERNELS_CROSS_ENTROPY_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace longrange::kernels {
namespace reference {

// lse = log sum_j exp(logit_j),  nll = lse - logit_target, 0 where target < 0.
inline void CrossEntropyForward(int64_t rows, int64_t v, const double* logits,
                                const int64_t* target, double* nll, double* lse) {
  for (int64_t r = 0; r < rows; ++r, logits += v) {
    double max = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = 0; j < v; ++j) max = std::max(max, logits[j]);
    if (max == -std::numeric_limits<double>::infinity()) max = 0;
    for (int64_t j = 0; j < v; ++j) sum += std::exp(logits[j] - max);
    lse[r] = max + std::log(sum);
    nll[r] = target[r] < 0 ? 0 : lse[r] - logits[target[r]];
  }
}

// dlogits = dnll (exp(logits - lse) - onehot(target)), 0 where target < 0.
inline void CrossEntropyBackward(int64_t rows, int64_t v, const double* logits,
                                 const int64_t* target, const double* lse, const double* dnll,
                                 double* dlogits) {
  for (int64_t r = 0; r < rows; ++r, logits += v, dlogits += v) {
    for (int64_t j = 0; j < v; ++j) {
      dlogits[j] =
          target[r] < 0 ? 0 : dnll[r] * (std::exp(logits[j] - lse[r]) - (j == target[r] ? 1 : 0));
    }
  }
}

// Logits of one row, x w^T; w [v, d].
inline void LogitsRow(int64_t v, int64_t d, const double* x, const double* w,
                      std::vector<double>* logits) {
  logits->assign(v, 0);
  for (int64_t j = 0; j < v; ++j) {
    for (int64_t i = 0; i < d; ++i) (*logits)[j] += x[i] * w[j * d + i];
  }
}

// argmax may be null.
inline void LinearCrossEntropyForward(int64_t rows, int64_t v, int64_t d, const double* x,
                                      const double* w, const int64_t* target, double* nll,
                                      double* lse, int32_t* argmax) {
  std::vector<double> logits;
  for (int64_t r = 0; r < rows; ++r) {
    LogitsRow(v, d, x + r * d, w, &logits);
    CrossEntropyForward(1, v, logits.data(), target + r, nll + r, lse + r);
    if (argmax != nullptr) {
      argmax[r] = std::max_element(logits.begin(), logits.end()) - logits.begin();
    }
  }
}

// dx = dlogits w,  dw = dlogits^T x.
inline void LinearCrossEntropyBackward(int64_t rows, int64_t v, int64_t d, const double* x,
                                       const double* w, const int64_t* target, const double* lse,
                                       const double* dnll, double* dx, double* dw) {
  std::vector<double> logits;
  std::fill(dx, dx + rows * d, 0);
  std::fill(dw, dw + v * d, 0);
  for (int64_t r = 0; r < rows; ++r) {
    LogitsRow(v, d, x + r * d, w, &logits);
    CrossEntropyBackward(1, v, logits.data(), target + r, lse + r, dnll + r, logits.data());
    for (int64_t j = 0; j < v; ++j) {
      for (int64_t i = 0; i < d; ++i) {
        dx[r * d + i] += logits[j] * w[j * d + i];
        dw[j * d + i] += logits[j] * x[r * d + i];
      }
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_CROSS_ENTROPY_REFERENCE_H_
