// Trainer: loss, gradients, clipping, AdamW. Everything random is a function of the step, so a
// trainer that loads the state of step n goes on bit for bit as one that never stopped.

#ifndef LONGRANGE_COMMON_TRAIN_TRAINER_H_
#define LONGRANGE_COMMON_TRAIN_TRAINER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/tensor_map.h"
#include "common/train/optimizer.pb.h"
#include "common/train/trainable.h"

namespace longrange::train {

// The learning rate of step `step` (0-based).
double LearningRate(const ScheduleConfig& config, int64_t step);

struct StepReport {
  // Mean over the micro-batches, before the update; without the further losses that layers give
  // (nn::Sink::Loss), which are trained with it.
  double loss = 0;
  double gradient_norm = 0;  // before clipping
  double learning_rate = 0;
};

class Trainer {
 public:
  // `model` must outlive the trainer. `trainable`: patterns (common/io/glob.h) of the parameters
  // that are trained; none: all. The others are frozen while the trainer lives: no gradient is
  // computed for them, they have no moments and do not decay. Buffers follow the data all the same.
  // InvalidArgument: a field of the config is out of range, a parameter group has no entry in it,
  // or a pattern matches no parameter.
  static absl::StatusOr<std::unique_ptr<Trainer>> Create(
      const Trainable* model, const OptimizerConfig& config, const Rng& rng,
      const std::vector<std::string>& trainable = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // One update from the mean gradient of the micro-batches; buffers become the mean of what these
  // would have them become. DataLoss: a parameter, a moment, a buffer, a batch's weight, the loss
  // or a gradient is not finite. Then the step is run again, every op looked at, to name the first
  // bad tensor and the op that made it; parameters, moments and buffers are as before the step. On
  // meta tensors it counts the work and the memory of a step; the report's loss is 0 then.
  absl::StatusOr<StepReport> Step(const std::vector<Batch>& micro_batches);

  // From the next step on the rows of a batch follow those that `state` has seen: the loss is
  // Trainable::StreamLoss, and the state it leaves, which carries no gradient, is that of the step
  // after. Then a step has one micro-batch.
  void Carry(nn::State state);
  // Bytes of the state that is carried; 0: none is.
  int64_t carried_bytes() const { return carried_ == nullptr ? 0 : carried_->bytes(); }

  int64_t step() const { return step_; }  // updates done

  // Parameters ("weights/NAME"), of those that are trained optimiser moments ("adamw.m/NAME",
  // "adamw.v/NAME"), buffers ("buffers/NAME"), and the state that is carried ("state/PATH"),
  // sharing memory.
  TensorMap Tensors() const;
  // Restores what Tensors() gave after `step` updates. Every tensor must be there, in its shape,
  // and no other; those of a state may have seen another number of rows (dimension 1).
  absl::Status Restore(int64_t step, const TensorMap& tensors);

 private:
  Trainer(const Trainable* model, const OptimizerConfig& config, const Rng& rng,
          const std::vector<std::string>& trainable);

  nn::Call StepCall(size_t micro_batch) const;
  // The loss of a micro-batch; `next` gets the state behind it where one is carried.
  Tensor LossOf(const Batch& batch, const nn::Call& call, nn::State* next) const;
  // The first of parameters, moments and weights that is not finite: "parameter w is NaN at [2]".
  std::string BadBefore(const std::vector<Batch>& micro_batches) const;
  // The error of a step that met `what`, with the op it came from; `otherwise`, where no op did.
  absl::Status Stop(const std::string& what, const std::string& otherwise,
                    const std::vector<Batch>& micro_batches) const;

  const Trainable* model_;
  OptimizerConfig config_;
  Rng rng_;
  int64_t step_ = 0;
  std::vector<Tensor> m_, v_;           // one a parameter, undefined where it is frozen
  std::unique_ptr<nn::State> carried_;  // null: none
};

}  // namespace longrange::train

#endif  // LONGRANGE_COMMON_TRAIN_TRAINER_H_
