#include "common/autograd/fft_convolution.h"

#include <gtest/gtest.h>

#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/tape.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

using Tensors = std::vector<Tensor>;

Tensor Random(const Shape& shape, const char* name) {
  return RandomNormal(shape, Rng(3).Child(name), 1, DType::kFloat64);
}

TEST(FftConvolution, Gradients) {
  const Tensor x = Random({2, 7, 3}, "x"), filter = Random({9, 3}, "filter"),
               future = Random({4, 3}, "future"), skip = Random({3}, "skip"),
               gate = Random({2, 7, 3}, "gate");
  EXPECT_EQ(GradCheck(
                [](const Tensors& in) {
                  return Tensors{FftConvolution(in[0], in[1], Tensor(), Tensor())};
                },
                {x, filter}),
            "");
  EXPECT_EQ(GradCheck(
                [](const Tensors& in) {
                  return Tensors{FftConvolution(in[0], in[1], in[2], in[3], in[4])};
                },
                {x, filter, future, skip, gate}),
            "");
}

// What is frozen gets no gradient, and the others get the same.
TEST(FftConvolution, OnlyWhatIsWanted) {
  const Tensor x = Leaf(Random({2, 7, 3}, "x")), filter = Leaf(Random({5, 3}, "filter"));
  Backward({FftConvolution(x, filter, Tensor(), Tensor())}, {Random({2, 7, 3}, "dy")});
  const Tensor wanted = Gradient(filter).Clone();
  ClearGradient(filter);
  const Tensor data = x.Detach();
  Backward({FftConvolution(data, filter, Tensor(), Tensor())}, {Random({2, 7, 3}, "dy")});
  EXPECT_EQ(Gradient(filter).ToDoubles(), wanted.ToDoubles());
  EXPECT_FALSE(NeedsGradient(FftConvolution(data, filter.Detach(), Tensor(), Tensor())));
}

}  // namespace
}  // namespace longrange
