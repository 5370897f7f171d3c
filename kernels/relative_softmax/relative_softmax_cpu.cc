#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/relative_softmax/reference.h"
#include "kernels/relative_softmax/relative_softmax.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using reference::RelativeSizes;
using simd::VecF;

constexpr int64_t kGrain = 16384;  // elements a task

RelativeSizes SizesOf(const Tensor& keys_gts, const Tensor& distances_gtr,
                      const RelativeSoftmaxOptions& options) {
  CHECK(keys_gts.rank() == 3 && distances_gtr.rank() == 3 &&
        keys_gts.dim(0) == distances_gtr.dim(0) && keys_gts.dim(1) == distances_gtr.dim(1))
      << "by key " << keys_gts.shape() << ", by distance " << distances_gtr.shape();
  CHECK(keys_gts.dtype() == distances_gtr.dtype())
      << Name(keys_gts.dtype()) << " and " << Name(distances_gtr.dtype());
  CHECK_GE(distances_gtr.dim(2), 1);
  CHECK_GE(options.window, 0);
  return {keys_gts.dim(0), keys_gts.dim(1), keys_gts.dim(2), distances_gtr.dim(2),
          options.offset,  options.window,  options.scale};
}

// What query i sees: keys [begin, end). Those from `exact` on have a column of their own, key j the
// column first_column + j; the others, further away, take column 0.
struct Sight {
  Sight(const RelativeSizes& n, int64_t i)
      : begin(n.window > 0 ? std::max<int64_t>(0, n.offset + i - n.window + 1) : 0),
        end(std::max(begin, std::min(n.keys, n.offset + i + 1))),
        first_column(n.distances - 1 - n.offset - i),
        exact(std::clamp(-first_column, begin, end)) {}

  int64_t begin, end, first_column, exact;
};

double VisiblePairs(const RelativeSizes& n) {
  double pairs = 0;
  for (int64_t i = 0; i < n.queries; ++i) {
    const Sight sight(n, i);
    pairs += static_cast<double>(sight.end - sight.begin);
  }
  return pairs * static_cast<double>(n.matrices);
}

void ForwardRow(const RelativeSizes& n, int64_t i, const float* content, const float* position,
                float* p) {
  const Sight sight(n, i);
  std::fill(p, p + sight.begin, 0.0f);
  std::fill(p + sight.end, p + n.keys, 0.0f);
  const VecF scale = simd::Splat(static_cast<float>(n.scale));
  const auto score = [&](int64_t begin, int64_t end, auto column) {
    simd::ForLanes(end - begin, [&](auto lanes, int64_t j) {
      lanes.Store(p + begin + j,
                  (lanes.Load(content + begin + j) + column(lanes, begin + j)) * scale);
    });
  };
  score(sight.begin, sight.exact, [&](auto, int64_t) { return simd::Splat(position[0]); });
  score(sight.exact, sight.end,
        [&](auto lanes, int64_t j) { return lanes.Load(position + sight.first_column + j); });
  const int64_t seen = sight.end - sight.begin;
  float* row = p + sight.begin;
  float max = simd::MaxLanes(seen, row, -std::numeric_limits<float>::infinity());
  if (max == -std::numeric_limits<float>::infinity()) max = 0;
  const VecF shift = simd::Splat(max);
  const auto [sum] = simd::SumLanes<1>(seen, [&](auto lanes, int64_t j, VecF* s) {
    const VecF e = lanes.Keep(simd::Exp(lanes.Load(row + j) - shift), simd::Zero());
    lanes.Store(row + j, e);
    s[0] += e;
  });
  const VecF share = simd::Splat(sum == 0 ? 0 : 1 / sum);
  simd::ForLanes(seen,
                 [&](auto lanes, int64_t j) { lanes.Store(row + j, lanes.Load(row + j) * share); });
}

void BackwardRow(const RelativeSizes& n, int64_t i, const float* p, const float* dp,
                 float* dcontent, float* dposition) {
  const Sight sight(n, i);
  std::fill(dcontent, dcontent + sight.begin, 0.0f);
  std::fill(dcontent + sight.end, dcontent + n.keys, 0.0f);
  std::fill(dposition, dposition + n.distances, 0.0f);
  const int64_t seen = sight.end - sight.begin;
  const auto [sum] = simd::SumLanes<1>(seen, [&](auto lanes, int64_t j, VecF* s) {
    s[0] = simd::Fma(lanes.Load(p + sight.begin + j), lanes.Load(dp + sight.begin + j), s[0]);
  });
  const VecF dot = simd::Splat(sum), scale = simd::Splat(static_cast<float>(n.scale));
  simd::ForLanes(seen, [&](auto lanes, int64_t j) {
    const int64_t at = sight.begin + j;
    lanes.Store(dcontent + at, scale * lanes.Load(p + at) * (lanes.Load(dp + at) - dot));
  });
  const auto [far] = simd::SumLanes<1>(
      sight.exact - sight.begin,
      [&](auto lanes, int64_t j, VecF* s) { s[0] += lanes.Load(dcontent + sight.begin + j); });
  std::copy(dcontent + sight.exact, dcontent + sight.end,
            dposition + sight.first_column + sight.exact);
  if (sight.exact > sight.begin) dposition[0] += far;
}

int64_t RowGrain(const RelativeSizes& n) {
  return std::max<int64_t>(1, kGrain / std::max<int64_t>(1, n.keys + n.distances));
}

}  // namespace

void RelativeSoftmaxForward(const Tensor& content_gts, const Tensor& position_gtr,
                            const RelativeSoftmaxOptions& options, const Tensor& p_gts) {
  const RelativeSizes n = SizesOf(content_gts, position_gtr, options);
  SizesOf(p_gts, position_gtr, options);
  CHECK_EQ(p_gts.dim(2), n.keys);
  const TraceSpan span("RelativeSoftmaxForward");
  RecordCost(6 * VisiblePairs(n),
             static_cast<double>(content_gts.bytes() + position_gtr.bytes() + p_gts.bytes()));
  if (content_gts.is_meta()) return;
  if (content_gts.dtype() == DType::kFloat64) {
    reference::RelativeSoftmaxForward(n, content_gts.data<double>(), position_gtr.data<double>(),
                                      p_gts.mutable_data<double>());
    return;
  }
  const float *content = content_gts.data<float>(), *position = position_gtr.data<float>();
  float* p = p_gts.mutable_data<float>();
  ParallelForRange(n.matrices * n.queries, RowGrain(n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      ForwardRow(n, row % n.queries, content + row * n.keys, position + row * n.distances,
                 p + row * n.keys);
  });
}

void RelativeSoftmaxBackward(const Tensor& p_gts, const Tensor& dp_gts,
                             const RelativeSoftmaxOptions& options, const Tensor& dcontent_gts,
                             const Tensor& dposition_gtr) {
  const RelativeSizes n = SizesOf(p_gts, dposition_gtr, options);
  CHECK(dp_gts.shape() == p_gts.shape() && dcontent_gts.shape() == p_gts.shape())
      << p_gts.shape() << ", " << dp_gts.shape() << " and " << dcontent_gts.shape();
  const TraceSpan span("RelativeSoftmaxBackward");
  RecordCost(6 * VisiblePairs(n), static_cast<double>(3 * p_gts.bytes() + dposition_gtr.bytes()));
  if (p_gts.is_meta()) return;
  if (p_gts.dtype() == DType::kFloat64) {
    reference::RelativeSoftmaxBackward(n, p_gts.data<double>(), dp_gts.data<double>(),
                                       dcontent_gts.mutable_data<double>(),
                                       dposition_gtr.mutable_data<double>());
    return;
  }
  const float *p = p_gts.data<float>(), *dp = dp_gts.data<float>();
  float *dcontent = dcontent_gts.mutable_data<float>(),
        *dposition = dposition_gtr.mutable_data<float>();
  ParallelForRange(n.matrices * n.queries, RowGrain(n), [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      BackwardRow(n, row % n.queries, p + row * n.keys, dp + row * n.keys, dcontent + row * n.keys,
                  dposition + row * n.distances);
    }
  });
}

}  // namespace longrange::kernels
