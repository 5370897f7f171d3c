// Register-tiled product (Goto & van de Geijn 2008): a strip of a in L1, panels of b from L2, sums
// in registers.

#include "kernels/gemm/sgemm.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "common/base/thread_pool.h"
#include "common/tensor/tensor.h"
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

// c [kRows, columns] (+)= a · b over a chunk of k; a packed by PackStrip, row l of b at b[l *
// b_stride]. kVectors vectors of b are read in each row; `columns` may be fewer than they hold.
template <int kRows, int kVectors>
void Tile(int64_t k, const float* a, const float* b, int64_t b_stride, int64_t columns,
          bool accumulate, float* c, int64_t c_stride) {
  for (int i = 0; i < kRows; ++i) {
    for (int v = 0; v < kVectors; ++v) __builtin_prefetch(c + i * c_stride + v * kLanes, 1);
  }
  VecF sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sum[i][v] = simd::Zero();
  }
  for (int64_t l = 0; l < k; ++l) {
    VecF row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = simd::Load(b + v * kLanes);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const VecF factor = simd::Splat(a[i]);
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sum[i][v] = simd::Fma(factor, row[v], sum[i][v]);
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

using TileFn = void (*)(int64_t, const float*, const float*, int64_t, int64_t, bool, float*,
                        int64_t);

template <int kVectors, int... kIndex>
constexpr std::array<TileFn, kStrip> Tiles(std::integer_sequence<int, kIndex...>) {
  return {Tile<kIndex + 1, kVectors>...};
}

// The tile of `rows` rows.
template <int kVectors>
TileFn TileOf(int64_t rows) {
  static constexpr std::array<TileFn, kStrip> kTiles =
      Tiles<kVectors>(std::make_integer_sequence<int, kStrip>());
  return kTiles[rows - 1];
}

// A chunk of k for all strips of a block of a (packed) and columns [0, columns) of one panel.
void PanelOfBlock(int64_t m, int64_t k, const float* packed_a, int64_t columns, const float* b,
                  int64_t b_stride, bool accumulate, float* c, int64_t c_stride) {
  const bool narrow = columns <= kLanes;
  for (int64_t i = 0; i < m; i += kStrip) {
    const int64_t rows = std::min<int64_t>(kStrip, m - i);
    const TileFn tile = narrow ? TileOf<1>(rows) : TileOf<2>(rows);
    tile(k, packed_a + i * kSgemmChunk, b, b_stride, columns, accumulate, c + i * c_stride,
         c_stride);
  }
}

struct Scratch {
  alignas(64) float a[kBlock * kSgemmChunk + kPackSlack];
  alignas(64) float b[kSgemmPanel * kSgemmChunk];
};

Scratch& ThreadScratch() {
  static thread_local Scratch scratch;
  return scratch;
}

// Calls panel(first_k, chunk, block_row, rows, accumulate) with that block of a packed.
template <typename PanelsFn>
void ForBlocks(int64_t m, int64_t k, const MatrixF32& a, bool accumulate, PanelsFn&& panels) {
  Scratch& scratch = ThreadScratch();
  for (int64_t i = 0; i < m; i += kBlock) {
    const int64_t rows = std::min(kBlock, m - i);
    for (int64_t l = 0; l < k; l += kSgemmChunk) {
      const int64_t chunk = std::min(kSgemmChunk, k - l);
      for (int64_t s = 0; s < rows; s += kStrip) {
        PackStrip(std::min<int64_t>(kStrip, rows - s), chunk, a.At(i + s, l),
                  scratch.a + s * kSgemmChunk);
      }
      panels(l, chunk, i, rows, accumulate || l > 0);
    }
  }
}

void Clear(int64_t m, int64_t n, float* c, int64_t c_stride) {
  for (int64_t i = 0; i < m; ++i) std::fill(c + i * c_stride, c + i * c_stride + n, 0.f);
}

}  // namespace

void PackB(int64_t k, int64_t n, const MatrixF32& b, float* packed) {
  for (int64_t j = 0; j < n; j += kSgemmPanel) {
    PackPanel(k, std::min(kSgemmPanel, n - j), b.At(0, j), packed + j * k);
  }
}

void SgemmPacked(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const float* packed_b,
                 bool accumulate, float* c, int64_t c_stride) {
  if (k == 0 && !accumulate) return Clear(m, n, c, c_stride);
  ForBlocks(m, k, a, accumulate, [&](int64_t l, int64_t chunk, int64_t i, int64_t rows, bool add) {
    for (int64_t j = 0; j < n; j += kSgemmPanel) {
      PanelOfBlock(rows, chunk, ThreadScratch().a, std::min(kSgemmPanel, n - j),
                   packed_b + j * k + l * kSgemmPanel, kSgemmPanel, add, c + i * c_stride + j,
                   c_stride);
    }
  });
}

void Sgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b, bool accumulate,
           float* c, int64_t c_stride) {
  if (k == 0 && !accumulate) return Clear(m, n, c, c_stride);
  // Few rows do not pay for packing b; the last, partial panel is packed all the same: it must not
  // be read beyond its end.
  const bool direct = !b.transposed && m <= 2 * kStrip;
  ForBlocks(m, k, a, accumulate, [&](int64_t l, int64_t chunk, int64_t i, int64_t rows, bool add) {
    for (int64_t j = 0; j < n; j += kSgemmPanel) {
      const int64_t columns = std::min(kSgemmPanel, n - j);
      const bool as_it_is = direct && columns == kSgemmPanel;
      const MatrixF32 panel = b.At(l, j);
      if (!as_it_is) PackPanel(chunk, columns, panel, ThreadScratch().b);
      PanelOfBlock(rows, chunk, ThreadScratch().a, columns,
                   as_it_is ? panel.data : ThreadScratch().b, as_it_is ? panel.stride : kSgemmPanel,
                   add, c + i * c_stride + j, c_stride);
    }
  });
}

namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows up to which every task packs its own columns of b: for more rows b is packed once for all
// tasks.
constexpr int64_t kFewRows = 168;

// c (+)= a b for few rows: tasks are ranges of columns.
void FewRows(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
             bool accumulate, float* c) {
  constexpr int64_t kSerialWork =
      1 << 16;  // multiply-adds, some microseconds: less than waking a thread costs
  if (m * n * k <= kSerialWork) return Sgemm(m, n, k, a, b, accumulate, c, n);
  // Wide enough that packing a again in every task costs little, for a handful of tasks at least.
  const int64_t width = n > 8 * 96 || m == 1 ? 128 : n > 128 ? 96 : 64;
  ParallelForRange(n, width, [&](int64_t begin, int64_t end) {
    Sgemm(m, end - begin, k, a, b.At(0, begin), accumulate, c + begin, n);
  });
}

// c (+)= a b for many rows: parts of b are packed by all tasks together, then every task takes a
// tile of c.
void ManyRows(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
              bool accumulate, float* c) {
  constexpr int64_t kDepth =
      8 * kSgemmChunk;  // of a part; whole chunks, so that the order of additions stays
  constexpr int64_t kFloats = int64_t{1}
                              << 22;  // of a packed part, 16 MiB: within the last-level cache
  const int64_t depth = std::min(k, kDepth);
  const int64_t part = std::max<int64_t>(kFloats / std::max<int64_t>(depth, 1) / 512 * 512, 512);
  Tensor scratch = Tensor::Empty({PackedSize(depth, std::min(n, part))});
  float* packed = scratch.mutable_data<float>();
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
        PackB(slice, end - begin, b.At(k0, n0 + begin), packed + begin * slice);
      });
      ParallelFor(CeilDiv(m, tile_m) * num_n, [&](int64_t task) {
        const int64_t i = task / num_n * tile_m, j = task % num_n * tile_n;
        SgemmPacked(std::min(tile_m, m - i), std::min(tile_n, columns - j), slice, a.At(i, k0),
                    packed + j * slice, accumulate || k0 > 0, c + i * n + n0 + j, n);
      });
    }
  }
}

}  // namespace

void ParallelSgemm(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
                   bool accumulate, float* c) {
  (m <= kFewRows ? FewRows : ManyRows)(m, n, k, a, b, accumulate, c);
}

}  // namespace longrange::kernels
