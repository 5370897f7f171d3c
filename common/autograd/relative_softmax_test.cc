#include "common/autograd/relative_softmax.h"

#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

std::vector<Tensor> Inputs() {
  const auto normal = [](int64_t width, const char* name) {
    return RandomNormal({2, 4, width}, Rng(5).Child(name), 1, DType::kFloat64);
  };
  return {normal(7, "content"), normal(5, "position")};
}

TEST(RelativeSoftmaxOp, Gradients) {
  for (const int64_t window : {0, 3}) {
    EXPECT_EQ(GradCheck(
                  [&](const std::vector<Tensor>& in) {
                    return std::vector<Tensor>{RelativeSoftmax(in[0], in[1], {3, window, 0.5})};
                  },
                  Inputs()),
              "");
  }
}

TEST(RelativeSoftmaxOp, RecordsNothingWithoutNeed) {
  EXPECT_FALSE(NeedsGradient(RelativeSoftmax(Inputs()[0], Inputs()[1], {3, 0, 1})));
}

}  // namespace
}  // namespace longrange
