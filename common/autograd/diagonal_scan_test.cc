#include "common/autograd/diagonal_scan.h"

#include <gtest/gtest.h>

#include "common/autograd/gradcheck.h"
#include "common/autograd/ops.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

using Tensors = std::vector<Tensor>;

Tensor Random(const Shape& shape, const char* name, double scale = 1) {
  return RandomNormal(shape, Rng(5).Child(name), scale, DType::kFloat64);
}

TEST(DiagonalScan, Gradient) {
  for (const bool reverse : {false, true}) {
    for (const bool per_step : {false, true}) {
      const Shape rows = {2, 4, 3, 2};
      const Tensor a = Random(per_step ? rows : Shape{3, 2}, "a", 0.5), u = Random(rows, "u"),
                   initial = Random({2, 3, 2}, "initial");
      const auto both = [&](const Tensors& x) {
        const DiagonalScanResult made = DiagonalScan(x[0], x[1], x[2], reverse);
        return Tensors{made.h_btp2, made.final_bp2};
      };
      EXPECT_EQ(GradCheck(both, {a, u, initial}), "");
      const auto rows_alone = [&](const Tensors& x) {
        return Tensors{DiagonalScan(x[0], x[1], Tensor(), reverse).h_btp2};
      };
      EXPECT_EQ(GradCheck(rows_alone, {a, u}), "");
      const auto end_alone = [&](const Tensors& x) {
        return Tensors{DiagonalScan(a, x[0], x[1], reverse).final_bp2};
      };
      EXPECT_EQ(GradCheck(end_alone, {u, initial}), "");
    }
  }
}

// The end of one call is the initial state of the next, and gradients cross the border.
TEST(DiagonalScan, GradientOverACut) {
  const auto in_two = [](const Tensors& x) {
    const DiagonalScanResult first = DiagonalScan(x[0], Narrow(x[1], 1, 0, 3));
    const DiagonalScanResult second = DiagonalScan(x[0], Narrow(x[1], 1, 3, 2), first.final_bp2);
    return Tensors{Concat({first.h_btp2, second.h_btp2}, 1)};
  };
  EXPECT_EQ(GradCheck(in_two, {Random({3, 2}, "a", 0.5), Random({2, 5, 3, 2}, "u")}), "");
}

}  // namespace
}  // namespace longrange
