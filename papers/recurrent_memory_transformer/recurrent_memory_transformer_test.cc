// What the paper says of its memory: who sees whom, what is handed on, where gradients end; and
// what a backbone of segments owes besides.

#include "papers/recurrent_memory_transformer/recurrent_memory_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/autograd/ops.h"
#include "common/io/safetensors.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "common/testing/tensor_peak.h"
#include "common/testing/tolerance.h"
#include "common/train/trainer.h"
#include "plugins/conformance/conformance.pb.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using Config = RecurrentMemoryTransformerConfig;

constexpr int64_t kWidth = 16;

StackConfig Stack(int64_t layers = 2) {
  ConformanceHostConfig attention;
  attention.set_rotary(true);
  StackConfig stack;
  stack.set_layers(layers);
  stack.mutable_mixer()->PackFrom(attention);
  stack.mutable_feed_forward()->set_width(24);
  return stack;
}

Config Around(const StackConfig& stack, int64_t segment, int64_t memory) {
  Config config;
  config.mutable_backbone()->PackFrom(stack);
  config.set_segment(segment);
  config.set_memory_tokens(memory);
  return config;
}

struct Made {
  nn::ParameterStore store;
  std::unique_ptr<Backbone> backbone;
};

template <typename BackboneConfig>
absl::StatusOr<std::unique_ptr<Made>> Make(const BackboneConfig& config,
                                           nn::Direction direction = nn::Direction::kCausal) {
  auto made = std::make_unique<Made>();
  BuildArgs args{nn::Scope(&made->store, Rng(5), DType::kFloat64)};
  args.width = kWidth;
  args.direction = direction;
  google::protobuf::Any any;
  any.PackFrom(config);
  LR_ASSIGN_OR_RETURN(made->backbone, Registry<Backbone>::Get().Create(any, args));
  return made;
}

Tensor Random(int64_t batch, int64_t rows, int seed) {
  return RandomNormal({batch, rows, kWidth}, Rng(seed), 1, DType::kFloat64);
}

// The result, then gradients of the input and of all parameters by name.
TensorMap Outcome(const Made& made, const Tensor& x_btd, const nn::Call& call = nn::Call()) {
  made.store.ClearGradients();
  const Tensor x = Leaf(x_btd);
  const Tensor y = made.backbone->Forward({x, nn::Rows()}, call).x_btd;
  Backward({y}, {RandomNormal(y.shape(), Rng(8), 1, y.dtype())});
  TensorMap all = {{"y", y.Detach()}, {"x", Gradient(x)}};
  for (const nn::Parameter& p : made.store.all()) {
    const Tensor gradient = Gradient(p.value);
    all[p.name] = gradient.defined() ? gradient : Tensor::ZerosLike(p.value);
  }
  return all;
}

// Writes down what it is asked, and gives its rows back.
class Spy : public Backbone {
 public:
  explicit Spy(bool frontier = true, nn::Direction direction = nn::Direction::kCausal) {
    traits_.frontier = frontier;
    traits_.direction = direction;
    traits_.padding = MixerTraits::kRight;
  }
  const BackboneTraits& traits() const override { return traits_; }
  void GiveRowsOfItsOwn() { traits_.output_rows = 2; }
  Sequence Forward(const Sequence& in, const nn::Call& call) const override {
    rows.push_back(in.rows);
    inputs.push_back(in.x_btd.Detach());
    horizon = call.horizon;
    return in;
  }

  mutable std::vector<nn::Rows> rows;
  mutable std::vector<Tensor> inputs;
  mutable int64_t horizon = 0;

 private:
  BackboneTraits traits_;
};

struct Spied {
  nn::ParameterStore store;
  Spy* spy = nullptr;
  std::unique_ptr<Backbone> backbone;
};

absl::StatusOr<std::unique_ptr<Spied>> Wrap(const Config& config, std::unique_ptr<Spy> spy) {
  auto spied = std::make_unique<Spied>();
  spied->spy = spy.get();
  BuildArgs args{nn::Scope(&spied->store, Rng(5), DType::kFloat64)};
  args.width = kWidth;
  LR_ASSIGN_OR_RETURN(spied->backbone, WrapInRecurrentMemory(config, std::move(spy), args));
  return spied;
}

Config Sized(int64_t segment, int64_t memory) {
  Config config;
  config.set_segment(segment);
  config.set_memory_tokens(memory);
  return config;
}

// Section 3: the memory to be read sees itself, tokens see it and what came before them, the
// memory to be written sees everything.
TEST(Mask, IsThePapers) {
  LR_ASSERT_OK_AND_ASSIGN(const auto spied, Wrap(Sized(3, 2), std::make_unique<Spy>()));
  spied->backbone->Forward({Random(1, 5, 1), nn::Rows()}, nn::Call());
  ASSERT_EQ(spied->spy->rows.size(), 2u);
  const std::vector<std::string> expected = {
      "11.....",  // read
      "11.....",  //
      "111....",  // tokens
      "1111...",  //
      "11111..",  //
      "1111111",  // write
      "1111111",
  };
  const std::vector<int64_t> frontier = spied->spy->rows[0].frontier_t.ToInts();
  ASSERT_EQ(frontier.size(), expected.size());
  for (size_t t = 0; t < expected.size(); ++t) {
    for (size_t s = 0; s < expected.size(); ++s)
      EXPECT_EQ(expected[t][s] == '1', static_cast<int64_t>(s) < frontier[t]) << t << " " << s;
  }
  // Nobody reads what the last one would write.
  EXPECT_THAT(spied->spy->rows[1].frontier_t.ToInts(), ElementsAre(2, 2, 3, 4));
  // Length-dependent parts go by a whole segment in both.
  EXPECT_EQ(spied->spy->horizon, 7);

  Config causal = Sized(3, 2);
  causal.set_mask(Config::CAUSAL);
  LR_ASSERT_OK_AND_ASSIGN(const auto plain, Wrap(causal, std::make_unique<Spy>(false)));
  plain->backbone->Forward({Random(1, 5, 1), nn::Rows()}, nn::Call());
  EXPECT_FALSE(plain->spy->rows[0].frontier_t.defined());
  EXPECT_EQ(plain->spy->inputs[0].dim(1), 7);
}

// The same vectors before and behind; the next segment reads what was written.
TEST(Memory, IsReadAndWritten) {
  LR_ASSERT_OK_AND_ASSIGN(const auto spied, Wrap(Sized(3, 2), std::make_unique<Spy>()));
  const Tensor x = Random(2, 5, 1);
  const Tensor y = spied->backbone->Forward({x, nn::Rows()}, nn::Call()).x_btd;
  EXPECT_THAT(y, BitEqual(x));  // the spy gives back what it gets
  const Tensor memory = spied->store.Find("memory")->value.Detach();
  for (int64_t b = 0; b < 2; ++b) {
    const Tensor first = spied->spy->inputs[0].ViewRows(b, b + 1),
                 second = spied->spy->inputs[1].ViewRows(b, b + 1);
    for (const Tensor& block :
         {Narrow(first, 1, 0, 2), Narrow(first, 1, 5, 2), Narrow(second, 1, 0, 2)}) {
      EXPECT_THAT(block.View({2, kWidth}), BitEqual(memory));
    }
  }
}

TEST(Memory, BeginsAsOneVectorOrAsMany) {
  for (const bool same : {true, false}) {
    Config config = Sized(3, 4);
    config.set_init(same ? Config::SAME : Config::INDEPENDENT);
    config.set_init_std(0.5);
    LR_ASSERT_OK_AND_ASSIGN(const auto spied, Wrap(config, std::make_unique<Spy>()));
    const Tensor memory = spied->store.Find("memory")->value.Detach();
    double squares = 0;
    for (const double v : memory.ToDoubles()) squares += v * v;
    EXPECT_NEAR(std::sqrt(squares / static_cast<double>(memory.numel())), 0.5, 0.25);
    for (int64_t m = 1; m < 4; ++m) {
      const bool equal =
          CompareBits(memory.ViewRows(m, m + 1).Clone(), memory.ViewRows(0, 1).Clone()).passed;
      EXPECT_EQ(equal, same) << m;
    }
  }
}

TEST(Segments, AreCutFromEitherEndOrEvenly) {
  Config config = Sized(8, 2);
  EXPECT_THAT(RecurrentMemorySegments(config, 19), ElementsAre(8, 8, 3));
  EXPECT_THAT(RecurrentMemorySegments(config, 16), ElementsAre(8, 8));
  EXPECT_THAT(RecurrentMemorySegments(config, 3), ElementsAre(3));
  config.set_alignment(Config::RIGHT);
  EXPECT_THAT(RecurrentMemorySegments(config, 19), ElementsAre(3, 8, 8));
  config.set_alignment(Config::CENTER);
  EXPECT_THAT(RecurrentMemorySegments(config, 19), ElementsAre(7, 7, 5));
  EXPECT_THAT(RecurrentMemorySegments(config, 17), ElementsAre(6, 6, 5));
  EXPECT_EQ(RecurrentMemoryRows(config), 12);
  config.set_placement(Config::FRONT);
  EXPECT_EQ(RecurrentMemoryRows(config), 10);
}

// Padding behind a sequence, in rows of the wrapped backbone.
TEST(Padding, EndsWhereTheTokensDo) {
  LR_ASSERT_OK_AND_ASSIGN(const auto spied, Wrap(Sized(4, 2), std::make_unique<Spy>()));
  nn::Rows rows;
  rows.end_b = Tensor::FromVector<int64_t>({3}, {10, 6, 2});
  spied->backbone->Forward({Random(3, 10, 1), rows}, nn::Call());
  ASSERT_EQ(spied->spy->rows.size(), 3u);
  EXPECT_THAT(spied->spy->rows[0].end_b.ToInts(), ElementsAre(8, 8, 4));
  EXPECT_THAT(spied->spy->rows[1].end_b.ToInts(), ElementsAre(8, 4, 2));
  EXPECT_THAT(spied->spy->rows[2].end_b.ToInts(), ElementsAre(4, 2, 2));
}

TEST(Segments, WithoutMemoryAreIndependent) {
  LR_ASSERT_OK_AND_ASSIGN(const auto wrapped, Make(Around(Stack(), 5, 0)));
  LR_ASSERT_OK_AND_ASSIGN(const auto alone, Make(Stack()));
  const Tensor x = Random(2, 13, 1);
  const Tensor y = wrapped->backbone->Forward({x, nn::Rows()}, nn::Call()).x_btd;
  for (const auto& [at, size] : std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {5, 5}, {10, 3}}) {
    EXPECT_THAT(
        Narrow(y, 1, at, size),
        BitEqual(alone->backbone->Forward({Narrow(x, 1, at, size), nn::Rows()}, nn::Call()).x_btd));
  }
}

// What a depth of k keeps is what an endless one keeps, within each k + 1 segments.
TEST(Depth, ChangesGradientsAlone) {
  Config config = Around(Stack(), 3, 2);
  LR_ASSERT_OK_AND_ASSIGN(const auto full, Make(config));
  const Tensor x = Random(2, 12, 1);
  const TensorMap all = Outcome(*full, x);
  for (const int64_t depth : {0, 1, 2, 3, 100}) {
    config.set_depth(depth);
    LR_ASSERT_OK_AND_ASSIGN(const auto made, Make(config));
    const TensorMap truncated = Outcome(*made, x);
    EXPECT_THAT(truncated.at("y"), BitEqual(all.at("y")));
    const bool whole = depth >= 3;  // four segments
    EXPECT_EQ(CompareBits(truncated.at("memory"), all.at("memory")).passed, whole) << depth;
    EXPECT_EQ(CompareBits(truncated.at("x"), all.at("x")).passed, whole) << depth;
    // The last segments are as they were, from the last border that detaches on.
    const int64_t kept = 12 % (3 * (depth + 1)) == 0 ? 3 * (depth + 1) : 12 % (3 * (depth + 1));
    if (kept <= 12) {
      EXPECT_THAT(Narrow(truncated.at("x"), 1, 12 - kept, kept),
                  BitEqual(Narrow(all.at("x"), 1, 12 - kept, kept)))
          << depth;
    }
  }
}

TEST(Recompute, GivesTheSameBits) {
  for (const int64_t depth : {-1, 1}) {
    Config config = Around(Stack(), 3, 2);
    config.set_depth(depth);
    LR_ASSERT_OK_AND_ASSIGN(const auto kept, Make(config));
    config.set_recompute(true);
    LR_ASSERT_OK_AND_ASSIGN(const auto again, Make(config));
    nn::Call call;
    call.training = true;
    const TensorMap expected = Outcome(*kept, Random(2, 11, 1), call),
                    actual = Outcome(*again, Random(2, 11, 1), call);
    for (const auto& [name, value] : expected)
      EXPECT_THAT(actual.at(name), BitEqual(value)) << name;
  }
}

// Bytes that a segment more takes, forward and back.
double BytesOfASegment(bool recompute) {
  Config config = Around(Stack(), 16, 2);
  config.set_recompute(recompute);
  const auto made = Make(config);
  CHECK(made.ok()) << made.status();
  nn::Call call;
  call.training = true;
  const auto peak = [&](int64_t segments) {
    const Tensor x = Random(2, 16 * segments, 1);
    Outcome(**made, x, call);  // what is made once
    return static_cast<double>(PeakTensorBytes([&] { Outcome(**made, x, call); }));
  };
  return (peak(16) - peak(8)) / 8;
}

TEST(Recompute, KeepsTheBordersAlone) {
  const double rows = 2.0 * 16 * kWidth * 8;  // one tensor of a segment's rows
  EXPECT_GT(BytesOfASegment(false), 20 * rows);
  EXPECT_LT(BytesOfASegment(true), 7 * rows);
}

class LossSink : public nn::Sink {
 public:
  void Loss(absl::string_view path, const Tensor& scalar, double weight) override {
    EXPECT_EQ(path, "memory");
    loss = scalar;
    weight_given = weight;
  }
  bool Wants(absl::string_view path) const override { return path == "memory/written"; }
  Tensor Tap(absl::string_view, const Tensor& value) override {
    written.push_back(value.Detach());
    return value;
  }

  Tensor loss;
  double weight_given = 0;
  std::vector<Tensor> written;
};

TEST(MemoryLoss, TellsTokenZeroFromEveryMemory) {
  Config config = Around(Stack(), 4, 3);
  config.set_memory_loss_weight(0.01);
  config.set_memory_loss_tokens(7);
  LR_ASSERT_OK_AND_ASSIGN(const auto made, Make(config));
  const Tensor x = Random(2, 12, 1);
  LossSink sink;
  nn::Call call;
  call.sink = &sink;
  made->backbone->Forward({x, nn::Rows()}, call);
  EXPECT_FALSE(sink.loss.defined());  // not in training
  sink.written.clear();
  call.training = true;
  made->backbone->Forward({x, nn::Rows()}, call);
  EXPECT_EQ(sink.weight_given, 0.01);
  ASSERT_EQ(sink.written.size(), 3u);
  double sum = 0;
  const Tensor out = made->store.Find("memory_loss")->value.Detach();
  for (const Tensor& memory : sink.written) {
    const Tensor rows = memory.View({6, kWidth});
    sum += Mean(CrossEntropy(Linear(rows, out), Tensor::Zeros({6}, DType::kInt32))).item() / 3;
  }
  EXPECT_NEAR(sink.loss.item(), sum, 1e-12);
  Backward(sink.loss);
  EXPECT_TRUE(Gradient(made->store.Find("memory")->value).defined());
  EXPECT_TRUE(Gradient(made->store.Find("layers.0.mixer.w_q")->value).defined());
  // A stream that ends on a border gives the same.
  const double expected = sink.loss.item();
  nn::State state = made->backbone->NewState(2);
  made->backbone->Extend({x, nn::Rows()}, call, &state);
  EXPECT_NEAR(sink.loss.item(), expected, 1e-12);
}

TEST(Refused, ByName) {
  const auto refused = [](const Config& config, std::unique_ptr<Spy> spy, const std::string& what) {
    EXPECT_THAT(Wrap(config, std::move(spy)).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, what));
  };
  refused(Sized(4, 2), std::make_unique<Spy>(false), "mask: PAPER (expected CAUSAL");
  EXPECT_TRUE(Wrap(Sized(4, 0), std::make_unique<Spy>(false)).ok());  // there is nobody to see
  Config front = Sized(4, 2);
  front.set_placement(Config::FRONT);
  refused(front, std::make_unique<Spy>(), "placement: FRONT (expected READ_WRITE");
  Config causal = Sized(4, 2);
  causal.set_mask(Config::CAUSAL);
  refused(causal, std::make_unique<Spy>(true, nn::Direction::kBidirectional),
          "mask: CAUSAL (expected PAPER");
  Config config = Sized(0, 2);
  refused(config, std::make_unique<Spy>(), "segment: 0 (expected 1");
  auto latents = std::make_unique<Spy>();
  latents->GiveRowsOfItsOwn();
  refused(Sized(4, 2), std::move(latents), "backbone: gives back rows of its own");
}

// Trains on steps of ten rows, in segments of four. Carried: rows follow those of the step before,
// so that steps end in the middle of a segment.
class TrainedModel {
 public:
  explicit TrainedModel(bool carried) {
    Config config = Around(Stack(1), 4, 2);
    config.set_memory_loss_weight(0.1);
    config.set_memory_loss_tokens(3);
    config.set_recompute(true);
    ModelConfig model;
    model.set_vocabulary(11);
    model.set_width(kWidth);
    model.mutable_backbone()->PackFrom(config);
    auto made = Model::Create(model, ModelArgs());
    CHECK(made.ok()) << made.status();
    model_ = *std::move(made);
    OptimizerConfig optimizer;
    optimizer.mutable_schedule()->set_learning_rate(0.01);
    auto trainer = train::Trainer::Create(model_.get(), optimizer, Rng(1));
    CHECK(trainer.ok()) << trainer.status();
    trainer_ = *std::move(trainer);
    if (carried) trainer_->Carry(model_->NewState(3));
  }

  void Steps(int64_t from, int64_t to) {
    for (int64_t step = from; step < to; ++step) {
      Batch batch;
      batch.ids_bt = Tensor::Empty({3, 10}, DType::kInt32);
      batch.target_bt = Tensor::Empty({3, 10}, DType::kInt32);
      for (int64_t i = 0; i < 30; ++i) {
        const Rng rng = Rng(3).Child(step);
        batch.ids_bt.mutable_data<int32_t>()[i] = static_cast<int32_t>(rng.UniformInt(i, 11));
        batch.target_bt.mutable_data<int32_t>()[i] =
            static_cast<int32_t>(rng.UniformInt(100 + i, 11));
      }
      const auto report = trainer_->Step({batch});
      CHECK(report.ok()) << report.status();
    }
  }
  train::Trainer* trainer() { return trainer_.get(); }

 private:
  std::unique_ptr<Model> model_;
  std::unique_ptr<train::Trainer> trainer_;
};

// Stopped, and begun anew from what it saved.
TEST(Training, ResumesBitForBit) {
  for (const bool carried : {false, true}) {
    TrainedModel whole(carried), first(carried), second(carried);
    whole.Steps(0, 6);
    first.Steps(0, 3);
    const std::string path = absl::StrCat(testing::TempDir(), "/half.safetensors");
    ASSERT_THAT(WriteSafetensors(path, first.trainer()->Tensors()), IsOk());
    LR_ASSERT_OK_AND_ASSIGN(const SafetensorsFile saved, ReadSafetensors(path));
    EXPECT_EQ(saved.tensors.count("state/memory"), carried ? 1 : 0);
    ASSERT_THAT(second.trainer()->Restore(3, saved.tensors), IsOk());
    second.Steps(3, 6);
    const TensorMap expected = whole.trainer()->Tensors(), actual = second.trainer()->Tensors();
    ASSERT_EQ(actual.size(), expected.size());
    for (const auto& [name, value] : expected)
      EXPECT_THAT(actual.at(name), BitEqual(value)) << name;
  }
}

}  // namespace
}  // namespace longrange
