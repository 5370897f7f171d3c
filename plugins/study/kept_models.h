// The models that a study has trained, on the disk: OUT/models/<name>/ (plugins/checkpoint).
//
// A training that was kept needs no checkpoints of its optimiser any more: its model is opened
// where it is needed again.

#ifndef LONGRANGE_PLUGINS_STUDY_KEPT_MODELS_H_
#define LONGRANGE_PLUGINS_STUDY_KEPT_MODELS_H_

#include <string>

#include "absl/status/statusor.h"
#include "plugins/checkpoint/checkpoint.h"
#include "plugins/model/model.h"
#include "plugins/study/context.h"
#include "plugins/study/study.pb.h"
#include "plugins/study/training.h"

namespace longrange {

// What a base model of this study says of itself, but for model and training. `identity` is
// everything that the training depends on; an arm adds to it what is its own.
CheckpointConfig KeptConfig(const StudyProtocol& protocol, const StudyContext& context,
                            int64_t base_seed, const std::string& identity);

CheckpointConfig::Training ToProto(const TrainingOutcome& outcome);
// InvalidArgument: what should be a row is none.
absl::StatusOr<TrainingOutcome> FromProto(const CheckpointConfig::Training& training);

// The checksum of the model's weights in `folder`, after writing them there unless they are there.
absl::StatusOr<std::string> KeepModel(const std::string& folder, CheckpointConfig config,
                                      const TrainingOutcome& outcome, const Model& model);

struct KeptTraining {
  TrainingOutcome outcome;
  std::string weights_checksum;
};

// Leaves in `model` what Train() of `run` does: opened from `folder` where a training of the same
// origin.hash was kept, else trained, and kept there. A kept model that is damaged costs a warning
// and its training.
absl::StatusOr<KeptTraining> TrainOrOpen(const StudyContext& context, const Model& model,
                                         const TrainingRun& run, const std::string& folder,
                                         const CheckpointConfig& config);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_KEPT_MODELS_H_
