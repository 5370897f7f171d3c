// Numbers behind claims.textproto. A score as a function of the distance u is a(u) = Re sum_j h_j
// e^{i u theta_j} over the d/2 pairs of a head (Chen et al. 2023, section 2.3); d = 128, c = 10000.

#include <algorithm>
#include <cmath>
#include <complex>
#include <cstdint>
#include <vector>

#include "common/base/rng.h"
#include "papers/claim_figure.h"
#include "plugins/attention/rope.h"

namespace longrange {
namespace {

constexpr int64_t kDims = 128;
constexpr double kBase = 10000;

// Theorem 2.1: |a(u) - a_linear(u)| <= d max|h| (u - u1)(u2 - u) / (8 ln c) between whole distances
// u1 and u2 = u1 + 1. The largest share of the bound over 192 places and a random h.
double InterpolationErrorOverBound() {
  const std::vector<double> theta = RopeFrequencies(kDims, kBase);
  std::vector<std::complex<double>> h;
  double largest = 0;
  for (int64_t j = 0; j < kDims / 2; ++j) {
    h.emplace_back(Rng(3).Child("re").Normal(j), Rng(3).Child("im").Normal(j));
    largest = std::max(largest, std::abs(h.back()));
  }
  const auto score = [&](double u) {
    std::complex<double> sum = 0;
    for (size_t j = 0; j < theta.size(); ++j) sum += h[j] * std::polar(1.0, u * theta[j]);
    return sum.real();
  };
  double worst = 0;
  for (int64_t u1 = 0; u1 < 64; ++u1) {
    const double at_u1 = score(static_cast<double>(u1)), at_u2 = score(static_cast<double>(u1 + 1));
    for (const double t : {0.25, 0.5, 0.75}) {
      const double error =
          std::abs(score(static_cast<double>(u1) + t) - ((1 - t) * at_u1 + t * at_u2));
      const double bound = kDims * largest * t * (1 - t) / (8 * std::log(kBase));
      worst = std::max(worst, error / bound);
    }
  }
  return worst;
}

// Beyond the trained range |a(u)| <= 2 max|h| B(u), B(u) = sum_k |A_{k+1}(u)|, A_k(u) = sum of
// e^{i u theta_j} over j < k. The least B(u) / d for whole u to 4096.
double LeastExtrapolationBoundOverDims() {
  const std::vector<double> theta = RopeFrequencies(kDims, kBase);
  double least = INFINITY;
  for (int64_t u = 0; u <= 4096; ++u) {
    std::complex<double> partial = 0;
    double sum = 0;
    for (const double f : theta) {
      partial += std::polar(1.0, static_cast<double>(u) * f);
      sum += std::abs(partial);
    }
    least = std::min(least, sum / kDims);
  }
  return least;
}

LR_REGISTER_CLAIM_FIGURE("position_interpolation", InterpolationErrorOverBound);
LR_REGISTER_CLAIM_FIGURE("position_interpolation", LeastExtrapolationBoundOverDims);

}  // namespace
}  // namespace longrange
