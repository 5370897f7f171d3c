// What the frequencies promise, what configs are refused, and how a config.json is read. The
// numbers themselves are held against the references by the golden cases (//papers:goldens_test).

#include <google/protobuf/text_format.h>

#include <cmath>
#include <string>
#include <vector>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/rope_extension/frequencies.h"
#include "papers/rope_extension/rope_extension.pb.h"
#include "plugins/attention/rope.h"
#include "plugins/hugging_face/hugging_face.h"
#include "plugins/position.h"

namespace longrange {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::Pointwise;

constexpr int64_t kHeadWidth = 16;

google::protobuf::Any ParseAny(const std::string& name, const std::string& fields) {
  google::protobuf::Any any;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      "[type.googleapis.com/longrange.RopeExtension" + name + "Config] { " + fields + " }", &any));
  return any;
}

absl::StatusOr<std::unique_ptr<PositionScheme>> Create(const google::protobuf::Any& any,
                                                       int64_t head_width = kHeadWidth) {
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng())};
  args.width = head_width;
  return Registry<PositionScheme>::Get().Create(any, args);
}

std::vector<double> Frequencies(const google::protobuf::Any& any, int64_t length,
                                int64_t head_width = kHeadWidth) {
  const auto scheme = Create(any, head_width);
  CHECK(scheme.ok()) << scheme.status();
  return (*scheme)->RotaryFor(length, nn::Call()).inv_freq.ToDoubles();
}

double Magnitude(const google::protobuf::Any& any, int64_t length) {
  const auto scheme = Create(any);
  CHECK(scheme.ok()) << scheme.status();
  return (*scheme)->RotaryFor(length, nn::Call()).magnitude;
}

bool DependsOnLength(const google::protobuf::Any& any) {
  const auto scheme = Create(any);
  CHECK(scheme.ok()) << scheme.status();
  return (*scheme)->depends_on_length();
}

MATCHER_P(RelativelyNear, tolerance, "") {
  return std::abs(std::get<0>(arg) - std::get<1>(arg)) <= tolerance * std::abs(std::get<1>(arg));
}

auto Equals(const std::vector<double>& expected) {
  return Pointwise(RelativelyNear(1e-14), expected);
}

const std::vector<double> kTheta = RopeFrequencies(kHeadWidth, 10000);

TEST(NtkTest, SlowestPairIsDividedByAlphaAndFastestIsNot) {
  const std::vector<double> f = Frequencies(ParseAny("Ntk", "alpha: 8"), 0);
  EXPECT_DOUBLE_EQ(f.front(), 1);
  EXPECT_NEAR(f.back(), kTheta.back() / 8, 1e-18);
  EXPECT_FALSE(DependsOnLength(ParseAny("Ntk", "")));
}

TEST(DynamicNtkTest, IsTheIdentityUpToTheTrainedLengthAndGrowsBeyond) {
  const auto any = ParseAny("DynamicNtk", "original_length: 128");
  EXPECT_TRUE(DependsOnLength(any));
  EXPECT_THAT(Frequencies(any, 1), Equals(kTheta));
  EXPECT_THAT(Frequencies(any, 128), Equals(kTheta));
  // s n / L - (s - 1) = 2 * 4 - 1 = 7
  EXPECT_NEAR(Frequencies(any, 512).back(), kTheta.back() / 7, 1e-18);
}

TEST(DynamicNtkTest, MinimumLengthIsNtk32kOfTheStudy) {
  // s = 4, L = 4096, tuned at 32768: u = 4 * 8 - 3 = 29 at every length up to 32768, 61 at 65536.
  const auto any = ParseAny("DynamicNtk", "factor: 4 original_length: 4096 minimum_length: 32768");
  for (const int64_t length : {1, 4096, 32768})
    EXPECT_NEAR(Frequencies(any, length).back(), kTheta.back() / 29, 1e-18);
  EXPECT_NEAR(Frequencies(any, 65536).back(), kTheta.back() / 61, 1e-18);
}

TEST(YarnTest, RampOfTheStudysModel) {
  // Heads of 32, L = 128, from 8 turns to 1: p(8) = 1.62 and p(1) = 5.24, so pairs up to 1 are
  // unchanged and those from 6 on are interpolated.
  const auto any = ParseAny("Yarn", "factor: 4 original_length: 128 beta_fast: 8 beta_slow: 1");
  const std::vector<double> f = Frequencies(any, 0, 32), theta = RopeFrequencies(32, 10000);
  EXPECT_THAT(
      rope_extension::TurnRamp(10000, 32, 128, 8, 1),
      ElementsAre(0, 0, DoubleNear(0.2, 1e-15), DoubleNear(0.4, 1e-15), DoubleNear(0.6, 1e-15),
                  DoubleNear(0.8, 1e-15), 1, 1, 1, 1, 1, 1, 1, 1, 1, 1));
  EXPECT_DOUBLE_EQ(f[1], theta[1]);
  EXPECT_DOUBLE_EQ(f[2], theta[2] * (0.8 + 0.2 / 4));
  EXPECT_DOUBLE_EQ(f[6], theta[6] / 4);
  EXPECT_DOUBLE_EQ(Magnitude(any, 0), 0.1 * std::log(4) + 1);
  EXPECT_DOUBLE_EQ(Magnitude(ParseAny("Yarn", "original_length: 128 attention_factor: 0.75"), 0),
                   0.75);
}

TEST(YarnTest, RampMayEndBeyondTheLastPair) {
  // L = 131072, d = 16: p(32) = 5.6, p(1) = 8.6. The code's limit is d - 1, so the ramp runs on to
  // 9 though pairs end at 7.
  EXPECT_THAT(rope_extension::TurnRamp(10000, 16, 131072, 32, 1),
              ElementsAre(0, 0, 0, 0, 0, 0, 0.25, 0.5));
}

TEST(YarnTest, DynamicTakesTheFactorFromTheLength) {
  const auto dynamic = ParseAny("Yarn", "original_length: 128 dynamic: true");
  EXPECT_TRUE(DependsOnLength(dynamic));
  EXPECT_THAT(Frequencies(dynamic, 100), Equals(kTheta));
  EXPECT_EQ(Magnitude(dynamic, 100), 1);
  const auto fixed = ParseAny("Yarn", "original_length: 128 factor: 3");
  EXPECT_FALSE(DependsOnLength(fixed));
  EXPECT_THAT(Frequencies(dynamic, 384), Equals(Frequencies(fixed, 1)));
  EXPECT_DOUBLE_EQ(Magnitude(dynamic, 384), Magnitude(fixed, 1));
}

TEST(ByPartsTest, FastPairsAreUnchangedAndSlowOnesInterpolated) {
  const std::vector<double> f =
      Frequencies(ParseAny("ByParts", "factor: 4 original_length: 256"), 0);
  EXPECT_DOUBLE_EQ(f.front(), kTheta.front());
  EXPECT_DOUBLE_EQ(f.back(), kTheta.back() / 4);
}

TEST(LongRopeTest, SwitchesListsBeyondTheTrainedLength) {
  const std::string lists =
      " short_factor: [1, 1, 1, 1, 1, 1, 1, 2] long_factor: [1, 1, 1, 1, 1, 1, 1, 8]";
  const auto any = ParseAny("LongRope", "factor: 4 original_length: 64" + lists);
  EXPECT_TRUE(DependsOnLength(any));
  EXPECT_DOUBLE_EQ(Frequencies(any, 64).back(), kTheta.back() / 2);
  EXPECT_DOUBLE_EQ(Frequencies(any, 65).back(), kTheta.back() / 8);
  EXPECT_DOUBLE_EQ(Magnitude(any, 64), std::sqrt(1 + std::log(4) / std::log(64)));
  const auto always =
      ParseAny("LongRope", "factor: 4 original_length: 64 always_long: true" + lists);
  EXPECT_FALSE(DependsOnLength(always));
  EXPECT_DOUBLE_EQ(Frequencies(always, 1).back(), kTheta.back() / 8);
}

TEST(Llama3Test, BandsByTurns) {
  const std::vector<double> f = Frequencies(ParseAny("Llama3", "factor: 4 original_length: 64"), 0);
  // Turns within 64: 10.2, 3.2, 1.02, 0.3, ...
  EXPECT_DOUBLE_EQ(f[0], kTheta[0]);
  const double g = (64 * kTheta[1] / (2 * M_PI) - 1) / 3;
  EXPECT_DOUBLE_EQ(f[1], (1 - g) * kTheta[1] / 4 + g * kTheta[1]);
  EXPECT_DOUBLE_EQ(f[3], kTheta[3] / 4);
}

struct Refused {
  const char *name, *fields, *message;
};

TEST(RefusalTest, NameTheFieldAndWhatWasExpected) {
  const Refused refused[] = {
      {"Ntk", "alpha: 0.5", "alpha: 0.5 (expected 1 or more)"},
      {"Ntk", "alpha: nan", "alpha: nan"},
      {"Ntk", "theta: 1", "theta: 1 (expected > 1)"},
      {"Ntk", "partial: 0.125", "partial: 2 of 16 channels rotate (expected 4 or more)"},
      {"Ntk", "partial: 1.5", "partial: 1.5"},
      {"DynamicNtk", "", "original_length: 0 (expected the length that the model was trained at"},
      {"DynamicNtk", "original_length: 8 factor: 0", "factor: 0"},
      {"DynamicNtk", "original_length: 8 minimum_length: 7",
       "minimum_length: 7 (expected 0, or original_length 8 or more)"},
      {"Yarn", "", "original_length"},
      {"Yarn", "original_length: 8 beta_fast: 1 beta_slow: 2",
       "beta_fast: 1 (expected more than beta_slow, which is 2)"},
      {"Yarn", "original_length: 8 beta_slow: 0", "beta_slow: 0 (expected > 0)"},
      {"Yarn", "original_length: 8 factor: 0.5", "factor: 0.5"},
      {"Yarn", "original_length: 8 attention_factor: -1", "attention_factor: -1"},
      {"Yarn", "original_length: 8 dynamic: true factor: 4",
       "factor: 4 (expected unset, as a dynamic factor follows"},
      {"ByParts", "original_length: 8 gamma_1: 20",
       "gamma_0: 16 (expected more than gamma_1, which is 20)"},
      {"ByParts", "factor: 2", "original_length"},
      {"LongRope", "original_length: 8", "factor: 0 (expected > 0)"},
      {"LongRope", "original_length: 8 factor: 2 short_factor: [1, 2]",
       "short_factor: 2 values (expected 8"},
      {"LongRope",
       "original_length: 8 factor: 2 short_factor: [1, 1, 1, 1, 1, 1, 1, 1] long_factor: [1, 1, 1, "
       "1, 1, 1, 1, 0]",
       "long_factor: 0 (expected > 0)"},
      {"Llama3", "original_length: 8 low_freq_factor: 4",
       "high_freq_factor: 4 (expected more than low_freq_factor"},
  };
  for (const Refused& r : refused) {
    EXPECT_THAT(Create(ParseAny(r.name, r.fields)),
                StatusIs(absl::StatusCode::kInvalidArgument, r.message))
        << r.name << " { " << r.fields << " }";
  }
}

// What a config.json with this text beside rope_theta 10000 describes.
template <typename Config>
absl::StatusOr<Config> Import(const std::string& json, bool as_transformers_446 = false) {
  LR_ASSIGN_OR_RETURN(const nlohmann::json object, ParseJson(json, "test"));
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(object, "config"));
  HuggingFaceOptions options;
  options.as_transformers_446 = as_transformers_446;
  LR_ASSIGN_OR_RETURN(const google::protobuf::Any any, ImportHuggingFacePosition(&fields, options));
  LR_RETURN_IF_ERROR(fields.Done());
  Config config;
  CHECK(any.UnpackTo(&config)) << any.type_url();
  return config;
}

TEST(HuggingFaceTest, ReadsBothConventionsOfTheTrainedLength) {
  LR_ASSERT_OK_AND_ASSIGN(auto yarn, Import<RopeExtensionYarnConfig>(
                                         R"({"max_position_embeddings": 32, "rope_theta": 500,
                                            "rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 16}})"));
  EXPECT_EQ(yarn.original_length(), 32);
  EXPECT_EQ(yarn.theta(), 500);
  EXPECT_EQ(yarn.beta_fast(), 16);
  const std::string both = R"({"max_position_embeddings": 128, "rope_scaling":
                              {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}})";
  LR_ASSERT_OK_AND_ASSIGN(yarn, Import<RopeExtensionYarnConfig>(both));
  EXPECT_EQ(yarn.original_length(), 32);
  LR_ASSERT_OK_AND_ASSIGN(yarn,
                          Import<RopeExtensionYarnConfig>(both, /*as_transformers_446=*/true));
  EXPECT_EQ(yarn.original_length(), 128);
}

TEST(HuggingFaceTest, LongRopeTakesItsFactorFromTheLengths) {
  const std::string phi3 =
      R"({"max_position_embeddings": 256, "original_max_position_embeddings": 64, "rope_scaling":
                              {"type": "longrope", "short_factor": [1], "long_factor": [2]}})";
  LR_ASSERT_OK_AND_ASSIGN(auto config, Import<RopeExtensionLongRopeConfig>(phi3));
  EXPECT_EQ(config.factor(), 4);
  EXPECT_EQ(config.original_length(), 64);
  EXPECT_FALSE(config.always_long());
  LR_ASSERT_OK_AND_ASSIGN(config,
                          Import<RopeExtensionLongRopeConfig>(phi3, /*as_transformers_446=*/true));
  EXPECT_TRUE(config.always_long());
}

TEST(HuggingFaceTest, RefusesWhatItDoesNotKnow) {
  const std::pair<const char*, const char*> refused[] = {
      {R"({"rope_scaling": {"rope_type": "yarn", "factor": 2, "mscale": 1}, "max_position_embeddings": 8})",
       "config.rope_scaling: unknown key mscale"},
      {R"({"rope_scaling": {"rope_type": "yarn"}, "max_position_embeddings": 8})",
       "factor: expected a number, got nothing"},
      {R"({"rope_scaling": {"rope_type": "yarn", "factor": 2}})", "expected the trained length"},
      {R"({"rope_scaling": {"rope_type": "su"}})",
       "rope_type: unknown 'su' (known: dynamic, llama3, longrope, yarn"},
      {R"({"rope_scaling": {"rope_type": "yarn", "type": "dynamic"}})",
       "'yarn' and type 'dynamic' differ"},
      {R"({"rope_scaling": {"factor": 2}})", "type: expected a string"},
      {R"({"rope_scaling": {"rope_type": "llama3", "factor": 2, "low_freq_factor": 1, "high_freq_factor": "4"}})",
       "high_freq_factor: expected a number, got \"4\""},
      {R"({"rope_theta": [1]})", "config.rope_theta: expected a number, got [1]"},
  };
  for (const auto& [json, message] : refused) {
    EXPECT_THAT(Import<RopeExtensionYarnConfig>(json),
                StatusIs(absl::StatusCode::kInvalidArgument, message))
        << json;
  }
}

}  // namespace
}  // namespace longrange
