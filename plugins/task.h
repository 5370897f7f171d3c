// Task: examples with known answers, and how replies are scored. A task never touches a model: it
// yields Examples, shared code (plugins/model) makes Replies.

#ifndef LONGRANGE_PLUGINS_TASK_H_
#define LONGRANGE_PLUGINS_TASK_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/data/corpus.h"
#include "common/data/tokenizer.h"
#include "plugins/registry.h"

namespace longrange {

struct Example {
  std::vector<int32_t> ids;  // the rows a model reads
  // How many of them are real, the rest being padding behind them; 0: all.
  int64_t rows = 0;
  // Numbers that a model reads in the place of ids, TaskTraits::features of each row, one row after
  // the other; empty: ids are read.
  std::vector<float> features;
  // A second document, as long as ids, and how many of its rows are real (0: all). Empty: there is
  // none.
  std::vector<int32_t> second;
  int64_t second_rows = 0;
  std::vector<int32_t> target;       // wanted after row t; -1: row t is not scored. As long as ids.
  std::vector<float> weight;         // of the loss of row t; empty: 1 wherever target >= 0
  std::vector<int64_t> answer_rows;  // rows whose targets are the answer
  std::vector<int32_t> role;         // of each row (nn::Rows::role_bt); empty: rows have none
  std::map<std::string, double>
      axes;  // the report's coordinates: "length" in tokens, "depth" in percent, "shots"
};

// What a model says of an example: for every answer row the log-probability of its target, and
// whether the target was the most likely token (teacher-forced).
struct Reply {
  std::vector<double> logprob;
  std::vector<uint8_t> is_argmax;
};

struct TaskTraits {
  int64_t version = 1;         // bumped when scores change
  double chance = 0;           // the expected score of a blind guess
  int64_t features = 0;        // numbers of each row, where rows are not ids
  bool two_documents = false;  // does every example have a second one?
  // What examples are made of, a sentence for log and report: which files, or what stands in for
  // them. "": what the task's name says.
  std::string data;
};

enum class Split { kTrain, kValidation, kTest };

// Both must outlive the task. A task that was created without them answers traits() and
// special_tokens() only: that is how shared code learns which tokens the tokenizer must have.
struct TaskArgs {
  const Tokenizer* tokenizer = nullptr;
  const Corpus* corpus = nullptr;  // text to hide things in
};

// What to draw examples of: everything the task's axes allow, or one cell of the grid.
struct ExampleRequest {
  Split split = Split::kTest;
  int64_t length = 0;  // rows of the example
  double depth = -1;   // percent of the context before the needle; < 0: uniform
  Rng rng;
};

class Task {
 public:
  using Args = TaskArgs;
  static constexpr char kKindName[] = "task";

  virtual ~Task() = default;
  virtual const TaskTraits& traits() const = 0;
  // Names of the special tokens ("<query>") that its examples are made of.
  virtual std::vector<std::string> special_tokens() const { return {}; }
  // Example number `index` of an endless series: a pure function of request and index, so a cursor
  // is the index. InvalidArgument where the request cannot be met (too short a length).
  virtual absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const = 0;
  // Score in [0, 1].
  virtual double Score(const Example& example, const Reply& reply) const = 0;
  // Replies of somebody who knows the answer, and of somebody who guesses.
  virtual Reply Oracle(const Example& example) const = 0;
  virtual Reply Blind(const Example& example, const Rng& rng) const = 0;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_TASK_H_
