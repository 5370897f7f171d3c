#include "kernels/attention/span_plan.h"

#include <glog/logging.h>

#include <algorithm>

namespace longrange::kernels {

void SpanPlan::Append(absl::Span<const KeySpan> row) {
  for (const KeySpan& span : row) {
    pairs_ += span.end - span.begin;
    spans_.push_back(span);
  }
  offsets_.push_back(static_cast<int64_t>(spans_.size()));
}

SpanPlan SpanPlan::Full(int64_t queries, int64_t keys) {
  CHECK_GE(queries, 0);
  CHECK_GE(keys, 0);
  SpanPlan plan;
  plan.keys_ = keys;
  const KeySpan all{0, keys};
  for (int64_t i = 0; i < queries; ++i) plan.Append(absl::MakeConstSpan(&all, keys > 0 ? 1 : 0));
  return plan;
}

SpanPlan SpanPlan::Causal(int64_t queries, int64_t keys) {
  return SlidingWindow(queries, keys, std::max<int64_t>(keys, 1));
}

SpanPlan SpanPlan::SlidingWindow(int64_t queries, int64_t keys, int64_t window) {
  CHECK_GE(window, 1);
  return Around(queries, keys, window - 1, 0);
}

SpanPlan SpanPlan::Around(int64_t queries, int64_t keys, int64_t back, int64_t ahead) {
  CHECK_GE(queries, 0);
  CHECK_GE(keys, 0);
  CHECK_GE(back, 0);
  CHECK_GE(ahead, 0);
  SpanPlan plan;
  plan.keys_ = keys;
  for (int64_t i = 0; i < queries; ++i) {
    const int64_t position = keys - queries + i;
    const KeySpan span{std::max<int64_t>(0, position - back), std::min(keys, position + ahead + 1)};
    plan.Append(absl::MakeConstSpan(&span, span.begin < span.end ? 1 : 0));
  }
  return plan;
}

SpanPlan SpanPlan::FromSpans(int64_t keys, const std::vector<std::vector<KeySpan>>& rows) {
  SpanPlan plan;
  plan.keys_ = keys;
  std::vector<KeySpan> sorted, joined;
  for (size_t i = 0; i < rows.size(); ++i) {
    sorted = rows[i];
    for (const KeySpan& span : sorted) {
      CHECK(0 <= span.begin && span.begin <= span.end && span.end <= keys)
          << "row " << i << ": span [" << span.begin << ", " << span.end << ") of " << keys
          << " keys";
    }
    std::sort(sorted.begin(), sorted.end(),
              [](const KeySpan& a, const KeySpan& b) { return a.begin < b.begin; });
    joined.clear();
    for (const KeySpan& span : sorted) {
      if (span.begin == span.end) continue;
      if (!joined.empty() && span.begin <= joined.back().end) {
        joined.back().end = std::max(joined.back().end, span.end);
      } else {
        joined.push_back(span);
      }
    }
    plan.Append(joined);
  }
  return plan;
}

bool SpanPlan::Sees(int64_t query, int64_t key) const {
  for (const KeySpan& span : row(query)) {
    if (span.begin <= key && key < span.end) return true;
  }
  return false;
}

TileMap::TileMap(const SpanPlan& plan, const PlanLimits& limits, int64_t query_tile,
                 int64_t key_block) {
  CHECK_GT(query_tile, 0);
  CHECK_GT(key_block, 0);
  const int64_t num_tiles = (plan.queries() + query_tile - 1) / query_tile;
  const int64_t num_blocks = (plan.keys() + key_block - 1) / key_block;
  row_offsets_.push_back(0);
  // Per key block, how many rows of the tile touch it and how many see all of it, as differences
  // along the blocks.
  std::vector<int64_t> touched(static_cast<size_t>(num_blocks) + 1),
      covered(static_cast<size_t>(num_blocks) + 1);
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    const int64_t row_begin = tile * query_tile,
                  row_end = std::min(plan.queries(), row_begin + query_tile);
    int64_t first = num_blocks, last = 0;  // blocks [first, last) may have counts
    for (int64_t i = std::max(row_begin, limits.queries.begin);
         i < std::min(row_end, limits.queries.end); ++i) {
      for (const KeySpan& span : plan.row(i)) {
        const int64_t begin = std::max(span.begin, limits.keys.begin),
                      end = std::min(span.end, limits.keys.end);
        if (begin >= end) continue;
        const int64_t touch_begin = begin / key_block, touch_end = (end - 1) / key_block + 1;
        ++touched[touch_begin];
        --touched[touch_end];
        const int64_t cover_begin = (begin + key_block - 1) / key_block;
        const int64_t cover_end = end == plan.keys() ? num_blocks : end / key_block;
        if (cover_begin < cover_end) {
          ++covered[cover_begin];
          --covered[cover_end];
        }
        first = std::min(first, touch_begin);
        last = std::max(last, touch_end);
      }
    }
    int64_t touching = 0, covering = 0;
    for (int64_t block = first; block < last; ++block) {
      touching += touched[block];
      covering += covered[block];
      if (touching > 0) rows_.push_back({block, covering == row_end - row_begin});
    }
    for (int64_t block = first; block <= last && block <= num_blocks; ++block)
      touched[block] = covered[block] = 0;
    row_offsets_.push_back(static_cast<int64_t>(rows_.size()));
  }

  column_offsets_.assign(static_cast<size_t>(num_blocks) + 1, 0);
  for (const Tile& tile : rows_) ++column_offsets_[tile.index + 1];
  for (int64_t block = 0; block < num_blocks; ++block)
    column_offsets_[block + 1] += column_offsets_[block];
  columns_.resize(rows_.size());
  std::vector<int64_t> next(column_offsets_.begin(), column_offsets_.end() - 1);
  for (int64_t tile = 0; tile < num_tiles; ++tile) {
    for (const Tile& t : tiles_of_queries(tile)) columns_[next[t.index]++] = {tile, t.full};
  }
}

}  // namespace longrange::kernels
