// The softmax of relative attention from its equation, in double: the truth of the tests and the
// float64 path of the kernel.

#ifndef LONGRANGE_KERNELS_RELATIVE_SOFTMAX_REFERENCE_H_
#define LONGRANGE_KERNELS_RELATIVE_SOFTMAX_REFERENCE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace longrange::kernels {
namespace reference {

struct RelativeSizes {
  int64_t matrices, queries, keys, distances;
  int64_t offset, window;
  double scale;

  bool Sees(int64_t query, int64_t key) const {
    const int64_t distance = offset + query - key;
    return distance >= 0 && (window == 0 || distance < window);
  }
  int64_t Column(int64_t query, int64_t key) const {
    return distances - 1 - std::min(offset + query - key, distances - 1);
  }
};

inline void RelativeSoftmaxForward(const RelativeSizes& n, const double* content,
                                   const double* position, double* p) {
  for (int64_t row = 0; row < n.matrices * n.queries; ++row) {
    const int64_t i = row % n.queries;
    std::vector<double> score(n.keys, -std::numeric_limits<double>::infinity());
    double max = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = 0; j < n.keys; ++j) {
      if (!n.Sees(i, j)) continue;
      score[j] =
          n.scale * (content[row * n.keys + j] + position[row * n.distances + n.Column(i, j)]);
      max = std::max(max, score[j]);
    }
    if (max == -std::numeric_limits<double>::infinity()) max = 0;
    for (int64_t j = 0; j < n.keys; ++j) sum += std::exp(score[j] - max);
    for (int64_t j = 0; j < n.keys; ++j)
      p[row * n.keys + j] = sum == 0 ? 0 : std::exp(score[j] - max) / sum;
  }
}

// With s = the scores before the scale: ds_j = scale p_j (dp_j - sum_k p_k dp_k), which the content
// gets at its key and the position at its column.
inline void RelativeSoftmaxBackward(const RelativeSizes& n, const double* p, const double* dp,
                                    double* dcontent, double* dposition) {
  std::fill(dposition, dposition + n.matrices * n.queries * n.distances, 0.0);
  for (int64_t row = 0; row < n.matrices * n.queries; ++row) {
    const int64_t i = row % n.queries;
    double dot = 0;
    for (int64_t j = 0; j < n.keys; ++j) {
      if (n.Sees(i, j)) dot += p[row * n.keys + j] * dp[row * n.keys + j];
    }
    for (int64_t j = 0; j < n.keys; ++j) {
      double& ds = dcontent[row * n.keys + j];
      ds = 0;
      if (!n.Sees(i, j)) continue;
      ds = n.scale * p[row * n.keys + j] * (dp[row * n.keys + j] - dot);
      dposition[row * n.distances + n.Column(i, j)] += ds;
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_RELATIVE_SOFTMAX_REFERENCE_H_
