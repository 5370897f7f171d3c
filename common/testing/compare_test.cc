#include "common/testing/compare.h"

#include <cmath>
#include <limits>
#include <vector>

#include "common/base/rng.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const double kNan = std::nan("");
const double kInf = std::numeric_limits<double>::infinity();

Tensor Doubles(const std::vector<double>& values) {
  return Tensor::FromVector<double>({static_cast<int64_t>(values.size())}, values);
}

TEST(CompareTest, ToleranceIsTheBoundItself) {
  const Tolerance t{0.25, 0.5};  // 0.5 + 0.25 * 2 = 1
  EXPECT_TRUE(Compare(Doubles({3}), Doubles({2}), t).passed);
  EXPECT_TRUE(Compare(Doubles({1}), Doubles({2}), t).passed);
  EXPECT_FALSE(Compare(Doubles({std::nextafter(3, 4)}), Doubles({2}), t).passed);
  EXPECT_TRUE(Compare(Doubles({-3}), Doubles({-2}), t).passed);
  EXPECT_FALSE(Compare(Doubles({1}), Doubles({std::nextafter(1, 2)}), kExact).passed);
  EXPECT_TRUE(Compare(Doubles({0.0}), Doubles({-0.0}), kExact).passed);
}

TEST(CompareTest, NanAndInfinityFail) {
  const Tolerance loose{1e6, 1e6};
  EXPECT_FALSE(Compare(Doubles({kNan}), Doubles({1}), loose).passed);
  EXPECT_FALSE(Compare(Doubles({1}), Doubles({kNan}), loose).passed);
  EXPECT_FALSE(Compare(Doubles({kNan}), Doubles({kNan}), loose).passed);
  EXPECT_FALSE(Compare(Doubles({kInf}), Doubles({1}), loose).passed);
  EXPECT_FALSE(Compare(Doubles({1}), Doubles({kInf}), loose).passed);
  EXPECT_FALSE(Compare(Doubles({-kInf}), Doubles({kInf}), loose).passed);
  EXPECT_TRUE(Compare(Doubles({-kInf}), Doubles({-kInf}), kExact).passed);
  // A NaN in the middle is not hidden by what follows it, nor by a larger error before it.
  const Comparison c = Compare(Doubles({5, kNan, 9}), Doubles({1, 1, 1}), Tolerance{0, 1});
  EXPECT_FALSE(c.passed);
  EXPECT_EQ(c.worst_index, 1);
  EXPECT_EQ(c.worst, kInf);
}

TEST(CompareTest, ReportsTheWorstElement) {
  Tensor actual = RandomNormal({2, 3, 4}, Rng(1), 1, DType::kFloat64);
  const Tensor expected = actual.Clone();
  actual.mutable_data<double>()[1] += 0.002;
  actual.mutable_data<double>()[17] += 0.004;
  const Comparison c = Compare(actual, expected, Tolerance{0, 0.001});
  EXPECT_FALSE(c.passed);
  EXPECT_EQ(c.worst_index, 17);
  EXPECT_EQ(c.place, "[1, 1, 1]");
  EXPECT_NEAR(c.worst, 4, 1e-9);
  EXPECT_NEAR(c.error, 0.004, 1e-12);
  EXPECT_EQ(c.actual, actual.data<double>()[17]);
  EXPECT_EQ(c.expected, expected.data<double>()[17]);
  EXPECT_THAT(c.message, HasSubstr("[1, 1, 1]"));
  EXPECT_THAT(c.message, HasSubstr("atol 0.001"));
  EXPECT_THAT(c.message, HasSubstr("2 of 24 elements"));
}

TEST(CompareTest, ShapesAndTypesMustBeTheSame) {
  const Tensor t = Tensor::Zeros({2, 3});
  EXPECT_THAT(Compare(t, Tensor::Zeros({3, 2}), kExact).message,
              HasSubstr("got float32 [2, 3], expected float32 [3, 2]"));
  EXPECT_FALSE(Compare(t, Tensor::Zeros({2, 3}, DType::kFloat64), kExact).passed);
  EXPECT_FALSE(Compare(Tensor::Zeros({1}), Tensor::Zeros({}), kExact).passed);
  EXPECT_FALSE(Compare(Tensor(), t, kExact).passed);
  EXPECT_FALSE(Compare(t, Tensor(), kExact).passed);
  EXPECT_FALSE(Compare(t.To(Device::kMeta), t, kExact).passed);
  EXPECT_TRUE(Compare(Tensor::Zeros({2, 0}), Tensor::Zeros({2, 0}), kExact).passed);
}

TEST(CompareTest, IntegersAreExact) {
  const Tensor a = Tensor::FromVector<int64_t>({2}, {50000, int64_t{1} << 60});
  const Tensor b = Tensor::FromVector<int64_t>({2}, {50000, (int64_t{1} << 60) + 1});
  EXPECT_TRUE(Compare(a, a, kGoldenForward).passed);
  const Comparison c = Compare(a, b, kGoldenForward);
  EXPECT_FALSE(c.passed);
  EXPECT_EQ(c.worst_index, 1);
  EXPECT_THAT(c.message,
              HasSubstr("got 1152921504606846976, expected 1152921504606846977 at [1]: 1 of 2"));
}

TEST(CompareTest, RowsHaveTheirOwnTolerance) {
  const Tensor expected = Tensor::Zeros({2, 2});
  const Tensor actual = Tensor::FromVector<float>({2, 2}, {0.f, 0.01f, 1.f, 0.f});
  EXPECT_TRUE(CompareRows(actual, expected, {{0, 0.02}, {0, 2}}).passed);
  const Comparison c = CompareRows(actual, expected, {{0, 0.005}, {0, 2}});
  EXPECT_FALSE(c.passed);
  EXPECT_EQ(c.place, "[0, 1]");
  EXPECT_FALSE(CompareRows(actual, expected, {{0, 9}}).passed);
}

TEST(CompareTest, RmsRatio) {
  EXPECT_DOUBLE_EQ(RmsRatio(Doubles({3, 4.5}), Doubles({3, 4})), 0.1);
  EXPECT_EQ(RmsRatio(Doubles({0, 0}), Doubles({0, 0})), 0);
  EXPECT_EQ(RmsRatio(Doubles({1e-300, 0}), Doubles({0, 0})), kInf);
  EXPECT_DOUBLE_EQ(RmsRatio(Doubles({1.5e-200}), Doubles({1e-200})), 0.5);
  EXPECT_DOUBLE_EQ(RmsRatio(Doubles({1.5e200, 0}), Doubles({1e200, 0})), 0.5);
  EXPECT_TRUE(std::isnan(RmsRatio(Doubles({kNan}), Doubles({1}))));
  EXPECT_TRUE(std::isnan(RmsRatio(Doubles({1}), Doubles({kInf}))));
  EXPECT_TRUE(std::isnan(RmsRatio(Doubles({1}), Doubles({1, 1}))));
  // A float32 result against a float64 reference.
  const Tensor reference = RandomNormal({100}, Rng(1), 1, DType::kFloat64);
  EXPECT_GT(RmsRatio(reference.To(DType::kFloat32), reference), 1e-9);
  EXPECT_THAT(reference.To(DType::kFloat32), RmsClose(reference, 1e-7));
  const Comparison c = CompareRms(Doubles({1, kNan, 2}), Doubles({5, 1, 2}), 1e9);
  EXPECT_FALSE(c.passed);
  EXPECT_EQ(c.worst_index, 1);
  EXPECT_FALSE(CompareRms(Tensor::Zeros({1}), Tensor::Zeros({1}, DType::kInt32), 1).passed);
}

TEST(CompareTest, Bits) {
  EXPECT_TRUE(CompareBits(Doubles({kNan, -0.0}), Doubles({kNan, -0.0})).passed);
  EXPECT_FALSE(CompareBits(Doubles({0.0}), Doubles({-0.0})).passed);
  const Comparison c = CompareBits(Doubles({1, 2, 3}), Doubles({1, 4, 5}));
  EXPECT_EQ(c.worst_index, 1);
  EXPECT_THAT(c.message, HasSubstr("got 2, expected 4; 2 of 3"));
  EXPECT_FALSE(CompareBits(Tensor::Zeros({1}), Tensor::Zeros({1}, DType::kInt32)).passed);
}

TEST(MatchersTest, PassAndFail) {
  const Tensor a = Doubles({1, 2}), b = Doubles({1, 2.001});
  EXPECT_THAT(a, AllClose(b, Tolerance{0, 0.01}));
  EXPECT_THAT(a, Not(AllClose(b, Tolerance{0, 0.0001})));
  EXPECT_THAT(a, RmsClose(b, 1e-3));
  EXPECT_THAT(a, Not(RmsClose(b, 1e-4)));
  EXPECT_THAT(a, BitEqual(a.Clone()));
  EXPECT_THAT(a, Not(BitEqual(b)));
  ::testing::StringMatchResultListener listener;
  EXPECT_FALSE(::testing::ExplainMatchResult(AllClose(b, Tolerance{0, 0.0001}), a, &listener));
  EXPECT_THAT(listener.str(), HasSubstr("worst at [1]: got 2, expected 2.001"));
  EXPECT_EQ(::testing::PrintToString(a), "a tensor [2] of float64");
}

TEST(MatchersTest, Statuses) {
  const absl::StatusOr<int> value = 3, error = absl::NotFoundError("no such thing");
  EXPECT_THAT(value, IsOk());
  EXPECT_THAT(error, Not(IsOk()));
  EXPECT_THAT(absl::OkStatus(), IsOk());
  EXPECT_THAT(value, IsOkAndHolds(3));
  EXPECT_THAT(value, IsOkAndHolds(::testing::Gt(2)));
  EXPECT_THAT(value, Not(IsOkAndHolds(4)));
  EXPECT_THAT(error, Not(IsOkAndHolds(3)));
  EXPECT_THAT(error, StatusIs(absl::StatusCode::kNotFound, "such"));
  EXPECT_THAT(error, Not(StatusIs(absl::StatusCode::kNotFound, "other")));
  EXPECT_THAT(error.status(), Not(StatusIs(absl::StatusCode::kInternal, "such")));
  EXPECT_THAT(value, Not(StatusIs(absl::StatusCode::kNotFound, "")));
}

TEST(ToleranceTest, TheRowsOfTheTable) {
  const auto is = [](const SourcedTolerance& t, double rtol, double atol) {
    return t.tolerance.rtol == rtol && t.tolerance.atol == atol && !t.source.empty();
  };
  EXPECT_TRUE(is(GoldenTolerance("bigbird", "c", "out.y"), 1e-4, 1e-5));
  EXPECT_TRUE(is(GoldenTolerance("bigbird", "c", "grad.param.w"), 1e-3, 1e-4));
  EXPECT_TRUE(is(GoldenTolerance("retnet", "c", "chunkwise.grad.in.x"), 1e-3, 1e-4));
  EXPECT_TRUE(is(GoldenTolerance("unknown", "c", "out.y"), 1e-4, 1e-5));
  EXPECT_TRUE(is(GoldenTolerance("alibi", "slopes", "out.slopes.12"), 1e-6, 0));
  EXPECT_TRUE(
      is(GoldenTolerance("alibi", "mpt_attn", "out_check.position_bias_last_row"), 1e-5, 1e-5));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "t", "out.yarn.inv_freq"), 2e-6, 0));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "t", "out.yarn.cos", 999), 0, 2e-5));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "t", "out.yarn.cos", 1000), 0, 0x1p-13));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "t", "out.yarn.sin", 4095), 0, 3e-3));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "a", "out.q_rot"), 1e-5, 1e-5));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "a", "grad.in.q"), 5e-5, 5e-5));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "hf_llama_tiny", "out.yarn.logits"), 0, 1e-4));
  EXPECT_TRUE(is(GoldenTolerance("rope_extension", "hf_llama_tiny", "out.yarn.loss"), 0, 1e-5));
  EXPECT_TRUE(
      is(GoldenTolerance("rope_extension", "hf_llama_tiny", "grad.plain.param.w"), 1e-4, 1e-5));
  EXPECT_TRUE(is(GoldenTolerance("position_interpolation", "c", "out.y"), 1e-5, 2e-6));
  EXPECT_TRUE(is(GoldenTolerance("mamba", "hf_mamba_tiny", "out.logits"), 0, 1e-4));
  EXPECT_TRUE(is(GoldenTolerance("mamba", "mamba_lm_2layer", "out.logits"), 1e-4, 1e-5));
  EXPECT_TRUE(is(GoldenTolerance("longbench", "cases", "score"), 0, 1e-9));
}

// A row that an earlier one hides would never be looked at.
TEST(ToleranceTest, NoRowIsHidden) {
  for (const GoldenOverride& row : kGoldenOverrides) {
    std::string case_name = row.case_pattern, tensor = row.tensor_pattern;
    for (std::string* name : {&case_name, &tensor}) {
      while (name->find('*') != std::string::npos) name->replace(name->find('*'), 1, "zz");
    }
    EXPECT_EQ(GoldenTolerance(row.paper, case_name, tensor, row.from_position).source, row.source)
        << row.tensor_pattern;
  }
}

TEST(ShapesTest, RandomTensorsAreRepeatableAndInRange) {
  const Rng rng(5);
  EXPECT_THAT(RandomNormal({4, 5}, rng), BitEqual(RandomNormal({4, 5}, rng)));
  EXPECT_THAT(RandomNormal({4, 5}, rng), Not(BitEqual(RandomNormal({4, 5}, rng.Child(1)))));
  EXPECT_THAT(RandomNormal({4, 5}, rng, 2, DType::kFloat64).To(DType::kBFloat16),
              BitEqual(RandomNormal({4, 5}, rng, 2, DType::kBFloat16)));
  for (const double x : RandomUniform({1000}, rng, -2, 3).ToDoubles()) {
    EXPECT_GE(x, -2);
    EXPECT_LE(x, 3);
  }
  std::vector<int> seen(7);
  for (const int64_t i : RandomIds({1000}, rng, 7).ToInts()) ++seen.at(static_cast<size_t>(i));
  for (const int n : seen) EXPECT_GT(n, 50);
}

}  // namespace
}  // namespace longrange
