#include "kernels/fft/ring_transform.h"

#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <vector>

#include "common/base/rng.h"

namespace longrange::kernels {
namespace fft {
namespace {

constexpr int64_t kSizes[] = {16, 32, 48, 64, 80, 128, 192, 320, 512, 1024};
constexpr int kLane = simd::kWideLanes<double> - 1;

std::complex<double> Value(const char* name, int64_t n) {
  return {Rng(1).Child(name).Normal(2 * n), Rng(1).Child(name).Normal(2 * n + 1)};
}
// Every lane has a multiple of its own, the last one 1.
Complex<double> Row(std::complex<double> v) {
  Complex<double> row;
  for (int i = 0; i <= kLane; ++i) {
    row.re[i] = v.real() * (kLane + 1 - i);
    row.im[i] = v.imag() * (kLane + 1 - i);
  }
  return row;
}

// The values of rows load(n) under a plan, in its order.
template <bool kReal, typename Load>
std::vector<std::complex<double>> Split(const RingPlan<double>& plan, const Load& load) {
  std::vector<double> memory(plan.work_elements() + plan.scratch_elements());
  SplitColumns<kReal>(plan, load, memory.data(), memory.data() + plan.work_elements());
  std::vector<std::complex<double>> values;
  for (int64_t block = 0; block < plan.blocks(); ++block) {
    SplitBlock(plan, block, memory.data());
    for (int64_t i = 0; i < plan.block(); ++i) {
      const Complex<double> v = LoadRow(plan.Block(memory.data(), block) + i * plan.kRow);
      values.emplace_back(v.re[kLane], v.im[kLane]);
    }
  }
  return values;
}

TEST(RingTransform, GoodSizes) {
  EXPECT_EQ(GoodSize(0), 16);
  EXPECT_EQ(GoodSize(16), 16);
  EXPECT_EQ(GoodSize(17), 32);
  EXPECT_EQ(GoodSize(33), 48);
  EXPECT_EQ(GoodSize(65), 80);
  EXPECT_EQ(GoodSize(4096), 4096);
  EXPECT_EQ(GoodSize(4097), 5120);
}

TEST(RingTransform, ValuesAtTheRoots) {
  for (const bool root_is_i : {false, true}) {
    for (const int64_t size : kSizes) {
      const RingPlan<double>& plan = RingPlan<double>::Of(size, root_is_i);
      ASSERT_EQ(plan.size(), size);
      const auto values = Split<false>(plan, [](int64_t n) { return Row(Value("z", n)); });
      const auto real = Split<true>(plan, [](int64_t n) { return Row(Value("z", n).real()); });
      for (int64_t i = 0; i < size; ++i) {
        // A root: z^size is 1, or i.
        const double turns = plan.turns(i) * static_cast<double>(size);
        EXPECT_NEAR(turns - std::floor(turns), root_is_i ? 0.25 : 0, 1e-12);
        std::complex<double> expected = 0, expected_real = 0;
        for (int64_t n = 0; n < size; ++n) {
          const double at = plan.turns(i) * static_cast<double>(n);
          const std::complex<double> power =
              std::polar(1.0, 2 * 3.14159265358979323846 * (at - std::floor(at)));
          expected += Value("z", n) * power;
          expected_real += Value("z", n).real() * power;
        }
        EXPECT_LT(std::abs(values[i] - expected), 1e-11) << size << " " << i;
        EXPECT_LT(std::abs(real[i] - expected_real), 1e-11) << size << " " << i;
      }
    }
  }
}

// There and back with a product on the way: real rows of twice the size on the negacyclic ring.
TEST(RingTransform, ProductIsNegacyclicConvolution) {
  for (const int64_t size : kSizes) {
    const RingPlan<double>& plan = RingPlan<double>::Of(size, true);
    const auto factor = Split<false>(plan, [](int64_t n) { return Row(Value("k", n)); });
    std::vector<double> memory(plan.work_elements() + plan.scratch_elements());
    double* scratch = memory.data() + plan.work_elements();
    SplitColumns<false>(
        plan, [](int64_t n) { return Row(Value("x", n)); }, memory.data(), scratch);
    for (int64_t block = 0; block < plan.blocks(); ++block) {
      ApplyInBlock(plan, block, memory.data(), [&](int64_t i, Complex<double> v) {
        const std::complex<double> k = factor[block * plan.block() + i] / static_cast<double>(size);
        return Multiply(v, {simd::SplatWide(k.real()), simd::SplatWide(k.imag())});
      });
    }
    std::vector<double> actual(2 * size);
    std::vector<double> copy = memory;
    const auto whole = [&](int64_t n, Complex<double> v) {
      actual[n] = v.re[kLane];
      actual[n + size] = v.im[kLane];
    };
    MergeColumns<false>(plan, memory.data(), whole, scratch);
    const auto real = [&](int64_t n, Complex<double> v) {
      EXPECT_NEAR(v.re[kLane], actual[n], 1e-12);
    };
    MergeColumns<true>(plan, copy.data(), real, scratch);
    const auto step = [&](const char* name, int64_t n) {
      return n < size ? Value(name, n).real() : Value(name, n - size).imag();
    };
    for (int64_t t = 0; t < 2 * size; t += 7) {
      double expected = 0;
      for (int64_t n = 0; n < 2 * size; ++n) {
        expected +=
            n <= t ? step("k", n) * step("x", t - n) : -step("k", n) * step("x", t - n + 2 * size);
      }
      EXPECT_NEAR(actual[t], expected, 1e-10) << size << " " << t;
    }
  }
}

}  // namespace
}  // namespace fft
}  // namespace longrange::kernels
