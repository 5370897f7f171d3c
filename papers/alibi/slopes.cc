#include "papers/alibi/slopes.h"

#include <glog/logging.h>

#include <cmath>

namespace longrange::alibi {

std::vector<double> Slopes(int64_t heads, double bias_max) {
  CHECK_GE(heads, 1);
  int64_t power = 1;
  while (power <= heads / 2) power *= 2;
  const auto slope = [bias_max](int64_t head, int64_t of) {
    return std::exp2(-bias_max * static_cast<double>(head) / static_cast<double>(of));
  };
  std::vector<double> slopes;
  for (int64_t h = 1; h <= power; ++h) slopes.push_back(slope(h, power));
  for (int64_t h = 1; static_cast<int64_t>(slopes.size()) < heads; h += 2)
    slopes.push_back(slope(h, 2 * power));
  return slopes;
}

}  // namespace longrange::alibi
