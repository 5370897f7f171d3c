// Replies of a model to the examples of a task.

#ifndef LONGRANGE_PLUGINS_MODEL_ANSWER_H_
#define LONGRANGE_PLUGINS_MODEL_ANSWER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "common/data/batches.h"
#include "plugins/model/model.h"
#include "plugins/task.h"

namespace longrange {

// Scores the answer rows of each example, teacher-forced. Examples must be of equal length; `batch`
// of them run at once. With piece > 0, longer examples are read in pieces of so many rows with the
// state carried, at the memory of one piece; the same replies but for rounding. InvalidArgument: a
// length that the model does not take, padding or roles that it knows nothing of, pieces for a
// model that does not stream or answers once for a whole sequence, or of rows with roles.
absl::StatusOr<std::vector<Reply>> Answer(const Model& model, absl::Span<const Example> examples,
                                          int64_t batch, int64_t piece = 0);

// Can examples of `length` rows be answered so? As of Answer.
absl::Status CanAnswer(const Model& model, int64_t batch, int64_t length, int64_t piece = 0);

// Examples of equal length as one batch for training.
Batch Collate(absl::Span<const Example> examples);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MODEL_ANSWER_H_
