// Replies of a model to the examples of a task.

#ifndef LONGRANGE_PLUGINS_MODEL_ANSWER_H_
#define LONGRANGE_PLUGINS_MODEL_ANSWER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "common/data/batches.h"
#include "plugins/model/model.h"
#include "plugins/task.h"

namespace longrange {

// Scores the answer rows of each example, teacher-forced. Examples must be of equal length; `batch`
// of them run at once.
absl::StatusOr<std::vector<Reply>> Answer(const Model& model, const std::vector<Example>& examples,
                                          int64_t batch);

// Examples of equal length as one batch for training.
Batch Collate(const std::vector<Example>& examples);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MODEL_ANSWER_H_
