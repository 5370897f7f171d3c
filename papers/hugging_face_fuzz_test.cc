#include <string>
#include <vector>

#include "common/testing/fuzz.h"
#include "glog/logging.h"
#include "plugins/hugging_face/hugging_face.h"

namespace longrange {

// A config.json of any content gives a config or a refusal of one line.
void FuzzOne(absl::string_view input) {
  const absl::StatusOr<nlohmann::json> config = ParseJson(input, "config.json");
  if (!config.ok()) return;
  for (const bool exactly : {false, true}) {
    HuggingFaceOptions options;
    options.as_transformers_446 = exactly;
    const absl::StatusOr<HuggingFaceModel> model = ImportHuggingFaceModel(*config, options);
    if (model.ok()) {
      CHECK(!model->config.SerializeAsString().empty());
    } else {
      CHECK(model.status().message().find('\n') == absl::string_view::npos) << model.status();
    }
  }
}

std::vector<std::string> FuzzSeeds() {
  const auto with = [](const std::string& scaling) {
    return R"({"model_type":"llama","vocab_size":32,"hidden_size":16,"num_hidden_layers":2,)"
           R"("num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":32,)"
           R"("rms_norm_eps":1e-5,"rope_theta":10000.0,"max_position_embeddings":64,)"
           R"("tie_word_embeddings":true,"torch_dtype":"float32","rope_scaling":)" +
           scaling + "}";
  };
  return {with("null"),
          with(R"({"type":"linear","factor":4.0})"),
          with(R"({"rope_type":"dynamic","factor":2})"),
          with(R"({"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":64,)"
               R"("attention_factor":1.0,"beta_fast":32,"beta_slow":1})"),
          with(R"({"rope_type":"longrope","short_factor":[1,1],"long_factor":[2,4],"factor":4,)"
               R"("original_max_position_embeddings":16})"),
          with(R"({"rope_type":"llama3","factor":8.0,"low_freq_factor":1.0,)"
               R"("high_freq_factor":4.0,"original_max_position_embeddings":8192})"),
          R"({"model_type":"mamba","vocab_size":32,"hidden_size":16,"num_hidden_layers":2,)"
          R"("state_size":8,"expand":2,"intermediate_size":32,"conv_kernel":4,"hidden_act":"silu",)"
          R"("time_step_rank":"auto","time_step_init_scheme":"random","time_step_max":0.1,)"
          R"("layer_norm_epsilon":1e-5,"use_bias":false,"tie_word_embeddings":true})"};
}

}  // namespace longrange
