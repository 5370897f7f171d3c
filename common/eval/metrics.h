// Numbers from measurements: means, differences and perplexities, each with its standard error.
// Free functions.
//
// The unit of independence is the window (or the seed): standard errors are over windows, never
// over tokens.

#ifndef LONGRANGE_COMMON_EVAL_METRICS_H_
#define LONGRANGE_COMMON_EVAL_METRICS_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"

namespace longrange::eval {

struct Estimate {
  double value = 0;
  double standard_error = 0;  // NaN where n < 2
  int64_t n = 0;              // independent observations behind it
};

// The mean and s / sqrt(n), s with n - 1 degrees of freedom. No observations: NaN.
Estimate Mean(absl::Span<const double> x);
// The mean of a[i] - b[i]; both of one size.
Estimate PairedDifference(absl::Span<const double> a, absl::Span<const double> b);

// The two-sided 95 % point of Student's t: P(|t| <= result) = 0.95. Degrees of freedom >= 1; below
// that NaN.
double StudentT95(int64_t degrees_of_freedom);
// The interval is value +- this; NaN where n < 2.
double HalfWidth95(const Estimate& estimate);

// Negative log-likelihood in nats of the counted tokens of one window.
struct WindowNll {
  double sum = 0;
  int64_t tokens = 0;
};

// Adds up rows [begin, end) of each window of `length` rows: `nll_wt` as scored, `target_wt` the
// targets, where -1 (and anything below 0) is not counted; W windows one after the other.
std::vector<WindowNll> SumWindows(absl::Span<const double> nll_wt,
                                  absl::Span<const int32_t> target_wt, int64_t length,
                                  int64_t begin, int64_t end);

// exp(sum of nll / number of tokens) over all windows. Standard error over windows by the delta
// method: with m the mean and r_w = sum_w - m tokens_w, se(m)^2 = W / (W - 1) sum_w r_w^2 / (sum_w
// tokens_w)^2 (the ratio estimator; for windows of equal size the s / sqrt(W) of their means), and
// se(exp m) = exp(m) se(m). Windows without a token do not count. No token: NaN.
Estimate Perplexity(absl::Span<const WindowNll> windows);

// Perplexity(a) / Perplexity(b), paired: a[w] and b[w] are of the same text. Delta method on the
// difference of the means. Both have tokens in the same windows.
Estimate PerplexityRatio(absl::Span<const WindowNll> a, absl::Span<const WindowNll> b);

// Rows [begin, end) of a window.
struct PositionPerplexity {
  int64_t begin = 0, end = 0;
  Estimate perplexity;
};

// Perplexity of each `bucket` rows of the windows; the last bucket may be shorter.
std::vector<PositionPerplexity> PerplexityByPosition(absl::Span<const double> nll_wt,
                                                     absl::Span<const int32_t> target_wt,
                                                     int64_t length, int64_t bucket);

}  // namespace longrange::eval

#endif  // LONGRANGE_COMMON_EVAL_METRICS_H_
