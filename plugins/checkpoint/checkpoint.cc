#include "plugins/checkpoint/checkpoint.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "common/io/checksum.h"
#include "common/io/json.h"
#include "common/io/safetensors.h"
#include "plugins/hugging_face/hugging_face.h"

namespace longrange {
namespace {

constexpr char kHeader[] =
    "# proto-file: plugins/checkpoint/checkpoint.proto\n"
    "# proto-message: longrange.CheckpointConfig\n\n";

std::string Quoted(const std::string& name) { return absl::StrCat("'", name, "'"); }

// What a folder is that somebody may take for a trained model.
std::string Hint(const std::string& folder) {
  const absl::StatusOr<std::vector<std::string>> models = ListDir(folder + "/models");
  if (models.ok() && !models->empty()) {
    return absl::StrCat("; this is the output of a study, its models are in ", folder,
                        "/models: ", absl::StrJoin(*models, ", "));
  }
  if (PathExists(folder + "/manifest.json"))
    return "; these are the checkpoints of a training, its model is in models/ of the study";
  return "";
}

std::vector<std::string> TheirWeights(const std::string& folder) {
  std::vector<std::string> files;
  const absl::StatusOr<std::vector<std::string>> names = ListDir(folder);
  if (!names.ok()) return files;
  for (const std::string& name : *names) {
    if (absl::StartsWith(name, "model") && absl::EndsWith(name, ".safetensors"))
      files.push_back(absl::StrCat(folder, "/", name));
  }
  return files;
}

absl::StatusOr<TensorMap> ReadTheirWeights(const std::string& folder) {
  TensorMap weights;
  for (const std::string& path : TheirWeights(folder)) {
    LR_ASSIGN_OR_RETURN(SafetensorsFile file, ReadSafetensors(path));
    for (auto& [name, tensor] : file.tensors) {
      if (!weights.emplace(name, std::move(tensor)).second)
        return absl::InvalidArgumentError(absl::StrCat(path, ": ", name, " is in two files"));
    }
  }
  return weights;
}

}  // namespace

absl::Status SaveCheckpoint(const std::string& folder, CheckpointConfig config,
                            const Model& model) {
  *config.mutable_model() = model.config();
  return WriteModelFolder(folder, absl::StrCat(kHeader, Resolve(config)),
                          model.parameters().Values());
}

absl::StatusOr<Checkpoint> Checkpoint::OpenHuggingFace(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/config.json");
  LR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxTextProtoBytes));
  LR_ASSIGN_OR_RETURN(const nlohmann::json json, ParseJson(text, path));
  const absl::StatusOr<HuggingFaceModel> imported = ImportHuggingFaceModel(json);
  if (!imported.ok()) return Annotate(imported.status(), folder);
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  *checkpoint.config_.mutable_model() = imported->config;
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(json, path));
  LR_ASSIGN_OR_RETURN(const int64_t length, fields.Integer("max_position_embeddings", 0));
  checkpoint.config_.set_trained_length(length);
  checkpoint.their_names_ = std::make_unique<NameMap>(imported->names);
  const std::vector<std::string> files = TheirWeights(folder);
  if (files.empty()) {
    return absl::NotFoundError(
        absl::StrCat(folder, ": has config.json but no weights (expected model*.safetensors)"));
  }
  uint64_t checksum = 0;
  for (const std::string& file : files) {
    LR_ASSIGN_OR_RETURN(const uint64_t one, ChecksumFile(file));
    checksum = files.size() == 1 ? one : Checksum(ChecksumHex(one), checksum);
  }
  checkpoint.weights_checksum_ = ChecksumHex(checksum);
  return checkpoint;
}

absl::StatusOr<Checkpoint> Checkpoint::Open(const std::string& folder) {
  if (!PathExists(absl::StrCat(folder, "/", kModelConfigName)) &&
      PathExists(folder + "/config.json")) {
    return OpenHuggingFace(folder);
  }
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  absl::StatusOr<ModelFolderText> text = ReadModelConfig(folder);
  if (!text.ok()) {
    if (!absl::IsNotFound(text.status())) return text.status();
    return absl::NotFoundError(absl::StrCat(text.status().message(), Hint(folder)));
  }
  checkpoint.text_ = *std::move(text);
  LR_RETURN_IF_ERROR(ParseTextProto(
      checkpoint.text_.config, absl::StrCat(folder, "/", kModelConfigName), &checkpoint.config_));
  LR_RETURN_IF_ERROR(CheckModelWeights(folder, checkpoint.text_));
  checkpoint.weights_checksum_ = checkpoint.text_.weights_checksum;
  return checkpoint;
}

absl::StatusOr<TensorMap> Checkpoint::ReadWeights(const std::vector<WantedTensor>& wanted) const {
  if (their_names_ == nullptr) return ReadModelWeights(folder_, text_);
  LR_ASSIGN_OR_RETURN(const TensorMap weights, ReadTheirWeights(folder_));
  absl::StatusOr<TensorMap> ours = their_names_->Import(weights, wanted);
  if (!ours.ok()) return Annotate(ours.status(), folder_);
  return ours;
}

absl::StatusOr<std::unique_ptr<Model>> Checkpoint::CreateModel(const ModelArgs& args) const {
  absl::StatusOr<std::unique_ptr<Model>> model = Model::Create(config_.model(), args);
  if (!model.ok()) return Annotate(model.status(), folder_);
  const nn::ParameterStore& parameters = (*model)->parameters();
  LR_ASSIGN_OR_RETURN(const TensorMap weights, ReadWeights(parameters.Wanted()));
  LR_RETURN_IF_ERROR(Annotate(parameters.Load(weights),
                              absl::StrCat(folder_, ": the weights do not fit the config")));
  return model;
}

absl::Status CheckTokenizer(const CheckpointConfig& config, const Tokenizer& tokenizer) {
  const CheckpointConfig::Tokenizer& theirs = config.tokenizer();
  if (theirs.kind() != tokenizer.kind()) {
    const std::string expected =
        absl::StrCat("(expected ", Quoted(std::string(tokenizer.kind())), ")");
    return absl::InvalidArgumentError(
        theirs.kind().empty()
            ? absl::StrCat("the checkpoint does not say what its tokens are, tokenizer.kind ",
                           expected)
            : absl::StrCat("the checkpoint's tokenizer.kind: ", Quoted(theirs.kind()), " ",
                           expected));
  }
  const std::vector<std::string> ours = tokenizer.special_tokens();
  const size_t first = static_cast<size_t>(tokenizer.vocab_size()) - ours.size();
  for (size_t i = 0; i < ours.size(); ++i) {
    const bool there = i < static_cast<size_t>(theirs.special_token_size());
    if (there && theirs.special_token(static_cast<int>(i)) == ours[i]) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("token ", first + i, " is ", Quoted(ours[i]), " here and ",
                     there ? Quoted(theirs.special_token(static_cast<int>(i))) : "unknown",
                     " to the checkpoint: it was not trained on this task"));
  }
  return absl::OkStatus();
}

}  // namespace longrange
