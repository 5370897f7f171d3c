// Tiled float32 attention for the CPU.
//
// Forward, per head and tile of queries: scores of a key block (q k^T, scaled to base 2), their softmax kept up online,
// and the product with v; nothing of size [T, S] leaves the cache. Backward, per key-value head and range of keys: the
// probabilities are made again from lse, and one pass over the tiles gives dv, dk (summed in place) and dq (summed
// within the range of keys; the ranges are added afterwards, in order). Work is cut by shape alone.
//
// Names: `query tile` kQueryTile rows, `key block` kKeyBlock keys; a `row group` is the kTileRows rows, a `panel` the
// kTileColumns columns that one register tile covers. Scores carry a factor log2(e), so that exp is exp2.

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "common/base/thread_pool.h"
#include "kernels/attention/problem.h"
#include "kernels/simd/register_tile.h"
#include "kernels/simd/simd.h"

namespace longrange {
namespace {

using attention_internal::Problem;
using simd::kLanes;
using simd::kTileColumns;
using simd::kTileRows;
using simd::kTileVecs;
using simd::VecF;

// Multiples of kTileRows, and kKeyBlock of kTileColumns too. A score tile of 72 KiB with what it is made from stays in
// 1 MiB of L2; operands of one panel stay in L1.
constexpr int kQueryTile = 96;
constexpr int kKeyBlock = 192;
// Keys that are taken together in sums over the keys of a block: their rows of k or v stay in L1.
constexpr int kChunk = 96;
constexpr int kRowGroups = kQueryTile / kTileRows;
constexpr int kKeyGroups = kKeyBlock / kTileRows;
constexpr int kKeyWords = kKeyBlock / 64;
// Rows of a score tile stand a cache line apart from a power of two, or its columns would fall into few L1 sets.
constexpr int kScoreStride = kKeyBlock + 16;
// The backward pass cuts the keys so that one row of the batch makes about this many tasks.
constexpr int64_t kBackwardTasks = 16;
// Up to this many queries, keys and values are read where they lie (a decoding step), in ranges of kDecodeKeys.
constexpr int64_t kDecodeQueries = 4;
constexpr int kDecodeKeys = 256;

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

static_assert(kQueryTile % kTileRows == 0 && kKeyBlock % kTileRows == 0 && kKeyBlock % kTileColumns == 0 &&
                  kKeyBlock % 64 == 0,
              "tiles are whole groups, panels and mask words");

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }
int PopBits(uint64_t word, int column) { return static_cast<int>(word >> (column % 64)); }

// Distance of packed rows of `width` floats: whole vectors, and off the powers of two where rows are long.
int64_t PackedStride(int64_t width) {
  const int64_t whole = RoundUp(std::max<int64_t>(width, 1), kLanes);
  return whole > 64 ? whole + 16 : whole;
}

// Float memory of one task, 64-byte aligned.
class Scratch {
 public:
  explicit Scratch(int64_t floats) : memory_(Tensor::Empty({floats})), next_(memory_.mutable_data<float>()) {}
  float* Take(int64_t floats) {
    float* taken = next_;
    next_ += RoundUp(floats, 16);
    DCHECK(next_ <= memory_.data<float>() + memory_.numel());
    return taken;
  }

 private:
  Tensor memory_;
  float* next_;
};

// What of a tile is visible. Ranges are relative to the tile: keys that any row of a row group sees, rows that see any
// key of a key group.
struct Visibility {
  struct Range {
    int begin, end;
  };
  bool full;
  Range row_groups[kRowGroups];
  Range key_groups[kKeyGroups];
  uint64_t bits[kQueryTile][kKeyWords];  // where not full
};

// Rows [row, row + rows) and keys [key, key + keys) of the plan within the limits.
void FindVisibility(const SpanPlan& plan, const PlanLimits& limits, int64_t row, int rows, int64_t key, int keys,
                    bool full, Visibility* out) {
  out->full = full && keys == kKeyBlock;
  if (out->full) {
    std::fill(out->row_groups, out->row_groups + kRowGroups, Visibility::Range{0, keys});
    std::fill(out->key_groups, out->key_groups + kKeyGroups, Visibility::Range{0, rows});
    return;
  }
  std::fill(out->row_groups, out->row_groups + kRowGroups, Visibility::Range{kKeyBlock, 0});
  std::fill(out->key_groups, out->key_groups + kKeyGroups, Visibility::Range{kQueryTile, 0});
  std::memset(out->bits, 0, sizeof(out->bits));
  const int64_t key_begin = std::max(key, limits.keys.begin), key_end = std::min(key + keys, limits.keys.end);
  for (int r = 0; r < rows; ++r) {
    if (row + r < limits.queries.begin || row + r >= limits.queries.end) continue;
    const absl::Span<const KeySpan> spans = plan.row(row + r);
    auto span = std::lower_bound(spans.begin(), spans.end(), key_begin,
                                 [](const KeySpan& s, int64_t begin) { return s.end <= begin; });
    for (; span != spans.end() && span->begin < key_end; ++span) {
      const int begin = static_cast<int>(std::max(span->begin, key_begin) - key);
      const int end = static_cast<int>(std::min(span->end, key_end) - key);
      if (begin >= end) continue;
      for (int w = begin / 64; w <= (end - 1) / 64; ++w) {
        const int from = std::max(begin - w * 64, 0), to = std::min(end - w * 64, 64);
        out->bits[r][w] |= (~uint64_t{0} >> (64 - (to - from))) << from;
      }
      Visibility::Range& group = out->row_groups[r / kTileRows];
      group.begin = std::min(group.begin, begin);
      group.end = std::max(group.end, end);
      for (int g = begin / kTileRows; g <= (end - 1) / kTileRows; ++g) {
        out->key_groups[g].begin = std::min(out->key_groups[g].begin, r);
        out->key_groups[g].end = std::max(out->key_groups[g].end, r + 1);
      }
    }
  }
}

// dst[i * dst_stride + d] = factor * src[i * src_stride + d] for rows i of `valid`; other rows of [0, rows) and columns
// up to the next whole vector are 0.
void PackRows(const float* src, int64_t src_stride, int64_t rows, KeySpan valid, int64_t width, float factor, float* dst,
              int64_t dst_stride) {
  const VecF scale = simd::Splat(factor);
  for (int64_t i = 0; i < rows; ++i) {
    const bool real = i >= valid.begin && i < valid.end;
    for (int64_t d = 0; d < std::max<int64_t>(width, 1); d += kLanes) {
      const int64_t n = real ? std::min<int64_t>(kLanes, width - d) : 0;
      const float* from = src + i * src_stride + d;
      const VecF v = n == kLanes ? simd::Load(from) : simd::LoadPartial(from, n);
      simd::Store(dst + i * dst_stride + d, v * scale);
    }
  }
}

// The transpose of rows [0, rows) in panels of kTileColumns rows: dst[panel][d][row in panel]. Rows outside `valid` and
// behind `rows` are 0.
void PackPanels(const float* src, int64_t src_stride, int64_t rows, KeySpan valid, int64_t width, float* dst) {
  VecF block[kLanes];
  for (int64_t row = 0; row < RoundUp(rows, kTileColumns); row += kLanes) {
    float* panel = dst + row / kTileColumns * kTileColumns * width + row % kTileColumns;
    for (int64_t d = 0; d < width; d += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, width - d);
      if (n == kLanes && row >= valid.begin && row + kLanes <= valid.end) {
        for (int i = 0; i < kLanes; ++i) block[i] = simd::Load(src + (row + i) * src_stride + d);
      } else {
        for (int i = 0; i < kLanes; ++i) {
          const bool real = row + i >= valid.begin && row + i < valid.end;
          block[i] = simd::LoadPartial(src + (row + i) * src_stride + d, real ? n : 0);
        }
      }
      simd::Transpose(block);
      for (int i = 0; i < n; ++i) simd::Store(panel + (d + i) * kTileColumns, block[i]);
    }
  }
}

// The bias of ALiBi for one row: -slope * |position - key|, in base 2.
struct Alibi {
  float slope = 0;
  float position = 0;  // of the tile's first row, relative to the tile's first key

  VecF At(int row, int key) const {
    const VecF keys = simd::ToFloat(simd::Iota() + key);
    return simd::Abs(simd::Splat(position + static_cast<float>(row)) - keys) * simd::Splat(-slope);
  }
};

// scores[r][c ...] for one row group and `kVecs` vectors of keys from column c: q k^T with its bias; -inf where masked.
template <int kVecs, bool kMasked, bool kAlibi>
__attribute__((noinline)) void ScoreTile(const float* q, int64_t q_stride, int64_t width, const float* panel,
                                         const Visibility& visible, const Alibi& alibi, int row, int column,
                                         float* scores) {
  VecF tile[kTileRows][kVecs];
  simd::ClearTile(tile);
  simd::AddProduct<false>(tile, width, q + row * q_stride, q_stride, panel, kTileColumns);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const int c = column + v * kLanes;
      if (kAlibi) tile[r][v] = tile[r][v] + alibi.At(row + r, c);
      if (kMasked) {
        tile[r][v] = simd::SelectBits(PopBits(visible.bits[row + r][c / 64], c), tile[r][v], simd::Splat(-kInfinity));
      }
      simd::Store(scores + (row + r) * kScoreStride + c, tile[r][v]);
    }
  }
}

// From scores to probabilities in the backward: exp2(score - lse), 0 where masked.
template <int kVecs, bool kMasked, bool kAlibi>
__attribute__((noinline)) void ProbabilityTile(const float* q, int64_t q_stride, int64_t width, const float* panel,
                                               const Visibility& visible, const Alibi& alibi, const float* lse, int row,
                                               int column, float* probabilities) {
  VecF tile[kTileRows][kVecs];
  simd::ClearTile(tile);
  simd::AddProduct<false>(tile, width, q + row * q_stride, q_stride, panel, kTileColumns);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
    const VecF row_lse = simd::Splat(lse[row + r]);
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const int c = column + v * kLanes;
      if (kAlibi) tile[r][v] = tile[r][v] + alibi.At(row + r, c);
      VecF p = simd::Exp2(tile[r][v] - row_lse);
      if (kMasked) p = simd::SelectBits(PopBits(visible.bits[row + r][c / 64], c), p, simd::Zero());
      simd::Store(probabilities + (row + r) * kScoreStride + c, p);
    }
  }
}

// Gradient of the scores: P * (dout v^T - delta).
template <int kVecs>
__attribute__((noinline)) void ScoreGradientTile(const float* dout, int64_t dout_stride, int64_t width,
                                                 const float* panel, const float* delta, int row, int column,
                                                 const float* probabilities, float* dscores) {
  VecF tile[kTileRows][kVecs];
  simd::ClearTile(tile);
  simd::AddProduct<false>(tile, width, dout + row * dout_stride, dout_stride, panel, kTileColumns);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
    const VecF row_delta = simd::Splat(delta[row + r]);
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = (row + r) * kScoreStride + column + v * kLanes;
      simd::Store(dscores + at, simd::Load(probabilities + at) * (tile[r][v] - row_delta));
    }
  }
}

// c += a b, or c = a b, for one row group and `kVecs` vectors of columns.
template <bool kTransposedA, int kVecs>
__attribute__((noinline)) void ProductTile(int64_t depth, const float* a, int64_t a_stride, const float* b,
                                           int64_t b_stride, bool add, float* c, int64_t c_stride) {
  VecF tile[kTileRows][kVecs];
  if (add) {
    simd::LoadTile(tile, c, c_stride);
  } else {
    simd::ClearTile(tile);
  }
  simd::AddProduct<kTransposedA>(tile, depth, a, a_stride, b, b_stride);
  simd::StoreTile(tile, c, c_stride);
}

// Calls fn(std::integral_constant<int, n>) for 1 <= n <= kTileVecs.
template <typename Fn>
void WithVecs(int n, Fn&& fn) {
  switch (n) {
    case 1:
      return fn(std::integral_constant<int, 1>());
    case 2:
      return fn(std::integral_constant<int, 2>());
    case 3:
      return fn(std::integral_constant<int, std::min(3, kTileVecs)>());
    default:
      return fn(std::integral_constant<int, kTileVecs>());
  }
}

// As ProductTile, over all columns of b.
template <bool kTransposedA>
void RowGroupProduct(int64_t depth, const float* a, int64_t a_stride, const float* b, int64_t columns, bool add,
                     float* c, int64_t stride) {
  for (int64_t column = 0; column < columns; column += kTileColumns) {
    const int vecs = static_cast<int>(std::min<int64_t>(kTileVecs, CeilDiv(columns - column, kLanes)));
    WithVecs(vecs, [&](auto v) {
      ProductTile<kTransposedA, decltype(v)::value>(depth, a, a_stride, b + column, stride, add, c + column, stride);
    });
  }
}

// Calls fn(vecs, first column) for the pieces of panel [column, column + kTileColumns) that a row group sees.
template <typename Fn>
void OnVisibleVecs(const Visibility::Range& keys, int column, Fn&& fn) {
  const int begin = std::max(keys.begin / kLanes * kLanes, column);
  const int end = std::min(static_cast<int>(RoundUp(keys.end, kLanes)), column + kTileColumns);
  if (begin < end) fn((end - begin) / kLanes, begin);
}

// The tiles of every plan under the limits of every row of the batch, each different combination once.
class TileMaps {
 public:
  explicit TileMaps(const Problem& p) : plans_(p.plans.size()), limits_(p.limits.size()) {
    maps_.resize(plans_ * limits_);
    ParallelFor(static_cast<int64_t>(maps_.size()), [&](int64_t i) {
      maps_[i] = std::make_unique<TileMap>(*p.plans[i % plans_], p.limits[i / plans_], kQueryTile, kKeyBlock);
    });
  }
  const TileMap& at(int64_t b, int64_t h) const {
    return *maps_[(limits_ == 1 ? 0 : b) * plans_ + (plans_ == 1 ? 0 : h)];
  }

 private:
  size_t plans_, limits_;
  std::vector<std::unique_ptr<TileMap>> maps_;
};

KeySpan Shifted(KeySpan span, int64_t by) { return {span.begin - by, span.end - by}; }

Alibi AlibiAt(const Problem& p, int64_t h, int64_t row, int64_t key) {
  return {static_cast<float>(p.slope(h)) * kLog2E, static_cast<float>(p.query_offset + row - key)};
}

// ---- Forward ----

struct ForwardPass {
  const Problem& p;
  const TileMaps& maps;
  const float* q_bthd;
  const float* k_panels;  // [B, K][panel][D][kTileColumns]
  const float* v_rows;    // [B, K][padded S][v_stride]
  int64_t padded_keys, v_stride;
  float* out_bthe;
  float* lse_bht;

  int64_t scratch_floats() const {
    return kQueryTile * (RoundUp(p.width, 16) + kScoreStride + v_stride + 2) + 5 * 16;
  }
  void Tile(int64_t b, int64_t h, int64_t tile) const;
};

// Online softmax of the row group's scores: turns them into exp2(score - max), and scales the sums so far to the new
// maximum.
void SoftmaxRows(const Visibility::Range& keys, int row, float* scores, float* max, float* sum, float* out,
                 int64_t out_stride) {
  const int begin = keys.begin / kLanes * kLanes, end = static_cast<int>(RoundUp(keys.end, kLanes));
  for (int r = row; r < row + kTileRows; ++r) {
    float* s = scores + r * kScoreStride;
    VecF top = simd::Load(s + begin);
    for (int c = begin + kLanes; c < end; c += kLanes) top = simd::Max(top, simd::Load(s + c));
    const float old_max = max[r], new_max = std::max(old_max, simd::HorizontalMax(top));
    // A row that has seen no key yet: all scores are -inf, and exp2(-inf - 0) = 0.
    const VecF base = simd::Splat(new_max == -kInfinity ? 0 : new_max);
    VecF total = simd::Zero();
    for (int c = begin; c < end; c += kLanes) {
      const VecF e = simd::Exp2(simd::Load(s + c) - base);
      simd::Store(s + c, e);
      total = total + e;
    }
    if (new_max > old_max) {
      const float keep = old_max == -kInfinity ? 0 : std::exp2(old_max - new_max);
      max[r] = new_max;
      sum[r] *= keep;
      for (int64_t e = 0; e < out_stride; e += kLanes) {
        simd::Store(out + r * out_stride + e, simd::Load(out + r * out_stride + e) * simd::Splat(keep));
      }
    }
    sum[r] += simd::HorizontalSum(total);
  }
}

void ForwardPass::Tile(int64_t b, int64_t h, int64_t tile) const {
  const int64_t row = tile * kQueryTile;
  const int rows = static_cast<int>(std::min<int64_t>(kQueryTile, p.queries - row));
  const int groups = static_cast<int>(CeilDiv(rows, kTileRows));
  const PlanLimits& limits = p.row_limits(b);
  Scratch scratch(scratch_floats());
  const int64_t q_stride = RoundUp(std::max<int64_t>(p.width, 1), 16);
  float* q = scratch.Take(kQueryTile * q_stride);
  float* scores = scratch.Take(kQueryTile * kScoreStride);
  float* out = scratch.Take(kQueryTile * v_stride);
  float* max = scratch.Take(kQueryTile);
  float* sum = scratch.Take(kQueryTile);
  const KeySpan real_rows = Shifted({limits.queries.begin, std::min(limits.queries.end, row + rows)}, row);
  PackRows(q_bthd + ((b * p.queries + row) * p.heads + h) * p.width, p.heads * p.width, groups * kTileRows, real_rows,
           p.width, static_cast<float>(p.scale) * kLog2E, q, q_stride);
  std::fill(out, out + kQueryTile * v_stride, 0.0f);
  std::fill(max, max + kQueryTile, -kInfinity);
  std::fill(sum, sum + kQueryTile, 0.0f);

  const int64_t kv = b * p.kv_heads + p.kv_head(h);
  Visibility visible;
  for (const TileMap::Tile& key_tile : maps.at(b, h).tiles_of_queries(tile)) {
    const int64_t key = key_tile.index * kKeyBlock;
    const int keys = static_cast<int>(std::min<int64_t>(kKeyBlock, p.keys - key));
    FindVisibility(p.plan(h), limits, row, rows, key, keys, key_tile.full, &visible);
    const Alibi alibi = AlibiAt(p, h, row, key);
    const float* panels = k_panels + (kv * padded_keys + key) * p.width;
    for (int column = 0; column < keys; column += kTileColumns) {
      const float* panel = panels + column * p.width;
      for (int g = 0; g < groups; ++g) {
        OnVisibleVecs(visible.row_groups[g], column, [&](int vecs, int first) {
          WithVecs(vecs, [&](auto v) {
            constexpr int kVecs = decltype(v)::value;
            const auto run = p.alibi() ? (visible.full ? ScoreTile<kVecs, false, true> : ScoreTile<kVecs, true, true>)
                                       : (visible.full ? ScoreTile<kVecs, false, false> : ScoreTile<kVecs, true, false>);
            run(q, q_stride, p.width, panel + (first - column), visible, alibi, g * kTileRows, first, scores);
          });
        });
      }
    }
    for (int g = 0; g < groups; ++g) {
      if (visible.row_groups[g].begin < visible.row_groups[g].end) {
        SoftmaxRows(visible.row_groups[g], g * kTileRows, scores, max, sum, out, v_stride);
      }
    }
    const float* values = v_rows + (kv * padded_keys + key) * v_stride;
    for (int chunk = 0; chunk < keys; chunk += kChunk) {
      for (int g = 0; g < groups; ++g) {
        const int begin = std::max(visible.row_groups[g].begin, chunk);
        const int end = std::min(visible.row_groups[g].end, chunk + kChunk);
        if (begin >= end) continue;
        RowGroupProduct<false>(end - begin, scores + g * kTileRows * kScoreStride + begin, kScoreStride,
                               values + begin * v_stride, p.value_width, true, out + g * kTileRows * v_stride,
                               v_stride);
      }
    }
  }

  for (int r = 0; r < rows; ++r) {
    const float inverse = sum[r] == 0 ? 0 : 1 / sum[r];
    float* to = out_bthe + ((b * p.queries + row + r) * p.heads + h) * p.value_width;
    for (int64_t e = 0; e < p.value_width; e += kLanes) {
      simd::StorePartial(to + e, std::min<int64_t>(kLanes, p.value_width - e),
                         simd::Load(out + r * v_stride + e) * simd::Splat(inverse));
    }
    lse_bht[(b * p.heads + h) * p.queries + row + r] = sum[r] == 0 ? -kInfinity : max[r] * kLn2 + std::log(sum[r]);
  }
}

// ---- Decoding: few queries, keys and values read once where they lie ----

struct DecodePass {
  const Problem& p;
  const float* q_bthd;
  const float* k_bshd;
  const float* v_bshe;
  float* partial_out;  // [split][B, H, T][out_stride], not yet divided by its sum
  float* partial_max;  // [split][B, H, T], base 2
  float* partial_sum;
  int64_t splits, out_stride;

  int64_t num_rows() const { return p.batch * p.heads * p.queries; }
  void Split(int64_t b, int64_t split) const;
  void Merge(int64_t b, int64_t h, int64_t i, float* out_bthe, float* lse_bht) const;
};

// dots[j] = a . rows[j * stride ...] for kLanes rows, the first `n` of which exist.
VecF Dots(const float* a, const float* rows, int64_t stride, int n, int64_t width) {
  VecF sums[kLanes];
  for (int j = 0; j < kLanes; ++j) sums[j] = simd::Zero();
  int64_t d = 0;
  if (n == kLanes) {
    for (; d + kLanes <= width; d += kLanes) {
      const VecF a_d = simd::Load(a + d);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j) sums[j] = simd::Fma(a_d, simd::Load(rows + j * stride + d), sums[j]);
    }
  }
  for (; d < width; d += kLanes) {
    const int64_t left = std::min<int64_t>(kLanes, width - d);
    const VecF a_d = simd::LoadPartial(a + d, left);
    for (int j = 0; j < n; ++j) sums[j] = simd::Fma(a_d, simd::LoadPartial(rows + j * stride + d, left), sums[j]);
  }
  simd::Transpose(sums);
  VecF total = sums[0];
  for (int j = 1; j < kLanes; ++j) total = total + sums[j];
  return total;
}

void DecodePass::Split(int64_t b, int64_t split) const {
  const PlanLimits& limits = p.row_limits(b);
  const int64_t key = split * kDecodeKeys;
  const int keys = static_cast<int>(std::min<int64_t>(kDecodeKeys, p.keys - key));
  const int64_t k_stride = p.kv_heads * p.width, v_stride = p.kv_heads * p.value_width;
  const int64_t key_begin = std::max(key, limits.keys.begin), key_end = std::min(key + keys, limits.keys.end);
  float weights[kDecodeKeys + kLanes];
  Scratch scratch(RoundUp(p.width, 16) + 16);
  float* q = scratch.Take(p.width);
  for (int64_t h = 0; h < p.heads; ++h) {
    const float* k = k_bshd + (b * p.keys + key) * k_stride + p.kv_head(h) * p.width;
    const float* v = v_bshe + (b * p.keys + key) * v_stride + p.kv_head(h) * p.value_width;
    for (int64_t i = 0; i < p.queries; ++i) {
      const int64_t row = split * num_rows() + (b * p.heads + h) * p.queries + i;
      float* out = partial_out + row * out_stride;
      partial_max[row] = -kInfinity;
      partial_sum[row] = 0;
      std::fill(out, out + out_stride, 0.0f);
      if (i < limits.queries.begin || i >= limits.queries.end) continue;
      const float factor = static_cast<float>(p.scale) * kLog2E;
      const float* from = q_bthd + ((b * p.queries + i) * p.heads + h) * p.width;
      for (int64_t d = 0; d < p.width; ++d) q[d] = from[d] * factor;
      const Alibi alibi = AlibiAt(p, h, i, key);
      const absl::Span<const KeySpan> spans = p.plan(h).row(i);
      const auto first = std::lower_bound(spans.begin(), spans.end(), key_begin,
                                          [](const KeySpan& s, int64_t begin) { return s.end <= begin; });
      float max = -kInfinity;
      for (auto span = first; span != spans.end() && span->begin < key_end; ++span) {
        const int begin = static_cast<int>(std::max(span->begin, key_begin) - key);
        const int end = static_cast<int>(std::min(span->end, key_end) - key);
        for (int c = begin; c < end; c += kLanes) {
          const int n = std::min(kLanes, end - c);
          VecF score = Dots(q, k + c * k_stride, k_stride, n, p.width);
          if (p.alibi()) score = score + alibi.At(0, c);
          simd::StorePartial(weights + c, n, score);
          max = std::max(max, simd::HorizontalMax(simd::SelectBits((1u << n) - 1, score, simd::Splat(-kInfinity))));
        }
      }
      if (max == -kInfinity) continue;
      VecF sum = simd::Zero();
      for (auto span = first; span != spans.end() && span->begin < key_end; ++span) {
        const int begin = static_cast<int>(std::max(span->begin, key_begin) - key);
        const int end = static_cast<int>(std::min(span->end, key_end) - key);
        for (int c = begin; c < end; c += kLanes) {
          const int n = std::min(kLanes, end - c);
          const VecF weight = simd::SelectBits((1u << n) - 1, simd::Exp2(simd::LoadPartial(weights + c, n) - simd::Splat(max)), simd::Zero());
          simd::StorePartial(weights + c, n, weight);
          sum = sum + weight;
        }
        for (int64_t e = 0; e < p.value_width; e += kTileColumns) {
          const int64_t left = p.value_width - e;
          if (left >= kTileColumns) {
            VecF acc[kTileVecs];
            for (int u = 0; u < kTileVecs; ++u) acc[u] = simd::Load(out + e + u * kLanes);
            for (int c = begin; c < end; ++c) {
              const VecF w = simd::Splat(weights[c]);
#pragma GCC unroll 4
              for (int u = 0; u < kTileVecs; ++u) acc[u] = simd::Fma(w, simd::Load(v + c * v_stride + e + u * kLanes), acc[u]);
            }
            for (int u = 0; u < kTileVecs; ++u) simd::Store(out + e + u * kLanes, acc[u]);
          } else {
            for (int64_t at = e; at < p.value_width; at += kLanes) {
              const int64_t n = std::min<int64_t>(kLanes, p.value_width - at);
              VecF acc = simd::Load(out + at);
              for (int c = begin; c < end; ++c) acc = simd::Fma(simd::Splat(weights[c]), simd::LoadPartial(v + c * v_stride + at, n), acc);
              simd::Store(out + at, acc);
            }
          }
        }
      }
      partial_max[row] = max;
      partial_sum[row] = simd::HorizontalSum(sum);
    }
  }
}

void DecodePass::Merge(int64_t b, int64_t h, int64_t i, float* out_bthe, float* lse_bht) const {
  const int64_t row = (b * p.heads + h) * p.queries + i;
  float max = -kInfinity, sum = 0;
  for (int64_t s = 0; s < splits; ++s) max = std::max(max, partial_max[s * num_rows() + row]);
  float* out = out_bthe + ((b * p.queries + i) * p.heads + h) * p.value_width;
  std::fill(out, out + p.value_width, 0.0f);
  lse_bht[row] = -kInfinity;
  if (max == -kInfinity) return;
  for (int64_t s = 0; s < splits; ++s) {
    if (partial_max[s * num_rows() + row] == -kInfinity) continue;
    const float factor = std::exp2(partial_max[s * num_rows() + row] - max);
    sum += partial_sum[s * num_rows() + row] * factor;
    const float* from = partial_out + (s * num_rows() + row) * out_stride;
    for (int64_t e = 0; e < p.value_width; ++e) out[e] += from[e] * factor;
  }
  for (int64_t e = 0; e < p.value_width; ++e) out[e] /= sum;
  lse_bht[row] = max * kLn2 + std::log(sum);
}

AttentionOutputs Decode(const Problem& p, const AttentionInputs& in, AttentionOutputs outputs) {
  const int64_t splits = CeilDiv(p.keys, kDecodeKeys), rows = p.batch * p.heads * p.queries;
  const int64_t out_stride = RoundUp(std::max<int64_t>(p.value_width, 1), kLanes);
  const Tensor partial_out = Tensor::Empty({splits, rows, out_stride});
  const Tensor partial_max = Tensor::Empty({splits, rows}), partial_sum = Tensor::Empty({splits, rows});
  const DecodePass pass = {p,
                           in.q_bthd.data<float>(),
                           in.k_bshd.data<float>(),
                           in.v_bshe.data<float>(),
                           partial_out.mutable_data<float>(),
                           partial_max.mutable_data<float>(),
                           partial_sum.mutable_data<float>(),
                           splits,
                           out_stride};
  ParallelFor(p.batch * splits, [&](int64_t task) { pass.Split(task / splits, task % splits); });
  float* out = outputs.out_bthe.mutable_data<float>();
  float* lse = outputs.lse_bht.mutable_data<float>();
  ParallelFor(p.batch, [&](int64_t b) {
    for (int64_t row = 0; row < p.heads * p.queries; ++row) pass.Merge(b, row / p.queries, row % p.queries, out, lse);
  });
  return outputs;
}

// ---- Backward ----

struct BackwardPass {
  const Problem& p;
  const TileMaps& maps;
  const float* k_bshd;
  const float* v_bshe;
  // Per (b, h): [padded T][stride] rows and [padded T] numbers; rows that see no key are 0 throughout.
  const float* q_rows;
  const float* dout_rows;
  const float* lse;    // base 2
  const float* delta;  // dout . out
  int64_t padded_queries, q_stride, v_stride;
  int64_t splits, blocks_per_split;
  float* dk_bshd;
  float* dv_bshe;

  // Query tiles [begin, end) that the keys of a split reach.
  KeySpan ReachedTiles(int64_t b, int64_t h, int64_t split) const;
  // One range of the keys of one key-value head; dq[g] is the sum for head g of the group over this range, its rows
  // counted from the first reached tile.
  void Split(int64_t b, int64_t kv, int64_t split, const std::vector<float*>& dq) const;
};

KeySpan BackwardPass::ReachedTiles(int64_t b, int64_t h, int64_t split) const {
  const TileMap& map = maps.at(b, h);
  KeySpan reached{map.num_query_tiles(), 0};
  for (int64_t block = split * blocks_per_split; block < std::min((split + 1) * blocks_per_split, map.num_key_blocks());
       ++block) {
    const auto tiles = map.tiles_of_keys(block);
    if (tiles.empty()) continue;
    reached.begin = std::min(reached.begin, tiles.front().index);
    reached.end = std::max(reached.end, tiles.back().index + 1);
  }
  return reached.begin < reached.end ? reached : KeySpan{0, 0};
}

void BackwardPass::Split(int64_t b, int64_t kv, int64_t split, const std::vector<float*>& dq) const {
  const int64_t group = p.heads / p.kv_heads;
  const PlanLimits& limits = p.row_limits(b);
  const int64_t width16 = RoundUp(std::max<int64_t>(p.width, 1), 16), value16 = RoundUp(std::max<int64_t>(p.value_width, 1), 16);
  Scratch scratch(2 * kQueryTile * kScoreStride + kKeyBlock * (width16 + value16 + 2 * q_stride + v_stride) + 7 * 16);
  float* probabilities = scratch.Take(kQueryTile * kScoreStride);
  float* dscores = scratch.Take(kQueryTile * kScoreStride);
  float* k_panels = scratch.Take(kKeyBlock * width16);
  float* v_panels = scratch.Take(kKeyBlock * value16);
  float* k_rows = scratch.Take(kKeyBlock * q_stride);
  float* dk = scratch.Take(kKeyBlock * q_stride);
  float* dv = scratch.Take(kKeyBlock * v_stride);
  std::vector<KeySpan> reached;
  std::vector<std::vector<bool>> touched;
  for (int64_t g = 0; g < group; ++g) {
    reached.push_back(ReachedTiles(b, kv * group + g, split));
    touched.emplace_back(static_cast<size_t>(reached.back().end - reached.back().begin), false);
  }

  Visibility visible;
  const int64_t num_blocks = CeilDiv(p.keys, kKeyBlock);
  for (int64_t block = split * blocks_per_split; block < std::min((split + 1) * blocks_per_split, num_blocks); ++block) {
    const int64_t key = block * kKeyBlock;
    const int keys = static_cast<int>(std::min<int64_t>(kKeyBlock, p.keys - key));
    const int key_groups = static_cast<int>(CeilDiv(keys, kTileRows));
    const KeySpan real_keys = Shifted({limits.keys.begin, std::min(limits.keys.end, key + keys)}, key);
    const float* k = k_bshd + ((b * p.keys + key) * p.kv_heads + kv) * p.width;
    const float* v = v_bshe + ((b * p.keys + key) * p.kv_heads + kv) * p.value_width;
    PackPanels(k, p.kv_heads * p.width, keys, real_keys, p.width, k_panels);
    PackPanels(v, p.kv_heads * p.value_width, keys, real_keys, p.value_width, v_panels);
    PackRows(k, p.kv_heads * p.width, keys, real_keys, p.width, 1, k_rows, q_stride);
    std::fill(dk, dk + kKeyBlock * q_stride, 0.0f);
    std::fill(dv, dv + kKeyBlock * v_stride, 0.0f);
    for (int64_t g = 0; g < group; ++g) {
      const int64_t h = kv * group + g, bh = b * p.heads + h;
      for (const TileMap::Tile& tile : maps.at(b, h).tiles_of_keys(block)) {
        const int64_t row = tile.index * kQueryTile;
        const int rows = static_cast<int>(std::min<int64_t>(kQueryTile, p.queries - row));
        const int row_groups = static_cast<int>(CeilDiv(rows, kTileRows));
        FindVisibility(p.plan(h), limits, row, rows, key, keys, tile.full, &visible);
        if (!visible.full) {  // pieces that no row of a group sees are skipped below, and read by others as 0
          std::fill(probabilities, probabilities + kQueryTile * kScoreStride, 0.0f);
          std::fill(dscores, dscores + kQueryTile * kScoreStride, 0.0f);
        }
        const Alibi alibi = AlibiAt(p, h, row, key);
        const float* q = q_rows + (bh * padded_queries + row) * q_stride;
        const float* dout = dout_rows + (bh * padded_queries + row) * v_stride;
        const float* row_lse = lse + bh * padded_queries + row;
        const float* row_delta = delta + bh * padded_queries + row;
        for (int column = 0; column < keys; column += kTileColumns) {
          for (int r = 0; r < row_groups; ++r) {
            OnVisibleVecs(visible.row_groups[r], column, [&](int vecs, int first) {
              WithVecs(vecs, [&](auto n) {
                constexpr int kVecs = decltype(n)::value;
                const auto run =
                    p.alibi()
                        ? (visible.full ? ProbabilityTile<kVecs, false, true> : ProbabilityTile<kVecs, true, true>)
                        : (visible.full ? ProbabilityTile<kVecs, false, false> : ProbabilityTile<kVecs, true, false>);
                run(q, q_stride, p.width, k_panels + column * p.width + (first - column), visible, alibi, row_lse,
                    r * kTileRows, first, probabilities);
              });
            });
          }
          for (int r = 0; r < row_groups; ++r) {
            OnVisibleVecs(visible.row_groups[r], column, [&](int vecs, int first) {
              WithVecs(vecs, [&](auto n) {
                ScoreGradientTile<decltype(n)::value>(dout, v_stride, p.value_width,
                                                      v_panels + column * p.value_width + (first - column), row_delta,
                                                      r * kTileRows, first, probabilities, dscores);
              });
            });
          }
        }
        for (int j = 0; j < key_groups; ++j) {
          const Visibility::Range seen = visible.key_groups[j];
          if (seen.begin >= seen.end) continue;
          RowGroupProduct<true>(seen.end - seen.begin, probabilities + seen.begin * kScoreStride + j * kTileRows,
                                kScoreStride, dout + seen.begin * v_stride, p.value_width, true,
                                dv + j * kTileRows * v_stride, v_stride);
        }
        for (int j = 0; j < key_groups; ++j) {
          const Visibility::Range seen = visible.key_groups[j];
          if (seen.begin >= seen.end) continue;
          RowGroupProduct<true>(seen.end - seen.begin, dscores + seen.begin * kScoreStride + j * kTileRows,
                                kScoreStride, q + seen.begin * q_stride, p.width, true,
                                dk + j * kTileRows * q_stride, q_stride);
        }
        float* tile_dq = dq[g] + (tile.index - reached[g].begin) * kQueryTile * q_stride;
        if (!touched[g][tile.index - reached[g].begin]) {
          touched[g][tile.index - reached[g].begin] = true;
          std::fill(tile_dq, tile_dq + kQueryTile * q_stride, 0.0f);
        }
        for (int chunk = 0; chunk < keys; chunk += kChunk) {
          for (int r = 0; r < row_groups; ++r) {
            const int begin = std::max(visible.row_groups[r].begin, chunk);
            const int end = std::min(visible.row_groups[r].end, chunk + kChunk);
            if (begin >= end) continue;
            RowGroupProduct<false>(end - begin, dscores + r * kTileRows * kScoreStride + begin, kScoreStride,
                                   k_rows + begin * q_stride, p.width, true, tile_dq + r * kTileRows * q_stride,
                                   q_stride);
          }
        }
      }
    }
    // dk was summed with q scaled by scale * log2(e).
    for (int j = 0; j < keys; ++j) {
      float* to_k = dk_bshd + ((b * p.keys + key + j) * p.kv_heads + kv) * p.width;
      float* to_v = dv_bshe + ((b * p.keys + key + j) * p.kv_heads + kv) * p.value_width;
      for (int64_t d = 0; d < p.width; ++d) to_k[d] = dk[j * q_stride + d] * kLn2;
      for (int64_t e = 0; e < p.value_width; ++e) to_v[e] = dv[j * v_stride + e];
    }
  }
  for (int64_t g = 0; g < group; ++g) {
    for (size_t t = 0; t < touched[g].size(); ++t) {
      float* tile_dq = dq[g] + static_cast<int64_t>(t) * kQueryTile * q_stride;
      if (!touched[g][t]) std::fill(tile_dq, tile_dq + kQueryTile * q_stride, 0.0f);
    }
  }
}

}  // namespace

AttentionOutputs AttentionForwardCpu(const Problem& p, const AttentionInputs& in) {
  AttentionOutputs outputs = {Tensor::Empty({p.batch, p.queries, p.heads, p.value_width}),
                              Tensor::Empty({p.batch, p.heads, p.queries})};
  if (p.batch * p.queries * p.heads == 0) return outputs;
  if (p.queries <= kDecodeQueries) return Decode(p, in, std::move(outputs));

  const TileMaps maps(p);
  const int64_t kv_heads = p.batch * p.kv_heads, v_stride = PackedStride(p.value_width);
  const int64_t padded_keys = RoundUp(p.keys, kTileColumns), blocks = CeilDiv(p.keys, kKeyBlock);
  const Tensor k_panels = Tensor::Empty({kv_heads, padded_keys, p.width});
  const Tensor v_rows = Tensor::Empty({kv_heads, padded_keys, v_stride});
  ParallelFor(kv_heads * blocks, [&](int64_t task) {
    const int64_t kv = task / blocks, b = kv / p.kv_heads, key = task % blocks * kKeyBlock;
    const int64_t keys = std::min<int64_t>(kKeyBlock, p.keys - key);
    const KeySpan& real = p.row_limits(b).keys;
    const KeySpan valid = Shifted({real.begin, std::min(real.end, key + keys)}, key);
    const int64_t first = (b * p.keys + key) * p.kv_heads + kv % p.kv_heads;
    PackPanels(in.k_bshd.data<float>() + first * p.width, p.kv_heads * p.width, keys, valid, p.width,
               k_panels.mutable_data<float>() + (kv * padded_keys + key) * p.width);
    PackRows(in.v_bshe.data<float>() + first * p.value_width, p.kv_heads * p.value_width, keys, valid, p.value_width, 1,
             v_rows.mutable_data<float>() + (kv * padded_keys + key) * v_stride, v_stride);
  });
  const ForwardPass pass = {p,
                            maps,
                            in.q_bthd.data<float>(),
                            k_panels.data<float>(),
                            v_rows.data<float>(),
                            padded_keys,
                            v_stride,
                            outputs.out_bthe.mutable_data<float>(),
                            outputs.lse_bht.mutable_data<float>()};
  const int64_t tiles = CeilDiv(p.queries, kQueryTile), heads = p.batch * p.heads;
  // The last tiles of queries see the most keys: first.
  ParallelFor(heads * tiles, [&](int64_t task) {
    pass.Tile(task % heads / p.heads, task % p.heads, tiles - 1 - task / heads);
  });
  return outputs;
}

AttentionGradients AttentionBackwardCpu(const Problem& p, const AttentionInputs& in, const AttentionOutputs& outputs,
                                        const Tensor& dout_bthe) {
  AttentionGradients gradients = {Tensor::Empty(in.q_bthd.shape()), Tensor::Empty(in.k_bshd.shape()),
                                  Tensor::Empty(in.v_bshe.shape())};
  if (p.batch * p.heads == 0) return gradients;
  const TileMaps maps(p);
  const int64_t heads = p.batch * p.heads, tiles = CeilDiv(p.queries, kQueryTile), padded_queries = tiles * kQueryTile;
  const int64_t q_stride = PackedStride(p.width), v_stride = PackedStride(p.value_width);
  const Tensor q_rows = Tensor::Empty({heads, padded_queries, q_stride});
  const Tensor dout_rows = Tensor::Empty({heads, padded_queries, v_stride});
  const Tensor lse = Tensor::Zeros({heads, padded_queries}), delta = Tensor::Zeros({heads, padded_queries});
  const float* dout = dout_bthe.data<float>();
  const float* out = outputs.out_bthe.data<float>();
  ParallelFor(heads * tiles, [&](int64_t task) {
    const int64_t bh = task / tiles, b = bh / p.heads, h = bh % p.heads, row = task % tiles * kQueryTile;
    const int64_t rows = std::min<int64_t>(kQueryTile, p.queries - row);
    for (int64_t r = 0; r < kQueryTile; ++r) {
      const int64_t at = bh * padded_queries + row + r;
      const float row_lse = r < rows ? outputs.lse_bht.data<float>()[bh * p.queries + row + r] : -kInfinity;
      const bool sees = row_lse != -kInfinity;
      const int64_t from = ((b * p.queries + row + r) * p.heads + h);
      PackRows(in.q_bthd.data<float>() + from * p.width, 0, 1, {0, sees}, p.width, static_cast<float>(p.scale) * kLog2E,
               q_rows.mutable_data<float>() + at * q_stride, q_stride);
      PackRows(dout + from * p.value_width, 0, 1, {0, sees}, p.value_width, 1,
               dout_rows.mutable_data<float>() + at * v_stride, v_stride);
      if (!sees) continue;
      lse.mutable_data<float>()[at] = row_lse * kLog2E;
      VecF sum = simd::Zero();
      for (int64_t e = 0; e < p.value_width; e += kLanes) {
        const int64_t n = std::min<int64_t>(kLanes, p.value_width - e);
        sum = simd::Fma(simd::LoadPartial(dout + from * p.value_width + e, n),
                        simd::LoadPartial(out + from * p.value_width + e, n), sum);
      }
      delta.mutable_data<float>()[at] = simd::HorizontalSum(sum);
    }
  });

  const int64_t kv_heads = p.batch * p.kv_heads, group = p.heads / p.kv_heads, blocks = CeilDiv(p.keys, kKeyBlock);
  const int64_t wanted = std::max<int64_t>(1, std::min(blocks, CeilDiv(kBackwardTasks, p.kv_heads)));
  const int64_t blocks_per_split = std::max<int64_t>(1, CeilDiv(blocks, wanted));
  const int64_t splits = CeilDiv(blocks, blocks_per_split);
  const BackwardPass pass = {p,
                             maps,
                             in.k_bshd.data<float>(),
                             in.v_bshe.data<float>(),
                             q_rows.data<float>(),
                             dout_rows.data<float>(),
                             lse.data<float>(),
                             delta.data<float>(),
                             padded_queries,
                             q_stride,
                             v_stride,
                             splits,
                             blocks_per_split,
                             gradients.dk_bshd.mutable_data<float>(),
                             gradients.dv_bshe.mutable_data<float>()};
  // dq of every head and split: the tiles that the split reaches, and where their sums lie.
  struct Part {
    KeySpan tiles;
    int64_t offset;
  };
  std::vector<Part> parts(static_cast<size_t>(heads * splits));
  int64_t total = 0;
  for (int64_t bh = 0; bh < heads; ++bh) {
    for (int64_t s = 0; s < splits; ++s) {
      Part& part = parts[bh * splits + s];
      part = {pass.ReachedTiles(bh / p.heads, bh % p.heads, s), total};
      total += (part.tiles.end - part.tiles.begin) * kQueryTile * q_stride;
    }
  }
  const Tensor dq_parts = Tensor::Empty({total});
  float* dq = dq_parts.mutable_data<float>();
  // Early keys are seen by the most queries: their ranges first.
  ParallelFor(kv_heads * splits, [&](int64_t task) {
    const int64_t kv = task % kv_heads, split = task / kv_heads;
    std::vector<float*> sums;
    for (int64_t g = 0; g < group; ++g) sums.push_back(dq + parts[(kv * group + g) * splits + split].offset);
    pass.Split(kv / p.kv_heads, kv % p.kv_heads, split, sums);
  });
  ParallelFor(heads * tiles, [&](int64_t task) {
    const int64_t bh = task / tiles, tile = task % tiles, row = tile * kQueryTile;
    const VecF scale = simd::Splat(static_cast<float>(p.scale));
    for (int64_t r = 0; r < std::min<int64_t>(kQueryTile, p.queries - row); ++r) {
      float* to = gradients.dq_bthd.mutable_data<float>() +
                  ((bh / p.heads * p.queries + row + r) * p.heads + bh % p.heads) * p.width;
      for (int64_t d = 0; d < p.width; d += kLanes) {
        VecF sum = simd::Zero();
        for (int64_t s = 0; s < splits; ++s) {
          const Part& part = parts[bh * splits + s];
          if (tile < part.tiles.begin || tile >= part.tiles.end) continue;
          sum = sum + simd::Load(dq + part.offset + ((tile - part.tiles.begin) * kQueryTile + r) * q_stride + d);
        }
        simd::StorePartial(to + d, std::min<int64_t>(kLanes, p.width - d), sum * scale);
      }
    }
  });
  return gradients;
}

}  // namespace longrange
