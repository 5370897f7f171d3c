// Numbers behind claims.textproto: models trained on the carry task, in seconds. T rows of an
// example.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/autograd/tape.h"
#include "common/data/tokenizer.h"
#include "common/tensor/cost.h"
#include "common/train/trainer.h"
#include "papers/claim_figure.h"
#include "papers/recurrent_memory_transformer/recurrent_memory_transformer.pb.h"
#include "papers/recurrent_memory_transformer/tasks.pb.h"
#include "plugins/conformance/conformance.pb.h"
#include "plugins/model/answer.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

constexpr int64_t kRows = 32, kSegment = 8, kWidth = 32;

template <typename T>
T Must(absl::StatusOr<T> made) {
  CHECK(made.ok()) << made.status();
  return *std::move(made);
}

// Two layers of attention under a recurrent memory, and the tokens of the carry task.
ModelConfig CarryModel(int64_t memory, int64_t depth) {
  ConformanceHostConfig attention;
  attention.set_heads(4);
  attention.set_kv_heads(4);
  attention.set_rotary(true);
  StackConfig stack;
  stack.set_layers(2);
  stack.mutable_mixer()->PackFrom(attention);
  RecurrentMemoryTransformerConfig config;
  config.set_segment(kSegment);
  config.set_memory_tokens(memory);
  config.set_depth(depth);
  config.set_init(RecurrentMemoryTransformerConfig::INDEPENDENT);
  config.mutable_backbone()->PackFrom(stack);
  ModelConfig model;
  model.set_vocabulary(16);
  model.set_width(kWidth);
  model.mutable_backbone()->PackFrom(config);
  return model;
}

// The share of 512 held-out examples answered right after 500 steps of 32.
double TrainedCarry(int64_t memory, int64_t depth) {
  google::protobuf::Any any;
  any.PackFrom(RecurrentMemoryTransformerCarryConfig());
  const SymbolTokenizer tokenizer(
      Must(Registry<Task>::Get().Create(any, TaskArgs()))->special_tokens());
  const auto task = Must(Registry<Task>::Get().Create(any, TaskArgs{&tokenizer}));
  const auto examples = [&](Split split, int64_t first, int64_t count) {
    ExampleRequest request;
    request.split = split;
    request.length = kRows;
    std::vector<Example> made;
    for (int64_t i = 0; i < count; ++i) made.push_back(Must(task->Make(request, first + i)));
    return made;
  };
  const auto model = Must(Model::Create(CarryModel(memory, depth), ModelArgs()));
  constexpr int64_t kSteps = 500, kBatch = 32;
  OptimizerConfig optimizer;
  optimizer.mutable_schedule()->set_learning_rate(5e-3);
  optimizer.mutable_schedule()->set_warmup_steps(30);
  optimizer.mutable_schedule()->set_kind(ScheduleConfig::COSINE);
  optimizer.mutable_schedule()->set_total_steps(kSteps);
  const auto trainer = Must(train::Trainer::Create(model.get(), optimizer, Rng(1)));
  for (int64_t step = 0; step < kSteps; ++step)
    Must(trainer->Step({Collate(examples(Split::kTrain, step * kBatch, kBatch))}));
  const std::vector<Example> held_out = examples(Split::kTest, 0, 512);
  const std::vector<Reply> replies = Must(Answer(*model, held_out, 128));
  double sum = 0;
  for (size_t i = 0; i < held_out.size(); ++i) sum += task->Score(held_out[i], replies[i]);
  return sum / static_cast<double>(held_out.size());
}

double CarriedByMemory() { return TrainedCarry(2, -1); }
double CarriedByDetachedMemory() { return TrainedCarry(2, 0); }
double CarriedWithoutMemory() { return TrainedCarry(0, -1); }

// Flops of a forward pass over 4096 rows over that of 2048, segments of 128.
double FlopsGrowth() {
  ModelConfig config = CarryModel(4, -1);
  RecurrentMemoryTransformerConfig memory;
  CHECK(config.backbone().UnpackTo(&memory));
  memory.set_segment(128);
  config.mutable_backbone()->PackFrom(memory);
  const auto model = Must(Model::Create(config, ModelArgs()));
  const NoGradScope no_grad;
  const auto flops = [&](int64_t rows) {
    const CostScope scope;
    model->Logits(Tensor::Zeros({1, rows}, DType::kInt32), nn::Rows(), nn::Call());
    return scope.cost().flops;
  };
  const double half = flops(2048);
  return flops(4096) / half;
}

LR_REGISTER_CLAIM_FIGURE("recurrent_memory_transformer", CarriedByDetachedMemory);
LR_REGISTER_CLAIM_FIGURE("recurrent_memory_transformer", CarriedByMemory);
LR_REGISTER_CLAIM_FIGURE("recurrent_memory_transformer", CarriedWithoutMemory);
LR_REGISTER_CLAIM_FIGURE("recurrent_memory_transformer", FlopsGrowth);

}  // namespace
}  // namespace longrange
