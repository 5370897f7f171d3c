// SpanPlan: who sees whom in attention, as sorted disjoint spans of keys for every query row.

#ifndef LONGRANGE_KERNELS_ATTENTION_SPAN_PLAN_H_
#define LONGRANGE_KERNELS_ATTENTION_SPAN_PLAN_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace longrange::kernels {

// Keys [begin, end) of the key tensor.
struct KeySpan {
  int64_t begin = 0;
  int64_t end = 0;

  friend bool operator==(const KeySpan& a, const KeySpan& b) {
    return a.begin == b.begin && a.end == b.end;
  }
};

// Immutable after construction; O(queries + spans) memory (compressed rows), whatever the number of
// visible pairs.
class SpanPlan {
 public:
  SpanPlan() = default;

  // Every query sees every key.
  static SpanPlan Full(int64_t queries, int64_t keys);
  // Query i stands at key position p = keys - queries + i and sees keys [0, p]; rows with p < 0 see
  // nothing.
  static SpanPlan Causal(int64_t queries, int64_t keys);
  // As Causal, but only the last `window` keys: (p - window, p]. window >= 1.
  static SpanPlan SlidingWindow(int64_t queries, int64_t keys, int64_t window);
  // Keys [p - back, p + ahead], cut to those that there are.
  static SpanPlan Around(int64_t queries, int64_t keys, int64_t back, int64_t ahead);
  // Any pattern: rows[i] holds the spans of query i in any order; empty ones are dropped, touching
  // or overlapping ones are joined. Spans must lie in [0, keys].
  static SpanPlan FromSpans(int64_t keys, const std::vector<std::vector<KeySpan>>& rows);

  int64_t queries() const { return static_cast<int64_t>(offsets_.size()) - 1; }
  int64_t keys() const { return keys_; }
  // The spans of query `row`: sorted, disjoint, not touching, none empty.
  absl::Span<const KeySpan> row(int64_t row) const {
    return absl::MakeConstSpan(spans_.data() + offsets_[row],
                               static_cast<size_t>(offsets_[row + 1] - offsets_[row]));
  }
  bool Sees(int64_t query, int64_t key) const;
  // Number of (query, key) pairs in the plan: what flop counts go by.
  int64_t VisiblePairs() const { return pairs_; }

 private:
  void Append(absl::Span<const KeySpan> row);

  int64_t keys_ = 0;
  int64_t pairs_ = 0;
  std::vector<int64_t> offsets_ = {0};
  std::vector<KeySpan> spans_;
};

// A range of rows and a range of keys that a SpanPlan is clipped to: what padding leaves of it.
struct PlanLimits {
  KeySpan queries;
  KeySpan keys;
};

// The grid of query tiles x key blocks of a clipped plan: which tiles hold visible pairs, and which
// are full.
class TileMap {
 public:
  struct Tile {
    int64_t index =
        0;  // of the key block in tiles_of_queries(), of the query tile in tiles_of_keys()
    bool full = false;  // every pair in the tile is visible
  };

  // Query tile q covers rows [q * query_tile, (q + 1) * query_tile), cut at plan.queries(); key
  // blocks alike. A tile at the edge is full if all pairs that exist in it are visible.
  TileMap(const SpanPlan& plan, const PlanLimits& limits, int64_t query_tile, int64_t key_block);

  int64_t num_query_tiles() const { return static_cast<int64_t>(row_offsets_.size()) - 1; }
  int64_t num_key_blocks() const { return static_cast<int64_t>(column_offsets_.size()) - 1; }
  // Tiles that hold a visible pair, in ascending order.
  absl::Span<const Tile> tiles_of_queries(int64_t query_tile) const {
    return absl::MakeConstSpan(
        rows_.data() + row_offsets_[query_tile],
        static_cast<size_t>(row_offsets_[query_tile + 1] - row_offsets_[query_tile]));
  }
  absl::Span<const Tile> tiles_of_keys(int64_t key_block) const {
    return absl::MakeConstSpan(
        columns_.data() + column_offsets_[key_block],
        static_cast<size_t>(column_offsets_[key_block + 1] - column_offsets_[key_block]));
  }

 private:
  std::vector<int64_t> row_offsets_, column_offsets_;
  std::vector<Tile> rows_, columns_;
};

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_ATTENTION_SPAN_PLAN_H_
