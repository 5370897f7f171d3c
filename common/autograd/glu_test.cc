#include "common/autograd/glu.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/ops.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

using Tensors = std::vector<Tensor>;

TEST(Glu, ValuesAndGradients) {
  const Tensor gate = RandomNormal({3, 5}, Rng(1), 2, DType::kFloat64),
               value = RandomNormal({3, 5}, Rng(2), 1, DType::kFloat64);
  EXPECT_THAT(Glu(gate, value), RmsClose(Mul(Sigmoid(gate), value), kFloat64Rms));
  EXPECT_EQ(GradCheck([](const Tensors& in) { return Tensors{Glu(in[0], in[1])}; }, {gate, value}),
            "");
}

}  // namespace
}  // namespace longrange
