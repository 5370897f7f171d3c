#include "common/autograd/batch_norm.h"

#include <gtest/gtest.h>

#include "common/autograd/gradcheck.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"

namespace longrange {
namespace {

using Tensors = std::vector<Tensor>;

Tensor Random(const Shape& shape, const char* name, DType dtype = DType::kFloat64) {
  return RandomNormal(shape, Rng(5).Child(name), 1, dtype);
}

TEST(BatchNorm, Gradient) {
  const Tensor begin = Tensor::FromVector<int64_t>({2}, {0, 1}),
               end = Tensor::FromVector<int64_t>({2}, {3, 4});
  for (const bool padded : {false, true}) {
    const auto fn = [&](const Tensors& x) {
      return Tensors{
          BatchNorm(x[0], padded ? begin : Tensor(), padded ? end : Tensor(), x[1], x[2], 1e-3)
              .y_btd};
    };
    EXPECT_EQ(GradCheck(fn, {Random({2, 4, 3}, "x"), Random({3}, "weight"), Random({3}, "bias")}),
              "");
  }
  const Tensor mean = Random({3}, "mean"), variance = Tensor::Full({3}, 0.7, DType::kFloat64);
  const auto by_given = [&](const Tensors& x) {
    return Tensors{BatchNormBy(mean, variance, x[0], x[1], x[2], 1e-3)};
  };
  EXPECT_EQ(
      GradCheck(by_given, {Random({2, 4, 3}, "x"), Random({3}, "weight"), Random({3}, "bias")}),
      "");
}

TEST(BatchNorm, ByItsOwnStatisticsIsTheSame) {
  const Tensor x = Random({3, 50, 20}, "x", DType::kFloat32),
               weight = Random({20}, "weight", DType::kFloat32),
               bias = Random({20}, "bias", DType::kFloat32);
  const BatchNormResult made = BatchNorm(x, Tensor(), Tensor(), weight, bias, 1e-5);
  EXPECT_THAT(BatchNormBy(made.mean_d, made.variance_d, x, weight, bias, 1e-5),
              RmsClose(made.y_btd.To(DType::kFloat64), kFloat32ForwardRms));
}

}  // namespace
}  // namespace longrange
