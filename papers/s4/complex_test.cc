#include "papers/s4/complex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/ops.h"
#include "common/testing/shapes.h"

namespace longrange::s4 {
namespace {

using testing::DoubleNear;
using testing::Pointwise;

Tensor Complexes(const Shape& shape, int seed) {
  return RandomNormal(shape, Rng(1).Child(seed), 1, DType::kFloat64);
}

void ExpectDoubles(const Tensor& actual, const std::vector<double>& expected) {
  EXPECT_THAT(actual.ToDoubles(), Pointwise(DoubleNear(1e-14), expected));
}

TEST(Complex, Values) {
  const Tensor x = Tensor::FromVector<double>({2, 2}, {3, 4, 0, -2}),
               y = Tensor::FromVector<double>({1, 2}, {1, -1});
  ExpectDoubles(ComplexMul(x, y), {7, 1, -2, -2});
  ExpectDoubles(Conj(x), {3, -4, 0, 2});
  ExpectDoubles(AddReal(x, -1), {2, 4, -1, -2});
  ExpectDoubles(ComplexReciprocal(x), {0.12, -0.16, 0, 0.5});
  ExpectDoubles(ComplexLog(x), {std::log(5), std::atan2(4, 3), std::log(2), -M_PI / 2});
  ExpectDoubles(ComplexExp(ComplexLog(x)), {3, 4, 0, -2});
}

TEST(Complex, SoftplusKeepsSmallValues) {
  const Tensor y = Softplus(Tensor::FromVector<double>({3}, {-40, 0, 800}));
  EXPECT_NEAR(y.ToDoubles()[0] / std::exp(-40), 1, 1e-15);
  EXPECT_DOUBLE_EQ(y.ToDoubles()[1], std::log(2));
  EXPECT_EQ(y.ToDoubles()[2], 800);
}

TEST(Complex, PowersAndInverses) {
  const Tensor x = Complexes({3, 4, 4}, 1);
  const Tensor cube = MatMul(MatMul(x, x), x);
  EXPECT_THAT(MatrixPower(x, 1).ToDoubles(), Pointwise(DoubleNear(0), x.ToDoubles()));
  EXPECT_THAT(MatrixPower(x, 7).ToDoubles(),
              Pointwise(DoubleNear(1e-9), MatMul(MatMul(cube, x), cube).ToDoubles()));
  const std::vector<double> one = MatMul(x, Inverse(x)).ToDoubles();
  for (int64_t i = 0; i < 48; ++i) EXPECT_NEAR(one[i], i % 16 % 5 == 0 ? 1 : 0, 1e-12);
}

TEST(Complex, Gradients) {
  using Fn = std::function<Tensor(const Tensor&)>;
  const std::vector<Fn> functions = {Conj,
                                     ComplexExp,
                                     ComplexLog,
                                     ComplexReciprocal,
                                     Softplus,
                                     Inverse,
                                     [](const Tensor& x) { return MatrixPower(x, 6); },
                                     [](const Tensor& x) { return ComplexMul(x, x); }};
  for (size_t i = 0; i < functions.size(); ++i) {
    const std::string wrong = GradCheck(
        [&](const std::vector<Tensor>& in) { return std::vector<Tensor>{functions[i](in[0])}; },
        {Complexes({3, 2, 2}, 2)});
    EXPECT_EQ(wrong, "") << "function " << i;
  }
  const std::string wrong = GradCheck(
      [](const std::vector<Tensor>& in) { return std::vector<Tensor>{ComplexMul(in[0], in[1])}; },
      {Complexes({3, 2, 2}, 3), Complexes({3, 1, 2}, 4)});
  EXPECT_EQ(wrong, "") << "a product that broadcasts";
}

}  // namespace
}  // namespace longrange::s4
