// The constants by head and channel, the published numbers behind them, and what the suite of
// plugins/conformance does not see.

#include <cmath>
#include <memory>

#include "common/autograd/ops.h"
#include "common/autograd/retention.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "papers/retnet/retnet.pb.h"
#include "papers/retnet/schedule.h"
#include "papers/retnet/score_scale.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

constexpr int64_t kWidth = 16;

struct Layer {
  nn::ParameterStore store;
  std::unique_ptr<Mixer> mixer;
};

std::unique_ptr<Layer> Make(const RetnetConfig& config, DType dtype = DType::kFloat64) {
  auto layer = std::make_unique<Layer>();
  BuildArgs args{nn::Scope(&layer->store, Rng(3), dtype)};
  args.width = kWidth;
  google::protobuf::Any any;
  any.PackFrom(config);
  auto mixer = Registry<Mixer>::Get().Create(any, args);
  EXPECT_THAT(mixer.status(), IsOk());
  layer->mixer = *std::move(mixer);
  return layer;
}

RetnetConfig TwoHeads() {
  RetnetConfig config;
  config.set_heads(2);
  return config;
}

TEST(Retnet, DecaysOfTheSchedules) {
  RetnetConfig config;
  config.set_heads(3);
  std::vector<double> log_decay_h = retnet::LogDecays(config);
  EXPECT_DOUBLE_EQ(std::exp(log_decay_h[0]), 1 - 1.0 / 32);
  EXPECT_DOUBLE_EQ(std::exp(log_decay_h[2]), 1 - 1.0 / 128);
  config.set_decay(RetnetConfig::LINSPACE);
  log_decay_h = retnet::LogDecays(config);
  EXPECT_DOUBLE_EQ(std::exp(log_decay_h[0]), 1 - 1.0 / 32);
  EXPECT_NEAR(std::exp(log_decay_h[1]), 1 - 1.0 / 128, 1e-15);  // the geometric mean
  EXPECT_NEAR(std::exp(log_decay_h[2]), 1 - 1.0 / 512, 1e-15);
  config.add_gamma(127.0 / 128);
  EXPECT_DOUBLE_EQ(std::exp(retnet::LogDecays(config)[2]), 127.0 / 128);
}

// The inclusive grid ends at exactly 1e-4; that of rotary embeddings stops short of it.
TEST(Retnet, FrequenciesOfTheGrids) {
  RetnetConfig config;
  EXPECT_EQ(retnet::Frequencies(config, 8).front(), 1);
  EXPECT_DOUBLE_EQ(retnet::Frequencies(config, 8).back(), 1e-4);
  EXPECT_EQ(retnet::Frequencies(config, 2), std::vector<double>{1});
  config.set_rotation(RetnetConfig::ROPE);
  EXPECT_DOUBLE_EQ(retnet::Frequencies(config, 8).back(), 1e-3);
  config.set_rotation(RetnetConfig::NO_ROTATION);
  EXPECT_TRUE(retnet::Frequencies(config, 8).empty());
}

// The head norm removes the size of the values.
TEST(Retnet, SizeOfValuesDoesNotMatter) {
  RetnetConfig config = TwoHeads();
  config.set_head_norm_epsilon(1e-20);
  const auto layer = Make(config);
  const Tensor x = RandomNormal({2, 9, kWidth}, Rng(1), 1, DType::kFloat64);
  const Tensor before = layer->mixer->Forward(x, nn::Rows(), nn::Call());
  const Tensor w_v = layer->store.Find("w_v")->value;
  for (int64_t i = 0; i < w_v.numel(); ++i) w_v.mutable_data<double>()[i] *= 10;
  EXPECT_THAT(layer->mixer->Forward(x, nn::Rows(), nn::Call()), RmsClose(before, kFloat64Rms));
}

// Without gate and norm the layer is linear maps around retention.
TEST(Retnet, WithoutGateAndNorm) {
  RetnetConfig config = TwoHeads();
  config.set_gate(RetnetConfig::NO_GATE);
  config.set_head_norm(RetnetConfig::NO_NORM);
  config.set_rotation(RetnetConfig::NO_ROTATION);
  const auto layer = Make(config);
  EXPECT_EQ(layer->store.Find("w_g"), nullptr);
  const Tensor x = RandomNormal({2, 9, kWidth}, Rng(1), 1, DType::kFloat64);
  const auto weight = [&](const char* name) { return layer->store.Find(name)->value; };
  kernels::RetentionInputs in;
  in.q_bthd = Linear(x, weight("w_q")).View({2, 9, 2, 8});
  in.k_bthd = Scale(Linear(x, weight("w_k")), 1 / std::sqrt(8.0)).View({2, 9, 2, 8});
  in.v_bthe = Linear(x, weight("w_v")).View({2, 9, 2, 16});
  in.log_decay_h = retnet::LogDecays(config);
  EXPECT_THAT(
      layer->mixer->Forward(x, nn::Rows(), nn::Call()),
      RmsClose(Linear(kernels::RetentionForward(in).out_bthe.View({2, 9, 32}), weight("w_o")),
               kFloat64Rms));
}

// Initial weights lie within xavier's bound times the gain, and reach for it.
TEST(Retnet, InitialValues) {
  const auto layer = Make(TwoHeads());
  const auto largest = [&](const char* name) {
    double most = 0;
    for (const double w : layer->store.Find(name)->value.ToDoubles())
      most = std::max(most, std::abs(w));
    return most;
  };
  const double to_values = std::exp2(-2.5) * std::sqrt(6.0 / 48), out = 0.5 * std::sqrt(6.0 / 48);
  EXPECT_LE(largest("w_v"), to_values);
  EXPECT_GT(largest("w_v"), 0.9 * to_values);
  EXPECT_LE(largest("w_o"), out);
  EXPECT_GT(largest("w_o"), 0.9 * out);
}

// Torchscale's scales: by position alone in the recurrent form, by the scores too in the others.
TEST(Retnet, ScoreScales) {
  const Tensor ones = Tensor::Full({1, 3, 1, 1}, 1, DType::kFloat64);
  const std::vector<double> half = {std::log(0.5)};
  const auto sqrt = [](double x) { return std::sqrt(x); };
  EXPECT_THAT(retnet::RecurrentScale(ones, half).ToDoubles(),
              testing::ElementsAre(1, sqrt(1.5), sqrt(1.75)));
  // Scores of one: their sum is the decay sum again, over its root.
  EXPECT_THAT(
      retnet::ParallelScale(ones, ones, half).ToDoubles(),
      testing::ElementsAre(testing::DoubleEq(1), testing::DoubleEq(1.5), testing::DoubleEq(1.75)));
  // Chunks of two: the third row starts anew, and the memory of 1.5 / 1.5 is held to 1.
  EXPECT_THAT(
      retnet::ChunkScale(ones, ones, ones, half, 2).ToDoubles(),
      testing::ElementsAre(testing::DoubleEq(1), testing::DoubleEq(1.5), testing::DoubleEq(1)));
  // With values of 3 the memory is 4.5 / 1.5.
  EXPECT_THAT(
      retnet::ChunkScale(ones, ones, Tensor::Full({1, 3, 1, 1}, 3, DType::kFloat64), half, 2)
          .ToDoubles(),
      testing::ElementsAre(testing::DoubleEq(1), testing::DoubleEq(1.5), testing::DoubleEq(3)));
}

TEST(Retnet, RefusesTwoDirections) {
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng())};
  args.width = kWidth;
  args.direction = nn::Direction::kBidirectional;
  google::protobuf::Any any;
  any.PackFrom(TwoHeads());
  EXPECT_THAT(Registry<Mixer>::Get().Create(any, args).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "direction"));
}

}  // namespace
}  // namespace longrange
