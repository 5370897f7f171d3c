#include "common/autograd/window_attention.h"

#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/testing/shapes.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

std::vector<Tensor> Inputs() {
  const auto normal = [](const Shape& shape, const char* name) {
    return RandomNormal(shape, Rng(5).Child(name), 1, DType::kFloat64);
  };
  return {normal({2, 5, 2, 3}, "q"), normal({2, 7, 2, 3}, "k"), normal({2, 7, 2, 2}, "v")};
}

Tensor Attended(const std::vector<Tensor>& inputs,
                const std::vector<std::vector<int64_t>>& global_b) {
  kernels::WindowAttentionInputs in;
  in.q_bthd = inputs[0];
  in.k_bshd = inputs[1];
  in.v_bshe = inputs[2];
  in.back = in.ahead = 1;
  in.dilation_h = {1, 2};
  in.global_b = global_b;
  return WindowAttention(in);
}

TEST(WindowAttentionOp, Gradients) {
  for (const auto& global_b : std::vector<std::vector<std::vector<int64_t>>>{{}, {{0}, {2, 6}}}) {
    EXPECT_EQ(GradCheck(
                  [&](const std::vector<Tensor>& inputs) {
                    return std::vector<Tensor>{Attended(inputs, global_b)};
                  },
                  Inputs()),
              "");
  }
}

TEST(WindowAttentionOp, RecordsNothingWithoutNeed) {
  EXPECT_FALSE(NeedsGradient(Attended(Inputs(), {})));
}

}  // namespace
}  // namespace longrange
