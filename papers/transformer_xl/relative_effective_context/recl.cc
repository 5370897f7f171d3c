#include "papers/transformer_xl/relative_effective_context/recl.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace longrange {

Gain GainOf(const GroupLosses& losses, size_t model, size_t k, double share) {
  CHECK_LT(model, losses.size());
  CHECK_LT(k + 1, losses[model].size());
  const size_t positions = losses[model][k].size();
  std::vector<double> best(positions);
  for (size_t t = 0; t < positions; ++t) {
    best[t] = losses[0][k][t];
    for (const auto& other : losses) best[t] = std::min(best[t], other[k][t]);
  }
  std::vector<size_t> order(positions);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return best[a] > best[b]; });
  const auto count = std::max<size_t>(
      1, static_cast<size_t>(std::llround(share * static_cast<double>(positions))));
  double before = 0, after = 0;
  for (size_t i = 0; i < std::min(count, positions); ++i) {
    const size_t t = order[i];
    before += best[t] / static_cast<double>(count);
    after += std::min(best[t], losses[model][k + 1][t]) / static_cast<double>(count);
  }
  Gain gain;
  gain.perplexity = std::exp(before) - std::exp(after);
  gain.relative = 1 - std::exp(after - before);
  return gain;
}

Recl ReclOf(const GroupLosses& losses, size_t model, double share, double threshold) {
  const size_t contexts = losses[model].size();
  for (size_t k = 0; k + 1 < contexts; ++k) {
    if (!(GainOf(losses, model, k, share).relative >= threshold)) return {k + 1, false};
  }
  return {contexts, true};
}

}  // namespace longrange
