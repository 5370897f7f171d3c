#include "kernels/norm/norm.h"

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(3);
constexpr double kEps = 1e-5;

struct Inputs {
  Tensor x, weight, bias, dy;
};

Inputs Make(int64_t rows, int64_t d, bool affine, DType dtype = DType::kFloat32) {
  Inputs in;
  // Not centred at 0, so that a wrong mean shows.
  in.x = RandomUniform({rows, d}, kRng.Child("x"), -1, 3, dtype);
  in.dy = RandomNormal({rows, d}, kRng.Child("dy"), 1, dtype);
  if (affine) {
    in.weight = RandomUniform({d}, kRng.Child("weight"), 0.5, 2, dtype);
    in.bias = RandomNormal({d}, kRng.Child("bias"), 1, dtype);
  }
  return in;
}

struct Outputs {
  Tensor y, mean, rstd, dx, dweight, dbias;
  std::vector<Tensor> Defined() const {
    std::vector<Tensor> all{y, rstd, dx};
    for (const Tensor& t : {mean, dweight, dbias}) {
      if (t.defined()) all.push_back(t);
    }
    return all;
  }
};

Outputs Compute(bool centred, const Inputs& in) {
  const Shape per_row{in.x.dim(0)};
  Outputs out{Tensor::EmptyLike(in.x), Tensor(),
              Tensor::Empty(per_row, in.x.dtype(), in.x.device()), Tensor::EmptyLike(in.x)};
  if (in.weight.defined()) out.dweight = Tensor::EmptyLike(in.weight);
  if (centred) {
    out.mean = Tensor::EmptyLike(out.rstd);
    if (in.bias.defined()) out.dbias = Tensor::EmptyLike(in.bias);
    LayerNormForward(in.x, in.weight, in.bias, kEps, out.y, out.mean, out.rstd);
    LayerNormBackward(in.x, in.weight, out.mean, out.rstd, in.dy, out.dx, out.dweight, out.dbias);
  } else {
    RmsNormForward(in.x, in.weight, kEps, out.y, out.rstd);
    RmsNormBackward(in.x, in.weight, out.rstd, in.dy, out.dx, out.dweight);
  }
  return out;
}

TEST(Norm, EqualsReference) {
  for (const bool centred : {false, true}) {
    for (const bool affine : {false, true}) {
      for (const int64_t rows : {0, 1, 5, 700}) {
        for (const int64_t d : {1, 3, 17, 100, 513}) {
          SCOPED_TRACE(testing::Message() << centred << affine << " " << rows << " " << d);
          const Inputs in = Make(rows, d, affine);
          const Outputs out = Compute(centred, in);
          const Outputs expected =
              Compute(centred, {Double(in.x), Double(in.weight), Double(in.bias), Double(in.dy)});
          EXPECT_THAT(out.y, RmsClose(expected.y, kFloat32ForwardRms));
          EXPECT_THAT(out.rstd, RmsClose(expected.rstd, kFloat32ForwardRms));
          if (d == 1) continue;  // but for eps dx is 0: rounding has little to be compared with
          EXPECT_THAT(out.dx, RmsClose(expected.dx, kFloat32GradientRms));
          if (affine) {
            EXPECT_THAT(out.dweight, RmsClose(expected.dweight, kFloat32GradientRms));
          }
          if (affine && centred) {
            EXPECT_THAT(out.dbias, RmsClose(expected.dbias, kFloat32GradientRms));
          }
        }
      }
    }
  }
}

TEST(Norm, GradientOfReference) {
  for (const bool centred : {false, true}) {
    const Inputs in = Make(3, 7, true, DType::kFloat64);
    const Outputs out = Compute(centred, in);
    const auto loss = [&] { return Dot(Compute(centred, in).y, in.dy); };
    ExpectGradient(in.x, out.dx, loss);
    ExpectGradient(in.weight, out.dweight, loss);
    if (centred) ExpectGradient(in.bias, out.dbias, loss);
  }
}

TEST(Norm, OfZerosIsTheBias) {
  for (const bool centred : {false, true}) {
    Inputs in = Make(2, 5, true);
    in.x.Fill(0);
    const Outputs out = Compute(centred, in);
    for (int64_t i = 0; i < 10; ++i) {
      EXPECT_EQ(out.y.data<float>()[i], centred ? in.bias.data<float>()[i % 5] : 0);
      EXPECT_TRUE(std::isfinite(out.dx.data<float>()[i]));
    }
  }
}

// The variance is taken about the mean, not from squares that cancel.
TEST(Norm, LayerNormFarFromZero) {
  Inputs in = Make(4, 256, false);
  for (int64_t i = 0; i < in.x.numel(); ++i) in.x.mutable_data<float>()[i] += 1000;
  // float32 holds such an x to 6e-5 and the mean no better: the bound of the kernel is that of its
  // input.
  EXPECT_THAT(Compute(true, in).y,
              RmsClose(Compute(true, {Double(in.x), Tensor(), Tensor(), Double(in.dy)}).y, 1e-4));
}

TEST(Norm, InPlace) {
  const Inputs in = Make(6, 33, true);
  const Outputs out = Compute(true, in);
  const Tensor x = in.x.Clone(), dy = in.dy.Clone(), mean = Tensor::EmptyLike(out.mean),
               rstd = Tensor::EmptyLike(out.rstd);
  LayerNormForward(x, in.weight, in.bias, kEps, x, mean, rstd);
  LayerNormBackward(in.x, in.weight, mean, rstd, dy, dy, Tensor(), Tensor());
  EXPECT_THAT(x, BitEqual(out.y));
  EXPECT_THAT(dy, BitEqual(out.dx));
}

TEST(Norm, SameBitsForAnyThreadCount) {
  for (const bool centred : {false, true}) {
    const Inputs in = Make(1001, 65, true);
    ExpectSameBits([&] { return Compute(centred, in).Defined(); });
  }
}

TEST(Norm, MetaCountsWhatTheCpuCounts) {
  const Inputs in = Make(5, 8, true);
  const Cost cpu = CostOf([&] { Compute(true, in); });
  const Cost meta = CostOf([&] {
    Compute(true, {Meta(in.x), Meta(in.weight), Meta(in.bias), Meta(in.dy)});
  });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

}  // namespace
}  // namespace longrange::kernels
