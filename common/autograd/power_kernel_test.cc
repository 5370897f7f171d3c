#include "common/autograd/power_kernel.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

using Tensors = std::vector<Tensor>;

TEST(PowerKernel, Gradients) {
  const Tensor c = RandomNormal({2, 3, 4, 2}, Rng(1), 1, DType::kFloat64);
  const Tensor log_a = RandomUniform({3, 4, 2}, Rng(2), -0.5, -0.01, DType::kFloat64);
  EXPECT_EQ(GradCheck([](const Tensors& in) { return Tensors{PowerKernel(in[0], in[1], 11)}; },
                      {c, log_a}),
            "");
}

}  // namespace
}  // namespace longrange
