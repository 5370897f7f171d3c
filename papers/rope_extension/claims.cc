// Numbers behind claims.textproto. d = 128 channels of a head, base b = 10000.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "papers/claim_figure.h"
#include "papers/rope_extension/frequencies.h"
#include "plugins/attention/rope.h"

namespace longrange::rope_extension {
namespace {

constexpr int64_t kDims = 128;
constexpr double kBase = 10000;

// How far alpha = 8 is from dividing the slowest pair's frequency by 8 and leaving the fastest:
// the larger relative error.
double NtkEndPairsError() {
  const std::vector<double> theta = RopeFrequencies(kDims, kBase),
                            f = NtkFrequencies(kBase, kDims, 8);
  return std::max(std::abs(f.front() / theta.front() - 1),
                  std::abs(f.back() / (theta.back() / 8) - 1));
}

// The largest angle at L' = 8 L over the largest one at L = 4096, under alpha = 8, of the pairs
// that make no full turn in L: above 1 they turn to angles that were never trained.
double NtkUntrainedAngle() {
  constexpr double kTrained = 4096, kFactor = 8;
  const std::vector<double> theta = RopeFrequencies(kDims, kBase),
                            f = NtkFrequencies(kBase, kDims, kFactor);
  double worst = 0;
  for (size_t j = 0; j < theta.size(); ++j)
    if (kTrained * theta[j] < 2 * M_PI) worst = std::max(worst, kFactor * f[j] / theta[j]);
  return worst;
}

LR_REGISTER_CLAIM_FIGURE("rope_extension", NtkEndPairsError);
LR_REGISTER_CLAIM_FIGURE("rope_extension", NtkUntrainedAngle);

}  // namespace
}  // namespace longrange::rope_extension
