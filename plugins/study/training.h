// Training within a study: batches as a function of the step, checkpoints, and going on where a run
// was stopped.

#ifndef LONGRANGE_PLUGINS_STUDY_TRAINING_H_
#define LONGRANGE_PLUGINS_STUDY_TRAINING_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/rows.h"
#include "common/train/trainer.h"
#include "plugins/model/model.h"
#include "plugins/study/context.h"

namespace longrange {

// Tokens of each sequence in step `step`, and how many sequences the step takes at that length.
int64_t TrainingLength(const StudyTraining& config, const Rng& rng, int64_t step);
int64_t TrainingSequences(const StudyTraining& config, int64_t length);

// The batch of step `step`: windows of the training text and examples of the tasks, in the shares
// that the configs name. A pure function of its arguments.
absl::StatusOr<Batch> TrainingBatch(const StudyContext& context, const StudyTraining& config,
                                    const Rng& rng, int64_t step);

// Rows of one batch of held-out examples.
inline constexpr int64_t kCheckRows = 8192;

// Mean score of the task on `count` held-out examples of `length`, at uniform depths.
absl::StatusOr<double> HeldOutScore(const StudyContext& context, const Model& model, int64_t length,
                                    int64_t count);

// The order of the data, by seed.
inline Rng BaseOrder(int64_t seed) { return Rng(static_cast<uint64_t>(seed)).Child("base"); }
inline Rng TuningOrder(int64_t seed) { return Rng(static_cast<uint64_t>(seed)).Child("tuning"); }

// A trainer of what the config names of the model.
absl::StatusOr<std::unique_ptr<train::Trainer>> StudyTrainer(const Model& model,
                                                             const StudyTraining& config,
                                                             const Rng& rng);

struct TrainingRun {
  std::string title;   // for the progress bar
  std::string folder;  // of checkpoints and metrics (metrics.h)
  StudyTraining config;
  Rng rng;  // of the batches
  bool quiet = false;
};

struct TrainingOutcome {
  int64_t steps = 0;
  double tokens = 0, flops = 0;
  double seconds = 0;     // of all sessions that took part
  double peak_bytes = 0;  // of tensors, the most in any of them
  double final_loss = 0;  // of the last step's batch
  bool reached_score = false;
  std::vector<std::pair<int64_t, double>> checks;  // step, score
  std::vector<Row> course;                         // what probes measured along the way (course.h)
};

// Trains `model` in place, going on from the last checkpoint in the folder where there is one: the
// parameters are the same bits as of a run that was never stopped. Cancelled: an interrupt; a
// checkpoint was saved. DataLoss: a value was not finite; the last good checkpoint is kept.
absl::StatusOr<TrainingOutcome> Train(const StudyContext& context, const Model& model,
                                      const TrainingRun& run);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_TRAINING_H_
