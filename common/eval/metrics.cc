#include "common/eval/metrics.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace longrange::eval {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

struct LogPerplexity {
  double mean = kNaN;  // nats a token
  int64_t windows = 0;
  std::vector<double> influence_w;  // (sum_w - mean tokens_w) / all tokens; they add up to 0
};

LogPerplexity Log(absl::Span<const WindowNll> windows) {
  LogPerplexity log;
  double sum = 0;
  int64_t tokens = 0;
  for (const WindowNll& w : windows) {
    sum += w.sum;
    tokens += w.tokens;
    log.windows += w.tokens > 0 ? 1 : 0;
  }
  if (tokens == 0) return log;
  const double all = static_cast<double>(tokens);
  log.mean = sum / all;
  for (const WindowNll& w : windows)
    log.influence_w.push_back((w.sum - log.mean * static_cast<double>(w.tokens)) / all);
  return log;
}

// exp of an estimated mean whose windows have these influences.
Estimate Exponential(double mean, absl::Span<const double> influence_w, int64_t windows) {
  Estimate estimate = {std::exp(mean), kNaN, windows};
  if (windows < 2) return estimate;
  double squares = 0;
  for (const double r : influence_w) squares += r * r;
  const double n = static_cast<double>(windows);
  estimate.standard_error = estimate.value * std::sqrt(n / (n - 1) * squares);
  return estimate;
}

}  // namespace

Estimate Mean(absl::Span<const double> x) {
  const double n = static_cast<double>(x.size());
  Estimate estimate = {kNaN, kNaN, static_cast<int64_t>(x.size())};
  if (x.empty()) return estimate;
  double sum = 0;
  for (const double v : x) sum += v;
  estimate.value = sum / n;
  if (x.size() < 2) return estimate;
  double squares = 0;
  for (const double v : x) squares += (v - estimate.value) * (v - estimate.value);
  estimate.standard_error = std::sqrt(squares / (n - 1) / n);
  return estimate;
}

Estimate PairedDifference(absl::Span<const double> a, absl::Span<const double> b) {
  CHECK_EQ(a.size(), b.size()) << "pairs";
  std::vector<double> difference(a.size());
  for (size_t i = 0; i < a.size(); ++i) difference[i] = a[i] - b[i];
  return Mean(difference);
}

double StudentT95(int64_t degrees_of_freedom) {
  // t(0.975) for 1 .. 30 degrees of freedom.
  static constexpr double kTable[] = {
      12.706204736, 4.302652730, 3.182446305, 2.776445105, 2.570581836, 2.446911851,
      2.364624252,  2.306004135, 2.262157163, 2.228138852, 2.200985160, 2.178812830,
      2.160368656,  2.144786688, 2.131449546, 2.119905299, 2.109815578, 2.100922040,
      2.093024054,  2.085963447, 2.079613845, 2.073873068, 2.068657610, 2.063898562,
      2.059538553,  2.055529439, 2.051830516, 2.048407142, 2.045229642, 2.042272456};
  constexpr int64_t kTableSize = sizeof(kTable) / sizeof(kTable[0]);
  if (degrees_of_freedom < 1) return kNaN;
  if (degrees_of_freedom <= kTableSize) return kTable[degrees_of_freedom - 1];
  // Expansion around the normal's point (Abramowitz and Stegun 26.7.5); from 31 on off by less than
  // 1e-6.
  constexpr double z = 1.959963985, z2 = z * z;
  const double v = static_cast<double>(degrees_of_freedom);
  return z * (1 + (z2 + 1) / (4 * v) + ((5 * z2 + 16) * z2 + 3) / (96 * v * v) +
              (((3 * z2 + 19) * z2 + 17) * z2 - 15) / (384 * v * v * v) +
              ((((79 * z2 + 776) * z2 + 1482) * z2 - 1920) * z2 - 945) / (92160 * v * v * v * v));
}

double HalfWidth95(const Estimate& estimate) {
  return StudentT95(estimate.n - 1) * estimate.standard_error;
}

std::vector<WindowNll> SumWindows(absl::Span<const double> nll_wt,
                                  absl::Span<const int32_t> target_wt, int64_t length,
                                  int64_t begin, int64_t end) {
  CHECK_EQ(nll_wt.size(), target_wt.size());
  CHECK_GT(length, 0);
  CHECK_EQ(static_cast<int64_t>(nll_wt.size()) % length, 0) << "windows of " << length << " rows";
  CHECK(0 <= begin && begin <= end && end <= length)
      << "rows [" << begin << ", " << end << ") of " << length;
  std::vector<WindowNll> windows(nll_wt.size() / static_cast<size_t>(length));
  for (size_t w = 0; w < windows.size(); ++w) {
    for (int64_t t = begin; t < end; ++t) {
      const size_t at = w * static_cast<size_t>(length) + static_cast<size_t>(t);
      if (target_wt[at] < 0) continue;
      windows[w].sum += nll_wt[at];
      ++windows[w].tokens;
    }
  }
  return windows;
}

Estimate Perplexity(absl::Span<const WindowNll> windows) {
  const LogPerplexity log = Log(windows);
  return Exponential(log.mean, log.influence_w, log.windows);
}

Estimate PerplexityRatio(absl::Span<const WindowNll> a, absl::Span<const WindowNll> b) {
  CHECK_EQ(a.size(), b.size()) << "paired windows";
  for (size_t w = 0; w < a.size(); ++w)
    CHECK_EQ(a[w].tokens > 0, b[w].tokens > 0) << "window " << w;
  const LogPerplexity log_a = Log(a), log_b = Log(b);
  std::vector<double> influence_w(log_a.influence_w.size());
  for (size_t w = 0; w < influence_w.size(); ++w)
    influence_w[w] = log_a.influence_w[w] - log_b.influence_w[w];
  return Exponential(log_a.mean - log_b.mean, influence_w, log_a.windows);
}

std::vector<PositionPerplexity> PerplexityByPosition(absl::Span<const double> nll_wt,
                                                     absl::Span<const int32_t> target_wt,
                                                     int64_t length, int64_t bucket) {
  CHECK_GT(bucket, 0);
  std::vector<PositionPerplexity> buckets;
  for (int64_t begin = 0; begin < length; begin += bucket) {
    const int64_t end = std::min(length, begin + bucket);
    buckets.push_back({begin, end, Perplexity(SumWindows(nll_wt, target_wt, length, begin, end))});
  }
  return buckets;
}

}  // namespace longrange::eval
