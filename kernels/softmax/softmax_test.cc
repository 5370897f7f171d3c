#include "kernels/softmax/softmax.h"

#include <limits>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(5);
constexpr float kInf = std::numeric_limits<float>::infinity();

std::vector<Tensor> Compute(const Tensor& x, const Tensor& dy) {
  const Tensor y = Tensor::EmptyLike(x), dx = Tensor::EmptyLike(x);
  SoftmaxForward(x, y);
  SoftmaxBackward(y, dy, dx);
  return {y, dx};
}

TEST(Softmax, EqualsReference) {
  for (const int64_t rows : {0, 1, 5, 300}) {
    for (const int64_t d : {1, 3, 17, 100, 513, 9000}) {
      SCOPED_TRACE(testing::Message() << rows << " " << d);
      const Tensor x = RandomNormal({rows, d}, kRng.Child("x"), 3);
      const Tensor dy = RandomNormal({rows, d}, kRng.Child("dy"));
      const auto out = Compute(x, dy), expected = Compute(Double(x), Double(dy));
      EXPECT_THAT(out[0], RmsClose(expected[0], kFloat32ForwardRms));
      if (d == 1) continue;  // dx is 0
      EXPECT_THAT(out[1], RmsClose(expected[1], kFloat32GradientRms));
    }
  }
}

// Large enough for streaming stores.
TEST(Softmax, LargeEqualsReference) {
  const Tensor x = RandomUniform({1100, 8192}, kRng.Child("x"), -2, 2);
  const Tensor y = Tensor::EmptyLike(x), dx = Tensor::EmptyLike(x);
  SoftmaxForward(x, y);
  SoftmaxBackward(y, x, dx);
  const Tensor y_small = Tensor::Empty({4, 8192}), dx_small = Tensor::Empty({4, 8192});
  SoftmaxForward(x.ViewRows(1096, 1100), y_small);
  SoftmaxBackward(y_small, x.ViewRows(1096, 1100), dx_small);
  EXPECT_THAT(y.ViewRows(1096, 1100).Clone(), BitEqual(y_small));
  EXPECT_THAT(dx.ViewRows(1096, 1100).Clone(), BitEqual(dx_small));
}

TEST(Softmax, GradientOfReference) {
  const Tensor x = RandomNormal({3, 6}, kRng.Child("x"), 1, DType::kFloat64);
  const Tensor dy = RandomNormal({3, 6}, kRng.Child("dy"), 1, DType::kFloat64);
  ExpectGradient(x, Compute(x, dy)[1], [&] { return Dot(Compute(x, dy)[0], dy); });
}

TEST(Softmax, ExtremeRows) {
  const Tensor x = Tensor::FromVector<float>(
      {4, 3}, {1e4, -1e4, 1e4, -kInf, -kInf, -kInf, -kInf, 0, -kInf, -1e4, -1e4, -1e4});
  const Tensor y =
      Tensor::FromVector<float>({4, 3}, {.5, 0, .5, 0, 0, 0, 0, 1, 0, 1 / 3.f, 1 / 3.f, 1 / 3.f});
  EXPECT_THAT(Compute(x, x)[0], AllClose(y, Tolerance{1e-6, 0}));
  EXPECT_THAT(Compute(Double(x), Double(x))[0], AllClose(Double(y), Tolerance{1e-6, 0}));
}

TEST(Softmax, NanRowIsNan) {
  Tensor x = Tensor::Zeros({2, 40});
  x.mutable_data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
  const Tensor y = Compute(x, x)[0];
  for (int64_t i = 0; i < 80; ++i) EXPECT_EQ(std::isnan(y.data<float>()[i]), i < 40) << i;
}

TEST(Softmax, InPlace) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    const Tensor x = RandomNormal({5, 33}, kRng.Child("x"), 1, dtype);
    const Tensor dy = RandomNormal({5, 33}, kRng.Child("dy"), 1, dtype);
    const auto out = Compute(x, dy);
    SoftmaxForward(x, x);
    SoftmaxBackward(x, dy, dy);
    EXPECT_THAT(x, BitEqual(out[0]));
    EXPECT_THAT(dy, BitEqual(out[1]));
  }
}

TEST(Softmax, SameBitsForAnyThreadCount) {
  const Tensor x = RandomNormal({101, 2000}, kRng.Child("x")), dy = RandomNormal({101, 2000}, kRng);
  ExpectSameBits([&] { return Compute(x, dy); });
}

TEST(Softmax, MetaCountsWhatTheCpuCounts) {
  const Tensor x = Tensor::Zeros({3, 4});
  const Cost cpu = CostOf([&] { Compute(x, x); }),
             meta = CostOf([&] { Compute(Meta(x), Meta(x)); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

}  // namespace
}  // namespace longrange::kernels
