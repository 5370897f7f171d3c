// Tiled float32 attention for the CPU.
//
// Forward, per head and tile of queries: scores of a key block (q k^T, scaled to base 2), their
// softmax kept up online, and the product with v; nothing of size [T, S] leaves the cache.
// Backward, per key-value head and range of keys: the probabilities are made again from lse, and
// one pass over the tiles gives dv, dk (summed in place) and dq (summed within the range of keys;
// the ranges are added afterwards, in order). Work is cut by shape alone. The gradient of a bias by
// distance is summed along the diagonals of the tiles, and in the same way over the ranges.
//
// Names: a query tile is kQueryTile rows, a key block kForwardKeys or kBackwardKeys keys; a row
// group is the kTileRows rows, a panel the kTileColumns columns that one register tile covers.
// Scores carry a factor log2(e), so that exp is exp2.

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "common/base/thread_pool.h"
#include "kernels/attention/problem.h"
#include "kernels/scratch.h"
#include "kernels/simd/register_tile.h"
#include "kernels/simd/simd.h"

namespace longrange::kernels {
namespace {

using attention_internal::Problem;
using simd::kLanes;
using simd::kTileColumns;
using simd::kTileRows;
using simd::kTileVecs;
using simd::VecF;

// A tile of queries; all sizes are multiples of kTileRows, those of keys of kTileColumns too.
constexpr int kQueryTile = 96;
// Keys that the forward takes at once: their keys and values stay in L2 while the row groups of a
// tile pass, the scores of one row group stay in L1.
constexpr int kForwardKeys = 384;
// Keys that the backward takes at once: two score tiles of 72 KiB and all they are made from and go
// into stay in 1 MiB of L2, the operands of one panel in L1.
constexpr int kBackwardKeys = 192;
// Of those, the keys that dq takes together: their rows stay in L1.
constexpr int kChunk = 96;
constexpr int kMaxKeys = std::max(kForwardKeys, kBackwardKeys);
constexpr int kRowGroups = kQueryTile / kTileRows;
// Rows of a score tile stand a cache line off a power of two, or its columns would fall into few L1
// sets.
constexpr int kForwardStride = kForwardKeys + 16;
constexpr int kBackwardStride = kBackwardKeys + 16;
// The backward pass cuts the keys so that one row of the batch makes about this many tasks.
constexpr int64_t kBackwardTasks = 16;
// Up to this many queries, keys and values are read where they lie (a decoding step), in ranges of
// kDecodeKeys.
constexpr int64_t kDecodeQueries = 4;
constexpr int kDecodeKeys = 256;

static_assert(kQueryTile % kTileRows == 0 && kBackwardKeys % kTileRows == 0 &&
                  kForwardKeys % kTileColumns == 0 && kBackwardKeys % kTileColumns == 0 &&
                  kMaxKeys % 64 == 0,
              "tiles are whole row groups, panels and mask words");

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }

// Distance of packed rows of `width` floats: whole vectors, and off the powers of two where rows
// are long.
int64_t PackedStride(int64_t width) {
  const int64_t whole = RoundUp(std::max<int64_t>(width, 1), kLanes);
  return whole > 64 ? whole + 16 : whole;
}

// What of a tile is visible.
struct Visibility {
  struct Range {
    int begin, end;
  };
  // Of the pairs of a row and the kLanes keys from `key`, a multiple of kLanes; where not full.
  uint32_t Bits(int row, int key) const {
    return static_cast<uint32_t>(bits[row][key / 64] >> (key % 64));
  }

  bool full;
  Range row_groups[kRowGroups];  // the keys that any row of the group sees, counted from the tile's
                                 // first
  uint64_t bits[kQueryTile][kMaxKeys / 64];
};

// Bits [begin, end) of a row of mask words.
void SetBits(int begin, int end, uint64_t* words) {
  for (int w = begin / 64; w <= (end - 1) / 64; ++w) {
    const int from = std::max(begin - w * 64, 0), to = std::min(end - w * 64, 64);
    words[w] |= (~uint64_t{0} >> (64 - (to - from))) << from;
  }
}

// Calls fn(begin, end) for the keys of [key, key + keys) that `row` of the plan sees within the
// limits, from `key` on.
template <typename Fn>
void ForVisibleKeys(const SpanPlan& plan, const PlanLimits& limits, int64_t row, int64_t key,
                    int keys, Fn&& fn) {
  if (row < limits.queries.begin || row >= limits.queries.end) return;
  const int64_t key_begin = std::max(key, limits.keys.begin),
                key_end = std::min(key + keys, limits.keys.end);
  const absl::Span<const KeySpan> spans = plan.row(row);
  auto span = std::lower_bound(spans.begin(), spans.end(), key_begin,
                               [](const KeySpan& s, int64_t begin) { return s.end <= begin; });
  for (; span != spans.end() && span->begin < key_end; ++span) {
    const int begin = static_cast<int>(std::max(span->begin, key_begin) - key);
    const int end = static_cast<int>(std::min(span->end, key_end) - key);
    if (begin < end) fn(begin, end);
  }
}

// Rows [row, row + rows) and keys [key, key + keys) of the plan within the limits.
void FindVisibility(const SpanPlan& plan, const PlanLimits& limits, int64_t row, int rows,
                    int64_t key, int keys, bool full, Visibility* out) {
  out->full = full && keys % kTileColumns == 0;
  if (full) {
    std::fill(out->row_groups, out->row_groups + kRowGroups, Visibility::Range{0, keys});
  } else {
    std::fill(out->row_groups, out->row_groups + kRowGroups, Visibility::Range{kMaxKeys, 0});
  }
  if (out->full) return;
  for (int r = 0; r < rows; ++r) {
    std::fill(std::begin(out->bits[r]), std::end(out->bits[r]), 0);
    Visibility::Range& group = out->row_groups[r / kTileRows];
    ForVisibleKeys(plan, limits, row + r, key, keys, [&](int begin, int end) {
      SetBits(begin, end, out->bits[r]);
      group.begin = std::min(group.begin, begin);
      group.end = std::max(group.end, end);
    });
  }
  for (int r = rows; r < RoundUp(rows, kTileRows); ++r)
    std::fill(std::begin(out->bits[r]), std::end(out->bits[r]), 0);
}

// dst[i * dst_stride + d] = factor * src[i * src_stride + d] for rows i of `valid`; other rows of
// [0, rows) and columns up to the next whole vector are 0.
void PackRows(const float* src, int64_t src_stride, int64_t rows, KeySpan valid, int64_t width,
              float factor, float* dst, int64_t dst_stride) {
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

// The transpose of rows [0, rows) in panels of kTileColumns rows: dst[panel][d][row in panel]. Rows
// outside `valid` and behind `rows` are 0.
void PackPanels(const float* src, int64_t src_stride, int64_t rows, KeySpan valid, int64_t width,
                float* dst) {
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

// What is added to the scores, in base 2, as the tiles read it: for each head one number a diagonal
// of its [T, S] scores, so that a row's neighbouring keys are neighbours.
class DiagonalBias {
 public:
  explicit DiagonalBias(const Problem& p)
      : queries_(p.queries), stride_(RoundUp(p.queries + p.keys + 2 * kPad, 16)) {
    if (!p.biased()) return;
    values_ = Tensor::Empty({p.heads, stride_});
    ParallelFor(p.heads, [&](int64_t h) {
      float* row = values_.mutable_data<float>() + h * stride_;
      for (int64_t i = 0; i < stride_; ++i)
        row[i] = static_cast<float>(p.bias(h, 0, i - at(0, 0))) * kLog2E;
    });
  }

  int64_t stride() const { return stride_; }
  // Where the diagonal of a query and a key lies among a head's.
  int64_t at(int64_t query, int64_t key) const { return key - query + (queries_ - 1) + kPad; }
  // Of a tile from this query and key on: that of its row r and key c is [c - r]. Null: none.
  const float* For(int64_t h, int64_t query, int64_t key) const {
    return values_.defined() ? values_.data<float>() + h * stride_ + at(query, key) : nullptr;
  }

 private:
  // Tiles reach beyond the last query and key by less.
  static constexpr int64_t kPad = 2 * kTileColumns;

  int64_t queries_, stride_;
  Tensor values_;
};

// Scores of one row group and `kVecs` vectors of keys from `column` on: q k^T with its bias; -inf
// where masked.
template <int kVecs, bool kMasked, bool kBiased>
__attribute__((noinline)) void ScoreTile(const float* q, int64_t q_stride, int64_t width,
                                         const float* panel, const Visibility& visible,
                                         const float* bias, int row, int column, float* scores) {
  VecF tile[kTileRows][kVecs];
  simd::ClearTile(tile);
  simd::AddProduct<false>(tile, width, q + row * q_stride, q_stride, panel, kTileColumns);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const int c = column + v * kLanes;
      if (kBiased) tile[r][v] = tile[r][v] + simd::Load(bias + (c - row - r));
      if (kMasked) {
        tile[r][v] =
            simd::SelectBits(visible.Bits(row + r, c), tile[r][v], simd::Splat(-kInfinity));
      }
      simd::Store(scores + r * kForwardStride + c, tile[r][v]);
    }
  }
}

// From scores to probabilities in the backward: exp2(score - lse), 0 where masked.
template <int kVecs, bool kMasked, bool kBiased>
__attribute__((noinline)) void ProbabilityTile(const float* q, int64_t q_stride, int64_t width,
                                               const float* panel, const Visibility& visible,
                                               const float* bias, const float* lse, int row,
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
      if (kBiased) tile[r][v] = tile[r][v] + simd::Load(bias + (c - row - r));
      VecF p = simd::Exp2(tile[r][v] - row_lse);
      if (kMasked) p = simd::SelectBits(visible.Bits(row + r, c), p, simd::Zero());
      simd::Store(probabilities + (row + r) * kBackwardStride + c, p);
    }
  }
}

// Gradient of the scores: P * (dout v^T - delta).
template <int kVecs>
__attribute__((noinline)) void ScoreGradientTile(const float* dout, int64_t dout_stride,
                                                 int64_t width, const float* panel,
                                                 const float* delta, int row, int column,
                                                 const float* probabilities, float* dscores) {
  VecF tile[kTileRows][kVecs];
  simd::ClearTile(tile);
  simd::AddProduct<false>(tile, width, dout + row * dout_stride, dout_stride, panel, kTileColumns);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
    const VecF row_delta = simd::Splat(delta[row + r]);
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v) {
      const int64_t at = (row + r) * kBackwardStride + column + v * kLanes;
      simd::Store(dscores + at, simd::Load(probabilities + at) * (tile[r][v] - row_delta));
    }
  }
}

// c += a b for one row group and `kVecs` vectors of columns.
template <bool kTransposedA, int kVecs>
__attribute__((noinline)) void ProductTile(int64_t depth, const float* a, int64_t a_stride,
                                           const float* b, int64_t b_stride, float* c,
                                           int64_t c_stride) {
  VecF tile[kTileRows][kVecs];
  simd::LoadTile(tile, c, c_stride);
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
void RowGroupProduct(int64_t depth, const float* a, int64_t a_stride, const float* b,
                     int64_t columns, float* c, int64_t stride) {
  for (int64_t column = 0; column < columns; column += kTileColumns) {
    const int vecs =
        static_cast<int>(std::min<int64_t>(kTileVecs, CeilDiv(columns - column, kLanes)));
    WithVecs(vecs, [&](auto v) {
      ProductTile<kTransposedA, decltype(v)::value>(depth, a, a_stride, b + column, stride,
                                                    c + column, stride);
    });
  }
}

// Calls fn(vecs, first column) for the pieces of panel [column, column + kTileColumns) that a row
// group sees.
template <typename Fn>
void OnVisibleVecs(const Visibility::Range& keys, int column, Fn&& fn) {
  const int begin = std::max(keys.begin / kLanes * kLanes, column);
  const int end = std::min(static_cast<int>(RoundUp(keys.end, kLanes)), column + kTileColumns);
  if (begin < end) fn((end - begin) / kLanes, begin);
}

// The tiles of every plan under the limits of every row of the batch, each different combination
// once.
class TileMaps {
 public:
  TileMaps(const Problem& p, int key_block) : plans_(p.plans.size()), limits_(p.limits.size()) {
    maps_.resize(plans_ * limits_);
    ParallelFor(static_cast<int64_t>(maps_.size()), [&](int64_t i) {
      maps_[i] = std::make_unique<TileMap>(*p.plans[i % plans_], p.limits[i / plans_], kQueryTile,
                                           key_block);
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

// ---- Forward ----

struct ForwardPass {
  const Problem& p;
  const TileMaps& maps;
  const DiagonalBias& biases;
  const float* q_bthd;
  const float* k_panels;  // [B, K][panel][D][kTileColumns]
  const float* v_rows;    // [B, K][padded S][v_stride]
  int64_t padded_keys, v_stride;
  float* out_bthe;
  float* lse_bht;

  int64_t scratch_floats() const {
    return kTileRows * kForwardStride +
           kQueryTile * (RoundUp(p.width, 16) + v_stride + 1 + kLanes) + 5 * 16;
  }
  void Tile(int64_t b, int64_t h, int64_t tile) const;
};

// Online softmax of a row group: turns its scores into exp2(score - max), and scales what was
// summed so far to the new maximum. sum holds kLanes partial sums a row.
void SoftmaxRows(const Visibility::Range& keys, float* scores, float* max, float* sum, float* out,
                 int64_t out_stride) {
  const int begin = keys.begin / kLanes * kLanes, end = static_cast<int>(RoundUp(keys.end, kLanes));
  for (int r = 0; r < kTileRows; ++r) {
    float* s = scores + r * kForwardStride;
    VecF top = simd::Load(s + begin);
    for (int c = begin + kLanes; c < end; c += kLanes) top = simd::Max(top, simd::Load(s + c));
    const float old_max = max[r], new_max = std::max(old_max, simd::HorizontalMax(top));
    if (new_max > old_max) {
      max[r] = new_max;
      const VecF keep = simd::Splat(old_max == -kInfinity ? 0 : std::exp2(old_max - new_max));
      simd::Store(sum + r * kLanes, simd::Load(sum + r * kLanes) * keep);
      for (int64_t e = 0; e < out_stride; e += kLanes) {
        simd::Store(out + r * out_stride + e, simd::Load(out + r * out_stride + e) * keep);
      }
    }
    // A row that has seen no key yet: all scores are -inf, and exp2(-inf - 0) = 0.
    const VecF base = simd::Splat(new_max == -kInfinity ? 0 : new_max);
    VecF total = simd::Load(sum + r * kLanes);
    for (int c = begin; c < end; c += kLanes) {
      const VecF e = simd::Exp2(simd::Load(s + c) - base);
      simd::Store(s + c, e);
      total = total + e;
    }
    simd::Store(sum + r * kLanes, total);
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
  float* scores = scratch.Take(kTileRows * kForwardStride);
  float* out = scratch.Take(kQueryTile * v_stride);
  float* max = scratch.Take(kQueryTile);
  float* sum = scratch.Take(kQueryTile * kLanes);
  const KeySpan real_rows =
      Shifted({limits.queries.begin, std::min(limits.queries.end, row + rows)}, row);
  PackRows(q_bthd + ((b * p.queries + row) * p.heads + h) * p.width, p.heads * p.width,
           groups * kTileRows, real_rows, p.width, static_cast<float>(p.scale) * kLog2E, q,
           q_stride);
  std::fill(out, out + kQueryTile * v_stride, 0.0f);
  std::fill(max, max + kQueryTile, -kInfinity);
  std::fill(sum, sum + kQueryTile * kLanes, 0.0f);

  const int64_t kv = b * p.kv_heads + p.kv_head(h);
  Visibility visible;
  for (const TileMap::Tile& key_tile : maps.at(b, h).tiles_of_queries(tile)) {
    const int64_t key = key_tile.index * kForwardKeys;
    const int keys = static_cast<int>(std::min<int64_t>(kForwardKeys, p.keys - key));
    FindVisibility(p.plan(h), limits, row, rows, key, keys, key_tile.full, &visible);
    const float* bias = biases.For(h, row, key);
    const float* panels = k_panels + (kv * padded_keys + key) * p.width;
    const float* values = v_rows + (kv * padded_keys + key) * v_stride;
    for (int g = 0; g < groups; ++g) {
      const Visibility::Range seen = visible.row_groups[g];
      if (seen.begin >= seen.end) continue;
      const int first_row = g * kTileRows;
      for (int column = 0; column < keys; column += kTileColumns) {
        OnVisibleVecs(seen, column, [&](int vecs, int first) {
          WithVecs(vecs, [&](auto v) {
            constexpr int kVecs = decltype(v)::value;
            const auto run =
                bias != nullptr
                    ? (visible.full ? ScoreTile<kVecs, false, true> : ScoreTile<kVecs, true, true>)
                    : (visible.full ? ScoreTile<kVecs, false, false>
                                    : ScoreTile<kVecs, true, false>);
            run(q, q_stride, p.width, panels + column * p.width + (first - column), visible, bias,
                first_row, first, scores);
          });
        });
      }
      SoftmaxRows(seen, scores, max + first_row, sum + first_row * kLanes,
                  out + first_row * v_stride, v_stride);
      RowGroupProduct<false>(seen.end - seen.begin, scores + seen.begin, kForwardStride,
                             values + seen.begin * v_stride, p.value_width,
                             out + first_row * v_stride, v_stride);
    }
  }

  for (int r = 0; r < rows; ++r) {
    const float total = simd::HorizontalSum(simd::Load(sum + r * kLanes));
    const VecF inverse = simd::Splat(total == 0 ? 0 : 1 / total);
    float* to = out_bthe + ((b * p.queries + row + r) * p.heads + h) * p.value_width;
    for (int64_t e = 0; e < p.value_width; e += kLanes) {
      simd::StorePartial(to + e, std::min<int64_t>(kLanes, p.value_width - e),
                         simd::Load(out + r * v_stride + e) * inverse);
    }
    lse_bht[(b * p.heads + h) * p.queries + row + r] =
        total == 0 ? -kInfinity : max[r] * kLn2 + std::log(total);
  }
}

// ---- Decoding: few queries; keys and values are read once, where they lie ----

struct DecodePass {
  const Problem& p;
  const DiagonalBias& biases;
  const float* q_bthd;
  const float* k_bshd;
  const float* v_bshe;
  // Sums over one split of the keys, per [B][split][H][T]: exp2(score - max) v, not yet divided,
  // and its parts.
  float* partial_out;  // [...][out_stride]
  float* partial_max;
  float* partial_sum;
  int64_t splits, out_stride;

  void Split(int64_t b, int64_t split) const;
  void Merge(int64_t b, int64_t h, int64_t i, float* out_bthe, float* lse_bht) const;
};

// dots[j] = a . rows[j * stride ...] for kLanes rows, of which the first n exist.
VecF Dots(const float* a, const float* rows, int64_t stride, int n, int64_t width) {
  VecF sums[kLanes];
  for (int j = 0; j < kLanes; ++j) sums[j] = simd::Zero();
  for (int64_t d = 0; d < width; d += kLanes) {
    const int64_t left = std::min<int64_t>(kLanes, width - d);
    if (left == kLanes && n == kLanes) {
      const VecF a_d = simd::Load(a + d);
#pragma GCC unroll 16
      for (int j = 0; j < kLanes; ++j)
        sums[j] = simd::Fma(a_d, simd::Load(rows + j * stride + d), sums[j]);
    } else {
      const VecF a_d = simd::LoadPartial(a + d, left);
      for (int j = 0; j < n; ++j)
        sums[j] = simd::Fma(a_d, simd::LoadPartial(rows + j * stride + d, left), sums[j]);
    }
  }
  simd::Transpose(sums);
#pragma GCC unroll 4
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int j = 0; j < half; ++j) sums[j] = sums[j] + sums[j + half];
  }
  return sums[0];
}

// out += sum of weights[j] * rows[j * stride ...] over the n rows whose bit is set.
void AddWeighted(const float* weights, uint32_t bits, int n, const float* rows, int64_t stride,
                 int64_t width, float* out) {
  for (int64_t e = 0; e < width; e += kTileColumns) {
    const int vecs = static_cast<int>(std::min<int64_t>(kTileVecs, (width - e) / kLanes));
    if (vecs == kTileVecs) {
      VecF sum[kTileVecs];
      for (int v = 0; v < kTileVecs; ++v) sum[v] = simd::Load(out + e + v * kLanes);
      for (int j = 0; j < n; ++j) {
        if ((bits >> j & 1) == 0) continue;
        const VecF weight = simd::Splat(weights[j]);
#pragma GCC unroll 4
        for (int v = 0; v < kTileVecs; ++v) {
          sum[v] = simd::Fma(weight, simd::Load(rows + j * stride + e + v * kLanes), sum[v]);
        }
      }
      for (int v = 0; v < kTileVecs; ++v) simd::Store(out + e + v * kLanes, sum[v]);
    } else {
      for (int64_t at = e; at < width; at += kLanes) {
        const int64_t left = std::min<int64_t>(kLanes, width - at);
        VecF sum = simd::Load(out + at);
        for (int j = 0; j < n; ++j) {
          if ((bits >> j & 1) == 0) continue;
          sum = simd::Fma(simd::Splat(weights[j]), simd::LoadPartial(rows + j * stride + at, left),
                          sum);
        }
        simd::Store(out + at, sum);
      }
    }
  }
}

// Asks for the part-th of `parts` parts of `floats` floats from `p` on.
void PrefetchPart(const float* p, int64_t floats, int64_t part, int64_t parts) {
  const int64_t begin = floats * part / parts, end = floats * (part + 1) / parts;
  for (int64_t i = begin; i < end; i += 16) __builtin_prefetch(p + i);
}

void DecodePass::Split(int64_t b, int64_t split) const {
  const PlanLimits& limits = p.row_limits(b);
  const int64_t key = split * kDecodeKeys, rows = p.heads * p.queries;
  const int keys = static_cast<int>(std::min<int64_t>(kDecodeKeys, p.keys - key));
  const int64_t k_stride = p.kv_heads * p.width, v_stride = p.kv_heads * p.value_width;
  const int64_t q_stride = RoundUp(std::max<int64_t>(p.width, 1), kLanes);
  const float* k = k_bshd + (b * p.keys + key) * k_stride;
  const float* v = v_bshe + (b * p.keys + key) * v_stride;
  Scratch scratch(rows * (q_stride + kDecodeKeys) + 2 * 16);
  float* q = scratch.Take(rows * q_stride);
  float* weights = scratch.Take(rows * kDecodeKeys);
  std::vector<std::array<uint64_t, kDecodeKeys / 64>> bits(static_cast<size_t>(rows));
  const auto bits_at = [&](int64_t row, int c) {
    return static_cast<uint32_t>(bits[row][c / 64] >> (c % 64));
  };
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t h = row / p.queries, i = row % p.queries;
    PackRows(q_bthd + ((b * p.queries + i) * p.heads + h) * p.width, 0, 1, {0, 1}, p.width,
             static_cast<float>(p.scale) * kLog2E, q + row * q_stride, q_stride);
    bits[row] = {};
    ForVisibleKeys(p.plan(h), limits, i, key, keys,
                   [&](int begin, int end) { SetBits(begin, end, bits[row].data()); });
  }

  // All heads take kLanes keys before the next ones, in the order in which they lie in memory.
  constexpr uint32_t kAll = kLanes == 32 ? ~0u : (1u << (kLanes % 32)) - 1;
  for (int c = 0; c < keys; c += kLanes) {
    const int n = std::min(kLanes, keys - c), next = std::min(kLanes, keys - c - n);
    for (int64_t row = 0; row < rows; ++row) {
      if (next > 0) PrefetchPart(k + (c + kLanes) * k_stride, next * k_stride, row, rows);
      const int64_t h = row / p.queries;
      if ((bits_at(row, c) & kAll) == 0) continue;
      VecF score =
          Dots(q + row * q_stride, k + c * k_stride + p.kv_head(h) * p.width, k_stride, n, p.width);
      if (p.biased()) score = score + simd::Load(biases.For(h, row % p.queries, key) + c);
      simd::Store(weights + row * kDecodeKeys + c, score);
    }
  }
  const int64_t first_row = (b * splits + split) * rows;
  for (int64_t row = 0; row < rows; ++row) {
    float* w = weights + row * kDecodeKeys;
    VecF top = simd::Splat(-kInfinity);
    for (int c = 0; c < keys; c += kLanes) {
      const VecF visible =
          simd::SelectBits(bits_at(row, c), simd::Load(w + c), simd::Splat(-kInfinity));
      simd::Store(w + c, visible);
      top = simd::Max(top, visible);
    }
    const float max = simd::HorizontalMax(top);
    VecF sum = simd::Zero();
    for (int c = 0; c < keys; c += kLanes) {
      const VecF e = simd::Exp2(simd::Load(w + c) - simd::Splat(max == -kInfinity ? 0 : max));
      simd::Store(w + c, e);
      sum = sum + e;
    }
    partial_max[first_row + row] = max;
    partial_sum[first_row + row] = simd::HorizontalSum(sum);
  }
  float* out = partial_out + first_row * out_stride;
  std::fill(out, out + rows * out_stride, 0.0f);
  for (int c = 0; c < keys; c += kLanes) {
    const int n = std::min(kLanes, keys - c), next = std::min(kLanes, keys - c - n);
    for (int64_t row = 0; row < rows; ++row) {
      if (next > 0) PrefetchPart(v + (c + kLanes) * v_stride, next * v_stride, row, rows);
      AddWeighted(weights + row * kDecodeKeys + c, bits_at(row, c) & kAll, n,
                  v + c * v_stride + p.kv_head(row / p.queries) * p.value_width, v_stride,
                  p.value_width, out + row * out_stride);
    }
  }
}

void DecodePass::Merge(int64_t b, int64_t h, int64_t i, float* out_bthe, float* lse_bht) const {
  const int64_t rows = p.heads * p.queries, row = h * p.queries + i;
  const auto at = [&](int64_t split) { return (b * splits + split) * rows + row; };
  float max = -kInfinity, sum = 0;
  for (int64_t s = 0; s < splits; ++s) max = std::max(max, partial_max[at(s)]);
  float* out = out_bthe + ((b * p.queries + i) * p.heads + h) * p.value_width;
  std::fill(out, out + p.value_width, 0.0f);
  lse_bht[b * rows + row] = -kInfinity;
  if (max == -kInfinity) return;
  for (int64_t s = 0; s < splits; ++s) {
    if (partial_max[at(s)] == -kInfinity) continue;
    const float factor = std::exp2(partial_max[at(s)] - max);
    sum += partial_sum[at(s)] * factor;
    for (int64_t e = 0; e < p.value_width; ++e)
      out[e] += partial_out[at(s) * out_stride + e] * factor;
  }
  for (int64_t e = 0; e < p.value_width; ++e) out[e] /= sum;
  lse_bht[b * rows + row] = max * kLn2 + std::log(sum);
}

AttentionOutputs Decode(const Problem& p, const AttentionInputs& in, AttentionOutputs outputs) {
  const int64_t splits = CeilDiv(p.keys, kDecodeKeys), rows = p.heads * p.queries;
  const int64_t out_stride = RoundUp(std::max<int64_t>(p.value_width, 1), kLanes);
  const Tensor partial_out = Tensor::Empty({p.batch, splits, rows, out_stride});
  const Tensor partial_max = Tensor::Empty({p.batch, splits, rows});
  const Tensor partial_sum = Tensor::Empty({p.batch, splits, rows});
  const DiagonalBias biases(p);
  const DecodePass pass = {p,
                           biases,
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
    for (int64_t row = 0; row < rows; ++row)
      pass.Merge(b, row / p.queries, row % p.queries, out, lse);
  });
  return outputs;
}

// ---- Backward ----

struct BackwardPass {
  const Problem& p;
  const TileMaps& maps;
  const DiagonalBias& biases;
  const float* k_bshd;
  const float* v_bshe;
  // Per (b, h): [padded T][stride] rows and [padded T] numbers; rows that see no key are 0
  // throughout.
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
  // One range of the keys of one key-value head; dq[g] is the sum for head g of the group over this
  // range, its rows counted from the first reached tile. diagonals[g] is its sum along each
  // diagonal of the scores' gradient; empty where none is wanted.
  void Split(int64_t b, int64_t kv, int64_t split, const std::vector<float*>& dq,
             const std::vector<float*>& diagonals) const;
};

// The rows that see any key of a key group (kTileRows keys), in whole row groups.
void FindKeyGroups(const Visibility& visible, int rows, int keys, Visibility::Range* key_groups) {
  const int groups = static_cast<int>(CeilDiv(keys, kTileRows));
  std::fill(key_groups, key_groups + groups,
            visible.full ? Visibility::Range{0, rows} : Visibility::Range{rows, 0});
  if (visible.full) return;
  for (int row = 0; row < rows; row += kTileRows) {
    const Visibility::Range seen = visible.row_groups[row / kTileRows];
    for (int g = seen.begin / kTileRows; g < CeilDiv(seen.end, kTileRows); ++g) {
      key_groups[g] = {std::min(key_groups[g].begin, row), std::min(rows, row + kTileRows)};
    }
  }
}

// Zeros in the vectors that OnVisibleVecs passes over: sums over the rows read them.
void ClearHidden(const Visibility& visible, int row_groups, float* tile) {
  for (int g = 0; g < row_groups; ++g) {
    const Visibility::Range seen = visible.row_groups[g];
    const int begin = seen.begin < seen.end ? seen.begin / kLanes * kLanes : kBackwardKeys;
    const int end =
        seen.begin < seen.end ? static_cast<int>(RoundUp(seen.end, kLanes)) : kBackwardKeys;
    for (int r = g * kTileRows; r < (g + 1) * kTileRows; ++r) {
      std::fill(tile + r * kBackwardStride, tile + r * kBackwardStride + begin, 0.0f);
      std::fill(tile + r * kBackwardStride + end, tile + r * kBackwardStride + kBackwardKeys, 0.0f);
    }
  }
}

KeySpan BackwardPass::ReachedTiles(int64_t b, int64_t h, int64_t split) const {
  const TileMap& map = maps.at(b, h);
  KeySpan reached{map.num_query_tiles(), 0};
  for (int64_t block = split * blocks_per_split;
       block < std::min((split + 1) * blocks_per_split, map.num_key_blocks()); ++block) {
    const auto tiles = map.tiles_of_keys(block);
    if (tiles.empty()) continue;
    reached.begin = std::min(reached.begin, tiles.front().index);
    reached.end = std::max(reached.end, tiles.back().index + 1);
  }
  return reached.begin < reached.end ? reached : KeySpan{0, 0};
}

// Adds the scores' gradients of a tile to the sums of their diagonals; that of row 0 and key 0 lies
// at sums[0].
void AddDiagonals(const Visibility& visible, int row_groups, const float* dscores, float* sums) {
  for (int r = 0; r < row_groups * kTileRows; ++r) {
    const Visibility::Range seen = visible.row_groups[r / kTileRows];
    for (int c = seen.begin / kLanes * kLanes; c < seen.end; c += kLanes) {
      float* to = sums + (c - r);
      simd::Store(to, simd::Load(to) + simd::Load(dscores + r * kBackwardStride + c));
    }
  }
}

void BackwardPass::Split(int64_t b, int64_t kv, int64_t split, const std::vector<float*>& dq,
                         const std::vector<float*>& diagonals) const {
  const int64_t group = p.heads / p.kv_heads;
  const PlanLimits& limits = p.row_limits(b);
  const int64_t width16 = RoundUp(std::max<int64_t>(p.width, 1), 16),
                value16 = RoundUp(std::max<int64_t>(p.value_width, 1), 16);
  Scratch scratch(2 * kQueryTile * kBackwardStride +
                  kBackwardKeys * (width16 + value16 + 2 * q_stride + v_stride) + 7 * 16);
  float* probabilities = scratch.Take(kQueryTile * kBackwardStride);
  float* dscores = scratch.Take(kQueryTile * kBackwardStride);
  float* k_panels = scratch.Take(kBackwardKeys * width16);
  float* v_panels = scratch.Take(kBackwardKeys * value16);
  float* k_rows = scratch.Take(kBackwardKeys * q_stride);
  float* dk = scratch.Take(kBackwardKeys * q_stride);
  float* dv = scratch.Take(kBackwardKeys * v_stride);
  std::vector<KeySpan> reached;
  std::vector<std::vector<bool>> touched;
  for (int64_t g = 0; g < group; ++g) {
    reached.push_back(ReachedTiles(b, kv * group + g, split));
    touched.emplace_back(static_cast<size_t>(reached.back().end - reached.back().begin), false);
  }

  Visibility visible;
  Visibility::Range seen_by[kBackwardKeys / kTileRows];
  const int64_t num_blocks = CeilDiv(p.keys, kBackwardKeys);
  for (int64_t block = split * blocks_per_split;
       block < std::min((split + 1) * blocks_per_split, num_blocks); ++block) {
    const int64_t key = block * kBackwardKeys;
    const int keys = static_cast<int>(std::min<int64_t>(kBackwardKeys, p.keys - key));
    const int key_groups = static_cast<int>(CeilDiv(keys, kTileRows));
    const KeySpan real_keys =
        Shifted({limits.keys.begin, std::min(limits.keys.end, key + keys)}, key);
    const float* k = k_bshd + ((b * p.keys + key) * p.kv_heads + kv) * p.width;
    const float* v = v_bshe + ((b * p.keys + key) * p.kv_heads + kv) * p.value_width;
    PackPanels(k, p.kv_heads * p.width, keys, real_keys, p.width, k_panels);
    PackPanels(v, p.kv_heads * p.value_width, keys, real_keys, p.value_width, v_panels);
    PackRows(k, p.kv_heads * p.width, keys, real_keys, p.width, 1, k_rows, q_stride);
    std::fill(dk, dk + kBackwardKeys * q_stride, 0.0f);
    std::fill(dv, dv + kBackwardKeys * v_stride, 0.0f);
    for (int64_t g = 0; g < group; ++g) {
      const int64_t h = kv * group + g, bh = b * p.heads + h;
      for (const TileMap::Tile& tile : maps.at(b, h).tiles_of_keys(block)) {
        const int64_t row = tile.index * kQueryTile;
        const int rows = static_cast<int>(std::min<int64_t>(kQueryTile, p.queries - row));
        const int row_groups = static_cast<int>(CeilDiv(rows, kTileRows));
        FindVisibility(p.plan(h), limits, row, rows, key, keys, tile.full, &visible);
        FindKeyGroups(visible, rows, keys, seen_by);
        if (!visible.full) {
          ClearHidden(visible, row_groups, probabilities);
          ClearHidden(visible, row_groups, dscores);
        }
        const float* bias = biases.For(h, row, key);
        const float* q = q_rows + (bh * padded_queries + row) * q_stride;
        const float* dout = dout_rows + (bh * padded_queries + row) * v_stride;
        const float* row_lse = lse + bh * padded_queries + row;
        const float* row_delta = delta + bh * padded_queries + row;
        for (int column = 0; column < keys; column += kTileColumns) {
          for (int r = 0; r < row_groups; ++r) {
            OnVisibleVecs(visible.row_groups[r], column, [&](int vecs, int first) {
              WithVecs(vecs, [&](auto n) {
                constexpr int kVecs = decltype(n)::value;
                const auto run = bias != nullptr
                                     ? (visible.full ? ProbabilityTile<kVecs, false, true>
                                                     : ProbabilityTile<kVecs, true, true>)
                                     : (visible.full ? ProbabilityTile<kVecs, false, false>
                                                     : ProbabilityTile<kVecs, true, false>);
                run(q, q_stride, p.width, k_panels + column * p.width + (first - column), visible,
                    bias, row_lse, r * kTileRows, first, probabilities);
              });
            });
          }
          for (int r = 0; r < row_groups; ++r) {
            OnVisibleVecs(visible.row_groups[r], column, [&](int vecs, int first) {
              WithVecs(vecs, [&](auto n) {
                ScoreGradientTile<decltype(n)::value>(
                    dout, v_stride, p.value_width,
                    v_panels + column * p.value_width + (first - column), row_delta, r * kTileRows,
                    first, probabilities, dscores);
              });
            });
          }
        }
        if (!diagonals.empty())
          AddDiagonals(visible, row_groups, dscores, diagonals[g] + biases.at(row, key));
        for (int j = 0; j < key_groups; ++j) {
          const Visibility::Range seen = seen_by[j];
          if (seen.begin >= seen.end) continue;
          RowGroupProduct<true>(seen.end - seen.begin,
                                probabilities + seen.begin * kBackwardStride + j * kTileRows,
                                kBackwardStride, dout + seen.begin * v_stride, p.value_width,
                                dv + j * kTileRows * v_stride, v_stride);
        }
        for (int j = 0; j < key_groups; ++j) {
          const Visibility::Range seen = seen_by[j];
          if (seen.begin >= seen.end) continue;
          RowGroupProduct<true>(seen.end - seen.begin,
                                dscores + seen.begin * kBackwardStride + j * kTileRows,
                                kBackwardStride, q + seen.begin * q_stride, p.width,
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
            RowGroupProduct<false>(end - begin, dscores + r * kTileRows * kBackwardStride + begin,
                                   kBackwardStride, k_rows + begin * q_stride, p.width,
                                   tile_dq + r * kTileRows * q_stride, q_stride);
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

  const TileMaps maps(p, kForwardKeys);
  const int64_t kv_heads = p.batch * p.kv_heads, v_stride = PackedStride(p.value_width);
  const int64_t padded_keys = RoundUp(p.keys, kTileColumns),
                num_panels = padded_keys / kTileColumns;
  const Tensor k_panels = Tensor::Empty({kv_heads, padded_keys, p.width});
  const Tensor v_rows = Tensor::Empty({kv_heads, padded_keys, v_stride});
  const float* k = in.k_bshd.data<float>();
  const float* v = in.v_bshe.data<float>();
  float* to_panels = k_panels.mutable_data<float>();
  float* to_rows = v_rows.mutable_data<float>();
  ParallelFor(p.batch * num_panels, [&](int64_t task) {
    const int64_t b = task / num_panels, key = task % num_panels * kTileColumns;
    const int64_t keys = std::min<int64_t>(kTileColumns, p.keys - key);
    const KeySpan& real = p.row_limits(b).keys;
    const KeySpan valid = Shifted({real.begin, std::min(real.end, key + keys)}, key);
    for (int64_t h = 0; h < p.kv_heads; ++h) {
      const int64_t from = (b * p.keys + key) * p.kv_heads + h,
                    to = (b * p.kv_heads + h) * padded_keys + key;
      PackPanels(k + from * p.width, p.kv_heads * p.width, keys, valid, p.width,
                 to_panels + to * p.width);
      PackRows(v + from * p.value_width, p.kv_heads * p.value_width, keys, valid, p.value_width, 1,
               to_rows + to * v_stride, v_stride);
    }
  });
  const DiagonalBias biases(p);
  const ForwardPass pass = {p,
                            maps,
                            biases,
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

AttentionGradients AttentionBackwardCpu(const Problem& p, const AttentionInputs& in,
                                        const AttentionOutputs& outputs, const Tensor& dout_bthe) {
  const bool by_table = p.table_size > 0;
  AttentionGradients gradients = {
      Tensor::Empty(in.q_bthd.shape()), Tensor::Empty(in.k_bshd.shape()),
      Tensor::Empty(in.v_bshe.shape()), by_table ? Tensor::Zeros(in.table_hr.shape()) : Tensor()};
  if (p.batch * p.heads == 0) return gradients;
  const TileMaps maps(p, kBackwardKeys);
  const int64_t heads = p.batch * p.heads, tiles = CeilDiv(p.queries, kQueryTile),
                padded_queries = tiles * kQueryTile;
  const int64_t q_stride = PackedStride(p.width), v_stride = PackedStride(p.value_width);
  const Tensor q_rows = Tensor::Empty({heads, padded_queries, q_stride});
  const Tensor dout_rows = Tensor::Empty({heads, padded_queries, v_stride});
  const Tensor lse = Tensor::Zeros({heads, padded_queries}),
               delta = Tensor::Zeros({heads, padded_queries});
  const float* q = in.q_bthd.data<float>();
  const float* dout = dout_bthe.data<float>();
  const float* out = outputs.out_bthe.data<float>();
  const float* lse_in = outputs.lse_bht.data<float>();
  float* to_q = q_rows.mutable_data<float>();
  float* to_dout = dout_rows.mutable_data<float>();
  float* to_lse = lse.mutable_data<float>();
  float* to_delta = delta.mutable_data<float>();
  ParallelFor(p.batch * tiles, [&](int64_t task) {
    const int64_t b = task / tiles, row = task % tiles * kQueryTile;
    for (int64_t i = row; i < row + kQueryTile; ++i) {
      for (int64_t h = 0; h < p.heads; ++h) {
        const int64_t to = (b * p.heads + h) * padded_queries + i,
                      from = (b * p.queries + i) * p.heads + h;
        const float row_lse =
            i < p.queries ? lse_in[(b * p.heads + h) * p.queries + i] : -kInfinity;
        const bool sees = row_lse != -kInfinity;
        PackRows(q + from * p.width, 0, 1, {0, sees}, p.width, static_cast<float>(p.scale) * kLog2E,
                 to_q + to * q_stride, q_stride);
        PackRows(dout + from * p.value_width, 0, 1, {0, sees}, p.value_width, 1,
                 to_dout + to * v_stride, v_stride);
        if (!sees) continue;
        to_lse[to] = row_lse * kLog2E;
        VecF sum = simd::Zero();
        for (int64_t e = 0; e < p.value_width; e += kLanes) {
          const int64_t n = std::min<int64_t>(kLanes, p.value_width - e);
          sum = simd::Fma(simd::LoadPartial(dout + from * p.value_width + e, n),
                          simd::LoadPartial(out + from * p.value_width + e, n), sum);
        }
        to_delta[to] = simd::HorizontalSum(sum);
      }
    }
  });

  const int64_t kv_heads = p.batch * p.kv_heads, group = p.heads / p.kv_heads,
                blocks = CeilDiv(p.keys, kBackwardKeys);
  const int64_t wanted =
      std::max<int64_t>(1, std::min(blocks, CeilDiv(kBackwardTasks, p.kv_heads)));
  const int64_t blocks_per_split = std::max<int64_t>(1, CeilDiv(blocks, wanted));
  const int64_t splits = CeilDiv(blocks, blocks_per_split);
  const DiagonalBias biases(p);
  const BackwardPass pass = {p,
                             maps,
                             biases,
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
  // Of every head and split, one number a diagonal.
  const Tensor diagonal_parts =
      by_table ? Tensor::Zeros({heads, splits, biases.stride()}) : Tensor();
  // Early keys are seen by the most queries: their ranges first.
  ParallelFor(kv_heads * splits, [&](int64_t task) {
    const int64_t kv = task % kv_heads, split = task / kv_heads;
    std::vector<float*> sums, diagonals;
    for (int64_t g = 0; g < group; ++g) {
      const int64_t part = (kv * group + g) * splits + split;
      sums.push_back(dq + parts[part].offset);
      if (by_table)
        diagonals.push_back(diagonal_parts.mutable_data<float>() + part * biases.stride());
    }
    pass.Split(kv / p.kv_heads, kv % p.kv_heads, split, sums, diagonals);
  });
  if (by_table) {
    ParallelFor(p.heads, [&](int64_t h) {
      std::vector<double> sums(static_cast<size_t>(p.table_size), 0);
      for (int64_t b = 0; b < p.batch; ++b) {
        for (int64_t s = 0; s < splits; ++s) {
          const float* diagonals =
              diagonal_parts.data<float>() + ((b * p.heads + h) * splits + s) * biases.stride();
          for (int64_t i = 1 - p.queries; i < p.keys; ++i)
            sums[p.entry(0, i)] += diagonals[biases.at(0, i)];
        }
      }
      float* to = gradients.dtable_hr.mutable_data<float>() + h * p.table_size;
      for (int64_t r = 0; r < p.table_size; ++r) to[r] = static_cast<float>(sums[r]);
    });
  }
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
          sum = sum + simd::Load(dq + part.offset +
                                 ((tile - part.tiles.begin) * kQueryTile + r) * q_stride + d);
        }
        simd::StorePartial(to + d, std::min<int64_t>(kLanes, p.width - d), sum * scale);
      }
    }
  });
  return gradients;
}

}  // namespace longrange::kernels
