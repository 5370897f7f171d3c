// Vectors of float or of double in registers of one width, for kernels written once for both types.
// Arithmetic is that of the compiler's vector types, as in simd.h.

#ifndef LONGRANGE_KERNELS_SIMD_WIDE_H_
#define LONGRANGE_KERNELS_SIMD_WIDE_H_

#include <cstdint>
#include <cstring>

#include "kernels/simd/lanes.h"
#include "kernels/simd/simd.h"

namespace longrange::kernels {
namespace simd {

template <typename T>
struct WideOf;
template <>
struct WideOf<float> {
  typedef VecF Vec;
};
template <>
struct WideOf<double> {
  typedef double Vec __attribute__((vector_size(4 * kLanes)));
};

// kLanes floats, or half as many doubles.
template <typename T>
using Wide = typename WideOf<T>::Vec;
template <typename T>
constexpr int kWideLanes = static_cast<int>(sizeof(Wide<T>) / sizeof(T));

// Unaligned.
template <typename T>
LR_SIMD_INLINE Wide<T> LoadWide(const T* p) {
  Wide<T> v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
template <typename T>
LR_SIMD_INLINE void StoreWide(T* p, Wide<T> v) {
  std::memcpy(p, &v, sizeof(v));
}

// The first n lanes, 0 <= n <= kWideLanes; the others are 0. Memory behind them is not touched.
LR_SIMD_INLINE VecF LoadWidePartial(const float* p, int64_t n) { return LoadPartial(p, n); }
LR_SIMD_INLINE void StoreWidePartial(float* p, int64_t n, VecF v) { StorePartial(p, n, v); }
LR_SIMD_INLINE Wide<double> LoadWidePartial(const double* p, int64_t n) {
  Wide<double> v = {};
  std::memcpy(&v, p, sizeof(double) * static_cast<size_t>(n));
  return v;
}
LR_SIMD_INLINE void StoreWidePartial(double* p, int64_t n, Wide<double> v) {
  std::memcpy(p, &v, sizeof(double) * static_cast<size_t>(n));
}

// Past the caches, as Stream() of lanes.h: p is aligned to the vector, StreamFence() comes at the
// end.
template <typename T>
LR_SIMD_INLINE void StreamWide(T* p, Wide<T> v) {
  Stream(reinterpret_cast<float*>(p), (VecF)v);
}

template <typename T>
LR_SIMD_INLINE Wide<T> SplatWide(T x) {
  return x - Wide<T>{};
}

// 1 / x of a normal number whose reciprocal is one, to an ulp or two.
LR_SIMD_INLINE VecF Reciprocal(VecF x) {
#if defined(LONGRANGE_SIMD_AVX512)
  const VecF guess = _mm512_maskz_rcp14_ps(kAllLanes, x);
  return guess + guess * (1.0f - x * guess);
#else
  return 1.0f / x;
#endif
}
LR_SIMD_INLINE Wide<double> Reciprocal(Wide<double> x) {
#if defined(LONGRANGE_SIMD_AVX512)
  Wide<double> guess = _mm512_maskz_rcp14_pd(0xFF, x);
  guess = guess + guess * (1.0 - x * guess);
  return guess + guess * (1.0 - x * guess);
#else
  return 1.0 / x;
#endif
}

}  // namespace simd
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SIMD_WIDE_H_
