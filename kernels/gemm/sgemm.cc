// Register-tiled product (Goto & van de Geijn 2008): a strip of a in L1, panels of b from L2, sums
// in registers. Operands are packed as they are, or as pairs of bfloat16 along k.

#include "kernels/gemm/sgemm.h"

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>
#include <utility>

#include "common/base/thread_pool.h"
#include "common/tensor/tensor.h"
#include "kernels/gemm/precision.h"
#include "kernels/simd/simd.h"

namespace longrange::kernels {
namespace {

// Sums in registers: kStrip rows of a times two vectors of b, 28 of the 32 registers of AVX-512, 12
// of the 16 of AVX2.
using simd::kLanes;
using simd::VecF;
using simd::VecI;
constexpr int kStrip = kLanes == 16 ? 14 : 6;
constexpr int64_t kBlock =
    8 * kStrip;  // rows of a packed at a time: with a chunk of k they stay in L2
constexpr int64_t kPackSlack = kLanes;  // floats that TransposeStrip may write behind its last row
static_assert(kSgemmPanel == 2 * kLanes);

// How operands are packed: as they are.
struct AsFloat32 {
  using Element = float;
  static constexpr int64_t kDepth = 1;  // rows of k in a packed row
  using Vec = VecF;
  static LR_SIMD_INLINE Vec Load(const float* p) { return simd::Load(p); }
  static LR_SIMD_INLINE Vec Splat(float x) { return simd::Splat(x); }
  static LR_SIMD_INLINE VecF Fma(Vec a, Vec b, VecF sum) { return simd::Fma(a, b, sum); }
};

// Two rows of k in one: of each element the even row in the low half, the odd one in the high half,
// rounded to the nearest bfloat16, ties to even. Sums are float32.
struct AsBfloat16 {
  using Element = int32_t;
  static constexpr int64_t kDepth = 2;
  using Vec = VecI;
  static LR_SIMD_INLINE Vec Load(const int32_t* p) {
    Vec v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  static LR_SIMD_INLINE void Store(int32_t* p, Vec v) { std::memcpy(p, &v, sizeof(v)); }
  static LR_SIMD_INLINE Vec Splat(int32_t x) { return simd::SplatInt(x); }
#ifdef __AVX512BF16__
  static LR_SIMD_INLINE VecF Fma(Vec a, Vec b, VecF sum) {
    return (VecF)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
  }
  // In the low half of each lane.
  static LR_SIMD_INLINE Vec Round(VecF x) {
    return (Vec)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)x));
  }
#else
  static LR_SIMD_INLINE VecF Fma(Vec a, Vec b, VecF sum) {
    constexpr int32_t kHigh = static_cast<int32_t>(0xFFFF0000u);
    return simd::Fma((VecF)(a & kHigh), (VecF)(b & kHigh),
                     simd::Fma((VecF)(a << 16), (VecF)(b << 16), sum));
  }
  static LR_SIMD_INLINE Vec Round(VecF x) {
    const Vec bits = (Vec)x, odd = (bits >> 16) & 1;
    const Vec rounded = (bits + 0x7FFF + odd) >> 16;
    const Vec quiet_nan = (bits >> 16) | 0x40;
    return (x == x ? rounded : quiet_nan) & 0xFFFF;
  }
#endif
  static LR_SIMD_INLINE Vec Pair(VecF even, VecF odd) { return Round(even) | (Round(odd) << 16); }
};

// Packed rows of k rows.
template <typename Format>
constexpr int64_t Depth(int64_t k) {
  return (k + Format::kDepth - 1) / Format::kDepth;
}

// One stage of a transposition of kLanes rows: exchanges the off-diagonal quarters of every 2S × 2S
// block.
template <int S>
LR_SIMD_INLINE void Exchange(VecF* rows) {
  VecI low, high;
  for (int j = 0; j < kLanes; ++j) {
    low[j] = (j & S) ? kLanes + j - S : j;
    high[j] = (j & S) ? kLanes + j : j + S;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i & S) continue;
    const VecF a = rows[i], b = rows[i + S];
    rows[i] = __builtin_shuffle(a, b, low);
    rows[i + S] = __builtin_shuffle(a, b, high);
  }
  if constexpr (S > 1) Exchange<S / 2>(rows);
}

// to[j * to_stride + i] = from[i * from_stride + j] for i < rows (at most kLanes), j < columns.
// Rows of `to` are written in order, kLanes floats each: what is behind them is overwritten.
void TransposeStrip(int64_t rows, int64_t columns, const float* from, int64_t from_stride,
                    float* to, int64_t to_stride) {
  for (int64_t j = 0; j < columns; j += kLanes) {
    const int64_t width = std::min<int64_t>(kLanes, columns - j);
    VecF tile[kLanes];
    if (rows == kStrip && width == kLanes) {
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) {
        tile[i] = i < kStrip ? simd::Load(from + i * from_stride + j) : simd::Zero();
      }
    } else {
      for (int i = 0; i < kLanes; ++i) {
        tile[i] = i < rows ? simd::LoadPartial(from + i * from_stride + j, width) : simd::Zero();
      }
    }
    Exchange<kLanes / 2>(tile);
    if (width == kLanes) {
#pragma GCC unroll 16
      for (int l = 0; l < kLanes; ++l) simd::Store(to + (j + l) * to_stride, tile[l]);
    } else {
      for (int l = 0; l < width; ++l) simd::Store(to + (j + l) * to_stride, tile[l]);
    }
  }
}

// Rows [0, rows) of a, rows <= kStrip, as packed[l * kStrip + i].
void PackStrip(int64_t rows, int64_t k, const MatrixF32& a, float* packed) {
  if (!a.transposed) {
    TransposeStrip(rows, k, a.data, a.stride, packed, kStrip);
  } else if (rows == kStrip) {
    for (int64_t l = 0; l < k; ++l) {
      std::memcpy(packed + l * kStrip, a.data + l * a.stride, kStrip * sizeof(float));
    }
  } else {
    for (int64_t l = 0; l < k; ++l) {
      for (int64_t i = 0; i < rows; ++i) packed[l * kStrip + i] = a.data[l * a.stride + i];
    }
  }
}

// One panel: columns [0, columns), columns <= kSgemmPanel, as packed[l * kSgemmPanel + j], zeros
// beyond.
void PackPanel(int64_t k, int64_t columns, const MatrixF32& b, float* packed) {
  if (columns < kSgemmPanel) std::fill(packed, packed + k * kSgemmPanel, 0.f);
  if (b.transposed) {
    for (int64_t j = 0; j < columns; j += kLanes) {
      TransposeStrip(std::min<int64_t>(kLanes, columns - j), k, b.data + j * b.stride, b.stride,
                     packed + j, kSgemmPanel);
    }
  } else if (columns == kSgemmPanel) {
    for (int64_t l = 0; l < k; ++l) {
      simd::Store(packed + l * kSgemmPanel, simd::Load(b.data + l * b.stride));
      simd::Store(packed + l * kSgemmPanel + kLanes, simd::Load(b.data + l * b.stride + kLanes));
    }
  } else {
    for (int64_t l = 0; l < k; ++l) {
      std::copy(b.data + l * b.stride, b.data + l * b.stride + columns, packed + l * kSgemmPanel);
    }
  }
}

// Rows of kWidth floats as pairs of rows; the last one alone where k is odd.
template <int kWidth>
void PackPairs(int64_t k, const float* rows, int32_t* packed) {
  for (int64_t l = 0; l < k; l += 2) {
    for (int64_t j = 0; j < kWidth; j += kLanes) {
      const VecF even = simd::Load(rows + l * kWidth + j);
      const VecF odd = l + 1 < k ? simd::Load(rows + (l + 1) * kWidth + j) : simd::Zero();
      AsBfloat16::Store(packed + l / 2 * kWidth + j, AsBfloat16::Pair(even, odd));
    }
  }
}

// Float32 rows on their way to pairs: so few that they stay in L1.
constexpr int64_t kUnroundedRows = 96;
static_assert(kUnroundedRows % 2 == 0);
float* UnroundedScratch() {
  alignas(64) static thread_local float scratch[kSgemmPanel * kUnroundedRows + kPackSlack];
  return scratch;
}

void PackStrip(int64_t rows, int64_t k, const MatrixF32& a, int32_t* packed) {
  float* unrounded = UnroundedScratch();
  for (int64_t l = 0; l < k; l += kUnroundedRows) {
    const int64_t some = std::min(kUnroundedRows, k - l);
    PackStrip(rows, some, a.At(0, l), unrounded);
    PackPairs<kStrip>(some, unrounded, packed + l / 2 * kStrip);
  }
}

void PackPanel(int64_t k, int64_t columns, const MatrixF32& b, int32_t* packed) {
  float* unrounded = UnroundedScratch();
  for (int64_t l = 0; l < k; l += kUnroundedRows) {
    const int64_t some = std::min(kUnroundedRows, k - l);
    PackPanel(some, columns, b.At(l, 0), unrounded);
    PackPairs<kSgemmPanel>(some, unrounded, packed + l / 2 * kSgemmPanel);
  }
}

// c [kRows, columns] (+)= a · b over a chunk of `depth` packed rows; a packed by PackStrip, row l
// of b at b[l * b_stride]. kVectors vectors of b are read in each row; `columns` may be fewer than
// they hold.
template <typename Format, int kRows, int kVectors>
void Tile(int64_t depth, const typename Format::Element* a, const typename Format::Element* b,
          int64_t b_stride, int64_t columns, bool accumulate, float* c, int64_t c_stride) {
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(c + i * c_stride + v * kLanes, 1);
  }
  VecF sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = simd::Zero();
  }
  for (int64_t l = 0; l < depth; ++l) {
    typename Format::Vec row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = Format::Load(b + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const typename Format::Vec factor = Format::Splat(a[i]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] = Format::Fma(factor, row[v], sum[i][v]);
    }
    a += kStrip;
    b += b_stride;
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      float* to = c + i * c_stride + v * kLanes;
      const int64_t width = std::min<int64_t>(kLanes, columns - v * kLanes);
      if (width == kLanes) {
        simd::Store(to, accumulate ? simd::Load(to) + sum[i][v] : sum[i][v]);
      } else {
        simd::StorePartial(to, width,
                           accumulate ? simd::LoadPartial(to, width) + sum[i][v] : sum[i][v]);
      }
    }
  }
}

template <typename Format>
using TileFn = void (*)(int64_t, const typename Format::Element*, const typename Format::Element*,
                        int64_t, int64_t, bool, float*, int64_t);

template <typename Format, int kVectors, int... kIndex>
constexpr std::array<TileFn<Format>, kStrip> Tiles(std::integer_sequence<int, kIndex...>) {
  return {Tile<Format, kIndex + 1, kVectors>...};
}

// The tile of `rows` rows.
template <typename Format, int kVectors>
TileFn<Format> TileOf(int64_t rows) {
  static constexpr std::array<TileFn<Format>, kStrip> kTiles =
      Tiles<Format, kVectors>(std::make_integer_sequence<int, kStrip>());
  return kTiles[rows - 1];
}

// A chunk of k for all strips of a block of a (packed) and columns [0, columns) of one panel.
template <typename Format>
void PanelOfBlock(int64_t m, int64_t k, const typename Format::Element* packed_a, int64_t columns,
                  const typename Format::Element* b, int64_t b_stride, bool accumulate, float* c,
                  int64_t c_stride) {
  const bool narrow = columns <= kLanes;
  for (int64_t i = 0; i < m; i += kStrip) {
    const int64_t rows = std::min<int64_t>(kStrip, m - i);
    const TileFn<Format> tile = narrow ? TileOf<Format, 1>(rows) : TileOf<Format, 2>(rows);
    tile(Depth<Format>(k), packed_a + i * Depth<Format>(kSgemmChunk), b, b_stride, columns,
         accumulate, c + i * c_stride, c_stride);
  }
}

template <typename Format>
struct Scratch {
  alignas(64) typename Format::Element a[kBlock * Depth<Format>(kSgemmChunk) + kPackSlack];
  alignas(64) typename Format::Element b[kSgemmPanel * Depth<Format>(kSgemmChunk)];
};

template <typename Format>
Scratch<Format>& ThreadScratch() {
  static thread_local Scratch<Format> scratch;
  return scratch;
}

// Calls panel(first_k, chunk, block_row, rows, accumulate) with that block of a packed.
template <typename Format, typename PanelsFn>
void ForBlocks(int64_t m, int64_t k, const MatrixF32& a, bool accumulate, PanelsFn&& panels) {
  Scratch<Format>& scratch = ThreadScratch<Format>();
  for (int64_t i = 0; i < m; i += kBlock) {
    const int64_t rows = std::min(kBlock, m - i);
    for (int64_t l = 0; l < k; l += kSgemmChunk) {
      const int64_t chunk = std::min(kSgemmChunk, k - l);
      for (int64_t s = 0; s < rows; s += kStrip) {
        PackStrip(std::min<int64_t>(kStrip, rows - s), chunk, a.At(i + s, l),
                  scratch.a + s * Depth<Format>(kSgemmChunk));
      }
      panels(l, chunk, i, rows, accumulate || l > 0);
    }
  }
}

void Clear(int64_t m, int64_t n, float* c, int64_t c_stride) {
  for (int64_t i = 0; i < m; ++i) std::fill(c + i * c_stride, c + i * c_stride + n, 0.f);
}

template <typename Format>
void PackColumns(int64_t k, int64_t n, const MatrixF32& b, typename Format::Element* packed) {
  for (int64_t j = 0; j < n; j += kSgemmPanel) {
    PackPanel(k, std::min(kSgemmPanel, n - j), b.At(0, j), packed + j * Depth<Format>(k));
  }
}

template <typename Format>
void ProductPacked(int64_t m, int64_t n, int64_t k, const MatrixF32& a,
                   const typename Format::Element* packed_b, bool accumulate, float* c,
                   int64_t c_stride) {
  if (k == 0 && !accumulate) return Clear(m, n, c, c_stride);
  ForBlocks<Format>(
      m, k, a, accumulate, [&](int64_t l, int64_t chunk, int64_t i, int64_t rows, bool add) {
        for (int64_t j = 0; j < n; j += kSgemmPanel) {
          PanelOfBlock<Format>(rows, chunk, ThreadScratch<Format>().a, std::min(kSgemmPanel, n - j),
                               packed_b + j * Depth<Format>(k) + Depth<Format>(l) * kSgemmPanel,
                               kSgemmPanel, add, c + i * c_stride + j, c_stride);
        }
      });
}

template <typename Format>
void Product(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
             bool accumulate, float* c, int64_t c_stride) {
  if (k == 0 && !accumulate) return Clear(m, n, c, c_stride);
  // Few rows do not pay for packing b; the last, partial panel is packed all the same: it must not
  // be read beyond its end.
  constexpr bool kMayBeDirect = std::is_same_v<Format, AsFloat32>;
  const bool direct = kMayBeDirect && !b.transposed && m <= 2 * kStrip;
  ForBlocks<Format>(m, k, a, accumulate,
                    [&](int64_t l, int64_t chunk, int64_t i, int64_t rows, bool add) {
                      for (int64_t j = 0; j < n; j += kSgemmPanel) {
                        const int64_t columns = std::min(kSgemmPanel, n - j);
                        const MatrixF32 panel = b.At(l, j);
                        const typename Format::Element* packed = ThreadScratch<Format>().b;
                        int64_t stride = kSgemmPanel;
                        bool as_it_is = false;
                        if constexpr (kMayBeDirect) {
                          as_it_is = direct && columns == kSgemmPanel;
                          if (as_it_is) {
                            packed = panel.data;
                            stride = panel.stride;
                          }
                        }
                        if (!as_it_is) PackPanel(chunk, columns, panel, ThreadScratch<Format>().b);
                        PanelOfBlock<Format>(rows, chunk, ThreadScratch<Format>().a, columns,
                                             packed, stride, add, c + i * c_stride + j, c_stride);
                      }
                    });
}

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows up to which every task packs its own columns of b: for more rows b is packed once for all
// tasks.
constexpr int64_t kFewRows = 168;

// c (+)= a b for few rows: tasks are ranges of columns.
template <typename Format>
void FewRows(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
             bool accumulate, float* c) {
  constexpr int64_t kSerialWork =
      1 << 16;  // multiply-adds, some microseconds: less than waking a thread costs
  if (m * n * k <= kSerialWork) return Product<Format>(m, n, k, a, b, accumulate, c, n);
  // Wide enough that packing a again in every task costs little, for a handful of tasks at least.
  const int64_t width = n > 8 * 96 || m == 1 ? 128 : n > 128 ? 96 : 64;
  ParallelForRange(n, width, [&](int64_t begin, int64_t end) {
    Product<Format>(m, end - begin, k, a, b.At(0, begin), accumulate, c + begin, n);
  });
}

// c (+)= a b for many rows: parts of b are packed by all tasks together, then every task takes a
// tile of c.
template <typename Format>
void ManyRows(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
              bool accumulate, float* c) {
  constexpr int64_t kDepth =
      8 * kSgemmChunk;  // of a part; whole chunks, so that the order of additions stays
  constexpr int64_t kFloats = int64_t{1}
                              << 22;  // of a packed part, 16 MiB: within the last-level cache
  const int64_t depth = std::min(k, kDepth);
  const int64_t part = std::max<int64_t>(kFloats / std::max<int64_t>(depth, 1) / 512 * 512, 512);
  const Tensor scratch =
      Tensor::Empty({PackedSize(Depth<Format>(depth), std::min(n, part))},
                    std::is_same_v<Format, AsFloat32> ? DType::kFloat32 : DType::kInt32);
  auto* packed = scratch.mutable_data<typename Format::Element>();
  for (int64_t n0 = 0; n0 < n; n0 += part) {
    const int64_t columns = std::min(part, n - n0);
    const int64_t tile_n = std::min<int64_t>(columns, 512), num_n = CeilDiv(columns, tile_n);
    const int64_t tile_m = CeilDiv(m, 112) * num_n >= 32  ? 112
                           : CeilDiv(m, 56) * num_n >= 32 ? 56
                                                          : 28;
    for (int64_t k0 = 0; k0 < k || k0 == 0; k0 += kDepth) {
      const int64_t slice = std::min(kDepth, k - k0);
      const int64_t grain =
          CeilDiv(std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(slice, 1)), kSgemmPanel) *
          kSgemmPanel;
      ParallelForRange(columns, grain, [&](int64_t begin, int64_t end) {
        PackColumns<Format>(slice, end - begin, b.At(k0, n0 + begin),
                            packed + begin * Depth<Format>(slice));
      });
      ParallelFor(CeilDiv(m, tile_m) * num_n, [&](int64_t task) {
        const int64_t i = task / num_n * tile_m, j = task % num_n * tile_n;
        ProductPacked<Format>(std::min(tile_m, m - i), std::min(tile_n, columns - j), slice,
                              a.At(i, k0), packed + j * Depth<Format>(slice), accumulate || k0 > 0,
                              c + i * n + n0 + j, n);
      });
    }
  }
}

template <typename Format>
void ParallelProduct(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
                     bool accumulate, float* c) {
  (m <= kFewRows ? FewRows<Format> : ManyRows<Format>)(m, n, k, a, b, accumulate, c);
}

}  // namespace

void PackB(int64_t k, int64_t n, const MatrixF32& b, float* packed) {
  PackColumns<AsFloat32>(k, n, b, packed);
}

void SgemmPacked(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const float* packed_b,
                 bool accumulate, float* c, int64_t c_stride) {
  ProductPacked<AsFloat32>(m, n, k, a, packed_b, accumulate, c, c_stride);
}

void Sgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b, bool accumulate,
           float* c, int64_t c_stride) {
  Product<AsFloat32>(m, n, k, a, b, accumulate, c, c_stride);
}

void ParallelSgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
                   bool accumulate, float* c) {
  if (GetPrecision() == Precision::kBfloat16) {
    ParallelProduct<AsBfloat16>(m, n, k, a, b, accumulate, c);
  } else {
    ParallelProduct<AsFloat32>(m, n, k, a, b, accumulate, c);
  }
}

}  // namespace longrange::kernels
