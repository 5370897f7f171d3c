#include "common/autograd/depthwise_convolution.h"

#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/tape.h"
#include "common/testing/shapes.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

std::vector<Tensor> Inputs(int64_t rows) {
  const auto normal = [](const Shape& shape, int seed) {
    return RandomNormal(shape, Rng(seed), 1, DType::kFloat64);
  };
  return {normal({2, rows, 3}, 1), normal({3, 4}, 2), normal({3}, 3), normal({2, 3, 3}, 4)};
}

TEST(DepthwiseConvolutionOp, Gradients) {
  for (const int64_t rows : {1, 2, 6}) {
    for (const bool silu : {false, true}) {
      const auto run = [&](const std::vector<Tensor>& in) {
        const auto r = DepthwiseConvolution({in[0], in[1], in[2], in[3], silu});
        return std::vector<Tensor>{r.y_btd, r.tail_bkd};
      };
      EXPECT_EQ(GradCheck(run, Inputs(rows)), "") << rows;
    }
  }
}

// From the tail handed on alone, and without bias and tail.
TEST(DepthwiseConvolutionOp, GradientsOfOneResult) {
  const std::vector<Tensor> all = Inputs(5);
  const auto last = [](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{DepthwiseConvolution({in[0], in[1]}).tail_bkd};
  };
  EXPECT_EQ(GradCheck(last, {all[0], all[1]}), "");
}

}  // namespace
}  // namespace longrange
