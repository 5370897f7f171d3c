// Loops over rows of any length in vectors: whole ones, then what is left under a mask. The sums
// are always added in the same order, which depends on the length alone.

#ifndef LONGRANGE_KERNELS_SIMD_LANES_H_
#define LONGRANGE_KERNELS_SIMD_LANES_H_

#include <array>
#include <cstdint>

#include "kernels/simd/simd.h"

namespace longrange::kernels {
namespace simd {

// A whole vector of a row.
struct AllLanes {
  LR_SIMD_INLINE VecF Load(const float* p) const { return simd::Load(p); }
  LR_SIMD_INLINE void Store(float* p, VecF v) const { simd::Store(p, v); }
  LR_SIMD_INLINE VecF Keep(VecF v, VecF) const { return v; }
};

// The first `n` lanes, the end of a row.
struct FirstLanes {
  int64_t n;
  LR_SIMD_INLINE VecF Load(const float* p) const {
    return LoadPartial(p, n);
  }  // zeros behind the end
  LR_SIMD_INLINE void Store(float* p, VecF v) const { StorePartial(p, n, v); }
  // v within the row, `other` behind its end.
  LR_SIMD_INLINE VecF Keep(VecF v, VecF other) const { return SelectBits((1u << n) - 1, v, other); }
};

// Calls body(lanes, i) for the vectors at i = 0, kLanes, ... of a row of n; lanes is AllLanes or,
// last, FirstLanes.
template <typename Body>
LR_SIMD_INLINE void ForLanes(int64_t n, Body&& body) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) body(AllLanes(), i);
  if (i < n) body(FirstLanes{n - i}, i);
}

// body(lanes, i, sum) adds the vectors at i to sum[0] .. sum[kSums - 1], and 0 behind the end of
// the row; returns the sums over the row. Four vectors are summed side by side: one would wait for
// the adder.
template <int kSums, typename Body>
LR_SIMD_INLINE std::array<float, kSums> SumLanes(int64_t n, Body&& body) {
  VecF sum[4][kSums];
  for (auto& part : sum) {
    for (VecF& s : part) s = Zero();
  }
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    body(AllLanes(), i, sum[0]);
    body(AllLanes(), i + kLanes, sum[1]);
    body(AllLanes(), i + 2 * kLanes, sum[2]);
    body(AllLanes(), i + 3 * kLanes, sum[3]);
  }
  for (; i + kLanes <= n; i += kLanes) body(AllLanes(), i, sum[0]);
  if (i < n) body(FirstLanes{n - i}, i, sum[1]);
  std::array<float, kSums> total;
  for (int s = 0; s < kSums; ++s) {
    total[s] = HorizontalSum((sum[0][s] + sum[1][s]) + (sum[2][s] + sum[3][s]));
  }
  return total;
}

// The largest of a row; `floor` if the row is empty. A NaN may be passed over.
LR_SIMD_INLINE float MaxLanes(int64_t n, const float* x, float floor) {
  VecF max[4] = {Splat(floor), Splat(floor), Splat(floor), Splat(floor)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int u = 0; u < 4; ++u) max[u] = Max(max[u], Load(x + i + u * kLanes));
  }
  for (; i + kLanes <= n; i += kLanes) max[0] = Max(max[0], Load(x + i));
  if (i < n) {
    const FirstLanes lanes{n - i};
    max[1] = Max(max[1], lanes.Keep(lanes.Load(x + i), Splat(floor)));
  }
  return HorizontalMax(Max(Max(max[0], max[1]), Max(max[2], max[3])));
}

// Stores past the caches, for results too large to be read from them: the lines are not fetched
// first. p is aligned to the vector. The task that streams ends with StreamFence().
LR_SIMD_INLINE void Stream(float* p, VecF v) {
#if defined(LONGRANGE_SIMD_AVX512)
  _mm512_stream_ps(p, v);
#elif defined(LONGRANGE_SIMD_AVX2)
  _mm256_stream_ps(p, v);
#else
  Store(p, v);
#endif
}
LR_SIMD_INLINE void StreamFence() {
#if defined(LONGRANGE_SIMD_AVX512) || defined(LONGRANGE_SIMD_AVX2)
  _mm_sfence();
#endif
}

// Is a result of so many bytes, in rows of `d` floats from p on, better streamed? (Half of a usual
// last-level cache.)
inline bool Streamable(const float* p, int64_t d, int64_t bytes) {
  return bytes >= (int64_t{32} << 20) && d % kLanes == 0 &&
         reinterpret_cast<uintptr_t>(p) % (sizeof(float) * kLanes) == 0;
}

}  // namespace simd
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SIMD_LANES_H_
