// The training step that speed is measured on: a small language model, one batch that stays, AdamW.
//
// Embedding, layers of (RMSNorm, mixer, RMSNorm, SwiGLU of 8/3 width rounded up to 32), RMSNorm,
// untied output; a Mamba layer is (RMSNorm, mixer) alone, as in its paper. AdamW (0.9, 0.999, decay
// 0.1 on every tensor), gradient norm clipped to 1.

#ifndef LONGRANGE_EXPERIMENTS_SPEED_TRAINING_STEP_H_
#define LONGRANGE_EXPERIMENTS_SPEED_TRAINING_STEP_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/io/name_map.h"
#include "common/train/trainer.h"
#include "experiments/speed/speed.pb.h"
#include "plugins/model/model.h"

namespace longrange {

// InvalidArgument names a size without meaning, or a mixer that is not 'attention', 'mamba' or
// 'retnet'.
absl::Status CheckStep(const SpeedStep& step);

// The model of a step. Norms have float32's epsilon, torch's default.
absl::StatusOr<ModelConfig> ConfigOf(const SpeedStep& step);

// Parameters of that model, and what PyTorch's state_dict calls them.
NameMap PeerNames(const std::string& mixer);

// ResourceExhausted: there is no memory for a step; counted on meta tensors.
absl::Status CheckMemory(const ModelConfig& config, int64_t batch, int64_t length);

// Ids [batch, length + 1], the same for the same sizes.
Tensor RandomIds(int64_t batch, int64_t length, int64_t vocabulary);

class TrainingStep {
 public:
  // Trains `model`, which must outlive it, to say the next of ids [batch, length + 1].
  static absl::StatusOr<std::unique_ptr<TrainingStep>> Create(
      Model* model, const Tensor& ids,
      OptimizerConfig::Precision precision = OptimizerConfig::FLOAT32);

  // Takes a step; its loss, and the error of one that is not finite.
  absl::StatusOr<double> Run();

 private:
  TrainingStep(std::unique_ptr<train::Trainer> trainer, const Batch& batch)
      : trainer_(std::move(trainer)), batch_(batch) {}

  const std::unique_ptr<train::Trainer> trainer_;
  const Batch batch_;
};

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_SPEED_TRAINING_STEP_H_
