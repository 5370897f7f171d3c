// Llama checkpoints: what a config.json becomes, which tensors are wanted, and what is refused. The
// numbers are in the golden case of a whole model (rope_extension, hf_llama_tiny).

#include "plugins/hugging_face/hugging_face.h"

#include <string>
#include <utility>
#include <vector>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/transformer/transformer.pb.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

using ::testing::HasSubstr;

nlohmann::json Config() {
  return nlohmann::json::parse(
      R"({"model_type": "llama", "vocab_size": 11, "hidden_size": 8, "num_hidden_layers": 2,
      "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 12, "rms_norm_eps": 1e-5,
      "rope_theta": 500, "hidden_act": "silu", "max_position_embeddings": 32, "torch_dtype": "float32"})");
}

// Tensors in the library's names and shapes, each with its own values.
TensorMap Weights(bool with_head) {
  TensorMap w;
  const auto add = [&](const std::string& name, const Shape& shape) {
    w[name] = Tensor::Full(shape, static_cast<double>(w.size() + 1));
  };
  add("model.embed_tokens.weight", {11, 8});
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    add(layer + "input_layernorm.weight", {8});
    add(layer + "self_attn.q_proj.weight", {8, 8});
    add(layer + "self_attn.k_proj.weight", {4, 8});
    add(layer + "self_attn.v_proj.weight", {4, 8});
    add(layer + "self_attn.o_proj.weight", {8, 8});
    add(layer + "post_attention_layernorm.weight", {8});
    add(layer + "mlp.gate_proj.weight", {12, 8});
    add(layer + "mlp.up_proj.weight", {12, 8});
    add(layer + "mlp.down_proj.weight", {8, 12});
  }
  add("model.norm.weight", {8});
  if (with_head) add("lm_head.weight", {11, 8});
  return w;
}

TEST(LlamaTest, ConfigIsReadInFull) {
  LR_ASSERT_OK_AND_ASSIGN(const HuggingFaceModel model, ImportHuggingFaceModel(Config()));
  EXPECT_EQ(model.config.vocabulary(), 11);
  EXPECT_EQ(model.config.width(), 8);
  EXPECT_FALSE(model.config.tied());
  StackConfig stack;
  ASSERT_TRUE(model.config.backbone().UnpackTo(&stack));
  EXPECT_EQ(stack.layers(), 2);
  EXPECT_EQ(stack.feed_forward().width(), 12);
  EXPECT_EQ(stack.norm().epsilon(), 1e-5);
  TransformerConfig mixer;
  ASSERT_TRUE(stack.mixer().UnpackTo(&mixer));
  EXPECT_EQ(mixer.heads(), 4);
  EXPECT_EQ(mixer.kv_heads(), 2);
  EXPECT_FALSE(mixer.freeze_cached_keys());
  TransformerRopeConfig rope;
  ASSERT_TRUE(mixer.position().UnpackTo(&rope));
  EXPECT_EQ(rope.theta(), 500);
  EXPECT_FALSE(rope.interleaved());
}

TEST(LlamaTest, EveryTensorFindsItsParameter) {
  LR_ASSERT_OK_AND_ASSIGN(const HuggingFaceModel imported, ImportHuggingFaceModel(Config()));
  const TensorMap weights = Weights(/*with_head=*/true);
  LR_ASSERT_OK_AND_ASSIGN(const auto model, LoadHuggingFaceModel(imported, weights, ModelArgs()));
  TensorMap ours;
  for (const auto& [name, value] : model->parameters().Values()) ours[name] = value;
  EXPECT_EQ(ours.size(), weights.size());
  EXPECT_THAT(ours["layers.1.mixer.w_v"],
              BitEqual(weights.at("model.layers.1.self_attn.v_proj.weight")));
  EXPECT_THAT(ours["layers.0.feed_forward.w_gate"],
              BitEqual(weights.at("model.layers.0.mlp.gate_proj.weight")));
  LR_ASSERT_OK_AND_ASSIGN(const TensorMap theirs, imported.names.Export(ours));
  ASSERT_EQ(theirs.size(), weights.size());
  for (const auto& [name, value] : weights) EXPECT_THAT(theirs.at(name), BitEqual(value)) << name;
}

TEST(LlamaTest, TensorsThatDoNotFitAreNamed) {
  LR_ASSERT_OK_AND_ASSIGN(const HuggingFaceModel imported, ImportHuggingFaceModel(Config()));
  TensorMap missing = Weights(true), extra = missing, misshapen = missing;
  missing.erase("model.layers.1.mlp.up_proj.weight");
  extra["model.layers.2.mlp.up_proj.weight"] = Tensor::Zeros({12, 8});
  misshapen["model.norm.weight"] = Tensor::Zeros({9});
  EXPECT_THAT(LoadHuggingFaceModel(imported, missing, ModelArgs()),
              StatusIs(absl::StatusCode::kInvalidArgument, "model.layers.1.mlp.up_proj.weight"));
  EXPECT_THAT(LoadHuggingFaceModel(imported, extra, ModelArgs()),
              StatusIs(absl::StatusCode::kInvalidArgument, "layers.2"));
  EXPECT_THAT(LoadHuggingFaceModel(imported, misshapen, ModelArgs()),
              StatusIs(absl::StatusCode::kInvalidArgument, "norm.weight"));
}

TEST(LlamaTest, TiedOutputNeedsNoHead) {
  nlohmann::json config = Config();
  config["tie_word_embeddings"] = true;
  LR_ASSERT_OK_AND_ASSIGN(const HuggingFaceModel imported, ImportHuggingFaceModel(config));
  EXPECT_TRUE(imported.config.tied());
  EXPECT_THAT(LoadHuggingFaceModel(imported, Weights(/*with_head=*/false), ModelArgs()), IsOk());
}

TEST(LlamaTest, FrozenKeysReachTheMixer) {
  HuggingFaceOptions options;
  options.freeze_cached_keys = true;
  LR_ASSERT_OK_AND_ASSIGN(const HuggingFaceModel model, ImportHuggingFaceModel(Config(), options));
  StackConfig stack;
  TransformerConfig mixer;
  ASSERT_TRUE(model.config.backbone().UnpackTo(&stack));
  ASSERT_TRUE(stack.mixer().UnpackTo(&mixer));
  EXPECT_TRUE(mixer.freeze_cached_keys());
}

TEST(LlamaTest, RefusesWhatItCannotHonour) {
  const std::pair<const char*, const char*> refused[] = {
      {R"({"model_type": "gpt2"})", "model_type: unknown 'gpt2' (known: llama)"},
      {R"({"sliding_window": 4096})", "config.json: unknown key sliding_window"},
      {R"({"hidden_act": "gelu"})", "hidden_act: gelu (expected silu)"},
      {R"({"attention_bias": true})", "attention_bias: true (expected false)"},
      {R"({"mlp_bias": true})", "mlp_bias"},
      {R"({"hidden_size": 8.5})", "hidden_size: expected an integer, got 8.5"},
      {R"({"vocab_size": null})", "vocab_size: expected an integer, got null"},
      {R"({"rope_scaling": {"rope_type": "default", "factor": 2}})",
       "rope_scaling: unknown key factor"},
      {R"({"rope_scaling": {"rope_type": "nope"}})", "rope_type: unknown 'nope' (known: default)"},
  };
  for (const auto& [change, message] : refused) {
    nlohmann::json config = Config();
    config.update(nlohmann::json::parse(change));
    const auto model = ImportHuggingFaceModel(config);
    ASSERT_FALSE(model.ok()) << change;
    EXPECT_THAT(std::string(model.status().message()), HasSubstr(message));
  }
}

}  // namespace
}  // namespace longrange
