// Llama in the Hugging Face layout: "model_type": "llama", and rotary positions without
// rope_scaling.

#include "plugins/hugging_face/hugging_face.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "papers/transformer/transformer.pb.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

absl::StatusOr<google::protobuf::Any> ImportRope(const HuggingFaceRotary& rotary) {
  TransformerRopeConfig config;
  config.set_theta(rotary.theta);
  config.set_partial(rotary.partial);
  google::protobuf::Any any;
  any.PackFrom(config);
  return any;
}

// Names of LlamaForCausalLM; matrices are [out, in] on both sides, rotary channels half-split.
NameMap LlamaNames(bool tied) {
  NameMap names;
  names.Add("model.embed_tokens.weight", "embedding")
      .Add("model.layers.*.input_layernorm.weight", "layers.*.mixer_norm.weight")
      .Add("model.layers.*.self_attn.q_proj.weight", "layers.*.mixer.w_q")
      .Add("model.layers.*.self_attn.k_proj.weight", "layers.*.mixer.w_k")
      .Add("model.layers.*.self_attn.v_proj.weight", "layers.*.mixer.w_v")
      .Add("model.layers.*.self_attn.o_proj.weight", "layers.*.mixer.w_o")
      .Add("model.layers.*.post_attention_layernorm.weight", "layers.*.feed_forward_norm.weight")
      .Add("model.layers.*.mlp.gate_proj.weight", "layers.*.feed_forward.w_gate")
      .Add("model.layers.*.mlp.up_proj.weight", "layers.*.feed_forward.w_up")
      .Add("model.layers.*.mlp.down_proj.weight", "layers.*.feed_forward.w_down")
      .Add("model.norm.weight", "norm.weight")
      .Ignore("*.rotary_emb.inv_freq");  // older files hold the table
  if (tied) {
    names.Tie("lm_head.weight", "embedding");
  } else {
    names.Add("lm_head.weight", "output");
  }
  return names;
}

absl::StatusOr<HuggingFaceModel> ImportLlama(JsonFields* json, const HuggingFaceOptions& options) {
  // Defaults are those of transformers' LlamaConfig.
  LR_ASSIGN_OR_RETURN(const int64_t vocabulary, json->Integer("vocab_size"));
  LR_ASSIGN_OR_RETURN(const int64_t width, json->Integer("hidden_size"));
  LR_ASSIGN_OR_RETURN(const int64_t layers, json->Integer("num_hidden_layers"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, json->Integer("num_attention_heads"));
  LR_ASSIGN_OR_RETURN(const int64_t kv_heads, json->Integer("num_key_value_heads", heads));
  LR_ASSIGN_OR_RETURN(const int64_t head_width, json->Integer("head_dim", 0));
  LR_ASSIGN_OR_RETURN(const int64_t hidden, json->Integer("intermediate_size"));
  LR_ASSIGN_OR_RETURN(const double epsilon, json->Number("rms_norm_eps", 1e-6));
  LR_ASSIGN_OR_RETURN(const bool tied, json->Bool("tie_word_embeddings", false));
  LR_ASSIGN_OR_RETURN(const std::string activation, json->String("hidden_act", "silu"));
  if (activation != "silu") {
    return absl::UnimplementedError(
        absl::StrCat("config.json.hidden_act: ", activation, " (expected silu)"));
  }
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    LR_ASSIGN_OR_RETURN(const bool bias, json->Bool(key, false));
    if (bias)
      return absl::UnimplementedError(absl::StrCat("config.json.", key, ": true (expected false)"));
  }
  json->Skip({"_name_or_path", "architectures", "attention_dropout", "bos_token_id", "eos_token_id",
              "initializer_range", "pad_token_id", "pretraining_tp", "torch_dtype",
              "transformers_version", "use_cache"});

  TransformerConfig mixer;
  mixer.set_heads(heads);
  mixer.set_kv_heads(kv_heads);
  mixer.set_head_width(head_width);
  mixer.set_freeze_cached_keys(options.freeze_cached_keys);
  LR_ASSIGN_OR_RETURN(*mixer.mutable_position(), ImportHuggingFacePosition(json, options));

  StackConfig stack;
  stack.set_layers(layers);
  stack.mutable_mixer()->PackFrom(mixer);
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::SWIGLU);
  stack.mutable_feed_forward()->set_width(hidden);
  stack.mutable_norm()->set_kind(NormConfig::RMS);
  stack.mutable_norm()->set_epsilon(epsilon);

  HuggingFaceModel model;
  model.config.set_vocabulary(vocabulary);
  model.config.set_width(width);
  model.config.set_tied(tied);
  model.config.mutable_backbone()->PackFrom(stack);
  model.names = LlamaNames(tied);
  return model;
}

LR_REGISTER_HUGGING_FACE_ROPE("default", ImportRope);
LR_REGISTER_HUGGING_FACE_MODEL("llama", ImportLlama);

}  // namespace
}  // namespace longrange
