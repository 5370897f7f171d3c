// Models in the layout of the Hugging Face hub (config.json and safetensors) as configs of ours and
// a map of names.
//
// Papers register what they can read, with one line in an alwayslink library: an architecture by
// its "model_type", a position scheme by its "rope_type".
//   LR_REGISTER_HUGGING_FACE_MODEL("llama", ImportLlama);
//   LR_REGISTER_HUGGING_FACE_ROPE("yarn", ImportYarn);

#ifndef LONGRANGE_PLUGINS_HUGGING_FACE_HUGGING_FACE_H_
#define LONGRANGE_PLUGINS_HUGGING_FACE_HUGGING_FACE_H_

#include <google/protobuf/any.pb.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/name_map.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/model/model.h"

namespace longrange {

struct HuggingFaceOptions {
  // Follow transformers 4.46 to the letter: for yarn max_position_embeddings is the original
  // length, whatever rope_scaling says; longrope takes long_factor at every length.
  bool as_transformers_446 = false;
  // Generate as the library does with its key cache: keys keep the rotation of the length at which
  // they were written.
  bool freeze_cached_keys = false;
};

struct HuggingFaceModel {
  ModelConfig config;
  NameMap names;  // theirs: the tensors of the file; ours: the parameters of a Model of this config
};

// What a config.json says of rotary positions. `scaling` are the fields of rope_scaling beside the
// type.
struct HuggingFaceRotary {
  double theta = 10000;
  double partial = 1;
  int64_t max_positions = 0;  // max_position_embeddings; 0: not given
  int64_t original_positions =
      0;  // original_max_position_embeddings beside it (Phi-3); 0: not given
  JsonFields* scaling = nullptr;  // null: there are none
  HuggingFaceOptions options;

  // The trained length: where the library knows no other place for it, max_position_embeddings;
  // else the original_... of rope_scaling or of the config. InvalidArgument where neither is given.
  absl::StatusOr<int64_t> OriginalLength() const;
};

using HuggingFaceRopeImporter =
    std::function<absl::StatusOr<google::protobuf::Any>(const HuggingFaceRotary&)>;
using HuggingFaceModelImporter = std::function<absl::StatusOr<HuggingFaceModel>(
    JsonFields* config, const HuggingFaceOptions& options)>;

bool RegisterHuggingFaceRope(absl::string_view rope_type, HuggingFaceRopeImporter importer);
bool RegisterHuggingFaceModel(absl::string_view model_type, HuggingFaceModelImporter importer);

// The position scheme that rope_theta, partial_rotary_factor, rope_scaling, max_position_embeddings
// and original_max_position_embeddings describe; a rope_scaling of null, or none, is the type
// "default". Both "rope_type" and the older "type" are read. InvalidArgument: a type that nobody
// registered, or a field that its importer does not know.
absl::StatusOr<google::protobuf::Any> ImportHuggingFacePosition(JsonFields* config,
                                                                const HuggingFaceOptions& options);

// The model that a config.json describes. InvalidArgument as above, and for an unknown
// "model_type".
absl::StatusOr<HuggingFaceModel> ImportHuggingFaceModel(const nlohmann::json& config,
                                                        const HuggingFaceOptions& options = {});

// Creates the model and loads the weights of the file, each exactly once.
absl::StatusOr<std::unique_ptr<Model>> LoadHuggingFaceModel(const HuggingFaceModel& model,
                                                            const TensorMap& weights,
                                                            const ModelArgs& args);

#define LR_REGISTER_HUGGING_FACE_ROPE(rope_type, importer) \
  static const bool lr_hugging_face_rope_##importer =      \
      ::longrange::RegisterHuggingFaceRope(rope_type, importer)
#define LR_REGISTER_HUGGING_FACE_MODEL(model_type, importer) \
  static const bool lr_hugging_face_model_##importer =       \
      ::longrange::RegisterHuggingFaceModel(model_type, importer)

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_HUGGING_FACE_HUGGING_FACE_H_
