#include "kernels/gemm/gemm.h"

#include <cstring>
#include <limits>

#include "kernels/gemm/precision.h"
#include "kernels/gemm/reference.h"
#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(7);

struct Case {
  int64_t m, n, k;
};
// Around every edge of the tiles: strip 14, panel 32, chunk 384, few rows 168, tile columns 512.
const Case kCases[] = {{1, 1, 1},     {1, 17, 3},     {3, 100, 17},    {5, 31, 13},   {14, 32, 384},
                       {15, 33, 385}, {28, 16, 100},  {29, 48, 20},    {13, 513, 37}, {168, 64, 40},
                       {169, 65, 41}, {200, 530, 29}, {170, 40, 3100}, {1, 352, 128}, {0, 4, 4},
                       {4, 0, 4},     {4, 4, 0},      {180, 4, 0},     {2, 4100, 8}};

struct Operands {
  Tensor a, b, c;
};

Operands Make(const Case& s, const GemmOptions& o, DType dtype, int64_t g = 1) {
  return {RandomNormal(o.transpose_a ? Shape{g, s.k, s.m} : Shape{g, s.m, s.k}, kRng.Child("a"), 1,
                       dtype),
          RandomNormal(o.transpose_b ? Shape{g, s.n, s.k} : Shape{g, s.k, s.n}, kRng.Child("b"), 1,
                       dtype),
          RandomNormal({g, s.m, s.n}, kRng.Child("c"), 1, dtype)};
}

Tensor Expected(const Case& s, const GemmOptions& o, const Operands& t) {
  const Tensor a = Double(t.a), b = Double(t.b), c = t.c.To(DType::kFloat64).Clone();
  for (int64_t g = 0; g < c.dim(0); ++g) {
    reference::Gemm(s.m, s.n, s.k, a.data<double>() + g * s.m * s.k, o.transpose_a,
                    b.data<double>() + g * s.k * s.n, o.transpose_b, o.accumulate,
                    c.mutable_data<double>() + g * s.m * s.n);
  }
  return c;
}

TEST(Gemm, EqualsReference) {
  for (const Case& s : kCases) {
    for (int bits = 0; bits < 8; ++bits) {
      const GemmOptions o{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
      SCOPED_TRACE(testing::Message() << s.m << " " << s.n << " " << s.k << " options " << bits);
      for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
        const Operands t = Make(s, o, dtype);
        const Tensor expected = Expected(s, o, t).View({s.m, s.n});
        const Tensor c = t.c.Clone().View({s.m, s.n});
        Gemm(t.a.View({t.a.dim(1), t.a.dim(2)}), t.b.View({t.b.dim(1), t.b.dim(2)}), c, o);
        EXPECT_THAT(
            c, RmsClose(expected, dtype == DType::kFloat64 ? kFloat64Rms : kFloat32ForwardRms));
      }
    }
  }
}

// To the nearest bfloat16, ties to even.
Tensor Rounded(const Tensor& t) {
  const Tensor rounded = t.Clone();
  for (int64_t i = 0; i < t.numel(); ++i) {
    uint32_t bits;
    std::memcpy(&bits, t.data<float>() + i, sizeof(bits));
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & 0xFFFF0000u;
    std::memcpy(rounded.mutable_data<float>() + i, &bits, sizeof(bits));
  }
  return rounded;
}

TEST(Gemm, Bfloat16RoundsFactorsAndNothingElse) {
  for (const Case& s : kCases) {
    for (int bits = 0; bits < 8; ++bits) {
      const GemmOptions o{(bits & 1) != 0, (bits & 2) != 0, (bits & 4) != 0};
      SCOPED_TRACE(testing::Message() << s.m << " " << s.n << " " << s.k << " options " << bits);
      const Operands t = Make(s, o, DType::kFloat32);
      const Tensor expected = Expected(s, o, {Rounded(t.a), Rounded(t.b), t.c});
      const Tensor c = t.c.Clone();
      {
        const PrecisionScope scope(Precision::kBfloat16);
        BatchedGemm(t.a, t.b, c, o);
      }
      EXPECT_THAT(c, RmsClose(expected, kFloat32ForwardRms));
    }
  }
  EXPECT_EQ(GetPrecision(), Precision::kFloat32);
}

TEST(Gemm, Bfloat16LeavesDoublesAlone) {
  const Case s{5, 31, 13};
  const Operands t = Make(s, {}, DType::kFloat64);
  const PrecisionScope scope(Precision::kBfloat16);
  BatchedGemm(t.a, t.b, t.c);
  EXPECT_THAT(t.c, RmsClose(Expected(s, {}, t), kFloat64Rms));
}

TEST(Gemm, BatchedEqualsReference) {
  for (const int64_t g : {0, 1, 3, 40}) {
    const Case s{19, 35, 23};
    const GemmOptions o{false, true, true};
    const Operands t = Make(s, o, DType::kFloat32, g);
    const Tensor expected = Expected(s, o, t), c = t.c.Clone();
    BatchedGemm(t.a, t.b, c, o);
    EXPECT_THAT(c, RmsClose(expected, kFloat32ForwardRms)) << g;
  }
}

class InEachPrecision : public testing::TestWithParam<Precision> {
 private:
  const PrecisionScope scope_{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Gemm, InEachPrecision,
                         testing::Values(Precision::kFloat32, Precision::kBfloat16));

TEST_P(InEachPrecision, SameBitsForAnyThreadCount) {
  for (const Case& s : {Case{128, 352, 4096}, Case{1000, 600, 100}, Case{300, 40, 5000}}) {
    const GemmOptions o{true, false, false};
    const Operands t = Make(s, o, DType::kFloat32);
    ExpectSameBits([&] {
      const Tensor c = Tensor::Empty({s.m, s.n});
      Gemm(t.a.View({s.k, s.m}), t.b.View({s.k, s.n}), c, o);
      return std::vector<Tensor>{c};
    });
  }
}

// A row of c has the same bits whatever rows it is computed with, one alone included: a decoding
// step repeats the forward pass.
TEST_P(InEachPrecision, RowsDoNotDependOnOtherRows) {
  for (const bool transpose_b : {false, true}) {
    const Case s{400, 130, 500};
    const GemmOptions o{false, transpose_b, false};
    const Operands t = Make(s, o, DType::kFloat32);
    const Tensor a = t.a.View({s.m, s.k}), b = t.b.View({t.b.dim(1), t.b.dim(2)});
    const Tensor whole = Tensor::Empty({s.m, s.n});
    Gemm(a, b, whole, o);
    for (const int64_t begin : {0, 1, 27, 399}) {
      for (const int64_t end : {begin + 1, begin + 13, begin + 14, begin + 30, begin + 170, s.m}) {
        if (end > s.m) continue;
        const Tensor part = Tensor::Empty({end - begin, s.n});
        Gemm(a.ViewRows(begin, end), b, part, o);
        EXPECT_THAT(part, BitEqual(whole.ViewRows(begin, end).Clone())) << begin << " " << end;
      }
    }
  }
}

// Nothing beyond the operands is read into a result: NaN rows and columns stay where they are.
TEST_P(InEachPrecision, NanStaysInItsRowAndColumn) {
  const Case s{20, 40, 30};
  const Operands t = Make(s, {}, DType::kFloat32);
  const Tensor a = t.a.View({s.m, s.k}), b = t.b.View({s.k, s.n}), c = Tensor::Empty({s.m, s.n});
  a.mutable_data<float>()[3 * s.k + 5] = std::numeric_limits<float>::quiet_NaN();
  b.mutable_data<float>()[2 * s.n + 39] = std::numeric_limits<float>::quiet_NaN();
  Gemm(a, b, c);
  for (int64_t i = 0; i < c.numel(); ++i) {
    EXPECT_EQ(std::isnan(c.data<float>()[i]), i / s.n == 3 || i % s.n == 39) << i;
  }
}

TEST(Gemm, MetaCountsWhatTheCpuCounts) {
  const Tensor a = Tensor::Zeros({3, 5}), b = Tensor::Zeros({5, 7}), c = Tensor::Zeros({3, 7});
  const Cost cpu = CostOf([&] { Gemm(a, b, c); });
  const Cost meta = CostOf([&] { Gemm(Meta(a), Meta(b), Meta(c)); });
  EXPECT_EQ(cpu.flops, 2 * 3 * 5 * 7);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(GemmDeathTest, RefusesShapesThatDoNotFit) {
  EXPECT_DEATH(Gemm(Tensor::Zeros({2, 3}), Tensor::Zeros({4, 5}), Tensor::Zeros({2, 5})),
               "\\[1, 2, 3\\] by \\[1, 4, 5\\]");
}

}  // namespace
}  // namespace longrange::kernels
