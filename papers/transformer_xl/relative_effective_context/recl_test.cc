#include "papers/transformer_xl/relative_effective_context/recl.h"

#include <gtest/gtest.h>

#include <cmath>

namespace longrange {
namespace {

// A model whose loss falls by `slope` with each step up to `reach` steps, at `positions` positions.
std::vector<std::vector<double>> Falling(double start, double slope, size_t reach,
                                         size_t positions = 4) {
  std::vector<std::vector<double>> losses;
  for (size_t k = 0; k < 8; ++k) {
    losses.emplace_back(positions, start - slope * static_cast<double>(std::min(k + 1, reach)));
  }
  return losses;
}

TEST(ReclTest, EndsWhereAModelStopsGaining) {
  const GroupLosses losses = {Falling(3, 0.1, 3), Falling(3, 0.1, 6), Falling(3, 0.1, 20)};
  EXPECT_EQ(ReclOf(losses, 0, 1, 0.01).steps, 3u);
  EXPECT_EQ(ReclOf(losses, 1, 1, 0.01).steps, 6u);
  EXPECT_FALSE(ReclOf(losses, 1, 1, 0.01).open);
  EXPECT_EQ(ReclOf(losses, 2, 1, 0.01).steps, 8u);
  EXPECT_TRUE(ReclOf(losses, 2, 1, 0.01).open);
  // A gain of 10 % of the perplexity is below a larger threshold.
  EXPECT_EQ(ReclOf(losses, 2, 1, 0.2).steps, 1u);
}

// Gains count where they go below the best short-context model of the group.
TEST(ReclTest, IsRelativeToTheGroup) {
  const GroupLosses alone = {Falling(4, 0.2, 5)}, together = {Falling(4, 0.2, 5), Falling(1, 0, 1)};
  EXPECT_EQ(ReclOf(alone, 0, 1, 0.01).steps, 5u);
  EXPECT_EQ(ReclOf(together, 0, 1, 0.01).steps, 1u);
}

TEST(ReclTest, GainIsThatOfThePaper) {
  // Two models, two positions: the baseline is the better one at each.
  const GroupLosses losses = {{{2, 5}, {1.5, 4.5}}, {{3, 4}, {3, 1}}};
  const double before = std::exp((2.0 + 4.0) / 2);
  EXPECT_NEAR(GainOf(losses, 0, 0, 1).perplexity, before - std::exp((1.5 + 4.0) / 2), 1e-12);
  EXPECT_NEAR(GainOf(losses, 1, 0, 1).perplexity, before - std::exp((2.0 + 1.0) / 2), 1e-12);
  EXPECT_NEAR(GainOf(losses, 1, 0, 1).relative, 1 - std::exp(1.5 - 3), 1e-12);
  // The harder half is the second position.
  EXPECT_NEAR(GainOf(losses, 0, 0, 0.5).relative, 0, 1e-12);
  EXPECT_NEAR(GainOf(losses, 1, 0, 0.5).perplexity, std::exp(4.0) - std::exp(1.0), 1e-12);
  // One position at least.
  EXPECT_NEAR(GainOf(losses, 1, 0, 0.01).perplexity, std::exp(4.0) - std::exp(1.0), 1e-12);
}

TEST(ReclTest, NanEndsTheSearch) {
  GroupLosses losses = {Falling(3, 0.1, 8)};
  losses[0][3][0] = NAN;
  EXPECT_LE(ReclOf(losses, 0, 1, 0.01).steps, 4u);
}

}  // namespace
}  // namespace longrange
