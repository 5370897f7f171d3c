#include "kernels/norm/batch_norm.h"

#include <cmath>
#include <limits>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(23);
constexpr double kEps = 1e-5;

struct Inputs {
  Tensor x, begin, end, weight, bias, dy;
};

enum Padding { kNone, kRight, kBoth };

Inputs Make(int64_t b, int64_t t, int64_t d, Padding padding, DType dtype = DType::kFloat32) {
  Inputs in;
  in.x = RandomUniform({b, t, d}, kRng.Child("x"), -1, 3, dtype);
  in.dy = RandomNormal({b, t, d}, kRng.Child("dy"), 1, dtype);
  in.weight = RandomUniform({d}, kRng.Child("weight"), 0.5, 2, dtype);
  in.bias = RandomNormal({d}, kRng.Child("bias"), 1, dtype);
  if (padding == kNone) return in;
  in.end = Tensor::Empty({b}, DType::kInt64);
  for (int64_t i = 0; i < b; ++i)
    in.end.mutable_data<int64_t>()[i] = i == 0 ? t : kRng.Child("end").UniformInt(i, t + 1);
  if (padding == kRight) return in;
  in.begin = Tensor::Empty({b}, DType::kInt64);
  for (int64_t i = 0; i < b; ++i)
    in.begin.mutable_data<int64_t>()[i] = kRng.Child("begin").UniformInt(i, (t + 1) / 2);
  return in;
}

// y, mean, variance, dx, dweight, dbias
std::vector<Tensor> Compute(const Inputs& in) {
  const auto like = [](const Tensor& t) { return Tensor::EmptyLike(t); };
  std::vector<Tensor> out{like(in.x), like(in.weight), like(in.weight),
                          like(in.x), like(in.weight), like(in.weight)};
  BatchNormForward(in.x, in.begin, in.end, in.weight, in.bias, kEps, out[0], out[1], out[2]);
  BatchNormBackward(in.x, in.begin, in.end, in.weight, kEps, out[1], out[2], in.dy, out[3], out[4],
                    out[5]);
  return out;
}

Inputs Converted(const Inputs& in, Tensor (*convert)(const Tensor&)) {
  return {convert(in.x), in.begin, in.end, convert(in.weight), convert(in.bias), convert(in.dy)};
}

TEST(BatchNorm, EqualsReference) {
  for (const Padding padding : {kNone, kRight, kBoth}) {
    for (const int64_t b : {1, 3}) {
      for (const int64_t t : {5, 300}) {
        for (const int64_t d : {1, 17, 100}) {
          SCOPED_TRACE(testing::Message() << padding << " " << b << " " << t << " " << d);
          const Inputs in = Make(b, t, d, padding);
          const auto out = Compute(in), expected = Compute(Converted(in, Double));
          for (size_t i = 0; i < out.size(); ++i) {
            EXPECT_THAT(out[i],
                        RmsClose(expected[i], i < 3 ? kFloat32ForwardRms : kFloat32GradientRms))
                << "output " << i;
          }
        }
      }
    }
  }
}

TEST(BatchNorm, GradientOfReference) {
  for (const Padding padding : {kNone, kBoth}) {
    const Inputs in = Make(2, 5, 3, padding, DType::kFloat64);
    const auto out = Compute(in);
    const auto loss = [&] { return Dot(Compute(in)[0], in.dy); };
    ExpectGradient(in.x, out[3], loss);
    ExpectGradient(in.weight, out[4], loss);
    ExpectGradient(in.bias, out[5], loss);
  }
}

// Of 1 and 3, with 2 between them and one row of padding.
TEST(BatchNorm, ByHand) {
  const Tensor x = Tensor::FromVector<float>({2, 2, 1}, {1, 2, 3, 100}), one = Tensor::Full({1}, 1),
               end = Tensor::FromVector<int64_t>({2}, {2, 1});
  const Tensor y = Tensor::EmptyLike(x), mean = Tensor::Empty({1}), variance = Tensor::Empty({1});
  BatchNormForward(x, Tensor(), end, one, one, 0, y, mean, variance);
  const float step = std::sqrt(1.5f);
  EXPECT_THAT(y, AllClose(Tensor::FromVector<float>({2, 2, 1}, {1 - step, 1, 1 + step, 0}),
                          Tolerance{1e-6, 0}));
  EXPECT_FLOAT_EQ(mean.data<float>()[0], 2);
  EXPECT_FLOAT_EQ(variance.data<float>()[0], 2.0f / 3);
}

TEST(BatchNorm, PaddingIsNotRead) {
  const Inputs in = Make(3, 9, 20, kBoth);
  const auto out = Compute(in);
  Inputs other = in;
  other.x = in.x.Clone();
  other.dy = in.dy.Clone();
  for (int64_t i = 0; i < in.x.numel(); ++i) {
    const int64_t b = i / 180, t = i / 20 % 9;
    if (t >= in.begin.data<int64_t>()[b] && t < in.end.data<int64_t>()[b]) continue;
    other.x.mutable_data<float>()[i] = std::numeric_limits<float>::quiet_NaN();
    other.dy.mutable_data<float>()[i] = std::numeric_limits<float>::quiet_NaN();
    EXPECT_EQ(out[0].data<float>()[i], 0);
    EXPECT_EQ(out[3].data<float>()[i], 0);
  }
  const auto again = Compute(other);
  for (size_t i = 0; i < out.size(); ++i) EXPECT_THAT(again[i], BitEqual(out[i]));
}

TEST(BatchNorm, SameBitsForAnyThreadCount) {
  const Inputs in = Make(7, 150, 65, kRight);
  ExpectSameBits([&] { return Compute(in); });
}

TEST(BatchNorm, MetaCountsWhatTheCpuCounts) {
  const Inputs in = Make(2, 5, 8, kNone);
  const Cost cpu = CostOf([&] { Compute(in); });
  const Cost meta = CostOf([&] { Compute(Converted(in, Meta)); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(BatchNormDeathTest, RefusesABatchOfPadding) {
  Inputs in = Make(1, 3, 2, kNone);
  in.end = Tensor::Zeros({1}, DType::kInt64);
  EXPECT_DEATH(Compute(in), "batch norm of no rows");
}

}  // namespace
}  // namespace longrange::kernels
