// Retention on the CPU. Chunks of rows are tiles of matrix products: scores of a chunk's pairs, in
// a tile that stays in the cache, times the decay of their distance, and the memory S, which is
// read before a chunk and moved on after it. Where there are few heads, the rows are cut into
// segments too: a first pass makes the S that each starts from. Work is cut by shape alone.
//
// Powers gamma^n are made from n ln gamma in double for every n; nothing is divided by one.

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/retention/reference.h"
#include "kernels/retention/retention.h"
#include "kernels/scratch.h"
#include "kernels/simd/register_tile.h"
#include "kernels/simd/simd.h"

namespace longrange::kernels {
namespace {

using simd::kLanes;
using simd::kTileColumns;
using simd::kTileRows;
using simd::kTileVecs;
using simd::VecF;

// Rows of a score tile, and of a chunk where the caller leaves it to us: products over the pairs of
// a chunk grow with it, those with S do not.
constexpr int64_t kTile = 64;
// Up to this many rows the memory is moved on row by row.
constexpr int64_t kFewRows = 8;
// Segments are cut so that there are about this many tasks, of some chunks at least.
constexpr int64_t kTasks = 16, kSegmentChunks = 4;
// Rows of a score tile stand a cache line off a power of two.
constexpr int64_t kScoreStride = kTile + 16;
static_assert(kTile % kTileColumns == 0, "a score tile has whole panels of columns");

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t RoundUp(int64_t a, int64_t b) { return CeilDiv(a, b) * b; }
// A register tile reads and writes whole row groups.
int64_t PaddedRows(int64_t rows) { return RoundUp(rows, kTileRows); }
// Those of a chunk, whose last tile may begin anywhere.
int64_t ChunkRows(int64_t chunk) { return PaddedRows(chunk) + kTileRows; }
// Distance of packed rows of `width` floats: room for whole vectors, and for a whole row group
// where they are read transposed; off the powers of two.
int64_t PackedStride(int64_t width) { return RoundUp(width, kLanes) + 16; }

struct Problem {
  explicit Problem(const RetentionInputs& in)
      : b(in.q_bthd.dim(0)),
        t(in.q_bthd.dim(1)),
        h(in.q_bthd.dim(2)),
        d(in.q_bthd.dim(3)),
        e(in.v_bthe.dim(3)),
        chunk(std::min(std::max<int64_t>(t, 1), in.chunk > 0   ? in.chunk
                                                : t > kFewRows ? kTile
                                                               : 1)),
        log_decay(in.log_decay_h) {}

  int64_t heads() const { return b * h; }
  int64_t chunks() const { return CeilDiv(t, chunk); }
  // Of row `row` of a head in q and k; of v's times e.
  int64_t row(int64_t bh, int64_t at) const { return (bh / h * t + at) * h + bh % h; }
  double power(int64_t head, int64_t n) const {
    return std::exp(static_cast<double>(n) * log_decay[head]);
  }
  // gamma - 1: a slow decay keeps its digits, which gamma rounded to a float would not.
  float fade(int64_t head) const { return static_cast<float>(std::expm1(log_decay[head])); }
  Shape state_shape() const { return {b, h, d, e}; }
  double pairs() const {
    const int64_t whole = t / chunk, rest = t % chunk;
    return static_cast<double>(heads()) * 0.5 *
           static_cast<double>(whole * chunk * (chunk + 1) + rest * (rest + 1));
  }
  double updates() const { return static_cast<double>(heads() * t) * static_cast<double>(d * e); }

  int64_t b, t, h, d, e;
  int64_t chunk;
  const std::vector<double>& log_decay;
};

// Rows of width `width` of one head in [B, T, H, width].
struct HeadRows {
  const float* data;
  int64_t stride, width;
  const float* at(int64_t t) const { return data + t * stride; }
};

HeadRows RowsOf(const Problem& p, const Tensor& x, int64_t bh) {
  const int64_t width = x.dim(3);
  return {x.data<float>() + p.row(bh, 0) * width, p.h * width, width};
}

// gamma^n of one head as the tiles read it: for a query and a key of a chunk, 0 where the key is
// later.
class Powers {
 public:
  Powers(const Problem& p, int64_t head)
      : span_(RoundUp(p.chunk, kTile) + kTileRows), by_distance_(span_ + kTile + kTileRows, 0.0f) {
    for (int64_t n = 0; n <= span_; ++n) {
      ascending_.push_back(static_cast<float>(p.power(head, n)));
      by_distance_[span_ - n] = ascending_[n];
    }
  }
  float operator()(int64_t n) const { return ascending_[n]; }
  // gamma^n, gamma^(n + 1), ... for the rows of a tile.
  const float* From(int64_t n) const { return ascending_.data() + n; }
  // Of a tile whose first query stands `ahead` rows after its first key: that of its row r and
  // column c is [c - r].
  const float* Tile(int64_t ahead) const { return by_distance_.data() + span_ - ahead; }

 private:
  int64_t span_;
  std::vector<float> ascending_, by_distance_;
};

// dst[i] = factor(i) * row `first + i` of x for i < rows, and rows of zeros up to a whole row
// group; in whole vectors, zero behind the row's end. What lies behind these is read, where a row
// group goes beyond the last channel, and comes to nothing.
template <typename FactorFn>
void PackRows(const HeadRows& x, int64_t first, int64_t rows, FactorFn factor, float* dst,
              int64_t dst_stride) {
  for (int64_t i = 0; i < rows; ++i, dst += dst_stride) {
    const float* from = x.at(first + i);
    const VecF scale = simd::Splat(factor(i));
    int64_t j = 0;
    for (; j + kLanes <= x.width; j += kLanes) simd::Store(dst + j, simd::Load(from + j) * scale);
    if (j < x.width) simd::Store(dst + j, simd::LoadPartial(from + j, x.width - j) * scale);
  }
  for (int64_t i = rows; i < PaddedRows(rows); ++i, dst += dst_stride)
    std::fill(dst, dst + RoundUp(x.width, kLanes), 0.0f);
}
float One(int64_t) { return 1; }

// The transposes of tiles of rows [first, first + rows) of x: dst[tile][channel][row in tile], zero
// behind the last row.
void PackTransposed(const HeadRows& x, int64_t first, int64_t rows, float* dst) {
  VecF block[kLanes];
  for (int64_t row = 0; row < RoundUp(rows, kTile); row += kLanes) {
    float* tile = dst + row / kTile * kTile * x.width + row % kTile;
    for (int64_t j = 0; j < x.width; j += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, x.width - j);
      for (int64_t i = 0; i < kLanes; ++i) {
        const bool real = row + i < rows;
        const float* from = x.at(first + (real ? row + i : 0)) + j;
        block[i] = real && n == kLanes ? simd::Load(from) : simd::LoadPartial(from, real ? n : 0);
      }
      simd::Transpose(block);
      for (int64_t i = 0; i < n; ++i) simd::Store(tile + (j + i) * kTile, block[i]);
    }
  }
}

// to [columns, rows] = from [rows, columns], transposed; rows of `to` are written in whole vectors.
void TransposeMatrix(int64_t rows, int64_t columns, const float* from, int64_t from_stride,
                     float* to, int64_t to_stride) {
  VecF block[kLanes];
  for (int64_t row = 0; row < rows; row += kLanes) {
    for (int64_t j = 0; j < columns; j += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, columns - j);
      for (int64_t i = 0; i < kLanes; ++i) {
        block[i] = row + i < rows ? simd::LoadPartial(from + (row + i) * from_stride + j, n)
                                  : simd::Zero();
      }
      simd::Transpose(block);
      for (int64_t i = 0; i < n; ++i) simd::Store(to + (j + i) * to_stride + row, block[i]);
    }
  }
}

// Calls fn(std::integral_constant<int, n>) for 1 <= n <= kTileVecs.
template <typename Fn>
void WithVecs(int64_t n, Fn&& fn) {
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

// What of a product's result is kept: c = by[i] c + .. for row i, or c = all c + .. where `by` is
// null. Where it is 0 for all, c is not read.
struct Keep {
  float all = 1;
  const float* by = nullptr;
};
constexpr Keep kNothing = {0};

// c = keep c + a b for one row group and `kVecs` vectors of columns.
template <bool kTransposedA, int kVecs>
__attribute__((noinline)) void ProductTile(int64_t depth, const float* a, int64_t a_stride,
                                           const float* b, int64_t b_stride, Keep keep, float* c,
                                           int64_t c_stride) {
  VecF tile[kTileRows][kVecs];
  if (keep.by == nullptr && keep.all == 0) {
    simd::ClearTile(tile);
  } else {
    simd::LoadTile(tile, c, c_stride);
#pragma GCC unroll 6
    for (int r = 0; r < kTileRows; ++r) {
      const VecF factor = simd::Splat(keep.by != nullptr ? keep.by[r] : keep.all);
#pragma GCC unroll 4
      for (int v = 0; v < kVecs; ++v) tile[r][v] = tile[r][v] * factor;
    }
  }
  simd::AddProduct<kTransposedA>(tile, depth, a, a_stride, b, b_stride);
  simd::StoreTile(tile, c, c_stride);
}

// Which part of a score tile is nonzero.
enum class Part { kAll, kCausal };

// c [m, n] = keep c + op(a) b, b [depth, n]; a is [m, depth], or [depth, m] and read transposed.
// Whole row groups and vectors are written. kCausal: element (i, j) of a is 0 where j > i.
template <bool kTransposedA>
void Product(int64_t m, int64_t n, int64_t depth, Part part, const float* a, int64_t a_stride,
             const float* b, int64_t b_stride, Keep keep, float* c, int64_t c_stride) {
  for (int64_t i = 0; i < m; i += kTileRows) {
    const int64_t begin = kTransposedA && part == Part::kCausal ? std::min(i, depth) : 0;
    const int64_t end =
        !kTransposedA && part == Part::kCausal ? std::min(i + kTileRows, depth) : depth;
    const Keep of_rows = {keep.all, keep.by != nullptr ? keep.by + i : nullptr};
    const float* a_rows = a + (kTransposedA ? begin * a_stride + i : i * a_stride);
    for (int64_t j = 0; j < n; j += kTileColumns) {
      WithVecs(std::min<int64_t>(kTileVecs, CeilDiv(n - j, kLanes)), [&](auto vecs) {
        ProductTile<kTransposedA, decltype(vecs)::value>(end - begin, a_rows, a_stride,
                                                         b + begin * b_stride + j, b_stride,
                                                         of_rows, c + i * c_stride + j, c_stride);
      });
    }
  }
}

// One row group of a score tile: (x y^T) * decay, y^T [width, kTile]; decay[c - r] is that of the
// group's row r and column c.
template <int kVecs>
__attribute__((noinline)) void ScoreTile(int64_t width, const float* x, int64_t x_stride,
                                         const float* y_transposed, const float* decay,
                                         float* scores) {
  VecF tile[kTileRows][kVecs];
  simd::ClearTile(tile);
  simd::AddProduct<false>(tile, width, x, x_stride, y_transposed, kTile);
#pragma GCC unroll 6
  for (int r = 0; r < kTileRows; ++r) {
#pragma GCC unroll 4
    for (int v = 0; v < kVecs; ++v)
      simd::Store(scores + r * kScoreStride + v * kLanes,
                  tile[r][v] * simd::Load(decay + v * kLanes - r));
  }
}

// scores [rows, keys] = (x y^T) * decay, of rows `ahead` after the keys; on the diagonal (ahead 0)
// only as far as a row group reaches.
void Scores(int64_t rows, int64_t keys, int64_t width, const float* x, int64_t x_stride,
            const float* y_transposed, const Powers& powers, int64_t ahead, float* scores) {
  for (int64_t i = 0; i < rows; i += kTileRows) {
    const int64_t end = ahead == 0 ? std::min(i + kTileRows, keys) : keys;
    for (int64_t j = 0; j < end; j += kTileColumns) {
      WithVecs(std::min<int64_t>(kTileVecs, CeilDiv(end - j, kLanes)), [&](auto vecs) {
        ScoreTile<decltype(vecs)::value>(width, x + i * x_stride, x_stride, y_transposed + j,
                                         powers.Tile(ahead + i - j), scores + i * kScoreStride + j);
      });
    }
  }
}

// Rows of one head of an output, from packed rows.
void Unpack(const Problem& p, int64_t bh, int64_t first, int64_t rows, const float* from,
            int64_t from_stride, const Tensor& to_bthx) {
  const int64_t width = to_bthx.dim(3);
  for (int64_t i = 0; i < rows; ++i) {
    float* to = to_bthx.mutable_data<float>() + p.row(bh, first + i) * width;
    const float* row = from + i * from_stride;
    int64_t j = 0;
    for (; j + kLanes <= width; j += kLanes) simd::Store(to + j, simd::Load(row + j));
    if (j < width) simd::StorePartial(to + j, width - j, simd::Load(row + j));
  }
}

// A matrix [rows, columns] in memory of its own, to and from packed rows.
void LoadMatrix(const float* from, int64_t rows, int64_t columns, float* to, int64_t to_stride) {
  PackRows({from, columns, columns}, 0, rows, One, to, to_stride);
}
void StoreMatrix(const float* from, int64_t from_stride, int64_t rows, int64_t columns, float* to) {
  for (int64_t i = 0; i < rows; ++i)
    std::copy(from + i * from_stride, from + i * from_stride + columns, to + i * columns);
}

// How the rows of a head are cut into tasks.
struct Segments {
  explicit Segments(const Problem& p) {
    const int64_t wanted = CeilDiv(kTasks, std::max<int64_t>(p.heads(), 1));
    const int64_t most = std::max<int64_t>(1, p.chunks() / kSegmentChunks);
    rows = CeilDiv(p.chunks(), std::min(wanted, most)) * p.chunk;
    count = std::max<int64_t>(1, CeilDiv(p.t, rows));
  }
  int64_t rows, count;
};

// What is carried along the rows in one direction: forward S, with x = k and y = v; backward the
// gradient of S, with x = q and y = dout. The tensor [B, H, count + 1, D, E] holds it at the
// borders of the segments.
Tensor Carry(const Problem& p, const Segments& segments, const std::vector<Powers>& powers,
             const Tensor& x_bthd, const Tensor& y_bthe, const Tensor& from_bhde, bool backward) {
  const int64_t size = p.d * p.e, count = segments.count;
  Tensor borders = Tensor::Empty({p.b, p.h, count + 1, p.d, p.e});
  const auto border = [&](int64_t bh, int64_t i) {
    return borders.mutable_data<float>() + (bh * (count + 1) + i) * size;
  };
  const int64_t stride_x = PackedStride(p.d), stride_y = PackedStride(p.e);
  const int64_t chunk_rows = ChunkRows(p.chunk);
  // What a segment adds; that of the last one on the way is made by the pass that follows.
  ParallelFor(p.heads() * (count - 1), [&](int64_t task) {
    const int64_t bh = task % p.heads(), i = task / p.heads() + (backward ? 1 : 0);
    const Powers& power = powers[bh % p.h];
    const HeadRows x = RowsOf(p, x_bthd, bh), y = RowsOf(p, y_bthe, bh);
    Scratch scratch(PaddedRows(p.d) * stride_y + chunk_rows * (stride_x + stride_y) + 64);
    float* sum = scratch.Take(PaddedRows(p.d) * stride_y);
    float* x_rows = scratch.Take(chunk_rows * stride_x);
    float* y_rows = scratch.Take(chunk_rows * stride_y);
    const int64_t begin = i * segments.rows, end = std::min(begin + segments.rows, p.t);
    const int64_t chunks = CeilDiv(end - begin, p.chunk);
    for (int64_t c = 0; c < chunks; ++c) {
      const int64_t first = begin + (backward ? chunks - 1 - c : c) * p.chunk;
      const int64_t rows = std::min(p.chunk, end - first);
      PackRows(
          x, first, rows, [&](int64_t r) { return power(backward ? r + 1 : rows - 1 - r); }, x_rows,
          stride_x);
      PackRows(y, first, rows, One, y_rows, stride_y);
      Product<true>(p.d, p.e, rows, Part::kAll, x_rows, stride_x, y_rows, stride_y,
                    {c == 0 ? 0 : power(rows)}, sum, stride_y);
    }
    StoreMatrix(sum, stride_y, p.d, p.e, border(bh, backward ? i : i + 1));
  });
  ParallelFor(p.heads(), [&](int64_t bh) {
    float* start = border(bh, backward ? count : 0);
    if (from_bhde.defined()) {
      std::copy_n(from_bhde.data<float>() + bh * size, size, start);
    } else {
      std::fill(start, start + size, 0.0f);
    }
    for (int64_t n = 0; n < count - 1; ++n) {
      const int64_t i = backward ? count - 1 - n : n;
      const int64_t rows = std::min(segments.rows, p.t - i * segments.rows);
      const auto decay = static_cast<float>(p.power(bh % p.h, rows));
      const float* before = border(bh, backward ? i + 1 : i);
      float* after = border(bh, backward ? i : i + 1);
      for (int64_t j = 0; j < size; ++j) after[j] += decay * before[j];
    }
  });
  return borders;
}

// The border of all heads at one place, as a state [B, H, D, E].
Tensor Border(const Problem& p, const Tensor& borders, int64_t at) {
  Tensor state = Tensor::Empty(p.state_shape());
  const int64_t size = p.d * p.e;
  for (int64_t bh = 0; bh < p.heads(); ++bh) {
    std::copy_n(borders.data<float>() + (bh * borders.dim(2) + at) * size, size,
                state.mutable_data<float>() + bh * size);
  }
  return state;
}

float* BorderOf(const Tensor& borders, int64_t bh, int64_t at) {
  return borders.mutable_data<float>() +
         (bh * borders.dim(2) + at) * borders.dim(3) * borders.dim(4);
}

std::vector<Powers> PowersOf(const Problem& p) {
  std::vector<Powers> powers;
  for (int64_t h = 0; h < p.h; ++h) powers.emplace_back(p, h);
  return powers;
}

// Calls fn(first row, rows) for the tiles of a chunk.
template <typename Fn>
void ForTiles(int64_t rows, Fn&& fn) {
  for (int64_t first = 0; first < rows; first += kTile) fn(first, std::min(kTile, rows - first));
}

// One segment of a head: its rows of the output, and S behind it.
void ForwardSegment(const Problem& p, const RetentionInputs& in, const Segments& segments,
                    const Powers& powers, const Tensor& borders, int64_t bh, int64_t segment,
                    const Tensor& out_bthe) {
  const HeadRows q = RowsOf(p, in.q_bthd, bh), k = RowsOf(p, in.k_bthd, bh),
                 v = RowsOf(p, in.v_bthe, bh);
  const int64_t sd = PackedStride(p.d), se = PackedStride(p.e);
  const int64_t chunk_rows = ChunkRows(p.chunk), tiles = CeilDiv(p.chunk, kTile),
                tile_rows = PaddedRows(kTile);
  Scratch scratch(PaddedRows(p.d) * se + chunk_rows * (sd + se) + tiles * kTile * p.d +
                  tile_rows * (sd + kScoreStride + se) + 112);
  float* state = scratch.Take(PaddedRows(p.d) * se);
  float* k_rows = scratch.Take(chunk_rows * sd);  // as S takes them
  float* v_rows = scratch.Take(chunk_rows * se);
  float* k_transposed = scratch.Take(tiles * kTile * p.d);
  float* q_rows = scratch.Take(tile_rows * sd);
  float* scores = scratch.Take(tile_rows * kScoreStride);
  float* out = scratch.Take(tile_rows * se);
  LoadMatrix(BorderOf(borders, bh, segment), p.d, p.e, state, se);
  const int64_t segment_end = std::min((segment + 1) * segments.rows, p.t);
  for (int64_t first = segment * segments.rows; first < segment_end; first += p.chunk) {
    const int64_t rows = std::min(p.chunk, segment_end - first);
    PackRows(
        k, first, rows, [&](int64_t r) { return powers(rows - 1 - r); }, k_rows, sd);
    PackRows(v, first, rows, One, v_rows, se);
    PackTransposed(k, first, rows, k_transposed);
    ForTiles(rows, [&](int64_t query, int64_t queries) {
      PackRows(q, first + query, queries, One, q_rows, sd);
      Product<false>(queries, p.e, p.d, Part::kAll, q_rows, sd, state, se, kNothing, out, se);
      ForTiles(query + queries, [&](int64_t key, int64_t keys) {
        Scores(queries, keys, p.d, q_rows, sd, k_transposed + key * p.d, powers, query - key,
               scores);
        // What was read from S fades from the chunk's first row on.
        const Keep keep = {1, key == 0 ? powers.From(query + 1) : nullptr};
        Product<false>(queries, p.e, keys, key == query ? Part::kCausal : Part::kAll, scores,
                       kScoreStride, v_rows + key * se, se, keep, out, se);
      });
      Unpack(p, bh, first + query, queries, out, se, out_bthe);
    });
    Product<true>(p.d, p.e, rows, Part::kAll, k_rows, sd, v_rows, se, {powers(rows)}, state, se);
  }
  if (segment + 1 == segments.count)
    StoreMatrix(state, se, p.d, p.e, BorderOf(borders, bh, segments.count));
}

// dq of one segment, forward along the rows with S transposed:
//   dq = gamma^(t + 1) dout S^T + ((dout v^T) * decay) k
void QueryGradients(const Problem& p, const RetentionInputs& in, const Segments& segments,
                    const Powers& powers, const Tensor& borders, int64_t bh, int64_t segment,
                    const Tensor& dout_bthe, const Tensor& dq_bthd) {
  const HeadRows k = RowsOf(p, in.k_bthd, bh), v = RowsOf(p, in.v_bthe, bh),
                 dout = RowsOf(p, dout_bthe, bh);
  const int64_t sd = PackedStride(p.d), se = PackedStride(p.e);
  const int64_t chunk_rows = ChunkRows(p.chunk), tiles = CeilDiv(p.chunk, kTile),
                tile_rows = PaddedRows(kTile);
  Scratch scratch(PaddedRows(p.d) * se + PaddedRows(p.e) * sd + chunk_rows * (sd + se) +
                  tiles * kTile * p.e + tile_rows * (se + kScoreStride + sd) + 144);
  float* state = scratch.Take(PaddedRows(p.d) * se);
  float* transposed = scratch.Take(PaddedRows(p.e) * sd);
  float* k_rows = scratch.Take(chunk_rows * sd);
  float* v_rows = scratch.Take(chunk_rows * se);  // as S takes them
  float* v_transposed = scratch.Take(tiles * kTile * p.e);
  float* dout_rows = scratch.Take(tile_rows * se);
  float* dscores = scratch.Take(tile_rows * kScoreStride);
  float* dq = scratch.Take(tile_rows * sd);
  LoadMatrix(BorderOf(borders, bh, segment), p.d, p.e, state, se);
  TransposeMatrix(p.d, p.e, state, se, transposed, sd);
  const int64_t segment_end = std::min((segment + 1) * segments.rows, p.t);
  for (int64_t first = segment * segments.rows; first < segment_end; first += p.chunk) {
    const int64_t rows = std::min(p.chunk, segment_end - first);
    PackRows(k, first, rows, One, k_rows, sd);
    PackTransposed(v, first, rows, v_transposed);
    ForTiles(rows, [&](int64_t query, int64_t queries) {
      PackRows(dout, first + query, queries, One, dout_rows, se);
      Product<false>(queries, p.d, p.e, Part::kAll, dout_rows, se, transposed, sd, kNothing, dq,
                     sd);
      ForTiles(query + queries, [&](int64_t key, int64_t keys) {
        Scores(queries, keys, p.e, dout_rows, se, v_transposed + key * p.e, powers, query - key,
               dscores);
        const Keep keep = {1, key == 0 ? powers.From(query + 1) : nullptr};
        Product<false>(queries, p.d, keys, key == query ? Part::kCausal : Part::kAll, dscores,
                       kScoreStride, k_rows + key * sd, sd, keep, dq, sd);
      });
      Unpack(p, bh, first + query, queries, dq, sd, dq_bthd);
    });
    if (first + rows == segment_end) break;
    PackRows(
        v, first, rows, [&](int64_t r) { return powers(rows - 1 - r); }, v_rows, se);
    Product<true>(p.e, p.d, rows, Part::kAll, v_rows, se, k_rows, sd, {powers(rows)}, transposed,
                  sd);
  }
}

// dk and dv of one segment, backward along the rows with the gradient dS of what is behind them,
// and dS before the segment:
//   dk = gamma^(rows - 1 - t) v dS^T + ((dout v^T) * decay)^T q
//   dv = gamma^(rows - 1 - t) k dS + ((q k^T) * decay)^T dout
void KeyGradients(const Problem& p, const RetentionInputs& in, const Segments& segments,
                  const Powers& powers, const Tensor& borders, int64_t bh, int64_t segment,
                  const Tensor& dout_bthe, const RetentionGradients& gradients) {
  const HeadRows q = RowsOf(p, in.q_bthd, bh), k = RowsOf(p, in.k_bthd, bh),
                 v = RowsOf(p, in.v_bthe, bh), dout = RowsOf(p, dout_bthe, bh);
  const int64_t sd = PackedStride(p.d), se = PackedStride(p.e);
  const int64_t chunk_rows = ChunkRows(p.chunk), tile_rows = PaddedRows(kTile);
  Scratch scratch(PaddedRows(p.d) * se + PaddedRows(p.e) * sd + chunk_rows * (2 * sd + se) +
                  kTile * (p.d + p.e) + 2 * tile_rows * (sd + se + kScoreStride) + 240);
  float* dstate = scratch.Take(PaddedRows(p.d) * se);
  float* transposed = scratch.Take(PaddedRows(p.e) * sd);
  float* q_rows = scratch.Take(chunk_rows * sd);
  float* q_reads = scratch.Take(chunk_rows * sd);  // as S was read
  float* dout_rows = scratch.Take(chunk_rows * se);
  float* k_transposed = scratch.Take(kTile * p.d);
  float* v_transposed = scratch.Take(kTile * p.e);
  float* k_rows = scratch.Take(tile_rows * sd);  // as S takes them
  float* v_rows = scratch.Take(tile_rows * se);
  float* scores = scratch.Take(tile_rows * kScoreStride);
  float* dscores = scratch.Take(tile_rows * kScoreStride);
  float* dk = scratch.Take(tile_rows * sd);
  float* dv = scratch.Take(tile_rows * se);
  LoadMatrix(BorderOf(borders, bh, segment + 1), p.d, p.e, dstate, se);
  const int64_t begin = segment * segments.rows, end = std::min(begin + segments.rows, p.t);
  for (int64_t c = CeilDiv(end - begin, p.chunk) - 1; c >= 0; --c) {
    const int64_t first = begin + c * p.chunk, rows = std::min(p.chunk, end - first);
    TransposeMatrix(p.d, p.e, dstate, se, transposed, sd);
    PackRows(q, first, rows, One, q_rows, sd);
    PackRows(
        q, first, rows, [&](int64_t r) { return powers(r + 1); }, q_reads, sd);
    PackRows(dout, first, rows, One, dout_rows, se);
    ForTiles(rows, [&](int64_t key, int64_t keys) {
      const auto taken = [&](int64_t r) { return powers(rows - 1 - key - r); };
      PackTransposed(k, first + key, keys, k_transposed);
      PackTransposed(v, first + key, keys, v_transposed);
      PackRows(k, first + key, keys, taken, k_rows, sd);
      PackRows(v, first + key, keys, taken, v_rows, se);
      Product<false>(keys, p.d, p.e, Part::kAll, v_rows, se, transposed, sd, kNothing, dk, sd);
      Product<false>(keys, p.e, p.d, Part::kAll, k_rows, sd, dstate, se, kNothing, dv, se);
      for (int64_t query = key; query < rows; query += kTile) {
        const int64_t queries = std::min(kTile, rows - query);
        const Part part = query == key ? Part::kCausal : Part::kAll;
        const float *q_tile = q_rows + query * sd, *dout_tile = dout_rows + query * se;
        Scores(queries, keys, p.d, q_tile, sd, k_transposed, powers, query - key, scores);
        Scores(queries, keys, p.e, dout_tile, se, v_transposed, powers, query - key, dscores);
        Product<true>(keys, p.e, queries, part, scores, kScoreStride, dout_tile, se, Keep(), dv,
                      se);
        Product<true>(keys, p.d, queries, part, dscores, kScoreStride, q_tile, sd, Keep(), dk, sd);
      }
      Unpack(p, bh, first + key, keys, dk, sd, gradients.dk_bthd);
      Unpack(p, bh, first + key, keys, dv, se, gradients.dv_bthe);
    });
    Product<true>(p.d, p.e, rows, Part::kAll, q_reads, sd, dout_rows, se, {powers(rows)}, dstate,
                  se);
  }
  if (segment == 0) StoreMatrix(dstate, se, p.d, p.e, BorderOf(borders, bh, 0));
}

// The recurrence, row by row: S is moved on and read in one pass over it.
//   m += fade m + x[t]^T y[t];  out[t] = w[t] m
void StepRows(const Problem& p, float fade, const HeadRows& w, const HeadRows& x, const HeadRows& y,
              int64_t bh, float* m, const Tensor& out_bthe) {
  constexpr int64_t kPanel = 4 * kLanes;
  for (int64_t t = 0; t < p.t; ++t) {
    const float *w_t = w.at(t), *x_t = x.at(t), *y_t = y.at(t);
    float* out = out_bthe.mutable_data<float>() + p.row(bh, t) * y.width;
    for (int64_t j = 0; j < y.width; j += kPanel) {
      VecF sum[4], taken[4];
      int64_t lanes[4];
      for (int v = 0; v < 4; ++v) {
        lanes[v] = std::max<int64_t>(0, std::min<int64_t>(kLanes, y.width - j - v * kLanes));
        sum[v] = simd::Zero();
        taken[v] = simd::LoadPartial(y_t + j + v * kLanes, lanes[v]);
      }
      const bool whole = lanes[3] == kLanes;
      for (int64_t i = 0; i < x.width; ++i) {
        float* m_i = m + i * y.width + j;
        const VecF x_i = simd::Splat(x_t[i]), w_i = simd::Splat(w_t[i]);
#pragma GCC unroll 4
        for (int v = 0; v < 4; ++v) {
          if (!whole && lanes[v] == 0) break;
          float* at = m_i + v * kLanes;
          const VecF before = whole ? simd::Load(at) : simd::LoadPartial(at, lanes[v]);
          const VecF next = simd::Fma(x_i, taken[v], simd::Fma(simd::Splat(fade), before, before));
          whole ? simd::Store(at, next) : simd::StorePartial(at, lanes[v], next);
          sum[v] = simd::Fma(w_i, next, sum[v]);
        }
      }
      for (int v = 0; v < 4; ++v) simd::StorePartial(out + j + v * kLanes, lanes[v], sum[v]);
    }
  }
}

// Gradients of the recurrence of one head, as in reference.h.
void StepRowsBackward(const Problem& p, const RetentionInputs& in, int64_t bh, float* state,
                      const Tensor& dout_bthe, float* dstate, const RetentionGradients& gradients) {
  const HeadRows q = RowsOf(p, in.q_bthd, bh), k = RowsOf(p, in.k_bthd, bh),
                 v = RowsOf(p, in.v_bthe, bh), dout = RowsOf(p, dout_bthe, bh);
  const float fade = p.fade(bh % p.h);
  for (int64_t t = 0; t < p.t; ++t) {
    float* dq = gradients.dq_bthd.mutable_data<float>() + p.row(bh, t) * p.d;
    for (int64_t i = 0; i < p.d; ++i) {
      VecF sum = simd::Zero();
      for (int64_t j = 0; j < p.e; j += kLanes) {
        const int64_t n = std::min<int64_t>(kLanes, p.e - j);
        float* at = state + i * p.e + j;
        const VecF before = simd::LoadPartial(at, n),
                   next = simd::Fma(simd::Splat(k.at(t)[i]), simd::LoadPartial(v.at(t) + j, n),
                                    simd::Fma(simd::Splat(fade), before, before));
        simd::StorePartial(at, n, next);
        sum = simd::Fma(next, simd::LoadPartial(dout.at(t) + j, n), sum);
      }
      dq[i] = simd::HorizontalSum(sum);
    }
  }
  for (int64_t t = p.t - 1; t >= 0; --t) {
    float* dk = gradients.dk_bthd.mutable_data<float>() + p.row(bh, t) * p.d;
    float* dv = gradients.dv_bthe.mutable_data<float>() + p.row(bh, t) * p.e;
    std::fill(dk, dk + p.d, 0.0f);
    for (int64_t j = 0; j < p.e; j += kLanes) {
      const int64_t n = std::min<int64_t>(kLanes, p.e - j);
      const VecF v_j = simd::LoadPartial(v.at(t) + j, n),
                 dout_j = simd::LoadPartial(dout.at(t) + j, n);
      VecF sum = simd::Zero();
      for (int64_t i = 0; i < p.d; ++i) {
        float* at = dstate + i * p.e + j;
        const VecF d = simd::Fma(simd::Splat(q.at(t)[i]), dout_j, simd::LoadPartial(at, n));
        dk[i] += simd::HorizontalSum(d * v_j);
        sum = simd::Fma(simd::Splat(k.at(t)[i]), d, sum);
        simd::StorePartial(at, n, simd::Fma(simd::Splat(fade), d, d));
      }
      simd::StorePartial(dv + j, n, sum);
    }
  }
}

Tensor StateOrZeros(const Problem& p, const Tensor& state_bhde, DType dtype) {
  return state_bhde.defined() ? state_bhde.Clone() : Tensor::Zeros(p.state_shape(), dtype);
}

RetentionOutputs ForwardCpu(const Problem& p, const RetentionInputs& in) {
  RetentionOutputs outputs{Tensor::Empty(in.v_bthe.shape()), Tensor()};
  if (p.chunk == 1) {
    outputs.state_bhde = StateOrZeros(p, in.state_bhde, DType::kFloat32);
    ParallelFor(p.heads(), [&](int64_t bh) {
      StepRows(p, p.fade(bh % p.h), RowsOf(p, in.q_bthd, bh), RowsOf(p, in.k_bthd, bh),
               RowsOf(p, in.v_bthe, bh), bh,
               outputs.state_bhde.mutable_data<float>() + bh * p.d * p.e, outputs.out_bthe);
    });
    return outputs;
  }
  const Segments segments(p);
  const std::vector<Powers> powers = PowersOf(p);
  const Tensor borders = Carry(p, segments, powers, in.k_bthd, in.v_bthe, in.state_bhde, false);
  ParallelFor(p.heads() * segments.count, [&](int64_t task) {
    const int64_t bh = task % p.heads();
    ForwardSegment(p, in, segments, powers[bh % p.h], borders, bh, task / p.heads(),
                   outputs.out_bthe);
  });
  outputs.state_bhde = Border(p, borders, segments.count);
  return outputs;
}

RetentionGradients BackwardCpu(const Problem& p, const RetentionInputs& in, const Tensor& dout_bthe,
                               const Tensor& dstate_bhde) {
  RetentionGradients gradients{Tensor::EmptyLike(in.q_bthd), Tensor::EmptyLike(in.k_bthd),
                               Tensor::EmptyLike(in.v_bthe), Tensor()};
  if (p.chunk == 1) {
    const Tensor state = StateOrZeros(p, in.state_bhde, DType::kFloat32);
    gradients.dstate_bhde = StateOrZeros(p, dstate_bhde, DType::kFloat32);
    ParallelFor(p.heads(), [&](int64_t bh) {
      StepRowsBackward(p, in, bh, state.mutable_data<float>() + bh * p.d * p.e, dout_bthe,
                       gradients.dstate_bhde.mutable_data<float>() + bh * p.d * p.e, gradients);
    });
    return gradients;
  }
  const Segments segments(p);
  const std::vector<Powers> powers = PowersOf(p);
  const Tensor states = Carry(p, segments, powers, in.k_bthd, in.v_bthe, in.state_bhde, false);
  const Tensor dstates = Carry(p, segments, powers, in.q_bthd, dout_bthe, dstate_bhde, true);
  const int64_t tasks = p.heads() * segments.count;
  // The longer ones first.
  ParallelFor(2 * tasks, [&](int64_t task) {
    const int64_t bh = task % p.heads(), segment = task % tasks / p.heads();
    if (task < tasks) {
      KeyGradients(p, in, segments, powers[bh % p.h], dstates, bh, segment, dout_bthe, gradients);
    } else {
      QueryGradients(p, in, segments, powers[bh % p.h], states, bh, segment, dout_bthe,
                     gradients.dq_bthd);
    }
  });
  gradients.dstate_bhde = Border(p, dstates, 0);
  return gradients;
}

void Check(const RetentionInputs& in) {
  const Tensor &q = in.q_bthd, &k = in.k_bthd, &v = in.v_bthe;
  CHECK(q.rank() == 4 && k.shape() == q.shape() && v.rank() == 4)
      << "retention: want q, k [B, T, H, D] and v [B, T, H, E], got " << q.shape() << ", "
      << k.shape() << ", " << v.shape();
  Shape of_v = q.shape();
  of_v.set(3, v.dim(3));
  CHECK(v.shape() == of_v) << "retention: v " << v.shape() << " for q " << q.shape();
  CHECK_EQ(static_cast<int64_t>(in.log_decay_h.size()), q.dim(2)) << "retention: decays of heads";
  for (const double log_decay : in.log_decay_h)
    CHECK(std::isfinite(log_decay) && log_decay <= 0)
        << "retention: ln gamma " << log_decay << " (expected a number of at most 0)";
  CHECK_GE(in.chunk, 0) << "retention: rows of a chunk";
  const Shape state = {q.dim(0), q.dim(2), q.dim(3), v.dim(3)};
  CHECK(!in.state_bhde.defined() || in.state_bhde.shape() == state)
      << "retention: want a state " << state << ", got " << in.state_bhde.shape();
  for (const Tensor* t : {&k, &v, &in.state_bhde}) {
    if (!t->defined()) continue;
    CHECK(t->dtype() == q.dtype() && t->device() == q.device())
        << "retention: q is " << Name(q.dtype()) << " on " << Name(q.device()) << ", k, v or state "
        << Name(t->dtype()) << " on " << Name(t->device());
  }
  CHECK(q.dtype() == DType::kFloat32 || q.dtype() == DType::kFloat64)
      << "retention: no kernel for " << Name(q.dtype());
}

double Bytes(const RetentionInputs& in) {
  return static_cast<double>(in.q_bthd.bytes() + in.k_bthd.bytes() + in.v_bthe.bytes());
}

}  // namespace

RetentionOutputs RetentionForward(const RetentionInputs& in) {
  Check(in);
  const Problem p(in);
  const DType dtype = in.q_bthd.dtype();
  const TraceSpan span("RetentionForward");
  const double state_bytes = static_cast<double>(p.heads() * p.d * p.e * SizeOf(dtype));
  RecordCost(2 * p.pairs() * static_cast<double>(p.d + p.e) + 4 * p.updates(),
             Bytes(in) + static_cast<double>(in.v_bthe.bytes()) + 2 * state_bytes);
  if (in.q_bthd.is_meta()) {
    return {Tensor::EmptyLike(in.v_bthe), Tensor::Empty(p.state_shape(), dtype, Device::kMeta)};
  }
  if (dtype == DType::kFloat32) return ForwardCpu(p, in);
  RetentionOutputs outputs{Tensor::EmptyLike(in.v_bthe), StateOrZeros(p, in.state_bhde, dtype)};
  reference::RetentionForward({p.b, p.t, p.h, p.d, p.e}, in.log_decay_h, p.chunk,
                              in.q_bthd.data<double>(), in.k_bthd.data<double>(),
                              in.v_bthe.data<double>(), outputs.out_bthe.mutable_data<double>(),
                              outputs.state_bhde.mutable_data<double>());
  return outputs;
}

RetentionGradients RetentionBackward(const RetentionInputs& in, const Tensor& dout_bthe,
                                     const Tensor& dstate_bhde) {
  Check(in);
  const Problem p(in);
  CHECK(!dout_bthe.defined() || dout_bthe.shape() == in.v_bthe.shape())
      << "retention: dout " << dout_bthe.shape() << " for v " << in.v_bthe.shape();
  CHECK(!dstate_bhde.defined() || dstate_bhde.shape() == p.state_shape())
      << "retention: want dstate " << p.state_shape() << ", got " << dstate_bhde.shape();
  const DType dtype = in.q_bthd.dtype();
  const TraceSpan span("RetentionBackward");
  const double state_bytes = static_cast<double>(p.heads() * p.d * p.e * SizeOf(dtype));
  RecordCost(p.pairs() * static_cast<double>(4 * p.d + 6 * p.e) + 10 * p.updates(),
             2 * Bytes(in) + static_cast<double>(in.v_bthe.bytes()) + 3 * state_bytes);
  if (in.q_bthd.is_meta()) {
    return {Tensor::EmptyLike(in.q_bthd), Tensor::EmptyLike(in.k_bthd),
            Tensor::EmptyLike(in.v_bthe), Tensor::Empty(p.state_shape(), dtype, Device::kMeta)};
  }
  const Tensor dout = dout_bthe.defined() ? dout_bthe : Tensor::ZerosLike(in.v_bthe);
  if (dtype == DType::kFloat32) return BackwardCpu(p, in, dout, dstate_bhde);
  RetentionGradients gradients{Tensor::EmptyLike(in.q_bthd), Tensor::EmptyLike(in.k_bthd),
                               Tensor::EmptyLike(in.v_bthe), StateOrZeros(p, dstate_bhde, dtype)};
  reference::RetentionBackward(
      {p.b, p.t, p.h, p.d, p.e}, in.log_decay_h, in.q_bthd.data<double>(), in.k_bthd.data<double>(),
      in.v_bthe.data<double>(), in.state_bhde.defined() ? in.state_bhde.data<double>() : nullptr,
      dout.data<double>(), gradients.dq_bthd.mutable_data<double>(),
      gradients.dk_bthd.mutable_data<double>(), gradients.dv_bthe.mutable_data<double>(),
      gradients.dstate_bhde.mutable_data<double>());
  return gradients;
}

}  // namespace longrange::kernels
