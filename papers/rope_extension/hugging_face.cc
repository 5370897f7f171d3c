// The rope_scaling types "dynamic", "yarn", "longrope" and "llama3" of a config.json (transformers,
// modeling_rope_utils).

#include "plugins/hugging_face/hugging_face.h"

#include <vector>

#include "common/base/status_macros.h"
#include "papers/rope_extension/rope_extension.pb.h"

namespace longrange {
namespace {

template <typename Config>
google::protobuf::Any Packed(const HuggingFaceRotary& rotary, Config config) {
  config.set_theta(rotary.theta);
  config.set_partial(rotary.partial);
  google::protobuf::Any any;
  any.PackFrom(config);
  return any;
}

absl::StatusOr<google::protobuf::Any> ImportDynamic(const HuggingFaceRotary& rotary) {
  RopeExtensionDynamicNtkConfig config;
  LR_ASSIGN_OR_RETURN(const double factor, rotary.scaling->Number("factor"));
  LR_ASSIGN_OR_RETURN(const int64_t original_length, rotary.OriginalLength());
  config.set_factor(factor);
  config.set_original_length(original_length);
  return Packed(rotary, config);
}

absl::StatusOr<google::protobuf::Any> ImportYarn(const HuggingFaceRotary& rotary) {
  RopeExtensionYarnConfig config;
  LR_ASSIGN_OR_RETURN(const double factor, rotary.scaling->Number("factor"));
  LR_ASSIGN_OR_RETURN(const int64_t original_length, rotary.OriginalLength());
  LR_ASSIGN_OR_RETURN(const double beta_fast,
                      rotary.scaling->Number("beta_fast", config.beta_fast()));
  LR_ASSIGN_OR_RETURN(const double beta_slow,
                      rotary.scaling->Number("beta_slow", config.beta_slow()));
  LR_ASSIGN_OR_RETURN(const double attention_factor, rotary.scaling->Number("attention_factor", 0));
  config.set_factor(factor);
  config.set_original_length(original_length);
  config.set_beta_fast(beta_fast);
  config.set_beta_slow(beta_slow);
  config.set_attention_factor(attention_factor);
  return Packed(rotary, config);
}

absl::StatusOr<google::protobuf::Any> ImportLongRope(const HuggingFaceRotary& rotary) {
  RopeExtensionLongRopeConfig config;
  LR_ASSIGN_OR_RETURN(const int64_t original_length, rotary.OriginalLength());
  double factor = 0;
  if (rotary.max_positions > 0 &&
      (rotary.original_positions > 0 || original_length != rotary.max_positions)) {
    // Phi-3: the extended length stands in max_position_embeddings, and the factor follows,
    // whatever rope_scaling says.
    factor = static_cast<double>(rotary.max_positions) / static_cast<double>(original_length);
    rotary.scaling->Skip({"factor"});
  } else {
    LR_ASSIGN_OR_RETURN(factor, rotary.scaling->Number("factor"));
  }
  LR_ASSIGN_OR_RETURN(const double attention_factor, rotary.scaling->Number("attention_factor", 0));
  LR_ASSIGN_OR_RETURN(const std::vector<double> short_factor,
                      rotary.scaling->Numbers("short_factor"));
  LR_ASSIGN_OR_RETURN(const std::vector<double> long_factor,
                      rotary.scaling->Numbers("long_factor"));
  config.set_factor(factor);
  config.set_original_length(original_length);
  config.set_attention_factor(attention_factor);
  config.mutable_short_factor()->Add(short_factor.begin(), short_factor.end());
  config.mutable_long_factor()->Add(long_factor.begin(), long_factor.end());
  config.set_always_long(rotary.options.as_transformers_446 && factor > 1);
  return Packed(rotary, config);
}

absl::StatusOr<google::protobuf::Any> ImportLlama3(const HuggingFaceRotary& rotary) {
  RopeExtensionLlama3Config config;
  LR_ASSIGN_OR_RETURN(const double factor, rotary.scaling->Number("factor"));
  LR_ASSIGN_OR_RETURN(const double low_freq_factor, rotary.scaling->Number("low_freq_factor"));
  LR_ASSIGN_OR_RETURN(const double high_freq_factor, rotary.scaling->Number("high_freq_factor"));
  LR_ASSIGN_OR_RETURN(const int64_t original_length,
                      rotary.scaling->Integer("original_max_position_embeddings"));
  config.set_factor(factor);
  config.set_low_freq_factor(low_freq_factor);
  config.set_high_freq_factor(high_freq_factor);
  config.set_original_length(original_length);
  return Packed(rotary, config);
}

LR_REGISTER_HUGGING_FACE_ROPE("dynamic", ImportDynamic);
LR_REGISTER_HUGGING_FACE_ROPE("yarn", ImportYarn);
LR_REGISTER_HUGGING_FACE_ROPE("longrope", ImportLongRope);
LR_REGISTER_HUGGING_FACE_ROPE("llama3", ImportLlama3);

}  // namespace
}  // namespace longrange
