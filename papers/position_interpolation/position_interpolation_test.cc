// Position Interpolation: frequencies by config and length, what is refused. The reference's
// numbers are held against by the golden cases
// (//papers:goldens_test).

#include <google/protobuf/text_format.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/position_interpolation/position_interpolation.pb.h"
#include "plugins/attention/rope.h"
#include "plugins/hugging_face/hugging_face.h"
#include "plugins/position.h"

namespace longrange {
namespace {

absl::StatusOr<std::unique_ptr<PositionScheme>> Create(const std::string& fields) {
  google::protobuf::Any any;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "[type.googleapis.com/longrange.PositionInterpolationConfig] { " + fields + " }", &any));
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng())};
  args.width = 16;
  return Registry<PositionScheme>::Get().Create(any, args);
}

// theta_j / f_j for all j, which must be one number.
double FactorOf(const PositionScheme& scheme, int64_t length) {
  const RotaryAngles angles = scheme.RotaryFor(length, nn::Call());
  const std::vector<double> theta = RopeFrequencies(2 * angles.inv_freq.numel(), 10000),
                            f = angles.inv_freq.ToDoubles();
  for (size_t j = 0; j < f.size(); ++j) EXPECT_NEAR(theta[j] / f[j], theta[0] / f[0], 1e-12);
  EXPECT_EQ(angles.magnitude, 1);
  return theta[0] / f[0];
}

TEST(PositionInterpolationTest, DividesAtEveryLength) {
  LR_ASSERT_OK_AND_ASSIGN(const auto scheme, Create("factor: 2.5"));
  EXPECT_FALSE(scheme->depends_on_length());
  EXPECT_DOUBLE_EQ(FactorOf(*scheme, 1), 2.5);
  EXPECT_DOUBLE_EQ(FactorOf(*scheme, 1000), 2.5);
  LR_ASSERT_OK_AND_ASSIGN(const auto partial, Create("partial: 0.5"));
  EXPECT_EQ(partial->RotaryFor(1, nn::Call()).inv_freq.numel(), 4);
  EXPECT_DOUBLE_EQ(FactorOf(*partial, 1), 4);
}

TEST(PositionInterpolationTest, DynamicDividesByLength) {
  LR_ASSERT_OK_AND_ASSIGN(const auto scheme, Create("dynamic: true original_length: 128"));
  EXPECT_TRUE(scheme->depends_on_length());
  EXPECT_DOUBLE_EQ(FactorOf(*scheme, 1), 1);
  EXPECT_DOUBLE_EQ(FactorOf(*scheme, 128), 1);
  EXPECT_DOUBLE_EQ(FactorOf(*scheme, 192), 1.5);
}

TEST(PositionInterpolationTest, RefusalsNameTheField) {
  const std::pair<const char*, const char*> refused[] = {
      {"factor: 0.5", "factor: 0.5 (expected 1 or more)"},
      {"factor: nan", "factor: nan"},
      {"dynamic: true", "original_length: 0 (expected the length that the model was trained at"},
      {"dynamic: true original_length: 8 factor: 2", "factor: 2 (expected unset"},
      {"original_length: 8", "original_length: 8 (expected unset"},
      {"theta: 0.5", "theta: 0.5 (expected > 1)"},
      {"partial: 0", "partial: 0"},
  };
  for (const auto& [fields, message] : refused) {
    EXPECT_THAT(Create(fields), StatusIs(absl::StatusCode::kInvalidArgument, message)) << fields;
  }
}

TEST(PositionInterpolationTest, IsLinearInHuggingFacesConfigs) {
  LR_ASSERT_OK_AND_ASSIGN(
      const nlohmann::json json,
      ParseJson(R"({"rope_theta": 500, "rope_scaling": {"type": "linear", "factor": 8}})", "test"));
  LR_ASSERT_OK_AND_ASSIGN(JsonFields fields, JsonFields::Create(json, "config"));
  LR_ASSERT_OK_AND_ASSIGN(const google::protobuf::Any any, ImportHuggingFacePosition(&fields, {}));
  PositionInterpolationConfig config;
  ASSERT_TRUE(any.UnpackTo(&config));
  EXPECT_EQ(config.factor(), 8);
  EXPECT_EQ(config.theta(), 500);
}

}  // namespace
}  // namespace longrange
