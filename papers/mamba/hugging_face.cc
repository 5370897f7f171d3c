// Mamba in the Hugging Face layout: "model_type": "mamba".

#include "plugins/hugging_face/hugging_face.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/base/one_line.h"
#include "common/base/status_macros.h"
#include "papers/mamba/mamba.pb.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

// Names of MambaForCausalLM. The projection in is [x | z], that of the scan's inputs [Delta's rank
// | B | C]; the taps have a dimension of 1.
NameMap MambaNames(bool tied, bool bias, bool conv_bias) {
  const std::string theirs = "backbone.layers.*.mixer.", ours = "layers.*.mixer.";
  NameMap names;
  names.Add("backbone.embeddings.weight", "embedding")
      .Add("backbone.layers.*.norm.weight", "layers.*.mixer_norm.weight")
      .Add("backbone.norm_f.weight", "norm.weight")
      .Add(theirs + "conv1d.weight", ours + "conv.weight", {Transform::Squeeze(1)})
      .Add(theirs + "dt_proj.weight", ours + "w_delta")
      .Add(theirs + "dt_proj.bias", ours + "delta_bias")
      .Add(theirs + "A_log", ours + "a_log")
      .Add(theirs + "D", ours + "skip")
      .Add(theirs + "out_proj.weight", ours + "w_out");
  const auto split = [&](const std::string& from, const std::vector<std::string>& to) {
    NameMapRow row;
    row.theirs = {theirs + from};
    for (const std::string& name : to) row.ours.push_back(ours + name);
    names.Add(row);
  };
  split("in_proj.weight", {"w_x", "w_z"});
  split("x_proj.weight", {"w_rank", "w_b", "w_c"});
  if (conv_bias) names.Add(theirs + "conv1d.bias", ours + "conv.bias");
  if (bias) {
    split("in_proj.bias", {"x_bias", "z_bias"});
    names.Add(theirs + "out_proj.bias", ours + "out_bias");
  }
  if (tied) {
    names.Tie("lm_head.weight", "embedding");
  } else {
    names.Add("lm_head.weight", "output");
  }
  return names;
}

// A number, or "auto" for 0.
absl::StatusOr<int64_t> Rank(JsonFields* json) {
  const nlohmann::json* rank = json->Find("time_step_rank");
  if (rank == nullptr || *rank == "auto") return 0;
  return json->Integer("time_step_rank");
}

absl::StatusOr<HuggingFaceModel> ImportMamba(JsonFields* json, const HuggingFaceOptions&) {
  // Defaults are those of transformers' MambaConfig.
  LR_ASSIGN_OR_RETURN(const int64_t vocabulary, json->Integer("vocab_size", 50280));
  LR_ASSIGN_OR_RETURN(const int64_t width, json->Integer("hidden_size", 768));
  LR_ASSIGN_OR_RETURN(const int64_t layers, json->Integer("num_hidden_layers", 32));
  LR_ASSIGN_OR_RETURN(const int64_t states, json->Integer("state_size", 16));
  LR_ASSIGN_OR_RETURN(const int64_t taps, json->Integer("conv_kernel", 4));
  LR_ASSIGN_OR_RETURN(const int64_t expand, json->Integer("expand", 2));
  LR_ASSIGN_OR_RETURN(const int64_t rank, Rank(json));
  LR_ASSIGN_OR_RETURN(const double dt_min, json->Number("time_step_min", 0.001));
  LR_ASSIGN_OR_RETURN(const double dt_max, json->Number("time_step_max", 0.1));
  LR_ASSIGN_OR_RETURN(const double dt_floor, json->Number("time_step_floor", 1e-4));
  LR_ASSIGN_OR_RETURN(const double dt_scale, json->Number("time_step_scale", 1));
  LR_ASSIGN_OR_RETURN(const std::string dt_init, json->String("time_step_init_scheme", "random"));
  LR_ASSIGN_OR_RETURN(const double epsilon, json->Number("layer_norm_epsilon", 1e-5));
  LR_ASSIGN_OR_RETURN(const bool bias, json->Bool("use_bias", false));
  LR_ASSIGN_OR_RETURN(const bool conv_bias, json->Bool("use_conv_bias", true));
  LR_ASSIGN_OR_RETURN(const bool tied, json->Bool("tie_word_embeddings", true));
  LR_ASSIGN_OR_RETURN(const std::string activation, json->String("hidden_act", "silu"));
  if (activation != "silu") {
    return absl::UnimplementedError(
        absl::StrCat("config.json.hidden_act: ", OneLine(activation), " (expected silu)"));
  }
  if (dt_init != "random" && dt_init != "constant") {
    return absl::InvalidArgumentError(absl::StrCat(
        "config.json.time_step_init_scheme: ", OneLine(dt_init), " (expected random or constant)"));
  }
  LR_ASSIGN_OR_RETURN(const int64_t channels, json->Integer("intermediate_size", 0));
  if (channels != 0 && (expand < 1 || channels / expand != width || channels % expand != 0)) {
    return absl::InvalidArgumentError(absl::StrCat("config.json.intermediate_size: ", channels,
                                                   " (expected expand x hidden_size, ", expand,
                                                   " x ", width, ")"));
  }
  // What is computed here is in float32 anyway, and initial values come from the file.
  json->Skip({"_name_or_path", "architectures", "bos_token_id", "eos_token_id", "initializer_range",
              "pad_token_id", "rescale_prenorm_residual", "residual_in_fp32", "torch_dtype",
              "transformers_version", "use_cache", "use_mambapy"});

  MambaConfig mixer;
  mixer.set_d_state(states);
  mixer.set_d_conv(taps);
  mixer.set_expand(expand);
  mixer.set_dt_rank(rank);
  mixer.set_dt_min(dt_min);
  mixer.set_dt_max(dt_max);
  mixer.set_dt_floor(dt_floor);
  mixer.set_dt_scale(dt_scale);
  mixer.set_dt_init(dt_init == "constant" ? MambaConfig::CONSTANT : MambaConfig::RANDOM);
  mixer.set_conv_bias(conv_bias);
  mixer.set_bias(bias);

  StackConfig stack;
  stack.set_layers(layers);
  stack.mutable_mixer()->PackFrom(mixer);
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::NONE);
  stack.mutable_norm()->set_kind(NormConfig::RMS);
  stack.mutable_norm()->set_epsilon(epsilon);

  HuggingFaceModel model;
  model.config.set_vocabulary(vocabulary);
  model.config.set_width(width);
  model.config.set_tied(tied);
  model.config.mutable_backbone()->PackFrom(stack);
  model.names = MambaNames(tied, bias, conv_bias);
  return model;
}

LR_REGISTER_HUGGING_FACE_MODEL("mamba", ImportMamba);

}  // namespace
}  // namespace longrange
