#include "kernels/fft/ring_transform.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <mutex>
#include <utility>

namespace longrange::kernels {
namespace fft {
namespace {

constexpr int kSmallestLog = 4;

template <typename T>
void SetRoot(double turns, T (&pair)[2]) {
  const double angle = 2 * 3.14159265358979323846 * turns;
  pair[0] = static_cast<T>(std::cos(angle));
  pair[1] = static_cast<T>(std::sin(angle));
}

// Trees of 2^log rows whose roots are at `roots` (turns), which become those of the leaves.
template <typename T>
Trees<T> MakeTrees(int log, std::vector<double>* roots) {
  Trees<T> trees;
  trees.size = int64_t{1} << log;
  for (int left = log; left > 0; left -= trees.levels.back()) {
    trees.levels.push_back(left == 4 ? 2 : std::min(left, 3));  // 2 and 2, not 3 and 1
  }
  for (const int levels : trees.levels) {
    std::vector<Twiddle<T>> nodes;
    for (const double phi : *roots) {
      Twiddle<T> w;
      SetRoot(phi / 2, w.level1);
      SetRoot(phi / 4, w.level2);
      SetRoot(phi / 8, w.level3);
      SetRoot((phi + 1) / 8, w.level3_third);
      nodes.push_back(w);
    }
    trees.nodes.push_back(std::move(nodes));
    for (int i = 0; i < levels; ++i) {
      std::vector<double> children;
      for (const double phi : *roots) {
        children.push_back(phi / 2);
        children.push_back(phi / 2 + 0.5);
      }
      *roots = std::move(children);
    }
  }
  return trees;
}

}  // namespace

int64_t GoodSize(int64_t n) {
  int64_t best = 0;
  for (const int64_t factor : {1, 3, 5}) {
    int64_t size = factor << kSmallestLog;
    while (size < n) size *= 2;
    if (best == 0 || size < best) best = size;
  }
  return best;
}

template <typename T>
RingPlan<T>::RingPlan(int64_t size, bool root_is_i) {
  CHECK_EQ(size, GoodSize(size));
  int log = 0;
  while (size % 2 == 0) {
    size /= 2;
    ++log;
  }
  factor_ = size;
  // Blocks of up to 256 rows, which the first-level cache holds.
  const int block_log = std::min((log + 1) / 2, 8);
  block_ = int64_t{1} << block_log;
  columns_ = int64_t{1} << (log - block_log);
  std::vector<double> roots;
  for (int64_t m = 0; m < factor_; ++m) {
    const double turns = ((root_is_i ? 0.25 : 0) + static_cast<double>(m)) / factor_;
    roots.push_back(turns);
    for (int64_t j = 0; j < factor_; ++j) {
      T power[2];
      SetRoot(turns * static_cast<double>(j), power);
      powers_.insert(powers_.end(), power, power + 2);
    }
  }
  column_trees_ = MakeTrees<T>(log - block_log, &roots);
  block_trees_ = MakeTrees<T>(block_log, &roots);
  turns_ = roots;
}

template <typename T>
const RingPlan<T>& RingPlan<T>::Of(int64_t size, bool root_is_i) {
  static std::mutex mutex;
  static auto& plans = *new std::map<std::pair<int64_t, bool>, std::unique_ptr<RingPlan>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<RingPlan>& plan = plans[{size, root_is_i}];
  if (plan == nullptr) plan.reset(new RingPlan(size, root_is_i));
  return *plan;
}

template class RingPlan<float>;
template class RingPlan<double>;

}  // namespace fft
}  // namespace longrange::kernels
