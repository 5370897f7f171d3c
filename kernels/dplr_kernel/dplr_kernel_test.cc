#include "kernels/dplr_kernel/dplr_kernel.h"

#include <complex>

#include "kernels/dplr_kernel/reference.h"
#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

using Complex = std::complex<double>;

const Rng kRng(8);

struct Case {
  int64_t c, h, n, rank, b_c, length;
};
const Case kCases[] = {{1, 1, 1, 1, 1, 1},   {1, 2, 3, 1, 1, 2},    {2, 3, 4, 1, 1, 33},
                       {2, 3, 4, 1, 2, 64},  {1, 17, 5, 2, 1, 31},  {3, 2, 8, 2, 3, 100},
                       {1, 3, 4, 0, 1, 15},  {1, 2, 32, 1, 1, 600}, {1, 1, 2, 3, 1, 12},
                       {1, 1, 3, 1, 1, 1031}};

struct Inputs {
  DplrKernelInputs in;
  Tensor dkernel;
};

// Modes as S4 has them: real parts about -1/2, imaginary parts to about pi n; steps of 1e-3 to
// 1e-1.
Inputs Make(const Case& s, DType dtype) {
  const auto random = [&](const Shape& shape, const char* name, double scale = 1) {
    return RandomNormal(shape, kRng.Child(name), scale, DType::kFloat64);
  };
  const Tensor lambda = random({s.h, s.n, 2}, "lambda", 0.1);
  for (int64_t i = 0; i < s.h * s.n; ++i) {
    lambda.mutable_data<double>()[2 * i] -= 0.5;
    lambda.mutable_data<double>()[2 * i + 1] -= 3.14 * static_cast<double>(i % s.n);
  }
  const Tensor dt = RandomUniform({s.h}, kRng.Child("dt"), -6.9, -2.3, DType::kFloat64);
  for (int64_t i = 0; i < s.h; ++i) dt.mutable_data<double>()[i] = std::exp(dt.data<double>()[i]);
  return {{lambda.To(dtype), random({s.rank, s.h, s.n, 2}, "p").To(dtype),
           random({s.b_c, s.h, s.n, 2}, "b").To(dtype), random({s.c, s.h, s.n, 2}, "c").To(dtype),
           dt.To(dtype)},
          random({s.c, s.length, s.h}, "dkernel").To(dtype)};
}

DplrKernelInputs Map(const DplrKernelInputs& in, Tensor (*fn)(const Tensor&)) {
  return {fn(in.lambda_hn2), fn(in.p_rhn2), fn(in.b_chn2), fn(in.c_chn2), fn(in.dt_h)};
}
std::vector<Tensor> Members(const DplrKernelInputs& in) {
  return {in.lambda_hn2, in.p_rhn2, in.b_chn2, in.c_chn2, in.dt_h};
}

// The kernel, then the gradients of the inputs in their order.
std::vector<Tensor> Compute(const Inputs& in) {
  std::vector<Tensor> out = Members(DplrKernelBackward(in.in, in.dkernel));
  out.insert(out.begin(), DplrKernelForward(in.in, in.dkernel.dim(1)));
  return out;
}

const Complex* Pairs(const Tensor& t) { return reinterpret_cast<const Complex*>(t.data<double>()); }

Tensor Reference(const Case& s, const DplrKernelInputs& in) {
  const Tensor kernel = Tensor::Empty({s.c, s.length, s.h}, DType::kFloat64);
  reference::DplrKernel({s.c, s.h, s.n, s.rank, s.b_c, s.length}, Pairs(in.lambda_hn2),
                        Pairs(in.p_rhn2), Pairs(in.b_chn2), Pairs(in.c_chn2),
                        in.dt_h.data<double>(), kernel.mutable_data<double>());
  return kernel;
}

TEST(DplrKernel, EqualsReference) {
  for (const Case& s : kCases) {
    SCOPED_TRACE(testing::Message() << s.c << " " << s.h << " " << s.n << " rank " << s.rank << " "
                                    << s.b_c << " length " << s.length);
    const Inputs wide = Make(s, DType::kFloat64);
    const auto exact = Compute(wide);
    EXPECT_THAT(exact[0], RmsClose(Reference(s, wide.in), kFloat64Rms));
    const Inputs in = Make(s, DType::kFloat32);
    const auto out = Compute(in);
    const auto expected = Compute({Map(in.in, Double), Double(in.dkernel)});
    EXPECT_THAT(Double(out[0]), RmsClose(expected[0], 1e-6));
    for (size_t i = 1; i < out.size(); ++i) {
      EXPECT_THAT(Double(out[i]), RmsClose(expected[i], 1e-5)) << i;
    }
  }
}

TEST(DplrKernel, Gradient) {
  for (const Case& s : {Case{2, 2, 3, 1, 1, 7}, Case{2, 2, 3, 1, 2, 8}, Case{1, 2, 2, 2, 1, 8},
                        Case{1, 2, 2, 0, 1, 5}}) {
    SCOPED_TRACE(testing::Message() << s.rank << " length " << s.length);
    Inputs in = Make(s, DType::kFloat64);
    for (int64_t i = 0; i < s.h; ++i) in.in.dt_h.mutable_data<double>()[i] = 0.3 + 0.1 * i;
    const auto out = Compute(in);
    const auto loss = [&] { return Dot(Reference(s, in.in), in.dkernel); };
    const auto members = Members(in.in);
    for (size_t i = 0; i < members.size(); ++i) ExpectGradient(members[i], out[i + 1], loss);
  }
}

// K_l = C dA^l dB, stepped with dense matrices over all modes and their conjugates; C from C~ = C
// (I - dA^L) by adding up what the truncation took away: C = C~ (I + dA^L + dA^2L + ...).
TEST(DplrKernel, EqualsTheRecurrence) {
  const Case s{1, 1, 3, 2, 1, 24};
  Inputs in = Make(s, DType::kFloat64);
  in.in.dt_h.mutable_data<double>()[0] = 0.1;
  const int64_t n = 2 * s.n;
  const auto full = [&](const Tensor& t, int64_t row, int64_t i) {  // completed by conjugates
    const Complex value = Pairs(t)[row * s.n + i % s.n];
    return i < s.n ? value : std::conj(value);
  };
  const double half = in.in.dt_h.data<double>()[0] / 2;
  std::vector<Complex> minus(n * n), plus(n * n), b(n);  // I -+ dt/2 A
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      Complex a = i == j ? full(in.in.lambda_hn2, 0, i) : 0;
      for (int64_t r = 0; r < s.rank; ++r) {
        a -= full(in.in.p_rhn2, r, i) * std::conj(full(in.in.p_rhn2, r, j));
      }
      minus[i * n + j] = (i == j ? 1.0 : 0.0) - half * a;
      plus[i * n + j] = (i == j ? 1.0 : 0.0) + half * a;
    }
    b[i] = 2 * half * full(in.in.b_chn2, 0, i);
  }
  reference::Solve(n, minus, &b);
  std::vector<double> expected(s.length, 0.0);
  for (int64_t l = 0; l < 300 * s.length; ++l) {
    Complex k = 0;
    for (int64_t i = 0; i < n; ++i) k += full(in.in.c_chn2, 0, i) * b[i];
    expected[l % s.length] += k.real();
    std::vector<Complex> next(n, 0.0);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < n; ++j) next[i] += plus[i * n + j] * b[j];
    }
    reference::Solve(n, minus, &next);
    b = next;
  }
  EXPECT_THAT(DplrKernelForward(in.in, s.length),
              RmsClose(Tensor::FromVector<double>({1, s.length, 1}, expected), 1e-10));
}

TEST(DplrKernel, SameBitsForAnyThreadCount) {
  const Inputs in = Make({2, 20, 5, 1, 1, 301}, DType::kFloat32);
  ExpectSameBits([&] { return Compute(in); });
}

// Sums over the modes stay in registers: tensors beside inputs and results do not grow with N.
TEST(DplrKernel, MemoryDoesNotGrowWithTheModes) {
  SetNumThreads(1);
  std::vector<int64_t> peaks;
  for (const int64_t n : {2, 50}) {
    const Inputs in = Make({1, 3, n, 1, 1, 2000}, DType::kFloat32);
    const int64_t live = GetMemoryStats(Device::kCpu).live_bytes;
    ResetPeak(Device::kCpu);
    DplrKernelForward(in.in, 2000);
    peaks.push_back(GetMemoryStats(Device::kCpu).peak_bytes - live);
  }
  SetNumThreads(0);
  EXPECT_EQ(peaks[0], peaks[1]);
}

TEST(DplrKernel, MetaCountsWhatTheCpuCounts) {
  const Inputs in = Make({2, 5, 3, 1, 1, 30}, DType::kFloat32);
  const Cost cpu = CostOf([&] { Compute(in); });
  const Cost meta = CostOf([&] { Compute({Map(in.in, Meta), Meta(in.dkernel)}); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(DplrKernelDeathTest, RefusesShapesThatDoNotFit) {
  Inputs in = Make({2, 5, 3, 1, 1, 30}, DType::kFloat32);
  in.in.dt_h = Tensor::Zeros({4});
  EXPECT_DEATH(DplrKernelForward(in.in, 30), "dt \\[4\\], expected \\[5\\]");
}

}  // namespace
}  // namespace longrange::kernels
