// Slopes, and what is refused. Attention with them is held against references by the golden cases
// (//papers:goldens_test) and by conformance_test.

#include <google/protobuf/text_format.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/alibi/alibi.pb.h"
#include "papers/alibi/slopes.h"
#include "plugins/attention/attention_host.h"
#include "plugins/position.h"

namespace longrange {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;
using ::testing::Pointwise;

absl::StatusOr<std::unique_ptr<PositionScheme>> Create(const std::string& fields) {
  google::protobuf::Any any;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "[type.googleapis.com/longrange.AlibiConfig] { " + fields + " }", &any));
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng())};
  args.width = 8;
  return Registry<PositionScheme>::Get().Create(any, args);
}

std::vector<double> PowersOfTwo(const std::vector<double>& exponents) {
  std::vector<double> powers;
  for (const double e : exponents) powers.push_back(std::exp2(e));
  return powers;
}

// Section 3: 1/2, 1/4, .. 1/256 for 8 heads; 2^-0.5, 2^-1, .. 2^-8 for 16.
TEST(AlibiTest, SlopesOfPowersOfTwo) {
  EXPECT_THAT(alibi::Slopes(8, 8),
              ElementsAre(0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.00390625));
  const std::vector<double> of_16 = alibi::Slopes(16, 8);
  ASSERT_EQ(of_16.size(), 16u);
  for (int h = 1; h <= 16; ++h) EXPECT_DOUBLE_EQ(of_16[h - 1], std::exp2(-0.5 * h));
  EXPECT_THAT(alibi::Slopes(1, 8), ElementsAre(0.00390625));
  EXPECT_THAT(alibi::Slopes(2, 4), ElementsAre(0.25, 0.0625));  // MPT with alibi_bias_max 4
}

TEST(AlibiTest, OtherHeadCountsTakeEverySecondSlopeOfTwiceAsMany) {
  EXPECT_THAT(alibi::Slopes(6, 8), Pointwise(DoubleEq(), PowersOfTwo({-2, -4, -6, -8, -1, -3})));
  EXPECT_THAT(
      alibi::Slopes(12, 8),
      Pointwise(DoubleEq(), PowersOfTwo({-1, -2, -3, -4, -5, -6, -7, -8, -0.5, -1.5, -2.5, -3.5})));
  EXPECT_THAT(alibi::Slopes(3, 8), Pointwise(DoubleEq(), PowersOfTwo({-4, -8, -2})));
}

TEST(AlibiTest, TheSchemeGivesThemByHead) {
  LR_ASSERT_OK_AND_ASSIGN(const auto scheme, Create(""));
  EXPECT_EQ(scheme->uses(), kBias);
  EXPECT_THAT(scheme->BiasFor(6, nn::Call()).slope_h.ToDoubles(), alibi::Slopes(6, 8));
  LR_ASSERT_OK_AND_ASSIGN(const auto flat, Create("bias_max: 3"));
  EXPECT_THAT(flat->BiasFor(6, nn::Call()).slope_h.ToDoubles(), alibi::Slopes(6, 3));
  LR_ASSERT_OK_AND_ASSIGN(const auto given, Create("slopes: [0.5, 0]"));
  EXPECT_THAT(given->BiasFor(2, nn::Call()).slope_h.ToDoubles(), ElementsAre(0.5, 0));
}

TEST(AlibiTest, RefusalsNameTheField) {
  const std::pair<const char*, const char*> refused[] = {
      {"bias_max: 0", "bias_max: 0 (expected > 0)"},
      {"bias_max: nan", "bias_max: nan"},
      {"slopes: [0.5, -0.25]", "slopes: -0.25 (expected 0 or more)"},
      {"slopes: inf", "slopes: inf"},
      {"slopes: 1 bias_max: 4", "bias_max: 4 (expected unset, as slopes are given)"},
  };
  for (const auto& [fields, message] : refused) {
    EXPECT_THAT(Create(fields), StatusIs(absl::StatusCode::kInvalidArgument, message)) << fields;
  }
}

TEST(AlibiTest, AttentionRefusesAnotherNumberOfSlopes) {
  for (const int64_t heads : {2, 3, 4}) {
    AttentionHostOptions options;
    options.heads = heads;
    options.kv_heads = 1;
    options.head_width = 4;
    LR_ASSERT_OK_AND_ASSIGN(options.position, Create("slopes: [0.5, 0.25, 0.125]"));
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng())};
    args.width = 8;
    const absl::Status status = AttentionHost::Create(std::move(options), args).status();
    if (heads == 3) {
      EXPECT_THAT(status, IsOk());
    } else {
      EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument,
                                   absl::StrCat("position: 3 slopes for ", heads, " heads")));
    }
  }
}

}  // namespace
}  // namespace longrange
