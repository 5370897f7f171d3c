// Numbers behind claims.textproto: a stream in which each token repeats the one 20 places earlier
// with probability 1/2, read in segments of 16 by two layers of 32 channels; and the operations of
// a token behind a memory, and behind a window that is read anew.

#include <cstdint>
#include <memory>
#include <vector>

#include "common/autograd/tape.h"
#include "common/tensor/cost.h"
#include "common/train/trainer.h"
#include "papers/claim_figure.h"
#include "papers/transformer_xl/transformer_xl.pb.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

constexpr int64_t kSymbols = 10, kLag = 20, kSegment = 16, kTracks = 16;
constexpr int64_t kTraining = 800, kValidation = 60;  // segments

// Tracks of `segments` segments and one token more, one behind the other.
std::vector<int32_t> Stream(const Rng& rng, int64_t segments) {
  const int64_t size = segments * kSegment + 1;
  std::vector<int32_t> tokens(kTracks * size);
  for (int64_t b = 0; b < kTracks; ++b) {
    RngStream draw(rng.Child(b));
    for (int64_t t = 0; t < size; ++t) {
      const bool repeats = draw.UniformInt(2) == 1;
      const auto fresh = static_cast<int32_t>(draw.UniformInt(kSymbols));
      tokens[b * size + t] = repeats && t >= kLag ? tokens[b * size + t - kLag] : fresh;
    }
  }
  return tokens;
}

Batch Segment(const std::vector<int32_t>& tokens, int64_t segments, int64_t number) {
  const int64_t size = segments * kSegment + 1;
  Batch batch;
  batch.ids_bt = Tensor::Empty({kTracks, kSegment}, DType::kInt32);
  batch.target_bt = Tensor::Empty({kTracks, kSegment}, DType::kInt32);
  for (int64_t b = 0; b < kTracks; ++b) {
    for (int64_t t = 0; t < kSegment; ++t) {
      const int64_t at = b * size + number * kSegment + t;
      batch.ids_bt.mutable_data<int32_t>()[b * kSegment + t] = tokens[at];
      batch.target_bt.mutable_data<int32_t>()[b * kSegment + t] = tokens[at + 1];
    }
  }
  return batch;
}

// Nats a token on a stream that was not trained on, behind its first four segments.
double NatsOf(int64_t memory) {
  TransformerXlConfig mixer;
  mixer.set_heads(2);
  mixer.set_segment(kSegment);
  mixer.set_memory(memory);
  StackConfig stack;
  stack.set_layers(2);
  stack.mutable_mixer()->PackFrom(mixer);
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::RELU);
  stack.mutable_feed_forward()->set_width(64);
  stack.mutable_feed_forward()->set_biases(true);
  stack.mutable_norm()->set_kind(NormConfig::LAYER);
  stack.set_norm_place(StackConfig::POST);
  ModelConfig config;
  config.set_vocabulary(kSymbols);
  config.set_width(32);
  config.set_tied(true);
  config.set_embedding_scale(0);
  config.set_output_bias(true);
  config.mutable_backbone()->PackFrom(stack);
  ModelArgs args;
  args.init = Rng(1).Child("model");
  const auto model = Model::Create(config, args);
  CHECK(model.ok()) << model.status();

  OptimizerConfig optimizer;
  optimizer.mutable_schedule()->set_learning_rate(2e-3);
  optimizer.set_beta2(0.999);
  optimizer.set_clip_norm(0);
  const auto trainer = train::Trainer::Create(model->get(), optimizer, Rng(1));
  CHECK(trainer.ok()) << trainer.status();
  const std::vector<int32_t> training = Stream(Rng(1).Child("training"), kTraining);
  (*trainer)->Carry((*model)->NewState(kTracks));
  for (int64_t s = 0; s < kTraining; ++s) {
    const auto report = (*trainer)->Step({Segment(training, kTraining, s)});
    CHECK(report.ok()) << report.status();
  }
  constexpr int64_t kUncounted = 4;
  const NoGradScope no_grad;
  const std::vector<int32_t> other = Stream(Rng(1).Child("validation"), kValidation);
  nn::State state = (*model)->NewState(kTracks);
  double sum = 0;
  for (int64_t s = 0; s < kValidation; ++s) {
    const double nats =
        (*model)->StreamLoss(Segment(other, kValidation, s), nn::Call(), &state).item();
    if (s >= kUncounted) sum += nats;
  }
  return sum / static_cast<double>(kValidation - kUncounted);
}

// Operations of a token that sees `attention` tokens, by the model of evaluation_speed/: where that
// window is read anew, over those where the memory is kept.
double WorkSaved(int64_t attention) {
  const NoGradScope no_grad;
  double flops[2];
  for (const bool window : {false, true}) {
    TransformerXlConfig mixer;
    mixer.set_heads(4);
    mixer.set_segment(window ? attention : 1);
    mixer.set_memory(window ? 0 : attention);
    mixer.set_same_length(!window);
    StackConfig stack;
    stack.set_layers(4);
    stack.mutable_mixer()->PackFrom(mixer);
    stack.mutable_feed_forward()->set_kind(FeedForwardConfig::RELU);
    stack.mutable_feed_forward()->set_width(512);
    stack.mutable_feed_forward()->set_biases(true);
    stack.mutable_norm()->set_kind(NormConfig::LAYER);
    stack.set_norm_place(StackConfig::POST);
    ModelConfig config;
    config.set_vocabulary(256);
    config.set_width(128);
    config.set_tied(true);
    config.mutable_backbone()->PackFrom(stack);
    ModelArgs args;
    args.device = Device::kMeta;
    const auto model = Model::Create(config, args);
    CHECK(model.ok()) << model.status();
    const auto tokens = [](int64_t count) {
      return Tensor::Empty({1, count}, DType::kInt32, Device::kMeta);
    };
    nn::State state = (*model)->NewState(1);
    if (!window) (*model)->Extend(tokens(attention), nn::Rows(), nn::Call(), &state);
    const CostScope cost;
    if (window) {
      (*model)->Score(tokens(attention), tokens(attention), nn::Rows(), nn::Call());
    } else {
      (*model)->ExtendScores(tokens(1), tokens(1), nn::Rows(), nn::Call(), &state);
    }
    flops[window ? 1 : 0] = cost.cost().flops;
  }
  return flops[1] / flops[0];
}

double WorkSavedPerDoubling() { return WorkSaved(1024) / WorkSaved(512); }

double NatsWithMemoryOf32() { return NatsOf(32); }
double NatsWithMemoryOf16() { return NatsOf(16); }
double NatsWithoutMemory() { return NatsOf(0); }

LR_REGISTER_CLAIM_FIGURE("transformer_xl", NatsWithMemoryOf32);
LR_REGISTER_CLAIM_FIGURE("transformer_xl", NatsWithMemoryOf16);
LR_REGISTER_CLAIM_FIGURE("transformer_xl", NatsWithoutMemory);
LR_REGISTER_CLAIM_FIGURE("transformer_xl", WorkSavedPerDoubling);

}  // namespace
}  // namespace longrange
