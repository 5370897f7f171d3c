// Schedules and the trainer: what resumes goes on bit for bit, what is not finite stops it.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/data/batches.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "common/train/checkpoint.h"
#include "common/train/trainer.h"
#include "kernels/gemm/precision.h"

namespace longrange::train {
namespace {

// Least squares on the batch's ids: loss = mean over rows of (w . [1, id, noise] - target)², noise
// from the call.
class Line : public Trainable {
 public:
  Line() {
    const nn::Scope scope(&store_, Rng(3));
    nn::Tags tags;
    tags.decay = false;
    w_ = scope.Param("w", {3}, nn::Normal(1));
    free_ = scope.Param("free", {2}, nn::Constant(1), tags);
  }
  const nn::ParameterStore& parameters() const override { return store_; }
  Tensor Loss(const Batch& batch, const nn::Call& call) const override {
    const int64_t rows = batch.ids_bt.numel();
    Tensor x = Tensor::Empty({rows, 3}), target = Tensor::Empty({rows, 1});
    for (int64_t r = 0; r < rows; ++r) {
      float* row = x.mutable_data<float>() + 3 * r;
      row[0] = 1;
      row[1] = static_cast<float>(batch.ids_bt.data<int32_t>()[r]);
      row[2] = static_cast<float>(call.rng.Normal(r));
      target.mutable_data<float>()[r] = static_cast<float>(batch.target_bt.data<int32_t>()[r]);
    }
    const Tensor error = Sub(Linear(x, Reshape(w_, {1, 3})), target);
    return Add(Mean(Square(error)), Mean(Square(free_)));
  }

 private:
  nn::ParameterStore store_;
  Tensor w_, free_;
};

Batch BatchOf(int64_t step) {
  Batch batch{Tensor::Empty({4, 2}, DType::kInt32), Tensor::Empty({4, 2}, DType::kInt32), Tensor()};
  for (int64_t i = 0; i < 8; ++i) {
    batch.ids_bt.mutable_data<int32_t>()[i] =
        static_cast<int32_t>(Rng(9).Child(step).UniformInt(i, 5));
    batch.target_bt.mutable_data<int32_t>()[i] = 2 * batch.ids_bt.data<int32_t>()[i] + 1;
  }
  return batch;
}

OptimizerConfig Config() {
  OptimizerConfig config;
  config.mutable_schedule()->set_learning_rate(0.1);
  config.set_weight_decay(0.01);
  return config;
}

TEST(LearningRate, WarmsUpAndDecays) {
  ScheduleConfig config;
  config.set_learning_rate(2);
  config.set_warmup_steps(4);
  EXPECT_DOUBLE_EQ(LearningRate(config, 0), 0.5);
  EXPECT_DOUBLE_EQ(LearningRate(config, 3), 2);
  EXPECT_DOUBLE_EQ(LearningRate(config, 1000), 2);
  config.set_kind(ScheduleConfig::COSINE);
  config.set_total_steps(12);
  config.set_final_ratio(0.1);
  EXPECT_DOUBLE_EQ(LearningRate(config, 4), 2);
  EXPECT_DOUBLE_EQ(LearningRate(config, 8), 2 * 0.55);
  EXPECT_DOUBLE_EQ(LearningRate(config, 12), 0.2);
  EXPECT_DOUBLE_EQ(LearningRate(config, 50), 0.2);
  config.set_kind(ScheduleConfig::LINEAR);
  EXPECT_DOUBLE_EQ(LearningRate(config, 6), 2 * (0.1 + 0.9 * 0.75));
  config.set_kind(ScheduleConfig::INVERSE_SQRT);
  EXPECT_DOUBLE_EQ(LearningRate(config, 3), 2);
  EXPECT_DOUBLE_EQ(LearningRate(config, 15), 1);
  EXPECT_DOUBLE_EQ(LearningRate(config, 63), 0.5);
}

TEST(Trainer, LearnsALine) {
  const Line line;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&line, Config(), Rng(1)));
  LR_ASSERT_OK_AND_ASSIGN(const StepReport first, trainer->Step({BatchOf(0)}));
  double last = 0;
  for (int64_t step = 1; step < 300; ++step) {
    LR_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step({BatchOf(step)}));
    last = report.loss;
  }
  EXPECT_LT(last, first.loss / 100);
}

// Two micro-batches are the mean of their gradients: the same as one batch of both where the loss
// is a mean.
TEST(Trainer, RoundsFactorsOfProductsWhereAsked) {
  const Line line, rounded_line;
  OptimizerConfig config = Config();
  LR_ASSERT_OK_AND_ASSIGN(const auto exact, Trainer::Create(&line, config, Rng(1)));
  config.set_precision(OptimizerConfig::BFLOAT16);
  LR_ASSERT_OK_AND_ASSIGN(const auto rounded, Trainer::Create(&rounded_line, config, Rng(1)));
  for (int64_t step = 0; step < 20; ++step) {
    LR_ASSERT_OK_AND_ASSIGN(const StepReport one, exact->Step({BatchOf(step)}));
    LR_ASSERT_OK_AND_ASSIGN(const StepReport other, rounded->Step({BatchOf(step)}));
    EXPECT_NE(one.loss, other.loss) << step;
    // Eight bits of each factor.
    EXPECT_NEAR(one.loss, other.loss, 0.02 * one.loss + 0.02) << step;
  }
  EXPECT_EQ(kernels::GetPrecision(), kernels::Precision::kFloat32);
}

TEST(Trainer, AccumulatesTheMean) {
  const Line one, two;
  LR_ASSERT_OK_AND_ASSIGN(const auto a, Trainer::Create(&one, Config(), Rng(1)));
  LR_ASSERT_OK_AND_ASSIGN(const auto b, Trainer::Create(&two, Config(), Rng(1)));
  LR_ASSERT_OK_AND_ASSIGN(const StepReport whole, a->Step({BatchOf(0)}));
  LR_ASSERT_OK_AND_ASSIGN(const StepReport halves, b->Step({BatchOf(0), BatchOf(0)}));
  // The noise column differs by micro-batch, so only the parts without it agree exactly.
  EXPECT_NEAR(whole.loss, halves.loss, 0.5 * whole.loss);
  EXPECT_THAT(one.parameters().Find("free")->value,
              AllClose(two.parameters().Find("free")->value, Tolerance{1e-6, 1e-7}));
}

TEST(Trainer, ClipsTheNormAndDecaysByTag) {
  const Line line;
  OptimizerConfig config = Config();
  config.set_clip_norm(1e-9);  // gradients vanish beside epsilon: only the decay is left
  config.set_epsilon(1);
  const Tensor before = line.parameters().Find("w")->value.Clone(),
               free = line.parameters().Find("free")->value.Clone();
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&line, config, Rng(1)));
  LR_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step({BatchOf(0)}));
  EXPECT_GT(report.gradient_norm, 1);
  EXPECT_THAT(line.parameters().Find("w")->value,
              AllClose(Scale(before, 1 - 0.1 * 0.01), Tolerance{1e-6, 1e-7}));
  EXPECT_THAT(line.parameters().Find("free")->value, AllClose(free, Tolerance{1e-6, 1e-7}));
}

TEST(Trainer, TrainsWhatIsNamedAndNothingElse) {
  const Line line, other;
  OptimizerConfig config = Config();
  config.set_decay_all(true);
  LR_ASSERT_OK_AND_ASSIGN(auto trainer, Trainer::Create(&line, config, Rng(1), {"fr*"}));
  LR_ASSERT_OK_AND_ASSIGN(const auto whole, Trainer::Create(&other, config, Rng(1)));
  const Tensor w = line.parameters().Find("w")->value, kept = w.Clone();
  const Tensor free = line.parameters().Find("free")->value, before = free.Clone();
  EXPECT_FALSE(NeedsGradient(w));
  LR_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step({BatchOf(0)}));
  LR_ASSERT_OK_AND_ASSIGN(const StepReport of_all, whole->Step({BatchOf(0)}));
  EXPECT_THAT(w, BitEqual(kept));
  EXPECT_THAT(free, testing::Not(BitEqual(before)));
  EXPECT_EQ(report.loss, of_all.loss);
  EXPECT_LT(report.gradient_norm, of_all.gradient_norm);
  // All weights, and the moments of what is trained.
  const TensorMap tensors = trainer->Tensors();
  EXPECT_EQ(tensors.size(), 4u);
  EXPECT_EQ(tensors.count("weights/w") + tensors.count("adamw.m/free"), 2u);
  // What is frozen is so while the trainer lives.
  trainer.reset();
  EXPECT_TRUE(NeedsGradient(w));
}

TEST(Trainer, ATrainingOfAPartResumesBitForBit) {
  const Line straight, resumed;
  const std::vector<std::string> part = {"free"};
  LR_ASSERT_OK_AND_ASSIGN(const auto a, Trainer::Create(&straight, Config(), Rng(1), part));
  for (int64_t step = 0; step < 2; ++step) EXPECT_THAT(a->Step({BatchOf(step)}), IsOk());
  TensorMap saved;
  for (const auto& [name, value] : a->Tensors()) saved[name] = value.Clone();
  EXPECT_THAT(a->Step({BatchOf(2)}), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const auto b, Trainer::Create(&resumed, Config(), Rng(1), part));
  EXPECT_THAT(b->Restore(2, saved), IsOk());
  EXPECT_THAT(b->Step({BatchOf(2)}), IsOk());
  for (const auto& [name, value] : a->Tensors())
    EXPECT_THAT(b->Tensors().at(name), BitEqual(value));
  // A training of everything is another one.
  const Line third;
  LR_ASSERT_OK_AND_ASSIGN(const auto c, Trainer::Create(&third, Config(), Rng(1)));
  EXPECT_THAT(c->Restore(2, saved),
              StatusIs(absl::StatusCode::kInvalidArgument, "no tensor adamw.m/w"));
}

TEST(Trainer, APatternThatMatchesNothingIsRefused) {
  const Line line;
  EXPECT_THAT(
      Trainer::Create(&line, Config(), Rng(1), {"w", "*.lora_*"}),
      StatusIs(absl::StatusCode::kInvalidArgument, "trainable: '*.lora_*' matches no parameter"));
}

TEST(Trainer, RefusesAConfigByField) {
  const Line line;
  const auto refused = [&](const std::function<void(OptimizerConfig*)>& spoil, const char* field) {
    OptimizerConfig config = Config();
    spoil(&config);
    EXPECT_THAT(Trainer::Create(&line, config, Rng(1)),
                StatusIs(absl::StatusCode::kInvalidArgument, field));
  };
  refused([](OptimizerConfig* c) { c->mutable_schedule()->set_learning_rate(0); }, "learning_rate");
  refused([](OptimizerConfig* c) { c->set_beta1(1); }, "beta1");
  refused([](OptimizerConfig* c) { c->set_beta2(-0.1); }, "beta2");
  refused([](OptimizerConfig* c) { c->set_epsilon(NAN); }, "epsilon");
  refused([](OptimizerConfig* c) { c->set_weight_decay(-1); }, "weight_decay");
  refused([](OptimizerConfig* c) { c->mutable_schedule()->set_kind(ScheduleConfig::COSINE); },
          "total_steps");
}

// A small net with everything a value that is not finite can hide behind: a block that is run again
// on the way back, an attention mask of infinities, a parameter that no step touches, an op whose
// gradient can be spoilt.
class Net : public Trainable {
 public:
  Net() {
    const nn::Scope scope(&store_, Rng(3));
    table_ = scope.Param("table", {6, 4}, nn::Normal(1));
    inner_ = scope.Param("block.inner", {4, 4}, nn::Normal(1));
    out_ = scope.Param("out", {6, 4}, nn::Normal(1));
    unused_ = scope.Param("unused", {3}, nn::Normal(1));
  }
  const nn::ParameterStore& parameters() const override { return store_; }
  Tensor Loss(const Batch& batch, const nn::Call&) const override {
    const Tensor x = Reshape(Embedding(table_, batch.ids_bt), {-1, 4});
    const auto block = [this](const std::vector<Tensor>& in) -> std::vector<Tensor> {
      const Tensor scores = MaskedFill(Linear(in[0], inner_), Mask(in[0].dim(0)), -INFINITY);
      return {Add(in[0], Spoilt(Softmax(scores)))};
    };
    const Tensor y = recompute ? Recompute(block, {x})[0] : block({x})[0];
    const Tensor rows = Mean(Square(Linear(y, out_)));
    return batch.weight_bt.defined() ? Mul(rows, Mean(batch.weight_bt)) : rows;
  }

  bool recompute = false;
  double spoil = 1;  // gradients are multiplied by it in the op "Gate"

 private:
  static Tensor Mask(int64_t rows) {  // the first of four columns is hidden
    Tensor mask = Tensor::Zeros({rows, 4}, DType::kUInt8);
    for (int64_t r = 0; r < rows; ++r) mask.mutable_data<uint8_t>()[4 * r] = 1;
    return mask;
  }
  Tensor Spoilt(const Tensor& x) const {
    const Tensor y = x.Clone();
    if (WillRecord({x})) {
      Record("Gate", {x}, {y}, [factor = spoil](const std::vector<Tensor>& dy) {
        return std::vector<Tensor>{Scale(dy[0], factor)};
      });
    }
    return y;
  }

  nn::ParameterStore store_;
  Tensor table_, inner_, out_, unused_;
};

struct Planted {
  const char* what;
  std::function<void(Net*, Batch*)> plant;
  std::string error;
};

void Put(const Net& net, const char* parameter, int64_t at, double value) {
  net.parameters().Find(parameter)->value.Detach().View({-1}).ViewRows(at, at + 1).Fill(value);
}

// The step stops, says which tensor and which op, and changes nothing.
TEST(Trainer, StopsInTheStepOfAValueThatIsNotFinite) {
  const std::vector<Planted> cases = {
      {"weight", [](Net* net, Batch*) { Put(*net, "block.inner", 6, NAN); },
       "step 2: parameter block.inner is NaN at \\[1, 2\\]; Linears gives NaN at \\[0, 1\\] of "
       "\\[8, 4\\]; its input 1 \\(parameter block.inner\\) is NaN at \\[1, 2\\] of \\[4, 4\\]"},
      {"infinite weight", [](Net* net, Batch*) { Put(*net, "out", 0, -INFINITY); },
       "step 2: parameter out is -inf at \\[0, 0\\]; Linears gives .* \\(parameter out\\)"},
      {"weight that no op reads", [](Net* net, Batch*) { Put(*net, "unused", 1, NAN); },
       "step 2: parameter unused is NaN at \\[1\\]; no op of this step"},
      {"input",
       [](Net*, Batch* batch) {
         batch->weight_bt = Tensor::Full({4, 2}, 1);
         batch->weight_bt.mutable_data<float>()[5] = NAN;
       },
       "step 2: the weight of rows in batch 1 is NaN at \\[2, 1\\]; SumTo gives NaN at .*; its "
       "input 0 is NaN at \\[2, 1\\]"},
      {"overflow on the way",
       [](Net* net, Batch*) {
         for (int64_t i = 0; i < 24; ++i) Put(*net, "out", i, 3e38);
       },
       "step 2: the loss is (inf|nan); (Linears|Square) gives -?(inf|NaN) at .* from finite "
       "inputs"},
      {"gradient", [](Net* net, Batch*) { net->spoil = NAN; },
       "step 2: the gradient of table is NaN at .*; the backward of Gate gives NaN at \\[0, 0\\] "
       "of "
       "\\[8, 4\\] for its input 0 \\(the result of Softmax\\) from finite gradients"},
      {"infinite gradient", [](Net* net, Batch*) { net->spoil = INFINITY; },
       "step 2: the gradient of .*; the backward of Gate gives -?(inf|NaN)"},
  };
  for (const bool recompute : {false, true}) {
    for (const Planted& c : cases) {
      Net net;
      net.recompute = recompute;
      LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&net, Config(), Rng(1)));
      for (int64_t step = 0; step < 2; ++step)
        ASSERT_THAT(trainer->Step({BatchOf(step), BatchOf(step + 100)}), IsOk());
      Batch batch = BatchOf(102);
      c.plant(&net, &batch);
      TensorMap before;
      for (const auto& [name, value] : trainer->Tensors()) before[name] = value.Clone();
      const absl::Status status = trainer->Step({BatchOf(2), batch}).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << c.what;
      EXPECT_THAT(std::string(status.message()), testing::ContainsRegex(c.error))
          << c.what << ", recompute " << recompute;
      EXPECT_EQ(trainer->step(), 2);
      for (const auto& [name, value] : trainer->Tensors())
        EXPECT_THAT(value, BitEqual(before.at(name))) << c.what << ": " << name;
    }
  }
}

TEST(Trainer, StopsOnAMomentThatIsNotFinite) {
  const Net net;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&net, Config(), Rng(1)));
  ASSERT_THAT(trainer->Step({BatchOf(0)}), IsOk());
  trainer->Tensors().at("adamw.v/out").mutable_data<float>()[0] = INFINITY;
  EXPECT_THAT(trainer->Step({BatchOf(1)}),
              StatusIs(absl::StatusCode::kDataLoss, "step 1: adamw.v/out is inf at [0, 0]"));
}

double MeanOf(const Batch& batch) {
  const std::vector<double> ids = batch.ids_bt.ToDoubles();
  return std::accumulate(ids.begin(), ids.end(), 0.0) / static_cast<double>(ids.size());
}

// Keeps a running mean of the ids it saw, halfway from the old one to the batch's, in a block that
// is run again on the way back.
class Running : public Trainable {
 public:
  Running() {
    const nn::Scope scope(&store_, Rng(3));
    w_ = scope.Param("w", {1}, nn::Constant(1));
    mean_ = scope.Buffer("running.mean", {1}, nn::Zeros());
  }
  const nn::ParameterStore& parameters() const override { return store_; }
  Tensor Loss(const Batch& batch, const nn::Call& call) const override {
    const double mean = MeanOf(batch);
    const auto block = [this, mean, sink = call.sink](const std::vector<Tensor>& in) {
      if (sink != nullptr) sink->Buffer(mean_, Affine(mean_, 0.5, 0.5 * mean));
      return std::vector<Tensor>{Square(Affine(in[0], 1, -mean))};
    };
    return Sum(Mul(Recompute(block, {w_})[0], Tensor::Full({1}, spoil)));
  }

  double spoil = 1;

 private:
  nn::ParameterStore store_;
  Tensor w_, mean_;
};

TEST(Trainer, BuffersBecomeTheMeanOfTheMicroBatches) {
  Running model;
  const Tensor mean = model.parameters().buffers()[0].value;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&model, Config(), Rng(1)));
  ASSERT_THAT(trainer->Step({BatchOf(0)}), IsOk());
  EXPECT_FLOAT_EQ(mean.item(), 0.5 * MeanOf(BatchOf(0)));
  const double before = mean.item();
  ASSERT_THAT(trainer->Step({BatchOf(1), BatchOf(2)}), IsOk());
  const double after = 0.5 * before + 0.25 * (MeanOf(BatchOf(1)) + MeanOf(BatchOf(2)));
  EXPECT_FLOAT_EQ(mean.item(), after);
  // A step that stops changes none, and one that is not finite stops a step.
  model.spoil = NAN;
  EXPECT_THAT(trainer->Step({BatchOf(3)}), StatusIs(absl::StatusCode::kDataLoss, "the loss is"));
  EXPECT_FLOAT_EQ(mean.item(), after);
  model.spoil = 1;
  mean.Fill(INFINITY);
  EXPECT_THAT(trainer->Step({BatchOf(3)}),
              StatusIs(absl::StatusCode::kDataLoss, "buffer running.mean is inf at [0]"));
}

// A line whose second parameter is held near 0 by a further loss, or by the loss itself.
class Held : public Trainable {
 public:
  explicit Held(bool further) : further_(further) {
    value_ = nn::Scope(&store_, Rng(3)).Param("value", {3}, nn::Normal(1));
  }
  const nn::ParameterStore& parameters() const override { return store_; }
  Tensor Loss(const Batch&, const nn::Call& call) const override {
    const Tensor loss = Mean(Square(Affine(value_, 1, -2))), size = Mean(Square(value_));
    if (!further_) return Add(loss, Scale(size, 0.5));
    call.sink->Loss("size", Scale(size, spoil), 0.5);
    return loss;
  }

  double spoil = 1;

 private:
  bool further_;
  nn::ParameterStore store_;
  Tensor value_;
};

TEST(Trainer, FurtherLossesAreTrainedToo) {
  Held further(true), one(false);
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&further, Config(), Rng(1)));
  LR_ASSERT_OK_AND_ASSIGN(const auto expected, Trainer::Create(&one, Config(), Rng(1)));
  for (int64_t step = 0; step < 5; ++step) {
    LR_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step({BatchOf(0), BatchOf(1)}));
    LR_ASSERT_OK_AND_ASSIGN(const StepReport sum, expected->Step({BatchOf(0), BatchOf(1)}));
    EXPECT_LT(report.loss, sum.loss);  // which is that of the model alone
    EXPECT_EQ(report.gradient_norm, sum.gradient_norm);
  }
  EXPECT_THAT(further.parameters().all()[0].value.Detach(),
              BitEqual(one.parameters().all()[0].value.Detach()));
  further.spoil = NAN;
  EXPECT_THAT(trainer->Step({BatchOf(2)}),
              StatusIs(absl::StatusCode::kDataLoss, "with what layers add to it is"));
}

TEST(Trainer, BuffersResume) {
  const Running straight, resumed;
  LR_ASSERT_OK_AND_ASSIGN(const auto a, Trainer::Create(&straight, Config(), Rng(1)));
  for (int64_t step = 0; step < 2; ++step) ASSERT_THAT(a->Step({BatchOf(step)}), IsOk());
  TensorMap saved;
  for (const auto& [name, value] : a->Tensors()) saved[name] = value.Clone();
  EXPECT_EQ(saved.count("buffers/running.mean"), 1u);
  ASSERT_THAT(a->Step({BatchOf(2)}), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const auto b, Trainer::Create(&resumed, Config(), Rng(1)));
  ASSERT_THAT(b->Restore(2, saved), IsOk());
  ASSERT_THAT(b->Step({BatchOf(2)}), IsOk());
  for (const auto& [name, value] : a->Tensors())
    EXPECT_THAT(b->Tensors().at(name), BitEqual(value)) << name;
}

std::string Folder(const std::string& name) {
  const std::string folder = testing::TempDir() + "/" + name;
  CHECK(RemoveAll(folder).ok());
  return folder;
}

TEST(Checkpoint, TwoResumesGoOnBitForBit) {
  const Line straight;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&straight, Config(), Rng(1)));
  for (int64_t step = 0; step < 30; ++step) ASSERT_THAT(trainer->Step({BatchOf(step)}), IsOk());

  const CheckpointFolder folder(Folder("resume"));
  for (const int64_t until : {10, 20, 30}) {
    const Line fresh;  // as in a new process
    LR_ASSERT_OK_AND_ASSIGN(const auto resumed, Trainer::Create(&fresh, Config(), Rng(1)));
    std::vector<std::string> warnings;
    LR_ASSERT_OK_AND_ASSIGN(const auto found, folder.LoadLatest(&warnings));
    EXPECT_EQ(found.has_value(), until > 10);
    if (found.has_value()) {
      ASSERT_THAT(resumed->Restore(found->step, found->tensors), IsOk());
    }
    while (resumed->step() < until) ASSERT_THAT(resumed->Step({BatchOf(resumed->step())}), IsOk());
    ASSERT_THAT(folder.Save({resumed->step(), resumed->Tensors(), {{"note", "x"}}}), IsOk());
    if (until == 30) {
      for (const auto& [name, value] : trainer->Tensors())
        EXPECT_THAT(resumed->Tensors().at(name), BitEqual(value)) << name;
    }
  }
}

// Windows are drawn at random for each step (common/data/batches.h): there is no epoch, and the
// step is the whole position in the data. A run that is stopped twice, at any two steps around one
// that has taken as many tokens as the text has, goes on bit for bit: losses, parameters and
// moments.
TEST(Checkpoint, TwoResumesAroundAPassOverTheText) {
  std::vector<int32_t> text;
  for (int64_t i = 0; i < 64; ++i) text.push_back(static_cast<int32_t>(Rng(4).UniformInt(i, 5)));
  constexpr int64_t kPass = 8, kSteps = 2 * kPass + 3;  // of 2 windows of 4 tokens: 64
  const auto batch_of = [&](int64_t step) {
    const auto batch = RandomBatch(text, 2, 4, Rng(5), step);
    CHECK(batch.ok()) << batch.status();
    return *batch;
  };
  std::vector<double> losses;
  const Line straight;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&straight, Config(), Rng(1)));
  for (int64_t step = 0; step < kSteps; ++step) {
    LR_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step({batch_of(step)}));
    losses.push_back(report.loss);
  }
  for (const int64_t first : {kPass - 1, kPass, kPass + 1}) {
    for (const int64_t second : {first + 1, 2 * kPass - 1, 2 * kPass, 2 * kPass + 1}) {
      const CheckpointFolder folder(Folder("pass"));
      for (const int64_t until : {first, second, kSteps}) {
        const Line fresh;  // as in a new process
        LR_ASSERT_OK_AND_ASSIGN(const auto resumed, Trainer::Create(&fresh, Config(), Rng(1)));
        std::vector<std::string> warnings;
        LR_ASSERT_OK_AND_ASSIGN(const auto found, folder.LoadLatest(&warnings));
        ASSERT_EQ(found.has_value(), until > first);
        if (found.has_value()) {
          ASSERT_THAT(resumed->Restore(found->step, found->tensors), IsOk());
        }
        while (resumed->step() < until) {
          const int64_t step = resumed->step();
          LR_ASSERT_OK_AND_ASSIGN(const StepReport report, resumed->Step({batch_of(step)}));
          EXPECT_EQ(report.loss, losses[static_cast<size_t>(step)]) << step;
        }
        ASSERT_THAT(folder.Save({resumed->step(), resumed->Tensors(), {}}), IsOk());
        if (until < kSteps) continue;
        for (const auto& [name, value] : trainer->Tensors())
          EXPECT_THAT(resumed->Tensors().at(name), BitEqual(value)) << name;
      }
    }
  }
}

// A memory of a number a sequence, h <- h / 2 + w id, and the loss mean (h - target)²; "seen"
// counts rows, and "rows" holds the ids of the last ones, three at most.
class Memory : public Trainable {
 public:
  Memory() { w_ = nn::Scope(&store_, Rng(3)).Param("w", {1, 1}, nn::Constant(0.3)); }
  const nn::ParameterStore& parameters() const override { return store_; }
  Tensor Loss(const Batch& batch, const nn::Call& call) const override {
    nn::State state = NewState(batch.ids_bt.dim(0));
    return StreamLoss(batch, call, &state);
  }
  Tensor StreamLoss(const Batch& batch, const nn::Call&, nn::State* state) const override {
    const int64_t batches = batch.ids_bt.dim(0), rows = batch.ids_bt.dim(1);
    const Tensor ids = batch.ids_bt.To(DType::kFloat32),
                 target = batch.target_bt.To(DType::kFloat32);
    Tensor h = state->Get("h"), loss = Tensor::Zeros({batches, 1});
    for (int64_t t = 0; t < rows; ++t) {
      h = Add(Scale(h, 0.5), Mul(w_, Narrow(ids, 1, t, 1)));
      loss = Add(loss, Square(Sub(h, Narrow(target, 1, t, 1))));
    }
    state->Set("h", h);
    state->Append("rows", ids);
    state->KeepLast("rows", 3);
    state->Set("seen", Affine(state->Get("seen"), 1, static_cast<double>(rows)));
    return Scale(Mean(loss), spoil / static_cast<double>(rows));
  }
  static nn::State NewState(int64_t batch) {
    nn::State state;
    state.Set("h", Tensor::Zeros({batch, 1}));
    state.Set("rows", Tensor::Zeros({batch, 0}));
    state.Set("seen", Tensor::Zeros({1}));
    return state;
  }

  double spoil = 1;

 private:
  nn::ParameterStore store_;
  Tensor w_;
};

// The gradient of a step is that of its own rows: h before them is a number.
TEST(Trainer, CarriesTheStateWithoutGradient) {
  Memory model;
  OptimizerConfig config = Config();
  config.set_weight_decay(0);
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&model, config, Rng(1)));
  EXPECT_EQ(trainer->carried_bytes(), 0);
  trainer->Carry(Memory::NewState(4));
  std::vector<double> h(4, 0.0);
  for (int64_t step = 0; step < 5; ++step) {
    const Batch batch = BatchOf(step);
    const double w = model.parameters().Find("w")->value.item();
    double loss = 0, gradient = 0;
    for (int64_t b = 0; b < 4; ++b) {
      double slope = 0;  // of h by w
      for (int64_t t = 0; t < 2; ++t) {
        const double id = batch.ids_bt.data<int32_t>()[2 * b + t],
                     off = h[b] / 2 + w * id - batch.target_bt.data<int32_t>()[2 * b + t];
        h[b] = h[b] / 2 + w * id;
        slope = slope / 2 + id;
        loss += off * off / 8;
        gradient += 2 * off * slope / 8;
      }
    }
    LR_ASSERT_OK_AND_ASSIGN(const StepReport report, trainer->Step({batch}));
    EXPECT_NEAR(report.loss, loss, 1e-4);
    EXPECT_NEAR(report.gradient_norm, std::abs(gradient), 1e-3);
    const Tensor carried = trainer->Tensors().at("state/h");
    for (int64_t b = 0; b < 4; ++b) EXPECT_NEAR(carried.data<float>()[b], h[b], 1e-4);
    EXPECT_FALSE(NeedsGradient(carried));
  }
  EXPECT_EQ(trainer->Tensors().at("state/seen").item(), 10);
  EXPECT_EQ(trainer->carried_bytes(), 4 * (4 + 4 * 3 + 1));
  // A step that stops leaves the state of before.
  model.spoil = NAN;
  EXPECT_THAT(trainer->Step({BatchOf(5)}), StatusIs(absl::StatusCode::kDataLoss, "the loss is"));
  EXPECT_EQ(trainer->Tensors().at("state/seen").item(), 10);
  model.spoil = 1;
  trainer->Tensors().at("state/h").Fill(NAN);
  EXPECT_THAT(trainer->Step({BatchOf(5)}),
              StatusIs(absl::StatusCode::kDataLoss, "state h is NaN at [0, 0]"));
}

// A text that is read on: stopped twice, at steps within a pass, at its end and behind it, the run
// goes on bit for bit in losses, parameters, moments and state.
TEST(Checkpoint, ResumesInTheMiddleOfASequence) {
  std::vector<int32_t> text;
  for (int64_t i = 0; i < 70; ++i) text.push_back(static_cast<int32_t>(Rng(4).UniformInt(i, 5)));
  constexpr int64_t kTracks = 4, kRows = 2, kSteps = 20;
  const int64_t pass = TrackSteps(static_cast<int64_t>(text.size()), kTracks, kRows);
  ASSERT_EQ(pass, 8);
  const auto step = [&](Trainer* trainer) {
    if (trainer->step() % pass == 0) trainer->Carry(Memory::NewState(kTracks));
    const auto batch = TrackBatch(text, kTracks, kRows, Rng(5), trainer->step());
    CHECK(batch.ok()) << batch.status();
    const auto report = trainer->Step({*batch});
    CHECK(report.ok()) << report.status();
    return report->loss;
  };
  const Memory straight;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&straight, Config(), Rng(1)));
  std::vector<double> losses;
  for (int64_t s = 0; s < kSteps; ++s) losses.push_back(step(trainer.get()));
  for (const int64_t first : {int64_t{1}, pass - 1, pass}) {
    for (const int64_t second : {first + 1, first + 2, pass + 1, 2 * pass}) {
      const CheckpointFolder folder(Folder("track"));
      for (const int64_t until : {first, second, kSteps}) {
        const Memory fresh;  // as in a new process
        LR_ASSERT_OK_AND_ASSIGN(const auto resumed, Trainer::Create(&fresh, Config(), Rng(1)));
        resumed->Carry(Memory::NewState(kTracks));
        std::vector<std::string> warnings;
        LR_ASSERT_OK_AND_ASSIGN(const auto found, folder.LoadLatest(&warnings));
        ASSERT_EQ(found.has_value(), until > first);
        if (found.has_value()) {
          ASSERT_THAT(resumed->Restore(found->step, found->tensors), IsOk());
        }
        while (resumed->step() < until) {
          const auto at = static_cast<size_t>(resumed->step());
          EXPECT_EQ(step(resumed.get()), losses[at]) << at;
        }
        ASSERT_THAT(folder.Save({resumed->step(), resumed->Tensors(), {}}), IsOk());
        if (until < kSteps) continue;
        for (const auto& [name, value] : trainer->Tensors())
          EXPECT_THAT(resumed->Tensors().at(name), BitEqual(value)) << name;
      }
    }
  }
}

TEST(Checkpoint, AStateIsCheckedToo) {
  const Memory model;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&model, Config(), Rng(1)));
  trainer->Carry(Memory::NewState(4));
  ASSERT_THAT(trainer->Step({BatchOf(0)}), IsOk());
  TensorMap saved;
  for (const auto& [name, value] : trainer->Tensors()) saved[name] = value.Clone();
  trainer->Carry(Memory::NewState(4));  // "rows" has another length
  TensorMap missing = saved, wrong = saved;
  missing.erase("state/h");
  wrong["state/h"] = Tensor::Zeros({3, 1});
  EXPECT_THAT(trainer->Restore(1, missing),
              StatusIs(absl::StatusCode::kInvalidArgument, "no tensor state/h"));
  EXPECT_THAT(trainer->Restore(1, wrong),
              StatusIs(absl::StatusCode::kInvalidArgument, "state/h: expected"));
  EXPECT_EQ(trainer->Tensors().at("state/rows").dim(1), 0);
  ASSERT_THAT(trainer->Restore(1, saved), IsOk());
  EXPECT_THAT(trainer->Tensors().at("state/rows"), BitEqual(saved.at("state/rows")));
  // A run that carries none has no place for it.
  const Memory other;
  LR_ASSERT_OK_AND_ASSIGN(const auto alone, Trainer::Create(&other, Config(), Rng(1)));
  EXPECT_THAT(alone->Restore(1, saved), StatusIs(absl::StatusCode::kInvalidArgument, "tensors"));
}

TEST(Checkpoint, RestoreChecksEverythingFirst) {
  const Line line;
  LR_ASSERT_OK_AND_ASSIGN(const auto trainer, Trainer::Create(&line, Config(), Rng(1)));
  TensorMap tensors;
  for (const auto& [name, value] : trainer->Tensors()) tensors[name] = value.Clone();
  TensorMap missing = tensors, wrong = tensors, extra = tensors;
  missing.erase("adamw.m/w");
  wrong["weights/w"] = Tensor::Zeros({4});
  extra["weights/other"] = Tensor::Zeros({4});
  EXPECT_THAT(trainer->Restore(1, missing),
              StatusIs(absl::StatusCode::kInvalidArgument, "adamw.m/w"));
  EXPECT_THAT(trainer->Restore(1, wrong),
              StatusIs(absl::StatusCode::kInvalidArgument, "weights/w"));
  EXPECT_THAT(trainer->Restore(1, extra), StatusIs(absl::StatusCode::kInvalidArgument, "tensors"));
  EXPECT_EQ(trainer->step(), 0);
}

}  // namespace
}  // namespace longrange::train
