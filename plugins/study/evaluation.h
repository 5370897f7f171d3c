// What a study measures of a model, as rows that depend on nothing but parameters and protocol.

#ifndef LONGRANGE_PLUGINS_STUDY_EVALUATION_H_
#define LONGRANGE_PLUGINS_STUDY_EVALUATION_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/rows.h"
#include "plugins/model/model.h"
#include "plugins/probe.h"
#include "plugins/study/context.h"

namespace longrange {

// Perplexity, one row a window and length:
//   {"kind": "window", "length": L, "window": i, "nll": mean over all L rows, "tail_nll": mean over
//   the last `tail` rows}
// Windows of one number end at the same place in the text, so "tail_nll" is of the same tokens at
// every length: what more context gives. Then, at the longest length, the mean over windows of each
// bucket of positions:
//   {"kind": "position", "length": L, "begin": p, "end": q, "nll": ..}
// Nats a token. OutOfRange: the test text is too short.
absl::StatusOr<std::vector<Row>> EvaluatePerplexity(const StudyContext& context, const Model& model,
                                                    const StudyEvaluation& config, int64_t tail);

// The task's grid, one row a cell:
//   {"kind": "task", "length": L, "depth": percent, "examples": n, "score": mean in [0, 1],
//   "logprob": mean of an answer}
absl::StatusOr<std::vector<Row>> EvaluateTask(const StudyContext& context, const Model& model,
                                              const StudyEvaluation& config);

// Every probe of the config, created. InvalidArgument: an unknown one, or one that cannot look into
// this model (which may be on meta tensors).
absl::StatusOr<std::vector<std::unique_ptr<Probe>>> StudyProbes(const Model& model,
                                                                const StudyEvaluation& config);

// What they measure, one row a figure:
//   {"kind": "probe", "length": L, "probe": id, then what the probe says: "figure", "value", ..}
absl::StatusOr<std::vector<Row>> EvaluateProbes(const StudyContext& context, const Model& model,
                                                const StudyEvaluation& config,
                                                int64_t trained_length);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_EVALUATION_H_
