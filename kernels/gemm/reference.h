// Matrix product from its definition, in double: the truth that the tests compare with.

#ifndef LONGRANGE_KERNELS_GEMM_REFERENCE_H_
#define LONGRANGE_KERNELS_GEMM_REFERENCE_H_

#include <cstdint>

namespace longrange::kernels {
namespace reference {

// c[i, j] (+)= sum_l op(a)[i, l] op(b)[l, j]; a is stored [k, m] where transpose_a, b [n, k] where
// transpose_b.
inline void Gemm(int64_t m, int64_t n, int64_t k, const double* a, bool transpose_a,
                 const double* b, bool transpose_b, bool accumulate, double* c) {
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = accumulate ? c[i * n + j] : 0;
      for (int64_t l = 0; l < k; ++l) {
        sum += (transpose_a ? a[l * m + i] : a[i * k + l]) *
               (transpose_b ? b[j * k + l] : b[l * n + j]);
      }
      c[i * n + j] = sum;
    }
  }
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_GEMM_REFERENCE_H_
