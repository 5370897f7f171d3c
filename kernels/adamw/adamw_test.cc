#include "kernels/adamw/adamw.h"

#include <cmath>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(19);

// parameter, m, v after some steps with gradients that do not depend on them.
std::vector<Tensor> Compute(int64_t n, DType dtype, int num_steps = 3) {
  const Tensor parameter = RandomNormal({n}, kRng.Child("parameter"), 1, DType::kFloat32).To(dtype);
  const Tensor m = Tensor::Zeros({n}, dtype), v = Tensor::Zeros({n}, dtype);
  for (int step = 1; step <= num_steps; ++step) {
    const Tensor gradient = RandomNormal({n}, kRng.Child(step), 1, DType::kFloat32).To(dtype);
    AdamWStep({1e-2, 0.9, 0.99, 1e-8, 0.1, step, 0.5}, gradient, parameter, m, v);
  }
  return {parameter, m, v};
}

TEST(AdamW, EqualsReference) {
  for (const int64_t n : {0, 1, 3, 17, 100, 513, 40000}) {
    const auto out = Compute(n, DType::kFloat32), expected = Compute(n, DType::kFloat64);
    for (int i = 0; i < 3; ++i) EXPECT_THAT(out[i], RmsClose(expected[i], kFloat32ForwardRms)) << n;
  }
}

// Two steps of torch.optim.AdamW([1.], lr=0.1, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.5),
// gradients 2 and -1.
TEST(AdamW, EqualsTorch) {
  const Tensor parameter = Tensor::Full({1}, 1, DType::kFloat64);
  const Tensor m = Tensor::Zeros({1}, DType::kFloat64), v = Tensor::Zeros({1}, DType::kFloat64);
  AdamWStep({0.1, 0.9, 0.999, 1e-8, 0.5, 1}, Tensor::Full({1}, 2, DType::kFloat64), parameter, m,
            v);
  EXPECT_NEAR(parameter.item(), 0.8500000004999999, 1e-12);
  AdamWStep({0.1, 0.9, 0.999, 1e-8, 0.5, 2}, Tensor::Full({1}, -1, DType::kFloat64), parameter, m,
            v);
  EXPECT_NEAR(parameter.item(), 0.7808662966774315, 1e-12);
}

TEST(AdamW, DecayIsDecoupled) {
  const Tensor parameter = Tensor::Full({1}, 3), m = Tensor::Zeros({1}), v = Tensor::Zeros({1});
  AdamWStep({0.1, 0.9, 0.999, 1e-8, 0.5, 1}, Tensor::Zeros({1}), parameter, m, v);
  EXPECT_FLOAT_EQ(parameter.item(), 3 * (1 - 0.1 * 0.5));
  EXPECT_EQ(m.item(), 0);
  EXPECT_EQ(v.item(), 0);
}

TEST(AdamW, SumOfSquares) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    for (const int64_t n : {0, 1, 17, 40001}) {
      const Tensor t = RandomNormal({n}, kRng, 1, dtype);
      EXPECT_NEAR(SumOfSquares(t), Dot(Double(t), Double(t)), 1e-12 * n);
    }
  }
  // In double: beyond the range of float, and none of the small ones is lost.
  const Tensor t = Tensor::Full({100000}, 1);
  t.mutable_data<float>()[0] = 1e20;
  EXPECT_EQ(SumOfSquares(t), 1e20f * static_cast<double>(1e20f) + 99999);
  t.mutable_data<float>()[0] = 1e5;
  EXPECT_EQ(SumOfSquares(t), 1e10 + 99999);
}

TEST(AdamW, SameBitsForAnyThreadCount) {
  ExpectSameBits([&] { return Compute(100003, DType::kFloat32); });
  ExpectSameBits([&] {
    const Tensor t = RandomNormal({300001}, kRng);
    return std::vector<Tensor>{Tensor::Scalar(SumOfSquares(t), DType::kFloat64)};
  });
}

TEST(AdamW, MetaCountsWhatTheCpuCounts) {
  const auto run = [](const Tensor& t) {
    return CostOf([&] {
      AdamWStep({}, t, t.Clone(), t.Clone(), t.Clone());
      SumOfSquares(t);
    });
  };
  const Tensor t = Tensor::Zeros({9});
  const Cost cpu = run(t), meta = run(Meta(t));
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

}  // namespace
}  // namespace longrange::kernels
