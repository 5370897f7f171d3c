// Float vectors as wide as the machine's registers: 16 lanes with AVX-512, 8 with AVX2, else 4. GCC
// vector extensions, so + - * / and comparisons work on VecF as on float; intrinsics only where the
// compiler does not find the instruction. Same results on every run of one build; builds for
// different CPUs may differ in the last bit.

#ifndef LONGRANGE_KERNELS_SIMD_SIMD_H_
#define LONGRANGE_KERNELS_SIMD_SIMD_H_

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace longrange::kernels {
namespace simd {

#define LR_SIMD_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__) && defined(__AVX512DQ__)
#define LONGRANGE_SIMD_AVX512 1
constexpr int kLanes = 16;
// GCC 12 warns inside the unmasked intrinsics (bug 105593); the masked ones with all lanes on give
// the same code.
constexpr __mmask16 kAllLanes = 0xFFFF;
#elif defined(__AVX2__) && defined(__FMA__)
#define LONGRANGE_SIMD_AVX2 1
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float VecF __attribute__((vector_size(4 * kLanes)));
typedef int32_t VecI __attribute__((vector_size(4 * kLanes)));

// Unaligned.
LR_SIMD_INLINE VecF Load(const float* p) {
  VecF v;
  std::memcpy(&v, p, sizeof(v));
  return v;
}
LR_SIMD_INLINE void Store(float* p, VecF v) { std::memcpy(p, &v, sizeof(v)); }

// x - 0 is x whatever its sign, so the compiler makes it one broadcast (0 + x it may not: -0).
LR_SIMD_INLINE VecF Splat(float x) { return x - VecF{}; }
LR_SIMD_INLINE VecI SplatInt(int32_t x) { return x - VecI{}; }
LR_SIMD_INLINE VecF Zero() { return VecF{}; }

// 0, 1, 2, ...
LR_SIMD_INLINE VecI Iota() {
  VecI v;
  for (int i = 0; i < kLanes; ++i) v[i] = i;
  return v;
}
LR_SIMD_INLINE VecF ToFloat(VecI v) { return __builtin_convertvector(v, VecF); }

// a * b + c, rounded once where the machine can.
LR_SIMD_INLINE VecF Fma(VecF a, VecF b, VecF c) {
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(LONGRANGE_SIMD_AVX2)
  return _mm256_fmadd_ps(a, b, c);
#else
  return a * b + c;
#endif
}

// mask ? a : b by lane; mask from a comparison.
LR_SIMD_INLINE VecF Select(VecI mask, VecF a, VecF b) { return mask ? a : b; }

// By lane; a NaN in b is kept.
LR_SIMD_INLINE VecF Max(VecF a, VecF b) {
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_maskz_max_ps(kAllLanes, a, b);
#elif defined(LONGRANGE_SIMD_AVX2)
  return _mm256_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}
LR_SIMD_INLINE VecF Min(VecF a, VecF b) {
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_maskz_min_ps(kAllLanes, a, b);
#elif defined(LONGRANGE_SIMD_AVX2)
  return _mm256_min_ps(a, b);
#else
  return a < b ? a : b;
#endif
}
LR_SIMD_INLINE VecF Abs(VecF a) {
  const VecI bits = (VecI)a & 0x7FFFFFFF;
  return (VecF)bits;
}
LR_SIMD_INLINE VecF Sqrt(VecF a) {
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_maskz_sqrt_ps(kAllLanes, a);
#elif defined(LONGRANGE_SIMD_AVX2)
  return _mm256_sqrt_ps(a);
#else
  for (int i = 0; i < kLanes; ++i) a[i] = __builtin_sqrtf(a[i]);
  return a;
#endif
}

// Lane i is a's where bit i of `bits` is set, else b's.
LR_SIMD_INLINE VecF SelectBits(uint32_t bits, VecF a, VecF b) {
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_mask_mov_ps(b, static_cast<__mmask16>(bits), a);
#else
  VecI lane;
  for (int i = 0; i < kLanes; ++i) lane[i] = 1 << i;
  return (SplatInt(static_cast<int32_t>(bits)) & lane) != 0 ? a : b;
#endif
}

// The first n lanes, 0 <= n <= kLanes; the others are 0. Memory behind them is not touched.
LR_SIMD_INLINE VecF LoadPartial(const float* p, int64_t n) {
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1), p);
#else
  float buffer[kLanes] = {};
  std::memcpy(buffer, p, sizeof(float) * static_cast<size_t>(n));
  return Load(buffer);
#endif
}
LR_SIMD_INLINE void StorePartial(float* p, int64_t n, VecF v) {
#if defined(LONGRANGE_SIMD_AVX512)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1), v);
#else
  float buffer[kLanes];
  Store(buffer, v);
  std::memcpy(p, buffer, sizeof(float) * static_cast<size_t>(n));
#endif
}

// Lane i of the result is lane i XOR `kDistance` of v.
template <int kDistance>
LR_SIMD_INLINE VecF Exchange(VecF v) {
  VecI from;
  for (int i = 0; i < kLanes; ++i) from[i] = i ^ kDistance;
  return __builtin_shuffle(v, from);
}

// Over the lanes, always in the same (pairwise) order.
LR_SIMD_INLINE float HorizontalSum(VecF v) {
  if constexpr (kLanes >= 16) v = v + Exchange<8>(v);
  if constexpr (kLanes >= 8) v = v + Exchange<4>(v);
  v = v + Exchange<2>(v);
  v = v + Exchange<1>(v);
  return v[0];
}
LR_SIMD_INLINE float HorizontalMax(VecF v) {
  if constexpr (kLanes >= 16) v = Max(v, Exchange<8>(v));
  if constexpr (kLanes >= 8) v = Max(v, Exchange<4>(v));
  v = Max(v, Exchange<2>(v));
  v = Max(v, Exchange<1>(v));
  return v[0];
}

namespace simd_internal {

// One step of the transposition: swaps the blocks of kDistance lanes that lie across the diagonal.
template <int kDistance>
LR_SIMD_INLINE void SwapBlocks(VecF (&rows)[kLanes]) {
  VecI low, high;  // from a pair of rows (a, b), lanes of b counted from kLanes
  for (int i = 0; i < kLanes; ++i) {
    low[i] = (i & kDistance) ? kLanes + (i - kDistance) : i;
    high[i] = (i & kDistance) ? kLanes + i : i + kDistance;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & kDistance) continue;
    const VecF a = rows[i], b = rows[i + kDistance];
    rows[i] = __builtin_shuffle(a, b, low);
    rows[i + kDistance] = __builtin_shuffle(a, b, high);
  }
}

}  // namespace simd_internal

// Lane j of row i becomes lane i of row j.
LR_SIMD_INLINE void Transpose(VecF (&rows)[kLanes]) {
  if constexpr (kLanes >= 16) simd_internal::SwapBlocks<8>(rows);
  if constexpr (kLanes >= 8) simd_internal::SwapBlocks<4>(rows);
  simd_internal::SwapBlocks<2>(rows);
  simd_internal::SwapBlocks<1>(rows);
}

// value * 2^n for integer-valued n; underflow goes through the subnormals to 0, overflow to
// infinity.
LR_SIMD_INLINE VecF ScaleByPowerOfTwo(VecF value, VecF n) {
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_maskz_scalef_ps(kAllLanes, value, n);
#else
  // In two steps, because 2^n itself may leave the range of floats; n in [-254, 254].
  const VecI whole = __builtin_convertvector(n, VecI), half = whole >> 1;
  const VecI first = (half + 127) << 23, second = (whole - half + 127) << 23;
  return value * (VecF)first * (VecF)second;
#endif
}

LR_SIMD_INLINE VecF RoundToNearest(VecF x) {  // |x| < 2^22
#if defined(LONGRANGE_SIMD_AVX512)
  return _mm512_maskz_roundscale_ps(kAllLanes, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(LONGRANGE_SIMD_AVX2)
  return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  const VecF shift = Splat(0x1.8p23f);
  return (x + shift) - shift;
#endif
}

// 2^x within 2.5 ulp, the whole range; 2^0 = 1 and 2^-inf = 0 exactly, NaN stays NaN.
// 2^x = 2^n 2^f, n the nearest integer: 2^f by its minimax polynomial of degree 5 on [-1/2, 1/2],
// error 9e-8.
LR_SIMD_INLINE VecF Exp2(VecF x) {
#if defined(LONGRANGE_SIMD_AVX512)
  const VecF n =
      _mm512_maskz_roundscale_ps(kAllLanes, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const VecF f = _mm512_maskz_reduce_ps(
      kAllLanes, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);  // 0 at infinity
#else
  x = x < -160.0f ? Splat(-160.0f) : x;
  x = x > 130.0f ? Splat(130.0f) : x;
  const VecF n = RoundToNearest(x);
  const VecF f = x - n;
#endif
  VecF p = Splat(0x1.5bba14p-10f);
  p = Fma(p, f, Splat(0x1.3cea88p-7f));
  p = Fma(p, f, Splat(0x1.c6b752p-5f));
  p = Fma(p, f, Splat(0x1.ebf9bcp-3f));
  p = Fma(p, f, Splat(0x1.62e42ap-1f));
  p = Fma(p, f, Splat(1.0f));
  return ScaleByPowerOfTwo(p, n);
}

// e^x within 1.5 ulp, the whole range; e^0 = 1 and e^-inf = 0 exactly, NaN stays NaN.
// e^x = 2^n e^r, r = x - n ln 2 in two pieces (Cody and Waite): e^r by its minimax polynomial of
// degree 6, error 2e-9.
LR_SIMD_INLINE VecF Exp(VecF x) {
  x = Max(Splat(-105.0f), x);
  x = Min(Splat(89.0f), x);
  const VecF n = RoundToNearest(x * 0x1.715476p0f);
  VecF r = Fma(n, Splat(-0x1.62e4p-1f), x);
  r = Fma(n, Splat(-0x1.7f7d1cp-20f), r);
  VecF p = Splat(0.0013843644f);
  p = Fma(p, r, Splat(0.008374163f));
  p = Fma(p, r, Splat(0.041668f));
  p = Fma(p, r, Splat(0.16666432f));
  p = Fma(p, r, Splat(0.49999994f));
  p = Fma(p, r, Splat(1.0f));
  p = Fma(p, r, Splat(1.0f));
  return ScaleByPowerOfTwo(p, n);
}

LR_SIMD_INLINE VecF Sigmoid(VecF x) { return 1.0f / (1.0f + Exp(-x)); }

}  // namespace simd
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SIMD_SIMD_H_
