// Checkpoints in a folder: each one safetensors file, published by a manifest that is replaced
// last.
//
// A crash at any moment leaves the manifest of before or of after, each naming complete files with
// their checksums. Two checkpoints are kept: if the newer file is damaged, the older one is used.

#ifndef LONGRANGE_COMMON_TRAIN_CHECKPOINT_H_
#define LONGRANGE_COMMON_TRAIN_CHECKPOINT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/tensor_map.h"
#include "common/tensor/tensor.h"

namespace longrange::train {

struct Checkpoint {
  int64_t step = 0;
  TensorMap tensors;
  std::map<std::string, std::string> metadata;  // "config_hash", ...
};

class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::string path) : path_(std::move(path)) {}

  const std::string& path() const { return path_; }

  // Writes the file (temporary, fsync, rename, fsync of the folder), then the manifest in the same
  // way, then removes checkpoints older than the last two. The folder is created. On an error what
  // was there before is untouched.
  absl::Status Save(const Checkpoint& checkpoint) const;

  // The newest checkpoint that is whole; nullopt where the folder has none. DataLoss: there are
  // checkpoints, all of them damaged. `warnings` gets a line for each one that had to be passed
  // over.
  absl::StatusOr<std::optional<Checkpoint>> LoadLatest(std::vector<std::string>* warnings) const;

 private:
  std::string path_;
};

}  // namespace longrange::train

#endif  // LONGRANGE_COMMON_TRAIN_CHECKPOINT_H_
