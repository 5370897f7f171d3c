// Single-threaded float32 matrix product on raw pointers: the inside of Gemm, and of kernels that
// multiply tiles.
//
// Order of additions, for every element of c by itself: k is cut into chunks of kSgemmChunk; a
// chunk is summed from zero with fused multiply-adds in the order of k, then added to c, chunk
// after chunk. So bits depend on k alone: not on m, n, on which rows or columns are computed
// together, or on how b came (packed or not).

#ifndef LONGRANGE_KERNELS_GEMM_SGEMM_H_
#define LONGRANGE_KERNELS_GEMM_SGEMM_H_

#include <cstdint>

#include "kernels/simd/simd.h"

namespace longrange::kernels {

constexpr int64_t kSgemmChunk = 384;               // of k
constexpr int64_t kSgemmPanel = 2 * simd::kLanes;  // columns of b that are packed side by side

// A matrix in memory: element (i, j) at data[i * stride + j], or at data[j * stride + i] where
// transposed.
struct MatrixF32 {
  const float* data;
  int64_t stride;
  bool transposed = false;

  MatrixF32 At(int64_t i, int64_t j) const {
    return {data + (transposed ? j * stride + i : i * stride + j), stride, transposed};
  }
};

// Floats that PackB writes for b [k, n].
inline int64_t PackedSize(int64_t k, int64_t n) {
  return (n + kSgemmPanel - 1) / kSgemmPanel * kSgemmPanel * k;
}

// Packs b [k, n] for SgemmPacked. Panels can be packed apart: with P = kSgemmPanel, columns [P p, P
// (p + 1)) of b fill packed[P p k .. P (p + 1) k) and is PackB of those columns alone. 64-byte
// aligned.
void PackB(int64_t k, int64_t n, const MatrixF32& b, float* packed);

// c [m, n] (row stride c_stride) = a [m, k] · b, or c += where accumulate; b packed by PackB.
void SgemmPacked(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const float* packed_b,
                 bool accumulate, float* c, int64_t c_stride);

// The same with b [k, n] as it is in memory.
void Sgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b, bool accumulate,
           float* c, int64_t c_stride);

// The same on all threads (ParallelFor), c contiguous, in the precision that is set (precision.h).
// The other functions here are for one thread, and always float32.
void ParallelSgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
                   bool accumulate, float* c);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_GEMM_SGEMM_H_
