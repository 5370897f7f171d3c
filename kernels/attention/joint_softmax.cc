#include "kernels/attention/joint_softmax.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"

namespace longrange::kernels {
namespace {

template <typename T>
AttentionOutputs Join(const std::vector<AttentionOutputs>& parts) {
  const Tensor& like = parts[0].out_bthe;
  const int64_t queries = like.dim(1), heads = like.dim(2), width = like.dim(3);
  AttentionOutputs joint{Tensor::EmptyLike(like), Tensor::EmptyLike(parts[0].lse_bht)};
  ParallelFor(like.dim(0) * queries, [&](int64_t row) {
    const int64_t b = row / queries, t = row % queries;
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t at_lse = (b * heads + h) * queries + t, at_out = (row * heads + h) * width;
      T max = -std::numeric_limits<T>::infinity(), sum = 0;
      for (const AttentionOutputs& part : parts)
        max = std::max(max, part.lse_bht.data<T>()[at_lse]);
      T* out = joint.out_bthe.mutable_data<T>() + at_out;
      std::fill(out, out + width, T{0});
      T* lse = joint.lse_bht.mutable_data<T>() + at_lse;
      *lse = max;
      if (max == -std::numeric_limits<T>::infinity()) continue;  // sees no key
      for (const AttentionOutputs& part : parts)
        sum += std::exp(part.lse_bht.data<T>()[at_lse] - max);
      *lse = max + std::log(sum);
      for (const AttentionOutputs& part : parts) {
        const T weight = std::exp(part.lse_bht.data<T>()[at_lse] - max) / sum;
        if (weight == 0) continue;
        const T* from = part.out_bthe.data<T>() + at_out;
        for (int64_t e = 0; e < width; ++e) out[e] += weight * from[e];
      }
    }
  });
  return joint;
}

}  // namespace

AttentionOutputs JoinSoftmax(const std::vector<AttentionOutputs>& parts) {
  CHECK(!parts.empty());
  for (const AttentionOutputs& part : parts) {
    CHECK(part.out_bthe.shape() == parts[0].out_bthe.shape() &&
          part.lse_bht.shape() == parts[0].lse_bht.shape())
        << "attention: parts of different shapes";
  }
  const TraceSpan span("JoinSoftmax");
  const double n = static_cast<double>(parts.size());
  const Tensor& out = parts[0].out_bthe;
  RecordCost(2 * n * static_cast<double>(out.numel()),
             (n + 1) * static_cast<double>(out.bytes() + parts[0].lse_bht.bytes()));
  if (parts.size() == 1 || out.is_meta()) return parts[0];
  return out.dtype() == DType::kFloat64 ? Join<double>(parts) : Join<float>(parts);
}

}  // namespace longrange::kernels
