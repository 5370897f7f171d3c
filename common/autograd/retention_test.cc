#include "common/autograd/retention.h"

#include <cmath>
#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

Tensor Normal(const Shape& shape, const char* name) {
  return RandomNormal(shape, Rng(5).Child(name), 1, DType::kFloat64);
}

std::vector<Tensor> Inputs(bool with_state) {
  std::vector<Tensor> inputs = {Normal({2, 5, 2, 3}, "q"), Normal({2, 5, 2, 3}, "k"),
                                Normal({2, 5, 2, 4}, "v")};
  if (with_state) inputs.push_back(Normal({2, 2, 3, 4}, "state"));
  return inputs;
}

RetentionResult RetentionOf(const std::vector<Tensor>& inputs, int64_t chunk) {
  kernels::RetentionInputs in;
  in.q_bthd = inputs[0];
  in.k_bthd = inputs[1];
  in.v_bthe = inputs[2];
  if (inputs.size() > 3) in.state_bhde = inputs[3];
  in.log_decay_h = {std::log(0.9), std::log(0.5)};
  in.chunk = chunk;
  return Retention(in);
}

TEST(RetentionOp, Gradients) {
  for (const bool with_state : {false, true}) {
    for (const int64_t chunk : {0, 1, 2, 5}) {
      EXPECT_EQ(GradCheck(
                    [&](const std::vector<Tensor>& inputs) {
                      const RetentionResult y = RetentionOf(inputs, chunk);
                      return std::vector<Tensor>{y.out_bthe, y.state_bhde};
                    },
                    Inputs(with_state)),
                "");
    }
  }
}

// Either result alone: the other's cotangent is undefined.
TEST(RetentionOp, GradientsOfOneResult) {
  for (const bool state_alone : {false, true}) {
    EXPECT_EQ(GradCheck(
                  [&](const std::vector<Tensor>& inputs) {
                    const RetentionResult y = RetentionOf(inputs, 2);
                    return std::vector<Tensor>{state_alone ? y.state_bhde : y.out_bthe};
                  },
                  Inputs(true)),
              "");
  }
}

TEST(RetentionOp, RecordsNothingWithoutNeed) {
  EXPECT_FALSE(NeedsGradient(RetentionOf(Inputs(true), 2).out_bthe));
}

}  // namespace
}  // namespace longrange
