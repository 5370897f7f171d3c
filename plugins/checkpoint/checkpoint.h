// Trained models that one program writes and another takes: `--checkpoint=FOLDER`.
//
// A folder holds config.textproto (a CheckpointConfig) and weights.safetensors; README.md has the
// layout. A folder in the layout of the Hugging Face hub (config.json and model*.safetensors) opens
// too, where its architecture has an importer (plugins/hugging_face).

#ifndef LONGRANGE_PLUGINS_CHECKPOINT_CHECKPOINT_H_
#define LONGRANGE_PLUGINS_CHECKPOINT_CHECKPOINT_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/data/tokenizer.h"
#include "common/io/model_folder.h"
#include "common/io/name_map.h"
#include "plugins/checkpoint/checkpoint.pb.h"
#include "plugins/model/model.h"

namespace longrange {

// Writes the model as a folder, whole or not at all (model_folder.h has the errors). `config.model`
// is taken from the model itself.
absl::Status SaveCheckpoint(const std::string& folder, CheckpointConfig config, const Model& model);

class Checkpoint {
 public:
  // Reads what the folder says of itself; weights only as far as their checksum needs it. NotFound:
  // no such folder, or no model in it; where it is the output of a study or of a training, the
  // error says where the models are. DataLoss: damaged. InvalidArgument: a config that cannot be
  // read, such as one of a plugin that is not linked in.
  static absl::StatusOr<Checkpoint> Open(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const CheckpointConfig& config() const { return config_; }
  // XXH3 of the weights, 16 hexadecimal digits: the same for the same weights in the same layout.
  const std::string& weights_checksum() const { return weights_checksum_; }

  // The weights, by our names; `wanted` are those of a model of this config.
  absl::StatusOr<TensorMap> ReadWeights(const std::vector<WantedTensor>& wanted) const;
  // The model with its weights. InvalidArgument: weights that do not fit the config.
  absl::StatusOr<std::unique_ptr<Model>> CreateModel(const ModelArgs& args) const;

 private:
  Checkpoint() = default;
  static absl::StatusOr<Checkpoint> OpenHuggingFace(const std::string& folder);

  std::string folder_;
  CheckpointConfig config_;
  std::string weights_checksum_;
  ModelFolderText text_;                        // of our layout
  std::unique_ptr<const NameMap> their_names_;  // of theirs; null: our layout
};

// InvalidArgument where an id of `tokenizer` has another meaning for the model.
absl::Status CheckTokenizer(const CheckpointConfig& config, const Tokenizer& tokenizer);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_CHECKPOINT_CHECKPOINT_H_
