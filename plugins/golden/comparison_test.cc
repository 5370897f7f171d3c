// Gradients of parameters under the reference's names, and how each type is compared.

#include "plugins/golden/comparison.h"

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/io/safetensors.h"
#include "common/nn/module.h"
#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

class GoldenComparisonTest : public testing::Test {
 protected:
  // A case whose reference calls the parameters "a" to "c" "theirs.a" to "theirs.c".
  GoldenComparisonTest() {
    const std::string path = testing::TempDir() + "/comparison.safetensors";
    const TensorMap tensors = {{"grad.param.theirs.a", Tensor::Full({2}, 3)},
                               {"grad.param.theirs.b", Tensor::Zeros({2})},
                               {"out.y", Tensor::FromVector<float>({2}, {1000, 1})}};
    CHECK(WriteSafetensors(path, tensors, {{"paper", "p"}, {"case", "c"}, {"config", "{}"}}).ok());
    golden_ = *GoldenCase::Read(path);
    for (const char* name : {"a", "b", "c"})
      values_[name] = nn::Scope(&store_, Rng(1)).Param(name, {2}, nn::Constant(1));
    names_.Add("theirs.a", "a").Add("theirs.b", "b").Add("theirs.c", "c");
  }

  GoldenCase golden_;
  nn::ParameterStore store_;
  TensorMap values_;
  NameMap names_;
};

TEST_F(GoldenComparisonTest, HandsOverWhatTheCaseHas) {
  Backward({Add(values_.at("a"), values_.at("c"))}, {Tensor::Full({2}, 3)});
  std::map<std::string, std::vector<double>> compared;
  ASSERT_THAT(CheckParameterGradients(golden_, store_, names_,
                                      [&](const std::string& name, const Tensor& gradient) {
                                        compared[name] = gradient.ToDoubles();
                                      }),
              IsOk());
  // No gradient came to b, and the case has none of c.
  EXPECT_EQ(compared, (std::map<std::string, std::vector<double>>{
                          {"grad.param.theirs.a", {3, 3}}, {"grad.param.theirs.b", {0, 0}}}));
}

TEST_F(GoldenComparisonTest, ATypeHasItsMeasure) {
  // Off where the tensor is small: too far by element, nothing by RMS ratio.
  const Tensor y = Tensor::FromVector<double>({2}, {1000, 1.0004});
  for (const auto& [dtype, passes] : {std::pair(DType::kFloat64, false), {DType::kFloat32, true}}) {
    GoldenChecker check(&golden_);
    CompareByType(&check, dtype, "some way")("out.y", y.To(dtype));
    const GoldenReport report = check.Finish();
    EXPECT_EQ(report.results.at(0).name, absl::StrCat("out.y (some way, ", Name(dtype), ")"));
    EXPECT_EQ(report.results.at(0).passed, passes);
  }
}

TEST_F(GoldenComparisonTest, UnknownValuesAreNamed) {
  EXPECT_THAT(
      UnknownValue("gate", "relu", "swish or gelu"),
      StatusIs(absl::StatusCode::kUnimplemented, "config.gate: relu (expected swish or gelu)"));
}

}  // namespace
}  // namespace longrange
