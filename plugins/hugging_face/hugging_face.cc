#include "plugins/hugging_face/hugging_face.h"

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longrange {
namespace {

template <typename Importer>
class Importers {
 public:
  bool Register(absl::string_view type, Importer importer) {
    const bool added = by_type_.emplace(std::string(type), std::move(importer)).second;
    CHECK(added) << "'" << type << "' of Hugging Face is registered twice";
    return true;
  }

  // `what` is the key that names the type.
  absl::StatusOr<Importer> Find(absl::string_view what, const std::string& type) const {
    const auto it = by_type_.find(type);
    if (it != by_type_.end()) return it->second;
    const auto name = [](std::string* out, const auto& entry) {
      absl::StrAppend(out, entry.first);
    };
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": unknown '", type, "' (known: ", absl::StrJoin(by_type_, ", ", name), ")"));
  }

 private:
  std::map<std::string, Importer> by_type_;
};

Importers<HuggingFaceRopeImporter>& Ropes() {
  static auto* importers = new Importers<HuggingFaceRopeImporter>;
  return *importers;
}

Importers<HuggingFaceModelImporter>& Models() {
  static auto* importers = new Importers<HuggingFaceModelImporter>;
  return *importers;
}

// "rope_type" or the older "type"; where both are given they must agree.
absl::StatusOr<std::string> RopeType(JsonFields* scaling) {
  if (!scaling->Has("rope_type")) return scaling->String("type");
  LR_ASSIGN_OR_RETURN(const std::string rope_type, scaling->String("rope_type"));
  LR_ASSIGN_OR_RETURN(const std::string type, scaling->String("type", rope_type));
  if (type == rope_type) return rope_type;
  return absl::InvalidArgumentError(
      absl::StrCat(scaling->where(), ": rope_type '", rope_type, "' and type '", type, "' differ"));
}

}  // namespace

bool RegisterHuggingFaceRope(absl::string_view rope_type, HuggingFaceRopeImporter importer) {
  return Ropes().Register(rope_type, std::move(importer));
}

bool RegisterHuggingFaceModel(absl::string_view model_type, HuggingFaceModelImporter importer) {
  return Models().Register(model_type, std::move(importer));
}

absl::StatusOr<int64_t> HuggingFaceRotary::OriginalLength() const {
  int64_t in_scaling = 0;
  if (scaling != nullptr) {
    LR_ASSIGN_OR_RETURN(in_scaling, scaling->Integer("original_max_position_embeddings", 0));
  }
  if (options.as_transformers_446) in_scaling = 0;
  const int64_t length = in_scaling > 0           ? in_scaling
                         : original_positions > 0 ? original_positions
                                                  : max_positions;
  if (length > 0) return length;
  return absl::InvalidArgumentError(
      "expected the trained length in max_position_embeddings or original_max_position_embeddings, "
      "got neither");
}

absl::StatusOr<google::protobuf::Any> ImportHuggingFacePosition(JsonFields* config,
                                                                const HuggingFaceOptions& options) {
  HuggingFaceRotary rotary;
  rotary.options = options;
  LR_ASSIGN_OR_RETURN(rotary.theta, config->Number("rope_theta", 10000));
  LR_ASSIGN_OR_RETURN(rotary.partial, config->Number("partial_rotary_factor", 1));
  LR_ASSIGN_OR_RETURN(rotary.max_positions, config->Integer("max_position_embeddings", 0));
  LR_ASSIGN_OR_RETURN(rotary.original_positions,
                      config->Integer("original_max_position_embeddings", 0));
  std::string type = "default";
  std::optional<JsonFields> scaling;
  if (const nlohmann::json* rope_scaling = config->Find("rope_scaling"); rope_scaling != nullptr) {
    LR_ASSIGN_OR_RETURN(
        scaling, JsonFields::Create(*rope_scaling, absl::StrCat(config->where(), ".rope_scaling")));
    LR_ASSIGN_OR_RETURN(type, RopeType(&*scaling));
    rotary.scaling = &*scaling;
  }
  LR_ASSIGN_OR_RETURN(const HuggingFaceRopeImporter importer, Ropes().Find("rope_type", type));
  LR_ASSIGN_OR_RETURN(google::protobuf::Any position, importer(rotary));
  if (scaling.has_value()) LR_RETURN_IF_ERROR(scaling->Done());
  return position;
}

absl::StatusOr<HuggingFaceModel> ImportHuggingFaceModel(const nlohmann::json& config,
                                                        const HuggingFaceOptions& options) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(config, "config.json"));
  LR_ASSIGN_OR_RETURN(const std::string type, fields.String("model_type"));
  LR_ASSIGN_OR_RETURN(const HuggingFaceModelImporter importer, Models().Find("model_type", type));
  LR_ASSIGN_OR_RETURN(HuggingFaceModel model, importer(&fields, options));
  LR_RETURN_IF_ERROR(fields.Done());
  return model;
}

absl::StatusOr<std::unique_ptr<Model>> LoadHuggingFaceModel(const HuggingFaceModel& model,
                                                            const TensorMap& weights,
                                                            const ModelArgs& args) {
  LR_ASSIGN_OR_RETURN(std::unique_ptr<Model> created, Model::Create(model.config, args));
  LR_ASSIGN_OR_RETURN(const TensorMap values,
                      model.names.Import(weights, created->parameters().Wanted()));
  LR_RETURN_IF_ERROR(created->parameters().Load(values));
  return created;
}

}  // namespace longrange
