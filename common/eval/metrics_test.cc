#include "common/eval/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace longrange::eval {
namespace {

TEST(MeanTest, ByHand) {
  const Estimate e = Mean({1, 2, 3, 6});  // deviations -2, -1, 0, 3: s^2 = 14 / 3
  EXPECT_DOUBLE_EQ(e.value, 3);
  EXPECT_DOUBLE_EQ(e.standard_error, std::sqrt(14.0 / 3 / 4));
  EXPECT_EQ(e.n, 4);
}

TEST(MeanTest, FewObservations) {
  EXPECT_TRUE(std::isnan(Mean({}).value));
  EXPECT_DOUBLE_EQ(Mean({5}).value, 5);
  EXPECT_TRUE(std::isnan(Mean({5}).standard_error));
  EXPECT_TRUE(std::isnan(Mean({1, NAN}).value));
}

TEST(PairedDifferenceTest, TakesOutWhatPairsShare) {
  // Levels differ by hundreds, pairs by 1, 2 and 3.
  const Estimate e = PairedDifference({101, 502, 903}, {100, 500, 900});
  EXPECT_DOUBLE_EQ(e.value, 2);
  EXPECT_DOUBLE_EQ(e.standard_error, 1 / std::sqrt(3.0));
  EXPECT_EQ(e.n, 3);
}

// P(|T| <= t) for n degrees of freedom by Simpson's rule.
double Coverage(double t, double n) {
  const double log_scale = std::lgamma((n + 1) / 2) - std::lgamma(n / 2) - 0.5 * std::log(n * M_PI);
  const auto density = [&](double x) {
    return std::exp(log_scale - (n + 1) / 2 * std::log1p(x * x / n));
  };
  constexpr int kSteps = 20000;
  const double h = t / kSteps;
  double sum = density(0) + density(t);
  for (int i = 1; i < kSteps; ++i) sum += (i % 2 == 1 ? 4 : 2) * density(i * h);
  return 2 * sum * h / 3;
}

TEST(StudentT95Test, CoversNinetyFivePercent) {
  EXPECT_NEAR(Coverage(1, 1), 0.5, 1e-12);  // the Cauchy distribution's quartile
  for (int64_t n = 1; n <= 60; ++n)
    EXPECT_NEAR(Coverage(StudentT95(n), static_cast<double>(n)), 0.95, 1e-7) << n;
  for (const int64_t n : {100, 1000, 100000})
    EXPECT_NEAR(Coverage(StudentT95(n), static_cast<double>(n)), 0.95, 1e-7) << n;
  EXPECT_TRUE(std::isnan(StudentT95(0)));
}

TEST(HalfWidth95Test, ThreeSeeds) {
  EXPECT_NEAR(HalfWidth95(Mean({1, 2, 3})), 4.302652730 / std::sqrt(3.0), 1e-9);
  EXPECT_TRUE(std::isnan(HalfWidth95(Mean({1}))));
}

TEST(SumWindowsTest, CountsWhatHasATarget) {
  const std::vector<double> nll = {1, 2, 4, 8, 16, 32};
  const std::vector<int32_t> target = {5, -1, 0, 7, 7, -1};
  const std::vector<WindowNll> all = SumWindows(nll, target, 3, 0, 3);
  ASSERT_EQ(all.size(), 2);
  EXPECT_DOUBLE_EQ(all[0].sum, 5);
  EXPECT_EQ(all[0].tokens, 2);
  EXPECT_DOUBLE_EQ(all[1].sum, 24);
  EXPECT_EQ(all[1].tokens, 2);
  const std::vector<WindowNll> middle = SumWindows(nll, target, 3, 1, 2);
  EXPECT_EQ(middle[0].tokens, 0);
  EXPECT_DOUBLE_EQ(middle[1].sum, 16);
  // What is not counted may be anything.
  EXPECT_DOUBLE_EQ(SumWindows({NAN, 1}, {-1, 3}, 2, 0, 2)[0].sum, 1);
}

TEST(PerplexityTest, EqualWindowsAreTheMeanOfTheirMeans) {
  // Means 1, 2, 3 nats of ten tokens each: m = 2, s = 1.
  const Estimate e = Perplexity({{10, 10}, {20, 10}, {30, 10}});
  EXPECT_DOUBLE_EQ(e.value, std::exp(2.0));
  EXPECT_NEAR(e.standard_error, std::exp(2.0) / std::sqrt(3.0), 1e-12);
  EXPECT_EQ(e.n, 3);
}

TEST(PerplexityTest, UnequalWindowsWeighByTokens) {
  // 10 + 2 nats over 10 + 1 tokens: m = 12 / 11, residuals -+10 / 11, se(m) = sqrt(2 * 2) * 10 / 11
  // / 11.
  const Estimate e = Perplexity({{10, 10}, {2, 1}});
  EXPECT_DOUBLE_EQ(e.value, std::exp(12.0 / 11));
  EXPECT_NEAR(e.standard_error, std::exp(12.0 / 11) * 20 / 121, 1e-12);
}

TEST(PerplexityTest, FewWindows) {
  EXPECT_TRUE(std::isnan(Perplexity({}).value));
  EXPECT_TRUE(std::isnan(Perplexity({{0, 0}}).value));
  EXPECT_DOUBLE_EQ(Perplexity({{3, 3}}).value, std::exp(1.0));
  EXPECT_TRUE(std::isnan(Perplexity({{3, 3}}).standard_error));
  const Estimate e = Perplexity({{1, 1}, {0, 0}, {3, 1}});  // the empty window is none
  EXPECT_EQ(e.n, 2);
  EXPECT_NEAR(e.standard_error, std::exp(2.0), 1e-12);
}

TEST(PerplexityTest, DeltaMethodMatchesTheJackknife) {
  std::vector<WindowNll> windows;
  for (int w = 0; w < 200; ++w) {
    const int64_t tokens = 50 + w % 7;
    windows.push_back({static_cast<double>(tokens) * (1.4 + 0.1 * std::sin(3.0 * w)), tokens});
  }
  std::vector<double> left_out;
  for (size_t w = 0; w < windows.size(); ++w) {
    std::vector<WindowNll> others = windows;
    others.erase(others.begin() + static_cast<int64_t>(w));
    left_out.push_back(Perplexity(others).value);
  }
  const Estimate e = Perplexity(windows);
  const double n = static_cast<double>(windows.size());
  EXPECT_NEAR(e.standard_error, (n - 1) * Mean(left_out).standard_error, 0.02 * e.standard_error);
}

TEST(PerplexityRatioTest, IsPaired) {
  // Means differ by 0.5 in every window, whatever their level.
  const Estimate same = PerplexityRatio({{15, 10}, {35, 10}}, {{10, 10}, {30, 10}});
  EXPECT_DOUBLE_EQ(same.value, std::exp(0.5));
  EXPECT_NEAR(same.standard_error, 0, 1e-12);
  // Differences 0.4 and 0.6: se = 0.1.
  const Estimate e = PerplexityRatio({{14, 10}, {36, 10}}, {{10, 10}, {30, 10}});
  EXPECT_DOUBLE_EQ(e.value, std::exp(0.5));
  EXPECT_NEAR(e.standard_error, std::exp(0.5) * 0.1, 1e-12);
  EXPECT_EQ(e.n, 2);
  // Lengths differ, places are the same.
  EXPECT_NEAR(PerplexityRatio({{28, 20}, {72, 20}}, {{10, 10}, {30, 10}}).standard_error,
              std::exp(0.5) * 0.1, 1e-12);
}

TEST(PerplexityByPositionTest, Buckets) {
  const std::vector<double> nll = {1, 1, 2, 2, 3, 1, 3, 2, 4, 3};
  const std::vector<int32_t> target(10, 0);
  const std::vector<PositionPerplexity> buckets = PerplexityByPosition(nll, target, 5, 2);
  ASSERT_EQ(buckets.size(), 3);
  EXPECT_DOUBLE_EQ(buckets[0].perplexity.value, std::exp(1.5));  // 1 1 | 1 3
  EXPECT_DOUBLE_EQ(buckets[1].perplexity.value, std::exp(2.5));  // 2 2 | 2 4
  EXPECT_DOUBLE_EQ(buckets[2].perplexity.value, std::exp(3.0));  // 3 | 3
  EXPECT_EQ(buckets[2].begin, 4);
  EXPECT_EQ(buckets[2].end, 5);
  EXPECT_NEAR(buckets[0].perplexity.standard_error, std::exp(1.5) * 0.5, 1e-12);
  EXPECT_NEAR(buckets[2].perplexity.standard_error, 0, 1e-12);
}

}  // namespace
}  // namespace longrange::eval
