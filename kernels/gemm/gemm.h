// Matrix products. Bits depend on the shape alone: not on the thread count, and row i of c not on
// the other rows of a.

#ifndef LONGRANGE_KERNELS_GEMM_GEMM_H_
#define LONGRANGE_KERNELS_GEMM_GEMM_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

struct GemmOptions {
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;  // c += product, else c = product
};

// c [M, N] = op(a) [M, K] · op(b) [K, N]; float32 or float64, all of one type. An empty K gives
// zeros. c must not overlap a or b.
void Gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options = {});

// The same for each of G matrices: a [G, ...], b [G, ...], c [G, M, N].
void BatchedGemm(const Tensor& a, const Tensor& b, const Tensor& c,
                 const GemmOptions& options = {});

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_GEMM_GEMM_H_
