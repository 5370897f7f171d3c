// What a study measures of a model, as rows that depend on nothing but parameters and protocol.

#ifndef LONGRANGE_PLUGINS_STUDY_EVALUATION_H_
#define LONGRANGE_PLUGINS_STUDY_EVALUATION_H_

#include <memory>
#include <string>
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

// Perplexity in the protocol of the context-extension study's code, one row a length: windows from
// the beginning of the test text, each `stride` tokens behind the one before.
//   {"kind": "stride", "length": L, "stride": s, "windows": n, "nll": mean over all tokens of all
//   windows}
// None where the config has no stride. OutOfRange: the test text is too short.
absl::StatusOr<std::vector<Row>> EvaluateStride(const StudyContext& context, const Model& model,
                                                const StudyEvaluation& config);

// One task and where it is measured.
struct TaskGrid {
  std::string name;
  const Task* task = nullptr;
  std::vector<int64_t> lengths;
  std::vector<double> depths;              // percent; -1: uniform ones
  int64_t examples = 0;                    // a cell
  int64_t most_rows = 0;                   // of all examples of a cell; 0: any number
  int64_t Examples(int64_t length) const;  // a cell of this length
  ExampleRequest Request(int64_t length, double depth) const;
};

// How many examples of `length` rows are read at once, or many pieces of longer ones.
int64_t TaskBatch(const StudyEvaluation& config, int64_t length);
// Is the model measured on tasks of this length (StudyEvaluation.longest_growing)?
bool MeasuredAt(const Model& model, const StudyEvaluation& config, int64_t length);

// The study's task, then the further ones; those without a length are left out.
std::vector<TaskGrid> TaskGrids(const StudyContext& context, const StudyEvaluation& config);

// One row a cell of the grid:
//   {"kind": "task", "task": name, "length": L, "depth": percent (none: uniform), "examples": n,
//   "score": mean in [0, 1], "scores": of each example, with spaces between, "logprob": mean of an
//   answer}
absl::StatusOr<std::vector<Row>> EvaluateTask(const Model& model, const StudyEvaluation& config,
                                              const TaskGrid& grid);

using ProbeConfigs = google::protobuf::RepeatedPtrField<google::protobuf::Any>;

// The probes, created. InvalidArgument: an unknown one, or one that cannot look into this model
// (which may be on meta tensors).
absl::StatusOr<std::vector<std::unique_ptr<Probe>>> StudyProbes(const Model& model,
                                                                const ProbeConfigs& configs);

// What they look at: windows of the test text, or without text test examples of the task.
// InvalidArgument: the text is too short, or the task's rows are no tokens or partly padding.
absl::StatusOr<ProbeArgs> ProbeSequences(const StudyContext& context, int64_t length,
                                         int64_t sequences);

// What they measure, one row a figure:
//   {"kind": "probe", "length": L, "probe": id, then what the probe says: "figure", "value", ..}
absl::StatusOr<std::vector<Row>> EvaluateProbes(const Model& model, const ProbeConfigs& configs,
                                                const ProbeArgs& args);

// The probes of the evaluation.
absl::StatusOr<std::vector<Row>> EvaluateProbes(const StudyContext& context, const Model& model,
                                                const StudyEvaluation& config,
                                                int64_t trained_length);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_EVALUATION_H_
