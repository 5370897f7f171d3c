#include "plugins/bound_task.h"

#include <glog/logging.h>

#include <utility>

namespace longrange {

BoundTask::BoundTask(const google::protobuf::Message& config) {
  google::protobuf::Any any;
  any.PackFrom(config);
  const auto facts = Registry<Task>::Get().Create(any, TaskArgs());
  CHECK(facts.ok()) << facts.status();
  tokenizer_ = std::make_unique<SymbolTokenizer>((*facts)->special_tokens());
  TaskArgs args;
  args.tokenizer = tokenizer_.get();
  auto task = Registry<Task>::Get().Create(any, args);
  CHECK(task.ok()) << task.status();
  task_ = *std::move(task);
}

absl::StatusOr<Example> BoundTask::Make(int64_t length, int64_t index, double depth) const {
  ExampleRequest request;
  request.length = length;
  request.depth = depth;
  return task_->Make(request, index);
}

}  // namespace longrange
