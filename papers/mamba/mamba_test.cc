// Mamba: initial values and tags, the ablation's switches against closed forms, a decode step that
// costs the same however long the stream, and checkpoints in the Hugging Face layout. The numbers
// of whole layers and models are in the golden cases (//papers:goldens_test).

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/autograd/ops.h"
#include "common/tensor/cost.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/mamba/mamba.pb.h"
#include "plugins/hugging_face/hugging_face.h"
#include "plugins/mixer.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

struct Layer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Mixer> mixer;

  const Tensor& Parameter(const std::string& name) const { return store->Find(name)->value; }
};

Layer Make(const MambaConfig& config, int64_t width, int64_t num_layers = 1,
           DType dtype = DType::kFloat32) {
  Layer layer;
  BuildArgs args{nn::Scope(layer.store.get(), Rng(5), dtype)};
  args.width = width;
  args.num_layers = num_layers;
  google::protobuf::Any any;
  any.PackFrom(config);
  auto mixer = Registry<Mixer>::Get().Create(any, args);
  CHECK(mixer.ok()) << mixer.status();
  layer.mixer = std::move(*mixer);
  return layer;
}

double Softplus(double x) { return std::log1p(std::exp(x)); }

TEST(MambaInit, StepSizesLieWithinTheirRange) {
  const Layer layer = Make(MambaConfig(), 256);
  std::vector<double> steps;
  for (const double bias : layer.Parameter("delta_bias").ToDoubles())
    steps.push_back(Softplus(bias));
  const auto [least, most] = std::minmax_element(steps.begin(), steps.end());
  EXPECT_GE(*least, 0.001 * (1 - 1e-4));
  EXPECT_LE(*most, 0.1 * (1 + 1e-4));
  // Log-uniform: half of them below the geometric mean.
  const auto below = std::count_if(steps.begin(), steps.end(), [](double s) { return s < 0.01; });
  EXPECT_NEAR(static_cast<double>(below) / 512, 0.5, 0.08);
}

TEST(MambaInit, TheFloorRaisesSmallSteps) {
  MambaConfig config;
  config.set_dt_min(1e-6);
  config.set_dt_max(1e-5);
  const Layer layer = Make(config, 16);
  for (const double bias : layer.Parameter("delta_bias").ToDoubles())
    EXPECT_NEAR(Softplus(bias), 1e-4, 1e-9);
}

TEST(MambaInit, DecaysAreThoseOfS4dReal) {
  const Layer layer = Make(MambaConfig(), 16);
  const std::vector<double> a_log = layer.Parameter("a_log").ToDoubles();
  ASSERT_EQ(a_log.size(), 32 * 16);
  for (size_t i = 0; i < a_log.size(); ++i)
    EXPECT_NEAR(std::exp(a_log[i]), static_cast<double>(i % 16 + 1), 1e-5);
  for (const double d : layer.Parameter("skip").ToDoubles()) EXPECT_EQ(d, 1);
}

TEST(MambaInit, TheLastProjectionShrinksWithTheLayers) {
  const auto largest = [](int64_t layers) {
    double most = 0;
    for (const double w : Make(MambaConfig(), 64, layers).Parameter("w_out").ToDoubles())
      most = std::max(most, std::abs(w));
    return most;
  };
  EXPECT_NEAR(largest(1), 1 / std::sqrt(128), 1e-3);
  EXPECT_NEAR(largest(16), 0.25 / std::sqrt(128), 1e-3);
}

// A_log, D, the bias of Delta, constants of the ablation and all biases.
TEST(MambaInit, WhatDoesNotDecay) {
  const auto exempt = [](const MambaConfig& config) {
    std::set<std::string> names;
    const Layer layer = Make(config, 16);
    for (const nn::Parameter& p : layer.store->all()) {
      if (!p.tags.decay) names.insert(p.name);
    }
    return names;
  };
  MambaConfig config;
  EXPECT_THAT(exempt(config), testing::ElementsAre("a_log", "conv.bias", "delta_bias", "skip"));
  config.set_bias(true);
  config.set_selective_b(false);
  config.set_selective_c(false);
  EXPECT_THAT(exempt(config), testing::ElementsAre("a_log", "b", "c", "conv.bias", "delta_bias",
                                                   "out_bias", "skip", "x_bias", "z_bias"));
}

// Without selection the scan is a convolution with S4D's kernel of a real diagonal,
// K_t = sum_n C_n exp(t delta A_n) delta B_n: with the other parts of the block set to pass the
// input on, an impulse shows it.
TEST(MambaAblation, WithoutSelectionItIsS4dReal) {
  MambaConfig config;
  config.set_d_state(6);
  config.set_d_conv(1);
  config.set_expand(1);
  config.set_conv_bias(false);
  config.set_selective_delta(false);
  config.set_selective_b(false);
  config.set_selective_c(false);
  const int64_t rows = 40, states = 6, impulse = 3;
  const Layer layer = Make(config, 1, 1, DType::kFloat64);
  const auto set = [&](const char* name, double value) { layer.Parameter(name).Fill(value); };
  set("w_x", 1), set("conv.weight", 1), set("w_z", 0), set("w_out", 1), set("skip", 0);
  // z = 2 for the gate by a constant input would hide the impulse; w_z 1 gates by the input itself.
  Tensor x = Tensor::Full({1, rows, 1}, 1e-3, DType::kFloat64);
  set("w_z", 1);
  const Tensor before = layer.mixer->Forward(x, nn::Rows(), nn::Call());
  x.mutable_data<double>()[impulse] = 1;
  const Tensor after = layer.mixer->Forward(x, nn::Rows(), nn::Call());
  const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
  const double delta = Softplus(layer.Parameter("delta_bias").ToDoubles()[0]);
  const std::vector<double> a_log = layer.Parameter("a_log").ToDoubles(),
                            b = layer.Parameter("b").ToDoubles(),
                            c = layer.Parameter("c").ToDoubles();
  for (int64_t t = impulse + 1; t < rows; ++t) {
    double kernel = 0;
    for (int64_t n = 0; n < states; ++n) {
      kernel += c[n] * b[n] * delta *
                std::exp(-static_cast<double>(t - impulse) * delta * std::exp(a_log[n]));
    }
    const double change = after.data<double>()[t] - before.data<double>()[t];
    EXPECT_NEAR(change, kernel * (silu(1) - silu(1e-3)) * silu(1e-3), 1e-12) << t;
  }
}

// Each switch makes its part forget the token: the parameter that selects is gone.
TEST(MambaAblation, SwitchesTakeTheirParametersAway) {
  MambaConfig config;
  config.set_selective_delta(false);
  const Layer no_delta = Make(config, 16);
  EXPECT_EQ(no_delta.store->Find("w_rank"), nullptr);
  EXPECT_EQ(no_delta.store->Find("w_delta"), nullptr);
  EXPECT_NE(no_delta.store->Find("w_b"), nullptr);
  config = MambaConfig();
  config.set_selective_c(false);
  const Layer no_c = Make(config, 16);
  EXPECT_EQ(no_c.store->Find("w_c"), nullptr);
  EXPECT_EQ(no_c.Parameter("c").shape(), Shape({32, 16}));
}

TEST(MambaStream, AStepCostsTheSameAfterAnyLength) {
  const Layer layer = Make(MambaConfig(), 32);
  const NoGradScope no_grad;
  nn::State state = layer.mixer->NewState(1);
  const int64_t bytes = state.bytes();
  const auto step = [&] {
    const CostScope scope;
    layer.mixer->Extend(RandomNormal({1, 1, 32}, Rng(2)), nn::Rows(), nn::Call(), &state);
    return scope.cost();
  };
  step();
  const Cost early = step();
  layer.mixer->Extend(RandomNormal({1, 4096, 32}, Rng(3)), nn::Rows(), nn::Call(), &state);
  const Cost late = step();
  EXPECT_EQ(late.flops, early.flops);
  EXPECT_EQ(late.bytes, early.bytes);
  EXPECT_EQ(state.bytes(), bytes);
}

nlohmann::json Config() {
  return nlohmann::json::parse(
      R"({"model_type": "mamba", "vocab_size": 11, "hidden_size": 16, "num_hidden_layers": 2,
      "state_size": 8, "time_step_rank": 3, "layer_norm_epsilon": 1e-6, "intermediate_size": 32})");
}

TEST(MambaCheckpoint, ConfigIsReadInFull) {
  LR_ASSERT_OK_AND_ASSIGN(const HuggingFaceModel model, ImportHuggingFaceModel(Config()));
  EXPECT_EQ(model.config.vocabulary(), 11);
  EXPECT_TRUE(model.config.tied());
  StackConfig stack;
  ASSERT_TRUE(model.config.backbone().UnpackTo(&stack));
  EXPECT_EQ(stack.layers(), 2);
  EXPECT_EQ(stack.feed_forward().kind(), FeedForwardConfig::NONE);
  EXPECT_EQ(stack.norm().epsilon(), 1e-6);
  MambaConfig mixer;
  ASSERT_TRUE(stack.mixer().UnpackTo(&mixer));
  EXPECT_EQ(mixer.d_state(), 8);
  EXPECT_EQ(mixer.dt_rank(), 3);
  EXPECT_TRUE(mixer.conv_bias());
  EXPECT_FALSE(mixer.bias());
}

// A model with every bias and a head of its own, written under the library's names and read again.
TEST(MambaCheckpoint, EveryTensorFindsItsParameter) {
  nlohmann::json config = Config();
  config["use_bias"] = true;
  config["tie_word_embeddings"] = false;
  config["time_step_rank"] = "auto";
  LR_ASSERT_OK_AND_ASSIGN(const HuggingFaceModel imported, ImportHuggingFaceModel(config));
  LR_ASSERT_OK_AND_ASSIGN(const auto model, Model::Create(imported.config, ModelArgs()));
  TensorMap ours;
  for (const auto& [name, value] : model->parameters().Values())
    ours[name] = RandomNormal(value.shape(), Rng(7).Child(name));
  LR_ASSERT_OK_AND_ASSIGN(const TensorMap theirs, imported.names.Export(ours));
  EXPECT_EQ(theirs.at("backbone.layers.1.mixer.in_proj.weight").shape(), Shape({64, 16}));
  EXPECT_EQ(theirs.at("backbone.layers.1.mixer.x_proj.weight").shape(), Shape({17, 32}));
  EXPECT_EQ(theirs.at("backbone.layers.0.mixer.conv1d.weight").shape(), Shape({32, 1, 4}));
  LR_ASSERT_OK_AND_ASSIGN(const auto loaded, LoadHuggingFaceModel(imported, theirs, ModelArgs()));
  for (const auto& [name, value] : loaded->parameters().Values())
    EXPECT_THAT(value, BitEqual(ours.at(name))) << name;
}

TEST(MambaCheckpoint, RefusesWhatItCannotHonour) {
  const auto import = [](const char* key, const nlohmann::json& value) {
    nlohmann::json config = Config();
    config[key] = value;
    return ImportHuggingFaceModel(config);
  };
  EXPECT_THAT(import("hidden_act", "relu"),
              StatusIs(absl::StatusCode::kUnimplemented, "hidden_act: relu"));
  EXPECT_THAT(import("intermediate_size", 24),
              StatusIs(absl::StatusCode::kInvalidArgument, "intermediate_size: 24"));
  EXPECT_THAT(import("time_step_init_scheme", "zeros"),
              StatusIs(absl::StatusCode::kInvalidArgument, "time_step_init_scheme: zeros"));
  EXPECT_THAT(import("n_groups", 2), StatusIs(absl::StatusCode::kInvalidArgument, "n_groups"));
  EXPECT_THAT(import("time_step_rank", "half"),
              StatusIs(absl::StatusCode::kInvalidArgument, "time_step_rank"));
}

}  // namespace
}  // namespace longrange
