// What the paper says of segments, memory and relative positions.

#include <google/protobuf/any.pb.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/tensor/cost.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "papers/transformer_xl/relative_attention.h"
#include "papers/transformer_xl/transformer_xl.pb.h"
#include "plugins/conformance/layer_checks.h"
#include "plugins/mixer.h"
#include "plugins/model/generate.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

constexpr int64_t kWidth = 8;

google::protobuf::Any Packed(const google::protobuf::Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

TransformerXlConfig Config(int64_t segment, int64_t memory) {
  TransformerXlConfig config;
  config.set_heads(2);
  config.set_segment(segment);
  config.set_memory(memory);
  config.set_init_std(0.3);
  return config;
}

StackConfig Stack(const TransformerXlConfig& mixer, int64_t layers) {
  StackConfig stack;
  stack.set_layers(layers);
  *stack.mutable_mixer() = Packed(mixer);
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::GELU);
  stack.mutable_feed_forward()->set_width(12);
  stack.mutable_feed_forward()->set_biases(true);
  stack.mutable_norm()->set_kind(NormConfig::LAYER);
  stack.set_norm_place(mixer.pre_norm() ? StackConfig::PRE_WITHOUT_LAST : StackConfig::POST);
  stack.set_init_std(0.3);
  return stack;
}

// A stack whose parameters depend on the number of layers alone.
struct Built {
  Built(const TransformerXlConfig& mixer, int64_t layers) {
    BuildArgs args{nn::Scope(&store, Rng(1), DType::kFloat64)};
    args.width = kWidth;
    auto made = Registry<Backbone>::Get().Create(Packed(Stack(mixer, layers)), args);
    CHECK(made.ok()) << made.status();
    backbone = *std::move(made);
  }

  Tensor operator()(const Tensor& x) const {
    const NoGradScope no_grad;
    return backbone->Forward({x, nn::Rows()}, nn::Call()).x_btd;
  }

  nn::ParameterStore store;
  std::unique_ptr<Backbone> backbone;
};

Tensor Input(int64_t rows, int64_t batch = 1) {
  return RandomNormal({batch, rows, kWidth}, Rng(2), 1, DType::kFloat64);
}

// Rows of y that change when row `at` of x does.
std::vector<bool> ChangedBy(const Built& built, const Tensor& x, int64_t at) {
  const Tensor other = x.Clone();
  for (int64_t d = 0; d < kWidth; d += 2) other.mutable_data<double>()[at * kWidth + d] += 1;
  const Tensor before = built(x), after = built(other);
  std::vector<bool> changed(x.dim(1), false);
  for (int64_t i = 0; i < before.numel(); ++i) {
    if (before.data<double>()[i] != after.data<double>()[i]) changed[i / kWidth] = true;
  }
  return changed;
}

// "Effectively utilizes history": with a memory of everything, segments of any size compute what
// one pass computes.
TEST(TransformerXl, SegmentsWithAllTheMemoryAreOnePass) {
  const Tensor x = Input(23, 2);
  for (const bool pre_norm : {false, true}) {
    TransformerXlConfig config = Config(23, 0);
    config.set_pre_norm(pre_norm);
    const Tensor expected = Built(config, 3)(x);
    for (const int64_t segment : {1, 3, 5, 22}) {
      config.set_segment(segment);
      config.set_memory(100);
      EXPECT_THAT(Built(config, 3)(x), AllClose(expected, Tolerance{1e-10, 1e-12})) << segment;
    }
  }
}

// The longest dependency grows with the number of layers times the memory (Figure 2).
TEST(TransformerXl, ReachGrowsWithLayersTimesMemory) {
  constexpr int64_t kSegment = 4;
  for (const int64_t layers : {1, 2, 3}) {
    const Built built(Config(kSegment, kSegment), layers);
    const std::vector<bool> changed = ChangedBy(built, Input(24), 1);
    for (int64_t t = 0; t < 24; ++t)
      EXPECT_EQ(changed[t], t >= 1 && t < kSegment * (layers + 1))
          << layers << " layers, row " << t;
  }
}

TEST(TransformerXl, WithoutMemorySegmentsAreApart) {
  const std::vector<bool> changed = ChangedBy(Built(Config(4, 0), 2), Input(12), 5);
  for (int64_t t = 0; t < 12; ++t) EXPECT_EQ(changed[t], t >= 5 && t < 8) << t;
}

// Every row sees as many keys, wherever in its segment it stands.
TEST(TransformerXl, SameLength) {
  constexpr int64_t kRows = 20, kMemory = 6;
  TransformerXlConfig config = Config(5, kMemory);
  config.set_same_length(true);
  const Built built(config, 1);
  std::vector<int64_t> seen(kRows, 0);
  for (int64_t j = 0; j < kRows; ++j) {
    const std::vector<bool> changed = ChangedBy(built, Input(kRows), j);
    for (int64_t t = 0; t < kRows; ++t) seen[t] += changed[t] ? 1 : 0;
  }
  for (int64_t t = 0; t < kRows; ++t) EXPECT_EQ(seen[t], std::min(t + 1, kMemory)) << t;
}

// Beyond the clamp rows are a set: it does not matter how far away they are.
TEST(TransformerXl, ClampedDistancesAreOne) {
  const Tensor x = Input(12), swapped = x.Clone();
  for (int64_t d = 0; d < kWidth; ++d)
    std::swap(swapped.mutable_data<double>()[2 * kWidth + d],
              swapped.mutable_data<double>()[5 * kWidth + d]);
  for (const int64_t clamp : {0, 6, 7}) {
    TransformerXlConfig config = Config(12, 0);
    config.set_clamp(clamp);
    const Built built(config, 1);
    const Tensor last = built(x).View({12, kWidth}).ViewRows(11, 12).Clone(),
                 other = built(swapped).View({12, kWidth}).ViewRows(11, 12).Clone();
    // Row 5 is 6 behind the last one, row 2 is 9.
    const bool same = clamp == 6;
    double off = 0;
    for (int64_t d = 0; d < kWidth; ++d)
      off = std::max(off, std::abs(last.data<double>()[d] - other.data<double>()[d]));
    EXPECT_EQ(off < 1e-12, same) << "clamp " << clamp << ": " << off;
  }
}

TEST(TransformerXl, DistanceRows) {
  const Tensor rows = transformer_xl::DistanceRows(5, 6, DType::kFloat64, Device::kCpu);
  for (int64_t row = 0; row < 5; ++row) {
    const double distance = 4 - static_cast<double>(row);
    for (int64_t i = 0; i < 3; ++i) {
      const double angle = distance / std::pow(10000, static_cast<double>(2 * i) / 6);
      EXPECT_NEAR(rows.data<double>()[row * 6 + i], std::sin(angle), 1e-12);
      EXPECT_NEAR(rows.data<double>()[row * 6 + 3 + i], std::cos(angle), 1e-12);
    }
  }
}

// A stream projects each row once: the step behind twice the memory does the attention of twice the
// memory more, and nothing else.
TEST(TransformerXl, AStepKeepsTheKeysOfItsMemory) {
  double flops[2];
  for (int i = 0; i < 2; ++i) {
    const int64_t memory = 64 << i;
    const Built built(Config(1, memory), 1);
    const NoGradScope no_grad;
    nn::State state = built.backbone->NewState(1);
    built.backbone->Extend({Input(200), nn::Rows()}, nn::Call(), &state);
    const CostScope cost;
    built.backbone->Extend({Input(1), nn::Rows()}, nn::Call(), &state);
    flops[i] = cost.cost().flops;
  }
  // A key more: contents, positions and values of 8 channels, and a softmax for each of two heads.
  EXPECT_NEAR(flops[1] - flops[0], 64 * (3 * 2 * kWidth + 2 * 6), 64 * kWidth);
}

// In a stack of two layers, everything that a backbone promises.
TEST(TransformerXl, StackKeepsTheContract) {
  conformance::LayerSubject subject;
  subject.width = kWidth;
  subject.parameters = 2 * (5 * 64 + 16 + 16 + 2 * 96 + 12 + 8) + 16;
  subject.state_bytes = 2 * 6 * kWidth * 4;  // after 100 rows, with which a segment begins
  subject.make = [](DType dtype, Device device) -> absl::StatusOr<conformance::BuiltLayer> {
    conformance::BuiltLayer layer;
    BuildArgs args{nn::Scope(layer.store.get(), Rng(1), dtype, device)};
    args.width = kWidth;
    LR_ASSIGN_OR_RETURN(layer.backbone,
                        Registry<Backbone>::Get().Create(Packed(Stack(Config(4, 6), 2)), args));
    return layer;
  };
  for (const conformance::LayerCheck& check : conformance::LayerChecks()) {
    const conformance::Verdict verdict = check.run(subject);
    EXPECT_FALSE(verdict.failed()) << check.name << ": " << verdict.why;
  }
}

// Token by token with the keys of the memory kept, and everything anew at every token.
TEST(TransformerXl, GeneratesAsIfRecomputed) {
  ModelConfig config;
  config.set_vocabulary(17);
  config.set_width(kWidth);
  config.set_init_std(0.5);
  *config.mutable_backbone() = Packed(Stack(Config(5, 7), 2));
  ModelArgs args;
  args.init = Rng(1);
  args.dtype = DType::kFloat64;
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> model, Model::Create(config, args));
  GenerateOptions options;
  options.max_new_tokens = 30;
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> streamed,
                          Generate(*model, {3, 1, 4, 1, 5, 9, 2}, options));
  options.horizon = GenerateOptions::kRecompute;
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> recomputed,
                          Generate(*model, {3, 1, 4, 1, 5, 9, 2}, options));
  EXPECT_EQ(streamed, recomputed);
}

}  // namespace
}  // namespace longrange
