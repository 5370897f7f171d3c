// Element-wise kernels against the obvious form in double, over odd and broadcast shapes; the same
// bits from any number of threads.

#include "kernels/elementwise/elementwise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "common/base/rng.h"
#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "common/testing/matchers.h"
#include "common/testing/tolerance.h"
#include "kernels/elementwise/reference.h"

namespace longrange::kernels {
namespace {

Tensor Random(const Shape& shape, int64_t seed) {
  Tensor t = Tensor::Empty(shape);
  for (int64_t i = 0; i < t.numel(); ++i) {
    t.mutable_data<float>()[i] = static_cast<float>(0.5 + Rng(2).Child(seed).Uniform(i));
  }
  return t;
}

struct Pair {
  Shape a, b, out;
};

const Pair kPairs[] = {
    {{}, {}, {}},
    {{3}, {}, {3}},
    {{1}, {5}, {5}},
    {{2, 3}, {2, 3}, {2, 3}},
    {{2, 3}, {3}, {2, 3}},
    {{2, 3}, {2, 1}, {2, 3}},
    {{4, 1, 3}, {5, 1}, {4, 5, 3}},
    {{1, 7, 1}, {2, 1, 9}, {2, 7, 9}},
    {{0, 3}, {3}, {0, 3}},
    {{129, 257}, {257}, {129, 257}},
    {{33, 1}, {33, 1025}, {33, 1025}},
};

TEST(Elementwise, BinaryEqualsTheReferenceOverBroadcastShapes) {
  const std::pair<BinaryOp, std::function<double(double, double)>> ops[] = {
      {BinaryOp::kAdd, [](double x, double y) { return x + y; }},
      {BinaryOp::kSub, [](double x, double y) { return x - y; }},
      {BinaryOp::kMul, [](double x, double y) { return x * y; }},
      {BinaryOp::kDiv, [](double x, double y) { return x / y; }},
      {BinaryOp::kMax, [](double x, double y) { return std::max(x, y); }},
  };
  for (const Pair& pair : kPairs) {
    const Tensor a = Random(pair.a, 1), b = Random(pair.b, 2);
    EXPECT_EQ(BroadcastShape(pair.a, pair.b), pair.out);
    for (const auto& [op, fn] : ops) {
      const Tensor out = Binary(op, a, b);
      ASSERT_EQ(out.shape(), pair.out);
      if (out.numel() == 0) continue;
      EXPECT_THAT(out, RmsClose(reference::Binary(pair.out, a, b, fn), kFloat32ForwardRms))
          << pair.a << pair.b;
    }
  }
}

TEST(Elementwise, SumToEqualsTheReference) {
  for (const Pair& pair : kPairs) {
    if (pair.out.numel() == 0) continue;
    const Tensor x = Random(pair.out, 3);
    for (const Shape& shape : {pair.a, pair.b}) {
      EXPECT_THAT(SumTo(x, shape), RmsClose(reference::SumTo(x, shape), kFloat32ForwardRms))
          << pair.out << shape;
      EXPECT_EQ(BroadcastTo(Random(shape, 4), pair.out).shape(), pair.out);
    }
  }
}

TEST(Elementwise, PermuteEqualsTheReference) {
  for (const std::vector<int>& order : std::vector<std::vector<int>>{
           {0, 1, 2, 3}, {0, 2, 1, 3}, {3, 2, 1, 0}, {1, 0, 2, 3}, {0, 1, 3, 2}, {2, 3, 0, 1}}) {
    for (const Shape& shape : {Shape{2, 3, 5, 7}, Shape{1, 17, 1, 33}, Shape{3, 64, 4, 16}}) {
      const Tensor x = Random(shape, 5);
      EXPECT_THAT(Permute(x, order).To(DType::kFloat64), BitEqual(reference::Permute(x, order)));
    }
  }
}

TEST(Elementwise, NarrowWidenAndConcatAreInverse) {
  const Tensor x = Random({3, 5, 2}, 6);
  for (int dim = -3; dim < 3; ++dim) {
    const int64_t size = x.dim(dim), cut = size / 2;
    const Tensor low = Narrow(x, dim, 0, cut), high = Narrow(x, dim, cut, size - cut);
    EXPECT_THAT(Concat({low, high}, dim), BitEqual(x));
    EXPECT_THAT(
        Binary(BinaryOp::kAdd, Widen(low, x.shape(), dim, 0), Widen(high, x.shape(), dim, cut)),
        BitEqual(x));
  }
}

TEST(Elementwise, UnaryAndAffine) {
  const Tensor x = Random({1, 37}, 7);
  const std::pair<UnaryOp, double (*)(double)> ops[] = {
      {UnaryOp::kExp, std::exp},
      {UnaryOp::kLog, std::log},
      {UnaryOp::kSqrt, std::sqrt},
      {UnaryOp::kTanh, std::tanh},
      {UnaryOp::kNeg, [](double v) { return -v; }},
      {UnaryOp::kSquare, [](double v) { return v * v; }},
      {UnaryOp::kSigmoid, [](double v) { return 1 / (1 + std::exp(-v)); }},
      {UnaryOp::kRelu, [](double v) { return std::max(v, 0.0); }},
      {UnaryOp::kReciprocal, [](double v) { return 1 / v; }},
      {UnaryOp::kStep, [](double v) { return v > 0 ? 1.0 : 0.0; }},
  };
  for (const auto& [op, fn] : ops) {
    std::vector<double> expected;
    for (const double v : x.ToDoubles()) expected.push_back(fn(v));
    EXPECT_THAT(Unary(op, x),
                RmsClose(Tensor::FromVector<double>(x.shape(), expected), kFloat32ForwardRms));
  }
  EXPECT_THAT(Affine(Affine(x, 4, 8), 0.25, -2),
              RmsClose(x.To(DType::kFloat64), kFloat32ForwardRms));
}

TEST(Elementwise, MaskedFillTakesInfinity) {
  const Tensor mask = Tensor::FromVector<uint8_t>({2, 1}, {0, 1});
  const Tensor out = MaskedFill(Random({2, 3}, 8), mask, -INFINITY);
  EXPECT_TRUE(std::isfinite(out.ToDoubles()[2]));
  EXPECT_EQ(out.ToDoubles()[3], -INFINITY);
}

TEST(Elementwise, BitsDoNotDependOnThreads) {
  const Tensor a = Random({257, 513}, 10), b = Random({513}, 11);
  std::vector<Tensor> sums, products;
  for (const int threads : {1, 2, 5}) {
    SetNumThreads(threads);
    sums.push_back(SumTo(a, {1, 513}));
    products.push_back(Binary(BinaryOp::kMul, a, b));
  }
  SetNumThreads(0);
  for (const Tensor& t : sums) EXPECT_THAT(t, BitEqual(sums[0]));
  for (const Tensor& t : products) EXPECT_THAT(t, BitEqual(products[0]));
}

TEST(Elementwise, MetaCountsTheSameWork) {
  const Tensor a = Random({4, 5}, 1);
  const auto count = [](const Tensor& x) {
    const CostScope scope;
    SumTo(Binary(BinaryOp::kAdd, x, x), {5});
    return scope.cost();
  };
  const Cost real = count(a), meta = count(a.To(Device::kMeta));
  EXPECT_EQ(real.flops, meta.flops);
  EXPECT_EQ(real.bytes, meta.bytes);
  EXPECT_GT(real.flops, 0);
}

TEST(ElementwiseDeathTest, ShapesThatDoNotFit) {
  EXPECT_DEATH(Binary(BinaryOp::kAdd, Random({2, 3}, 1), Random({2}, 1)), "do not broadcast");
  EXPECT_DEATH(Narrow(Random({2}, 1), 0, 1, 2), "entries");
}

}  // namespace
}  // namespace longrange::kernels
