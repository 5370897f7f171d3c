#include "common/autograd/dplr_kernel.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

using Tensors = std::vector<Tensor>;

TEST(DplrKernel, Gradients) {
  const auto random = [](const Shape& shape, const char* name) {
    return RandomNormal(shape, Rng(1).Child(name), 1, DType::kFloat64);
  };
  const Tensor lambda = RandomUniform({2, 3, 2}, Rng(2), -2, -0.4, DType::kFloat64);
  const Tensor dt = RandomUniform({2}, Rng(3), 0.1, 0.5, DType::kFloat64);
  const Tensor b = random({1, 2, 3, 2}, "b"), c = random({2, 2, 3, 2}, "c");
  for (const int64_t rank : {1, 2}) {
    for (const int64_t length : {6, 7}) {
      EXPECT_EQ(GradCheck(
                    [length](const Tensors& in) {
                      return Tensors{DplrKernel(in[0], in[1], in[2], in[3], in[4], length)};
                    },
                    {lambda, random({rank, 2, 3, 2}, "p"), b, c, dt}),
                "");
    }
  }
}

}  // namespace
}  // namespace longrange
