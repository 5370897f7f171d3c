// A task of symbols as a study without text has it: with a tokenizer of its own special tokens, so
// that ids are the places in special_tokens(). Test only.

#ifndef LONGRANGE_PLUGINS_BOUND_TASK_H_
#define LONGRANGE_PLUGINS_BOUND_TASK_H_

#include <google/protobuf/any.pb.h>

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "common/data/tokenizer.h"
#include "plugins/task.h"

namespace longrange {

class BoundTask {
 public:
  // A config that the task refuses is fatal.
  explicit BoundTask(const google::protobuf::Message& config);

  // Example `index` of the given length (tokens) and depth (percent; negative: the task's choice).
  absl::StatusOr<Example> Make(int64_t length, int64_t index, double depth = -1) const;

  const Task& task() const { return *task_; }
  int32_t vocabulary() const { return tokenizer_->vocab_size(); }

 private:
  std::unique_ptr<SymbolTokenizer> tokenizer_;
  std::unique_ptr<Task> task_;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_BOUND_TASK_H_
