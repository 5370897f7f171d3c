// The claim that needs no more than seconds: what is read in the first segment reaches the fourth
// through a memory that gradients cross, and in no other way.

#include <gtest/gtest.h>

#include <iostream>

#include "common/testing/matchers.h"
#include "papers/claim_figure.h"

namespace longrange {
namespace {

double Figure(const char* name) {
  const auto figure = MeasureClaimFigure("recurrent_memory_transformer", name);
  CHECK(figure.ok()) << figure.status();
  return *figure;
}

TEST(Carry, NeedsAMemoryThatGradientsCross) {
  const double memory = Figure("CarriedByMemory"), detached = Figure("CarriedByDetachedMemory"),
               none = Figure("CarriedWithoutMemory");
  std::cout << "right: " << memory << " with memory, " << detached << " detached, " << none
            << " without\n";
  EXPECT_GE(memory, 0.95);
  EXPECT_LE(detached, 0.3);
  EXPECT_LE(none, 0.2);
}

TEST(Carry, WorkGrowsWithTheRows) { EXPECT_NEAR(Figure("FlopsGrowth"), 2, 0.01); }

}  // namespace
}  // namespace longrange
