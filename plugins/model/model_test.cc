// A model as a whole, on a mixer of the test's own: loss, scores, generation, refusals.

#include "plugins/model/model.h"

#include <gmock/gmock.h>
#include <google/protobuf/wrappers.pb.h>
#include <gtest/gtest.h>

#include <cmath>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/tolerance.h"
#include "plugins/attention/attention_host.h"
#include "plugins/model/answer.h"
#include "plugins/model/generate.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

// Attention without positions; its config is the number of heads.
class Heads : public Mixer {
 public:
  explicit Heads(std::unique_ptr<AttentionHost> host) : host_(std::move(host)) {}
  const MixerTraits& traits() const override { return host_->traits(); }
  Tensor Forward(const Tensor& x, const nn::Rows& rows, const nn::Call& call) const override {
    return host_->Forward(x, rows, call);
  }
  nn::State NewState(int64_t batch) const override { return host_->NewState(batch); }
  Tensor Extend(const Tensor& x, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    return host_->Extend(x, rows, call, state);
  }

 private:
  std::unique_ptr<AttentionHost> host_;
};

using google::protobuf::Int64Value;

absl::StatusOr<std::unique_ptr<Mixer>> CreateHeads(const Int64Value& config,
                                                   const BuildArgs& args) {
  AttentionHostOptions options;
  options.heads = options.kv_heads = config.value();
  options.head_width = 4;
  options.init_std = 0.3;
  LR_ASSIGN_OR_RETURN(auto host, AttentionHost::Create(std::move(options), args));
  return std::make_unique<Heads>(std::move(host));
}

LR_REGISTER_PLUGIN(Mixer, Int64Value, CreateHeads);

// A backbone that gives back rows of its own: as many as its config says, row j being j + 1 times
// the first kOwnWidth channels of the input's first row.
constexpr int64_t kOwnWidth = 5;

class OwnRows : public Backbone {
 public:
  explicit OwnRows(int64_t rows) {
    traits_.direction = nn::Direction::kBidirectional;
    traits_.padding = MixerTraits::kRight;
    traits_.output_rows = rows;
    traits_.output_width = kOwnWidth;
  }
  const BackboneTraits& traits() const override { return traits_; }
  Sequence Forward(const Sequence& in, const nn::Call&) const override {
    const Tensor first = Narrow(Narrow(in.x_btd, 1, 0, 1), 2, 0, kOwnWidth);
    std::vector<Tensor> rows;
    for (int64_t j = 1; j <= traits_.output_rows; ++j)
      rows.push_back(Scale(first, static_cast<double>(j)));
    return {Concat(rows, 1), nn::Rows()};
  }

 private:
  BackboneTraits traits_;
};

using google::protobuf::Int32Value;

absl::StatusOr<std::unique_ptr<Backbone>> CreateOwnRows(const Int32Value& config,
                                                        const BuildArgs&) {
  return std::make_unique<OwnRows>(config.value());
}

LR_REGISTER_PLUGIN(Backbone, Int32Value, CreateOwnRows);

ModelConfig Config(bool tied = false, bool recompute = false) {
  Int64Value heads;
  heads.set_value(2);
  StackConfig stack;
  stack.set_layers(2);
  stack.set_init_std(0.3);
  stack.set_recompute(recompute);
  stack.mutable_mixer()->PackFrom(heads);
  ModelConfig config;
  config.set_vocabulary(11);
  config.set_width(8);
  config.set_tied(tied);
  config.set_init_std(0.5);
  config.mutable_backbone()->PackFrom(stack);
  return config;
}

std::unique_ptr<Model> Make(const ModelConfig& config, DType dtype = DType::kFloat64) {
  ModelArgs args;
  args.init = Rng(1);
  args.dtype = dtype;
  auto model = Model::Create(config, args);
  CHECK(model.ok()) << model.status();
  return *std::move(model);
}

Batch SomeBatch() {
  Batch batch{Tensor::Empty({2, 5}, DType::kInt32), Tensor::Empty({2, 5}, DType::kInt32),
              Tensor::Full({2, 5}, 1)};
  for (int64_t i = 0; i < 10; ++i) {
    batch.ids_bt.mutable_data<int32_t>()[i] = static_cast<int32_t>(Rng(2).UniformInt(i, 11));
    batch.target_bt.mutable_data<int32_t>()[i] = static_cast<int32_t>(Rng(3).UniformInt(i, 11));
  }
  batch.target_bt.mutable_data<int32_t>()[3] = -1;
  batch.weight_bt.mutable_data<float>()[6] = 4;
  return batch;
}

TEST(Model, LossIsTheWeightedMeanOfItsScores) {
  for (const bool tied : {false, true}) {
    const auto model = Make(Config(tied));
    const Batch batch = SomeBatch();
    const TokenScores scores = model->Score(batch.ids_bt, batch.target_bt, nn::Rows(), nn::Call());
    const Tensor logits = model->Logits(batch.ids_bt, nn::Rows(), nn::Call());
    double sum = 0, total = 0;
    for (int64_t i = 0; i < 10; ++i) {
      const int32_t target = batch.target_bt.data<int32_t>()[i];
      const double* row = logits.data<double>() + 11 * i;
      double norm = 0;
      for (int64_t v = 0; v < 11; ++v) norm += std::exp(row[v]);
      const double nll = target < 0 ? 0 : std::log(norm) - row[target];
      EXPECT_NEAR(scores.nll_bt.data<double>()[i], nll, 1e-12);
      EXPECT_EQ(scores.argmax_bt.data<int32_t>()[i], std::max_element(row, row + 11) - row);
      const double weight = target < 0 ? 0 : batch.weight_bt.data<float>()[i];
      sum += weight * nll;
      total += weight;
    }
    EXPECT_EQ(total, 12);
    EXPECT_NEAR(model->Loss(batch, nn::Call()).item(), sum / total, 1e-12);
  }
}

// In pieces behind a state, with its gradient: the same loss and gradients.
TEST(Model, AStreamedLossIsThatOfTheWhole) {
  const auto model = Make(Config());
  const Batch batch = SomeBatch();
  const auto gradients = [&](const std::vector<std::pair<int64_t, int64_t>>& pieces) {
    model->parameters().ClearGradients();
    nn::State state = model->NewState(2);
    const auto weights = [](const Batch& rows) {
      double sum = 0;
      for (int64_t i = 0; i < rows.target_bt.numel(); ++i) {
        if (rows.target_bt.data<int32_t>()[i] >= 0) sum += rows.weight_bt.data<float>()[i];
      }
      return sum;
    };
    Tensor loss = Tensor::Zeros({}, DType::kFloat64);
    for (const auto& [begin, size] : pieces) {
      const Batch rows{Narrow(batch.ids_bt, 1, begin, size),
                       Narrow(batch.target_bt, 1, begin, size),
                       Narrow(batch.weight_bt, 1, begin, size)};
      loss = Add(loss, Scale(model->StreamLoss(rows, nn::Call(), &state), weights(rows)));
    }
    loss = Scale(loss, 1 / weights(batch));
    Backward(loss);
    std::vector<Tensor> all = {loss.Detach()};
    for (const nn::Parameter& p : model->parameters().all())
      all.push_back(Gradient(p.value).Clone());
    return all;
  };
  const std::vector<Tensor> whole = gradients({{0, 5}}),
                            pieces = gradients({{0, 2}, {2, 1}, {3, 2}});
  EXPECT_NEAR(whole[0].item(), model->Loss(batch, nn::Call()).item(), 1e-12);
  for (size_t i = 0; i < whole.size(); ++i)
    EXPECT_THAT(pieces[i], AllClose(whole[i], Tolerance{1e-10, 1e-12})) << i;
}

// Clusters of words are a vocabulary like any other.
TEST(Model, ScoresAndGeneratesWordsInClusters) {
  ModelConfig config = Config(/*tied=*/true);
  config.set_embedding_scale(0);
  config.set_output_bias(true);
  for (const int64_t cutoff : {3, 6}) config.mutable_adaptive()->add_cutoff(cutoff);
  config.mutable_adaptive()->set_divisor(2);
  const auto model = Make(config);
  const Batch batch = SomeBatch();
  const TokenScores scores = model->Score(batch.ids_bt, batch.target_bt, nn::Rows(), nn::Call());
  const Tensor logits = model->Logits(batch.ids_bt, nn::Rows(), nn::Call());
  ASSERT_EQ(logits.shape(), Shape({2, 5, 11}));
  double sum = 0, total = 0;
  for (int64_t i = 0; i < 10; ++i) {
    const int32_t target = batch.target_bt.data<int32_t>()[i];
    const double* row = logits.data<double>() + 11 * i;
    EXPECT_NEAR(scores.nll_bt.data<double>()[i], target < 0 ? 0 : -row[target], 1e-12);
    EXPECT_EQ(scores.argmax_bt.data<int32_t>()[i], std::max_element(row, row + 11) - row);
    const double weight = target < 0 ? 0 : batch.weight_bt.data<float>()[i];
    sum += weight * scores.nll_bt.data<double>()[i];
    total += weight;
  }
  EXPECT_NEAR(model->Loss(batch, nn::Call()).item(), sum / total, 1e-12);
  GenerateOptions options;
  options.max_new_tokens = 6;
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> streamed,
                          Generate(*model, {1, 10, 4}, options));
  options.horizon = GenerateOptions::kRecompute;
  EXPECT_THAT(Generate(*model, {1, 10, 4}, options), IsOkAndHolds(streamed));
}

TEST(Model, RecomputingBlocksChangesNoBit) {
  const auto kept = Make(Config(false, false)), recomputed = Make(Config(false, true));
  nn::Call call;
  call.training = true;
  Backward(kept->Loss(SomeBatch(), call));
  Backward(recomputed->Loss(SomeBatch(), call));
  for (const nn::Parameter& p : kept->parameters().all()) {
    EXPECT_THAT(Gradient(recomputed->parameters().Find(p.name)->value), BitEqual(Gradient(p.value)))
        << p.name;
  }
}

TEST(Model, InitialValuesDependOnSeedAndNameAlone) {
  const auto one = Make(Config()), again = Make(Config()), tied = Make(Config(true));
  for (const nn::Parameter& p : one->parameters().all()) {
    EXPECT_THAT(again->parameters().Find(p.name)->value, BitEqual(p.value));
    if (p.name == "output") continue;
    EXPECT_THAT(tied->parameters().Find(p.name)->value, BitEqual(p.value));
  }
  EXPECT_EQ(tied->parameters().Find("output"), nullptr);
}

// A config written out in full, as checkpoints are, is the same model.
TEST(Model, UnsetAdaptersAreNone) {
  ModelConfig config = Config();
  config.mutable_low_rank();
  EXPECT_EQ(Make(config)->parameters().all().size(), Make(Config())->parameters().all().size());
}

// Adapters open the checkpoint of the model without them and start as it: the same bits.
TEST(Model, AdaptersStartAsTheModelWithoutThem) {
  ModelConfig config = Config();
  config.mutable_low_rank()->set_rank(3);
  config.mutable_low_rank()->add_target("*.w_q");
  config.mutable_low_rank()->add_target("layers.1.feed_forward.*");
  const auto plain = Make(Config()), adapted = Make(config);
  EXPECT_EQ(adapted->parameters().all().size(), plain->parameters().all().size() + 10);
  for (const char* name : {"layers.0.mixer.w_q", "layers.1.mixer.w_q", "layers.1.feed_forward.w_up",
                           "layers.1.feed_forward.w_gate", "layers.1.feed_forward.w_down"}) {
    EXPECT_NE(adapted->parameters().Find(absl::StrCat(name, ".lora_b")), nullptr) << name;
  }
  TensorMap values = plain->parameters().Values();
  const auto is_new = [&](const nn::Parameter& p) { return absl::StrContains(p.name, ".lora_"); };
  for (const nn::Parameter& p : adapted->parameters().all()) {
    if (is_new(p)) values[p.name] = p.value.Clone();
  }
  ASSERT_THAT(adapted->parameters().Load(values), IsOk());
  const Batch batch = SomeBatch();
  EXPECT_THAT(adapted->Loss(batch, nn::Call()), BitEqual(plain->Loss(batch, nn::Call())));
  // And every part of them takes part once B is not zero.
  for (const nn::Parameter& p : adapted->parameters().all()) {
    if (is_new(p)) nn::Normal(0.3)(Rng(4).Child(p.name), p.value);
  }
  Backward(adapted->Loss(batch, nn::Call()));
  for (const nn::Parameter& p : adapted->parameters().all()) {
    if (!is_new(p)) continue;
    ASSERT_TRUE(Gradient(p.value).defined()) << p.name;
    EXPECT_GT(Sum(Square(Gradient(p.value))).item(), 0) << p.name;
  }
}

TEST(Generate, StreamingEqualsRecomputing) {
  const auto model = Make(Config());
  GenerateOptions options;
  options.max_new_tokens = 12;
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> streamed,
                          Generate(*model, {1, 2, 3}, options));
  options.horizon = GenerateOptions::kRecompute;
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<int32_t> recomputed,
                          Generate(*model, {1, 2, 3}, options));
  EXPECT_EQ(streamed, recomputed);
  EXPECT_EQ(streamed.size(), 15u);
}

TEST(Generate, SamplesRepeatAndFollowTheirOptions) {
  const auto model = Make(Config());
  GenerateOptions options;
  options.max_new_tokens = 30;
  options.temperature = 2;
  options.rng = Rng(4);
  LR_ASSERT_OK_AND_ASSIGN(const auto first, Generate(*model, {5}, options));
  LR_ASSERT_OK_AND_ASSIGN(const auto again, Generate(*model, {5}, options));
  EXPECT_EQ(first, again);
  options.rng = Rng(5);
  LR_ASSERT_OK_AND_ASSIGN(const auto other, Generate(*model, {5}, options));
  EXPECT_NE(first, other);
  options.top_k = 1;  // the most likely token, whatever the temperature
  LR_ASSERT_OK_AND_ASSIGN(const auto top, Generate(*model, {5}, options));
  options.temperature = 0;
  LR_ASSERT_OK_AND_ASSIGN(const auto greedy, Generate(*model, {5}, options));
  EXPECT_EQ(top, greedy);
  options.stop_token = greedy[3];
  LR_ASSERT_OK_AND_ASSIGN(const auto stopped, Generate(*model, {5}, options));
  EXPECT_EQ(stopped.back(), greedy[3]);
  EXPECT_LE(stopped.size(), 4u);
}

TEST(Generate, RefusesWhatItCannotContinue) {
  const auto model = Make(Config());
  GenerateOptions options;
  options.max_new_tokens = 1;
  EXPECT_THAT(Generate(*model, {}, options),
              StatusIs(absl::StatusCode::kInvalidArgument, "empty prompt"));
  EXPECT_THAT(Generate(*model, {11}, options),
              StatusIs(absl::StatusCode::kInvalidArgument, "token 11"));
  EXPECT_THAT(Generate(*model, {-1}, options),
              StatusIs(absl::StatusCode::kInvalidArgument, "token -1"));
  options.temperature = -1;
  EXPECT_THAT(Generate(*model, {1}, options),
              StatusIs(absl::StatusCode::kInvalidArgument, "temperature"));
}

// A batch never leaks into a score.
TEST(Answer, DoesNotDependOnTheBatch) {
  const auto model = Make(Config(), DType::kFloat32);
  std::vector<Example> examples;
  for (int64_t i = 0; i < 5; ++i) {
    Example example;
    for (int64_t t = 0; t < 6; ++t) {
      example.ids.push_back(static_cast<int32_t>(Rng(6).Child(i).UniformInt(t, 11)));
      example.target.push_back(static_cast<int32_t>(Rng(7).Child(i).UniformInt(t, 11)));
    }
    example.answer_rows = {2, 5};
    examples.push_back(example);
  }
  LR_ASSERT_OK_AND_ASSIGN(const auto one, Answer(*model, examples, 1));
  LR_ASSERT_OK_AND_ASSIGN(const auto all, Answer(*model, examples, 5));
  for (size_t i = 0; i < one.size(); ++i) {
    ASSERT_EQ(one[i].logprob.size(), 2u);
    for (size_t j = 0; j < 2; ++j) EXPECT_NEAR(one[i].logprob[j], all[i].logprob[j], 1e-5);
    EXPECT_EQ(one[i].is_argmax, all[i].is_argmax);
  }
}

std::vector<Example> SomeExamples(int64_t count, int64_t length, std::vector<int64_t> answer_rows) {
  std::vector<Example> examples;
  for (int64_t i = 0; i < count; ++i) {
    Example example;
    for (int64_t t = 0; t < length; ++t) {
      example.ids.push_back(static_cast<int32_t>(Rng(6).Child(i).UniformInt(t, 11)));
      example.target.push_back(static_cast<int32_t>(Rng(7).Child(i).UniformInt(t, 11)));
    }
    example.answer_rows = answer_rows;
    examples.push_back(example);
  }
  return examples;
}

void ExpectSameReplies(const std::vector<Reply>& a, const std::vector<Reply>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].logprob.size(), b[i].logprob.size());
    for (size_t j = 0; j < a[i].logprob.size(); ++j)
      EXPECT_NEAR(a[i].logprob[j], b[i].logprob[j], 1e-12) << i << " " << j;
    EXPECT_EQ(a[i].is_argmax, b[i].is_argmax);
  }
}

// With the state carried, at the memory of a piece.
TEST(Answer, IsTheSameInPiecesOfAnySize) {
  const auto model = Make(Config());
  const std::vector<Example> examples = SomeExamples(3, 23, {0, 6, 7, 22});
  LR_ASSERT_OK_AND_ASSIGN(const auto whole, Answer(*model, examples, 3));
  for (const int64_t piece : {1, 2, 7, 8, 22, 23, 100}) {
    LR_ASSERT_OK_AND_ASSIGN(const auto pieces, Answer(*model, examples, 2, piece));
    ExpectSameReplies(whole, pieces);
  }
}

// The last `padding` rows of an example are no rows of it.
Example Padded(Example example, int64_t padding) {
  example.rows = static_cast<int64_t>(example.ids.size());
  example.ids.resize(example.ids.size() + padding, 3);
  example.target.resize(example.ids.size(), -1);
  return example;
}

TEST(Answer, PaddingChangesNothing) {
  for (const ModelConfig::Direction direction : {ModelConfig::CAUSAL, ModelConfig::BIDIRECTIONAL}) {
    for (const ModelConfig::Pooling pooling :
         {ModelConfig::EACH_ROW, ModelConfig::MEAN, ModelConfig::CLS}) {
      if (pooling == ModelConfig::CLS && direction == ModelConfig::CAUSAL) continue;
      ModelConfig config = Config();
      config.set_direction(direction);
      config.set_pooling(pooling);
      const auto model = Make(config);
      const std::vector<Example> five = SomeExamples(1, 5, {4}), nine = SomeExamples(2, 9, {8});
      LR_ASSERT_OK_AND_ASSIGN(const auto alone, Answer(*model, five, 1));
      LR_ASSERT_OK_AND_ASSIGN(const auto longer, Answer(*model, {nine[1]}, 1));
      LR_ASSERT_OK_AND_ASSIGN(const auto together,
                              Answer(*model, {Padded(five[0], 4), nine[1]}, 2));
      ExpectSameReplies({alone[0], longer[0]}, together);
      // And the loss: of one example beside another, the mean of both.
      std::vector<Example> both = {Padded(five[0], 4), nine[1]};
      for (Example& e : both) {
        for (size_t t = 0; t < e.target.size(); ++t) {
          if (static_cast<int64_t>(t) != e.answer_rows[0]) e.target[t] = -1;
        }
      }
      EXPECT_NEAR(model->Loss(Collate(both), nn::Call()).item(),
                  -(alone[0].logprob[0] + longer[0].logprob[0]) / 2, 1e-12);
    }
  }
}

TEST(Model, ABidirectionalOneSeesTheRowsBehind) {
  ModelConfig config = Config();
  for (const bool both_ways : {false, true}) {
    config.set_direction(both_ways ? ModelConfig::BIDIRECTIONAL : ModelConfig::CAUSAL);
    const auto model = Make(config);
    std::vector<Example> examples = SomeExamples(1, 6, {0});
    LR_ASSERT_OK_AND_ASSIGN(const auto before, Answer(*model, examples, 1));
    examples[0].ids[5] = (examples[0].ids[5] + 1) % 11;
    LR_ASSERT_OK_AND_ASSIGN(const auto after, Answer(*model, examples, 1));
    EXPECT_EQ(before[0].logprob[0] != after[0].logprob[0], both_ways);
  }
  const auto model = Make(config);
  EXPECT_THAT(Answer(*model, SomeExamples(1, 6, {0}), 1, 3),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "6 rows in pieces of 3: a bidirectional model does not stream"));
  EXPECT_THAT(Generate(*model, {1}, GenerateOptions()),
              StatusIs(absl::StatusCode::kInvalidArgument, "does not stream"));
}

TEST(Model, PoolingAnswersFromTheMeanOfTheRows) {
  ModelConfig config = Config();
  config.set_pooling(ModelConfig::MEAN);
  const auto pooled = Make(config), each = Make(Config());
  const Batch batch = Collate({Padded(SomeExamples(1, 4, {3})[0], 2), SomeExamples(1, 6, {3})[0]});
  const Tensor mean = pooled->Logits(batch.ids_bt, RowsOf(batch), nn::Call());
  const Tensor all = each->Logits(batch.ids_bt, RowsOf(batch), nn::Call());
  ASSERT_EQ(mean.shape(), Shape({2, 1, 11}));
  for (int64_t b = 0; b < 2; ++b) {
    const int64_t rows = b == 0 ? 4 : 6;
    for (int64_t v = 0; v < 11; ++v) {
      double sum = 0;
      for (int64_t t = 0; t < rows; ++t) sum += all.data<double>()[(b * 6 + t) * 11 + v];
      EXPECT_NEAR(mean.data<double>()[b * 11 + v], sum / static_cast<double>(rows), 1e-12);
    }
  }
  EXPECT_THAT(Answer(*pooled, SomeExamples(1, 6, {0}), 1, 3),
              StatusIs(absl::StatusCode::kInvalidArgument, "answers once for all rows"));
  EXPECT_THAT(Generate(*pooled, {1}, GenerateOptions()),
              StatusIs(absl::StatusCode::kInvalidArgument, "answers once for all rows"));
}

// Its rows are none of the input's: padding has no part in their mean, and none of them is a
// token's.
TEST(Model, ABackbonesOwnRowsAreAnsweredFromByTheirMean) {
  ModelConfig config = Config();
  Int32Value rows;
  rows.set_value(3);
  config.mutable_backbone()->PackFrom(rows);
  config.set_direction(ModelConfig::BIDIRECTIONAL);
  config.set_pooling(ModelConfig::MEAN);
  const auto model = Make(config);
  const Tensor output = model->parameters().Find("output")->value;
  ASSERT_EQ(output.shape(), Shape({11, kOwnWidth}));
  const Batch batch = Collate({Padded(SomeExamples(1, 1, {0})[0], 5), SomeExamples(1, 6, {0})[0]});
  const Tensor logits = model->Logits(batch.ids_bt, RowsOf(batch), nn::Call());
  ASSERT_EQ(logits.shape(), Shape({2, 1, 11}));
  const Tensor embedding = model->parameters().Find("embedding")->value;
  for (int64_t b = 0; b < 2; ++b) {
    const double* first = embedding.data<double>() + batch.ids_bt.data<int32_t>()[6 * b] * 8;
    for (int64_t v = 0; v < 11; ++v) {
      double expected = 0;
      for (int64_t c = 0; c < kOwnWidth; ++c)
        expected += output.data<double>()[v * kOwnWidth + c] * 2 * first[c];  // (1 + 2 + 3) / 3
      EXPECT_NEAR(logits.data<double>()[11 * b + v], expected, 1e-12);
    }
  }

  const auto refused = [](const ModelConfig& bad, const char* why) {
    EXPECT_THAT(Model::Create(bad, ModelArgs()), StatusIs(absl::StatusCode::kInvalidArgument, why));
  };
  ModelConfig bad = config;
  bad.set_pooling(ModelConfig::EACH_ROW);
  refused(bad, "pooling: EACH_ROW (expected MEAN: the backbone gives back 3 rows of its own");
  bad.set_pooling(ModelConfig::CLS);
  refused(bad, "pooling: CLS (expected MEAN: the backbone gives back 3 rows of its own");
  bad = config;
  bad.set_tied(true);
  refused(bad, "tied: true (expected false: the backbone gives back rows of 5 channels");
}

// What a row in front of the sequence holds, through a head: the same as of a model that reads the
// row as a token, whose embedding it is.
TEST(Model, ClsIsARowInFront) {
  ModelConfig config = Config();
  config.set_direction(ModelConfig::BIDIRECTIONAL);
  const auto each = Make(config);
  config.set_pooling(ModelConfig::CLS);
  config.add_head_width(6);
  config.add_head_width(5);
  const auto pooled = Make(config);
  for (const char* bias : {"head.0.bias", "head.1.bias"})
    nn::Normal(0.3)(Rng(5), pooled->parameters().Find(bias)->value);
  const Tensor embedding = each->parameters().Find("embedding")->value,
               cls = pooled->parameters().Find("cls")->value;
  std::copy(cls.data<double>(), cls.data<double>() + 8, embedding.mutable_data<double>() + 10 * 8);
  Example example = SomeExamples(1, 6, {3})[0], in_front = example;
  for (int32_t& id : example.ids) id %= 10;
  in_front.ids = example.ids;
  in_front.ids.insert(in_front.ids.begin(), 10);
  in_front.target.push_back(-1);
  TensorMap values = each->parameters().Values();
  TensorMap mine = pooled->parameters().Values();
  for (auto& [name, value] : mine) {
    if (values.count(name) > 0 && name != "output") value = values[name];
  }
  ASSERT_THAT(pooled->parameters().Load(mine), IsOk());
  // The first row of the other model's output, read off through unit vectors in its output matrix.
  const Tensor output = each->parameters().Find("output")->value;
  std::fill(output.mutable_data<double>(), output.mutable_data<double>() + output.numel(), 0.0);
  for (int64_t d = 0; d < 8; ++d) output.mutable_data<double>()[d * 8 + d] = 1;
  const Batch rows = Collate({in_front});
  const Tensor hidden = each->Logits(rows.ids_bt, nn::Rows(), nn::Call());  // [1, 7, 11]
  std::vector<double> x(hidden.data<double>(), hidden.data<double>() + 8);
  for (const char* layer : {"head.0", "head.1"}) {
    const Tensor weight = pooled->parameters().Find(absl::StrCat(layer, ".weight"))->value,
                 bias = pooled->parameters().Find(absl::StrCat(layer, ".bias"))->value;
    std::vector<double> y(weight.dim(0));
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = bias.data<double>()[i];
      for (size_t j = 0; j < x.size(); ++j) y[i] += weight.data<double>()[i * x.size() + j] * x[j];
      y[i] = std::max(y[i], 0.0);
    }
    x = y;
  }
  const Tensor logits = pooled->Logits(Collate({example}).ids_bt, nn::Rows(), nn::Call()),
               last = pooled->parameters().Find("output")->value;
  ASSERT_EQ(logits.shape(), Shape({1, 1, 11}));
  ASSERT_EQ(last.shape(), Shape({11, 5}));
  for (int64_t v = 0; v < 11; ++v) {
    double logit = 0;
    for (int64_t i = 0; i < 5; ++i) logit += last.data<double>()[v * 5 + i] * x[i];
    EXPECT_NEAR(logits.data<double>()[v], logit, 1e-12);
  }
}

// Two documents: each is read as if alone, with the same weights, and the head sees both, their
// product and their difference.
TEST(Model, TwoTowersReadApart) {
  for (const ModelConfig::Pooling pooling : {ModelConfig::MEAN, ModelConfig::CLS}) {
    ModelConfig config = Config();
    config.set_direction(ModelConfig::BIDIRECTIONAL);
    config.set_pooling(pooling);
    const auto one = Make(config);
    config.set_two_towers(true);
    const auto two = Make(config);
    TensorMap values = two->parameters().Values();
    const TensorMap of_one = one->parameters().Values();
    for (auto& [name, value] : values) {
      if (name != "output") value = of_one.at(name);
    }
    ASSERT_THAT(two->parameters().Load(values), IsOk());
    const Tensor output = one->parameters().Find("output")->value;
    std::fill(output.mutable_data<double>(), output.mutable_data<double>() + output.numel(), 0.0);
    for (int64_t d = 0; d < 8; ++d) output.mutable_data<double>()[d * 8 + d] = 1;
    std::vector<Example> firsts = {SomeExamples(1, 6, {5})[0], SomeExamples(2, 6, {5})[1]},
                         seconds = {SomeExamples(3, 6, {5})[2], SomeExamples(4, 6, {5})[3]};
    for (std::vector<Example>* each : {&firsts, &seconds}) {
      for (Example& e : *each) std::fill(e.target.begin(), e.target.end() - 1, -1);
    }
    firsts[0].rows = 4;  // the others are padding
    seconds[1].rows = 2;
    std::vector<Example> both = firsts;
    for (size_t i = 0; i < 2; ++i) {
      both[i].second = seconds[i].ids;
      both[i].second_rows = seconds[i].rows;
    }
    const Batch batch = Collate(both), first = Collate(firsts), second = Collate(seconds);
    EXPECT_EQ(InputOf(batch).shape(), Shape({4, 6}));
    const Tensor logits = two->Logits(InputOf(batch), RowsOf(batch), nn::Call()),
                 x1 = one->Logits(InputOf(first), RowsOf(first), nn::Call()),
                 x2 = one->Logits(InputOf(second), RowsOf(second), nn::Call()),
                 last = two->parameters().Find("output")->value;
    ASSERT_EQ(logits.shape(), Shape({2, 1, 11}));
    ASSERT_EQ(last.shape(), Shape({11, 32}));
    for (int64_t b = 0; b < 2; ++b) {
      for (int64_t v = 0; v < 11; ++v) {
        const double* w = last.data<double>() + v * 32;
        double logit = 0;
        for (int64_t d = 0; d < 8; ++d) {
          const double p = x1.data<double>()[b * 11 + d], q = x2.data<double>()[b * 11 + d];
          logit += w[d] * p + w[8 + d] * q + w[16 + d] * p * q + w[24 + d] * (p - q);
        }
        EXPECT_NEAR(logits.data<double>()[b * 11 + v], logit, 1e-12);
      }
    }
    // One answer a pair, in the loss too, and gradients reach the weights of both towers.
    LR_ASSERT_OK_AND_ASSIGN(const auto replies, Answer(*two, both, 2));
    ASSERT_EQ(replies.size(), 2u);
    const Tensor loss = two->Loss(batch, nn::Call());
    Backward(loss);
    for (const nn::Parameter& p : two->parameters().all())
      EXPECT_TRUE(Gradient(p.value).defined()) << p.name;
  }
}

TEST(Model, RefusesHeadsThatDoNotFit) {
  const auto refused = [](absl::string_view field, const ModelConfig& config) {
    EXPECT_THAT(Model::Create(config, ModelArgs()).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, std::string(field)));
  };
  ModelConfig config = Config();
  config.add_head_width(4);
  refused("head_width: 4 (expected none", config);
  config.set_pooling(ModelConfig::MEAN);
  config.set_head_width(0, 0);
  refused("head_width: 0 (expected 1", config);
  config.set_head_width(0, 4);
  config.set_tied(true);
  refused("tied: true", config);
  config = Config();
  config.set_two_towers(true);
  refused("two_towers: true", config);
  config.set_pooling(ModelConfig::MEAN);
  config.set_features(1);
  refused("two_towers: true", config);
  config = Config();
  config.set_pooling(ModelConfig::CLS);
  refused("pooling: CLS (expected MEAN", config);
}

TEST(ModelDeathTest, PoolingTakesOneTargetASequence) {
  ModelConfig config = Config();
  config.set_pooling(ModelConfig::MEAN);
  const auto model = Make(config);
  EXPECT_DEATH(model->Loss(Collate(SomeExamples(2, 4, {3})), nn::Call()),
               "has one answer for a sequence");
}

TEST(Model, RolesReachTheLayers) {
  std::vector<Example> examples = SomeExamples(2, 6, {3});
  EXPECT_FALSE(Collate(examples).role_bt.defined());
  examples[1].role = {0, 0, nn::kGlobalRole, 0, 0, 0};
  const nn::Rows rows = RowsOf(Collate(examples));
  ASSERT_EQ(rows.role_bt.shape(), Shape({2, 6}));
  EXPECT_EQ(rows.role_bt.ToInts(), (std::vector<int64_t>{0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0}));
  const auto model = Make(Config());
  EXPECT_THAT(Answer(*model, examples, 2),
              StatusIs(absl::StatusCode::kInvalidArgument, "knows no roles of rows"));
  EXPECT_THAT(Answer(*model, examples, 2, 3), StatusIs(absl::StatusCode::kInvalidArgument,
                                                       "6 rows in pieces of 3: rows have roles"));
}

// Rows of numbers: x W^T + b in the place of the embedding.
TEST(Model, ReadsFeatures) {
  ModelConfig config = Config();
  config.set_features(2);
  const auto model = Make(config), of_ids = Make(Config());
  EXPECT_EQ(model->parameters().Find("embedding"), nullptr);
  const Tensor weight = model->parameters().Find("input.weight")->value,
               bias = model->parameters().Find("input.bias")->value;
  nn::Normal(0.3)(Rng(5), bias);
  // Embeddings that are what the map makes of one row of features each.
  TensorMap values = model->parameters().Values();
  values.erase("input.weight");
  values.erase("input.bias");
  values["embedding"] = Tensor::Zeros({11, 8}, DType::kFloat64);
  std::vector<float> numbers;
  for (int64_t id = 0; id < 11; ++id) {
    const float x = static_cast<float>(0.1 * static_cast<double>(id)), y = 1 - x * x;
    numbers.insert(numbers.end(), {x, y});
    for (int64_t d = 0; d < 8; ++d) {
      const double* w = weight.data<double>() + 2 * d;
      values["embedding"].mutable_data<double>()[id * 8 + d] =
          static_cast<double>(x) * w[0] + static_cast<double>(y) * w[1] + bias.data<double>()[d];
    }
  }
  ASSERT_THAT(of_ids->parameters().Load(values), IsOk());
  const std::vector<Example> ids = SomeExamples(3, 7, {2, 6});
  std::vector<Example> features = ids;
  for (Example& e : features) {
    for (int32_t& id : e.ids) {
      e.features.insert(e.features.end(), {numbers[2 * id], numbers[2 * id + 1]});
      id = 0;
    }
  }
  for (const int64_t piece : {0, 3}) {
    LR_ASSERT_OK_AND_ASSIGN(const auto expected, Answer(*of_ids, ids, 2, piece));
    LR_ASSERT_OK_AND_ASSIGN(const auto got, Answer(*model, features, 2, piece));
    ExpectSameReplies(expected, got);
  }
  EXPECT_NEAR(model->Loss(Collate(features), nn::Call()).item(),
              of_ids->Loss(Collate(ids), nn::Call()).item(), 1e-12);
  EXPECT_THAT(Generate(*model, {1}, GenerateOptions()),
              StatusIs(absl::StatusCode::kInvalidArgument, "features"));
}

TEST(Model, RefusesAConfigByField) {
  const auto refused = [](const std::function<void(ModelConfig*, StackConfig*)>& spoil,
                          const char* text) {
    ModelConfig config = Config();
    StackConfig stack;
    CHECK(config.backbone().UnpackTo(&stack));
    spoil(&config, &stack);
    config.mutable_backbone()->PackFrom(stack);
    EXPECT_THAT(Model::Create(config, ModelArgs()),
                StatusIs(absl::StatusCode::kInvalidArgument, text));
  };
  refused([](ModelConfig* m, StackConfig*) { m->set_vocabulary(0); }, "vocabulary: 0");
  refused([](ModelConfig* m, StackConfig*) { m->set_width(-8); }, "width: -8");
  refused([](ModelConfig* m, StackConfig*) { m->set_features(-1); }, "features: -1");
  refused(
      [](ModelConfig* m, StackConfig*) {
        m->set_features(3);
        m->set_tied(true);
      },
      "tied: true");
  refused([](ModelConfig* m, StackConfig*) { m->mutable_low_rank()->set_rank(-1); },
          "low_rank.rank: -1");
  refused(
      [](ModelConfig* m, StackConfig*) {
        m->mutable_low_rank()->set_rank(2);
        m->mutable_low_rank()->set_alpha(NAN);
      },
      "low_rank.alpha: nan");
  refused(
      [](ModelConfig* m, StackConfig*) {
        m->mutable_low_rank()->set_rank(2);
        m->mutable_low_rank()->add_target("*.w_x");
      },
      "low_rank.target: '*.w_x' matches no weight");
  refused([](ModelConfig* m, StackConfig*) { m->mutable_low_rank()->add_target("*.w_q"); },
          "low_rank.rank: 0 (expected 1 or more");
  refused([](ModelConfig*, StackConfig* s) { s->set_layers(0); }, "layers: 0");
  refused([](ModelConfig*, StackConfig* s) { s->mutable_norm()->set_epsilon(0); },
          "norm.epsilon: 0");
  refused([](ModelConfig*, StackConfig* s) { s->clear_mixer(); }, "no mixer is named");
  refused([](ModelConfig*, StackConfig* s) { s->mutable_mixer()->PackFrom(StackConfig()); },
          "unknown mixer 'stack'");
}

TEST(Registry, IdsAreTheMessagesNames) {
  EXPECT_EQ(PluginId("longrange.RopeExtensionYarnConfig"), "rope_extension_yarn");
  EXPECT_EQ(PluginId("S4Config"), "s4");
  EXPECT_EQ(PluginId("type.googleapis.com/longrange.S4Config"), "s4");
  EXPECT_EQ(PluginId("type.googleapis.com/S4Config"), "s4");
}

}  // namespace
}  // namespace longrange
