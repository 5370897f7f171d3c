#include "kernels/power_kernel/power_kernel.h"

#include <complex>

#include "kernels/power_kernel/reference.h"
#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(6);

struct Inputs {
  Tensor c, log_a, dkernel;
};

struct Case {
  int64_t c, h, n, length;
};
const Case kCases[] = {{1, 1, 1, 1},    {2, 3, 4, 7},     {1, 17, 5, 64},  {2, 16, 3, 65},
                       {1, 5, 32, 200}, {1, 33, 2, 1000}, {2, 3, 3, 4200}, {1, 2, 2, 0},
                       {0, 2, 2, 3},    {1, 0, 2, 3},     {1, 2, 0, 3}};

// Decays of 1e-3 to 1e-1 a step, rotations of up to 3 radians.
Inputs Make(const Case& s, DType dtype = DType::kFloat32) {
  const Tensor decay = RandomUniform({s.h, s.n}, kRng.Child("decay"), -7, -2.3, DType::kFloat64),
               turn = RandomUniform({s.h, s.n}, kRng.Child("turn"), 0, 3, DType::kFloat64),
               log_a = Tensor::Empty({s.h, s.n, 2}, DType::kFloat64);
  for (int64_t i = 0; i < s.h * s.n; ++i) {
    log_a.mutable_data<double>()[2 * i] = -std::exp(decay.data<double>()[i]);
    log_a.mutable_data<double>()[2 * i + 1] = turn.data<double>()[i];
  }
  return {RandomNormal({s.c, s.h, s.n, 2}, kRng.Child("c"), 1, dtype), log_a.To(dtype),
          RandomNormal({s.c, s.length, s.h}, kRng.Child("dkernel"), 1, dtype)};
}

// kernel, dc, dlog_a
std::vector<Tensor> Compute(const Inputs& in) {
  const Tensor kernel = PowerKernelForward(in.c, in.log_a, in.dkernel.dim(1));
  const PowerKernelGradients g = PowerKernelBackward(in.c, in.log_a, in.dkernel);
  return {kernel, g.dc_chn2, g.dlog_a_hn2};
}

std::vector<Tensor> Reference(const Inputs& in) {
  using Complex = std::complex<double>;
  const reference::PowerShape s{in.c.dim(0), in.c.dim(1), in.c.dim(2), in.dkernel.dim(1)};
  const auto pairs = [](const Tensor& t) {
    return reinterpret_cast<Complex*>(t.mutable_data<double>());
  };
  std::vector<Tensor> out = {Tensor::EmptyLike(in.dkernel), Tensor::EmptyLike(in.c),
                             Tensor::EmptyLike(in.log_a)};
  reference::PowerKernel(s, pairs(in.c), pairs(in.log_a), out[0].mutable_data<double>());
  reference::PowerKernelBackward(s, pairs(in.c), pairs(in.log_a), in.dkernel.data<double>(),
                                 pairs(out[1]), pairs(out[2]));
  return out;
}

TEST(PowerKernel, EqualsReference) {
  for (const Case& s : kCases) {
    SCOPED_TRACE(testing::Message() << s.c << " " << s.h << " " << s.n << " " << s.length);
    for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
      const bool narrow = dtype == DType::kFloat32;
      const Inputs in = Make(s, dtype);
      const auto out = Compute(in);
      const auto expected = Reference({Double(in.c), Double(in.log_a), Double(in.dkernel)});
      EXPECT_THAT(Double(out[0]), RmsClose(expected[0], narrow ? 1e-6 : kFloat64Rms));
      EXPECT_THAT(Double(out[1]), RmsClose(expected[1], narrow ? 1e-6 : kFloat64Rms));
      EXPECT_THAT(Double(out[2]), RmsClose(expected[2], narrow ? 1e-5 : 1e-11));
    }
  }
}

TEST(PowerKernel, GradientOfReference) {
  const Inputs in = Make({2, 3, 2, 9}, DType::kFloat64);
  const auto out = Reference(in);
  const auto loss = [&] { return Dot(Reference(in)[0], in.dkernel); };
  ExpectGradient(in.c, out[1], loss);
  ExpectGradient(in.log_a, out[2], loss);
}

TEST(PowerKernel, SameBitsForAnyThreadCount) {
  const Inputs in = Make({2, 40, 5, 300});
  ExpectSameBits([&] { return Compute(in); });
}

TEST(PowerKernel, MetaCountsWhatTheCpuCounts) {
  const Inputs in = Make({2, 5, 3, 30});
  const Cost cpu = CostOf([&] { Compute(in); });
  const Cost meta = CostOf([&] { Compute({Meta(in.c), Meta(in.log_a), Meta(in.dkernel)}); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(PowerKernelDeathTest, RefusesShapesThatDoNotFit) {
  EXPECT_DEATH(PowerKernelForward(Tensor::Zeros({1, 2, 3, 2}), Tensor::Zeros({2, 4, 2}), 5),
               "log a \\[2, 4, 2\\] for c");
}

}  // namespace
}  // namespace longrange::kernels
