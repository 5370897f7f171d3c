#include "common/tensor/finite.h"

#include <gtest/gtest.h>

#include <cmath>

namespace longrange {
namespace {

TEST(Finite, FindsTheFirstInEveryFloatingType) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64, DType::kBFloat16}) {
    const Shape shape = {3, 5, 700};
    EXPECT_EQ(FirstNonFinite(Tensor::Full(shape, 3e38, dtype)), "") << Name(dtype);
    for (const auto& [value, name] : {std::pair<double, std::string>(NAN, "NaN"),
                                      {INFINITY, "inf"},
                                      {-INFINITY, "-inf"},
                                      {-NAN, "NaN"}}) {
      const Tensor t = Tensor::Zeros(shape, dtype), flat = t.View({-1});
      for (const int64_t at : {10499, 1024, 1023, 0}) {
        flat.ViewRows(at, at + 1).Fill(value);
        EXPECT_EQ(FirstNonFinite(flat), name + " at [" + std::to_string(at) + "]") << Name(dtype);
      }
    }
  }
  const Tensor t = Tensor::Zeros({2, 3, 4});
  t.View({-1}).ViewRows(12 + 4 + 3, 12 + 4 + 4).Fill(-INFINITY);
  EXPECT_EQ(FirstNonFinite(t), "-inf at [1, 1, 3]");
}

TEST(Finite, WhatHasNoSuchValues) {
  EXPECT_EQ(FirstNonFinite(Tensor::Full({4}, -1, DType::kInt32)), "");
  EXPECT_EQ(FirstNonFinite(Tensor::Full({4}, -1, DType::kInt64)), "");
  EXPECT_EQ(FirstNonFinite(Tensor::Full({4}, 255, DType::kUInt8)), "");
  EXPECT_EQ(FirstNonFinite(Tensor::Zeros({0, 4})), "");
  EXPECT_EQ(FirstNonFinite(Tensor::Empty({4}, DType::kFloat32, Device::kMeta)), "");
  EXPECT_EQ(FirstNonFinite(Tensor::Scalar(NAN)), "NaN at []");
}

}  // namespace
}  // namespace longrange
