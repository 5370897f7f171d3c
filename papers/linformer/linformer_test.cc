// Linformer: the limit in which it is attention to all rows, what sharing shares, padding as zeros,
// and what is refused. The numbers of whole layers are in the golden cases (//papers:goldens_test).

#include "papers/linformer/linformer.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugins/attention/attention_host.h"
#include "plugins/bound_task.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange::linformer {
namespace {

using ::testing::ElementsAre;
using ::testing::Not;

constexpr int64_t kWidth = 8, kRows = 12;

BuildArgs ArgsOf(nn::ParameterStore* store) {
  BuildArgs args{nn::Scope(store, Rng(5), DType::kFloat64)};
  args.width = kWidth;
  args.direction = nn::Direction::kBidirectional;
  return args;
}

struct Layer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Linformer> mixer;

  const Tensor& Parameter(const std::string& name) const { return store->Find(name)->value; }
  Tensor operator()(const Tensor& x, const nn::Rows& rows = nn::Rows()) const {
    return mixer->Forward(x, rows, nn::Call());
  }
};

Layer Make(const LinformerConfig& config) {
  Layer layer;
  auto mixer = Linformer::Create(config, ArgsOf(layer.store.get()));
  CHECK(mixer.ok()) << mixer.status();
  layer.mixer = *std::move(mixer);
  return layer;
}

LinformerConfig Config(LinformerConfig::Sharing sharing, int64_t rank = 4) {
  LinformerConfig config;
  config.set_heads(2);
  config.set_rank(rank);
  config.set_n_max(kRows);
  config.set_sharing(sharing);
  config.set_init_std(0.4);
  return config;
}

Tensor Input(int64_t batch = 2, int64_t rows = kRows) {
  return RandomNormal({batch, rows, kWidth}, Rng(3), 1, DType::kFloat64);
}

TEST(LinformerTest, AsManySlotsAsRowsAndTheIdentityAreFullAttention) {
  const Layer layer = Make(Config(LinformerConfig::KEY_VALUE, kRows));
  const Tensor e = layer.Parameter("e");
  e.Fill(0);
  for (int64_t i = 0; i < kRows; ++i) e.mutable_data<double>()[i * (kRows + 1)] = 1;
  nn::ParameterStore store;
  AttentionHostOptions options;
  options.heads = options.kv_heads = 2;
  options.head_width = kWidth / 2;
  LR_ASSERT_OK_AND_ASSIGN(const auto host,
                          AttentionHost::Create(std::move(options), ArgsOf(&store)));
  TensorMap values = layer.store->Values();
  values.erase("e");
  ASSERT_THAT(store.Load(values), IsOk());
  const Tensor x = Input();
  EXPECT_THAT(layer(x), RmsClose(host->Forward(x, nn::Rows(), nn::Call()), kFloat64Rms));
}

// E of all heads is what each head's own E is where these are equal; its gradient their sum.
TEST(LinformerTest, ASharedProjectionIsEqualOnesOfEveryHead) {
  const Layer shared = Make(Config(LinformerConfig::HEADWISE)),
              own = Make(Config(LinformerConfig::NONE));
  TensorMap values = shared.store->Values();
  for (const char* name : {"e", "f"})
    values[name] = Reshape(Concat({values[name], values[name]}, 0), {2, 4, kRows}).Detach();
  ASSERT_THAT(own.store->Load(values), IsOk());
  const Tensor x = Input();
  std::vector<Tensor> y = {shared(x), own(x)};
  EXPECT_THAT(y[1], RmsClose(y[0], kFloat64Rms));
  for (const Tensor& each : y)
    Backward({each}, {RandomNormal(each.shape(), Rng(4), 1, DType::kFloat64)});
  for (const char* name : {"e", "f"}) {
    const Tensor by_head = Gradient(own.Parameter(name));
    const Tensor sum = Reshape(SumTo(by_head, {1, 4, kRows}), {4, kRows});
    EXPECT_THAT(Gradient(shared.Parameter(name)), RmsClose(sum, kFloat64Rms)) << name;
  }
}

// (E x) W + b is E (x W + b) where E's rows sum to 1, and where there is no bias.
TEST(LinformerTest, TheOrdersDifferByTheBias) {
  const Tensor x = Input();
  for (const auto sharing : {LinformerConfig::KEY_VALUE, LinformerConfig::NONE}) {
    for (const bool biases : {false, true}) {
      LinformerConfig config = Config(sharing);
      config.set_biases(biases);
      const Layer formula = Make(config);
      config.set_order(LinformerConfig::COMPRESS_THEN_PROJECT);
      const Layer code = Make(config);
      if (biases) {
        for (const Layer* layer : {&formula, &code}) {
          for (const char* name : {"b_k", "b_v"}) nn::Normal(1)(Rng(6), layer->Parameter(name));
        }
        EXPECT_THAT(code(x), Not(RmsClose(formula(x), 1e-3)));
        for (const Layer* layer : {&formula, &code}) {
          for (const nn::Parameter& p : layer->store->all()) {
            if (p.name == "e" || p.name == "f") p.value.Fill(1 / static_cast<double>(kRows));
          }
        }
      }
      EXPECT_THAT(code(x), RmsClose(formula(x), kFloat64Rms));
    }
  }
}

TEST(LinformerTest, ShortSequencesTakeTheFirstColumns) {
  const Layer layer = Make(Config(LinformerConfig::KEY_VALUE));
  const Tensor x = Input(1, 5), before = layer(x).Clone(), e = layer.Parameter("e");
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t n = 5; n < kRows; ++n) e.mutable_data<double>()[r * kRows + n] = 100;
  }
  const Tensor y = layer(x);
  EXPECT_THAT(y, BitEqual(before));
  Backward({y}, {Tensor::Full(y.shape(), 1, DType::kFloat64)});
  const std::vector<double> gradient = Gradient(e).ToDoubles();
  for (int64_t i = 0; i < 4 * kRows; ++i) EXPECT_EQ(gradient[i] == 0, i % kRows >= 5) << i;
}

// Padding is zeros among keys and values, or in what is compressed: whatever stands there, and a
// bias too, is not seen, nor is a run of padding alone.
TEST(LinformerTest, PaddingIsZeros) {
  for (const auto pooling : {LinformerConfig::LINEAR, LinformerConfig::MEAN, LinformerConfig::MAX,
                             LinformerConfig::CONVOLUTION}) {
    for (const auto order :
         {LinformerConfig::PROJECT_THEN_COMPRESS, LinformerConfig::COMPRESS_THEN_PROJECT}) {
      for (const auto sharing : {LinformerConfig::HEADWISE, LinformerConfig::NONE}) {
        SCOPED_TRACE(testing::Message() << pooling << " " << order << " " << sharing);
        LinformerConfig config = Config(sharing);
        config.set_pooling(pooling);
        config.set_order(order);
        config.set_biases(true);
        const Layer layer = Make(config);
        for (const char* name : {"b_k", "b_v"}) layer.Parameter(name).Fill(0.7);
        const Tensor x = Input(2);
        nn::Rows rows;
        rows.end_b = Tensor::FromVector<int64_t>({2}, {7, kRows});
        const Tensor garbage = x.Clone();
        std::fill_n(garbage.mutable_data<double>() + 7 * kWidth, 5 * kWidth, std::nan(""));
        const Tensor y = layer(garbage, rows);
        const auto sample = [](const Tensor& t, int64_t b) { return t.ViewRows(b, b + 1).Clone(); };
        const Tensor alone = layer(Narrow(sample(x, 0), 1, 0, 7));
        EXPECT_THAT(Narrow(sample(y, 0), 1, 0, 7), RmsClose(alone, kFloat64Rms));
        EXPECT_THAT(sample(y, 1), RmsClose(layer(sample(x, 1)), kFloat64Rms));
      }
    }
  }
}

TEST(LinformerTest, RefusesByName) {
  const auto create = [](const LinformerConfig& config,
                         const std::function<void(BuildArgs*)>& set) {
    nn::ParameterStore store;
    BuildArgs args = ArgsOf(&store);
    set(&args);
    return Linformer::Create(config, args).status();
  };
  const LinformerConfig config = Config(LinformerConfig::LAYERWISE);
  EXPECT_THAT(
      create(config, [](BuildArgs* args) { args->direction = nn::Direction::kCausal; }),
      StatusIs(absl::StatusCode::kInvalidArgument, "direction: causal (expected bidirectional"));
  EXPECT_THAT(create(config, [](BuildArgs* args) { args->max_tokens = 13; }),
              StatusIs(absl::StatusCode::kInvalidArgument, "n_max: 12 (expected 13 or more"));
  EXPECT_THAT(create(config, [](BuildArgs* args) { args->max_tokens = 12; }), IsOk());
  const Layer layer = Make(config);
  EXPECT_THAT(layer.mixer->Supports(1, 12, nn::Rows(), nn::Call()), IsOk());
  EXPECT_THAT(layer.mixer->Supports(1, 13, nn::Rows(), nn::Call()),
              StatusIs(absl::StatusCode::kInvalidArgument, "n_max: 12 (expected 13 or more"));
  nn::Rows left;
  left.begin_b = Tensor::FromVector<int64_t>({1}, {2});
  EXPECT_THAT(layer.mixer->Supports(1, 12, left, nn::Call()),
              StatusIs(absl::StatusCode::kInvalidArgument, "no padding on the left"));
}

absl::StatusOr<std::unique_ptr<Model>> StackOf(const LinformerConfig& mixer) {
  StackConfig stack;
  stack.set_layers(3);
  stack.mutable_mixer()->PackFrom(mixer);
  ModelConfig config;
  config.set_vocabulary(5);
  config.set_width(kWidth);
  config.set_direction(ModelConfig::BIDIRECTIONAL);
  config.mutable_backbone()->PackFrom(stack);
  return Model::Create(config, ModelArgs());
}

// 3 layers, 2 heads: as many matrices as section 4 counts.
TEST(LinformerTest, SharingCountsMatrices) {
  const auto matrices = [](LinformerConfig::Sharing sharing) {
    const auto model = StackOf(Config(sharing));
    CHECK(model.ok()) << model.status();
    int64_t elements = 0;
    for (const nn::Parameter& p : (*model)->parameters().all()) {
      const std::string last = p.name.substr(p.name.rfind('.') + 1);
      if (last == "e" || last == "f") elements += p.value.numel();
    }
    return elements / (4 * kRows);
  };
  EXPECT_EQ(matrices(LinformerConfig::LAYERWISE), 1);
  EXPECT_EQ(matrices(LinformerConfig::KEY_VALUE), 3);
  EXPECT_EQ(matrices(LinformerConfig::HEADWISE), 2 * 3);
  EXPECT_EQ(matrices(LinformerConfig::NONE), 2 * 2 * 3);
}

// The one E of all layers gets the gradient of all.
TEST(LinformerTest, TheLayersShareOneTensor) {
  LR_ASSERT_OK_AND_ASSIGN(const auto model, StackOf(Config(LinformerConfig::LAYERWISE)));
  const nn::Parameter* e = model->parameters().Find("shared.linformer.e");
  ASSERT_NE(e, nullptr);
  Batch batch;
  batch.ids_bt = Tensor::Zeros({1, kRows}, DType::kInt32);
  batch.target_bt = Tensor::Zeros({1, kRows}, DType::kInt32);
  Backward(model->Loss(batch, nn::Call()));
  EXPECT_TRUE(Gradient(e->value).defined());
}

// Frozen ones are kept and saved with the model, and no parameters; a checkpoint opens either way.
TEST(LinformerTest, FrozenProjectionsStayAsTheyStart) {
  LinformerConfig config = Config(LinformerConfig::LAYERWISE);
  LR_ASSERT_OK_AND_ASSIGN(const auto trained, StackOf(config));
  config.set_freeze(true);
  LR_ASSERT_OK_AND_ASSIGN(const auto frozen, StackOf(config));
  EXPECT_EQ(frozen->parameters().Find("shared.linformer.e"), nullptr);
  ASSERT_EQ(frozen->parameters().buffers().size(), 1u);
  EXPECT_EQ(frozen->parameters().buffers()[0].name, "shared.linformer.e");
  EXPECT_THAT(frozen->parameters().Load(trained->parameters().Values()), IsOk());
  const Tensor ids = Tensor::Zeros({1, kRows}, DType::kInt32);
  EXPECT_THAT(frozen->Logits(ids, nn::Rows(), nn::Call()),
              BitEqual(trained->Logits(ids, nn::Rows(), nn::Call())));
}

TEST(LinformerTasksTest, MajorityIsWhatThereIsMoreOf) {
  const BoundTask bound{LinformerMajorityConfig()};
  int64_t ones = 0;
  for (int64_t index = 0; index < 400; ++index) {
    for (const int64_t length : {1, 2, 6, 7}) {
      LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(length, index));
      const int64_t of_one = std::count(example.ids.begin(), example.ids.end(), 1);
      ASSERT_NE(2 * of_one, length);
      EXPECT_EQ(example.target.back(), 2 * of_one > length ? 1 : 0);
      EXPECT_THAT(example.answer_rows, ElementsAre(length - 1));
      if (length == 6) ones += example.target.back();
    }
  }
  EXPECT_NEAR(static_cast<double>(ones), 200, 50);
}

TEST(LinformerTasksTest, RecallWantsTheValueOfTheKey) {
  LinformerRecallConfig config;
  config.set_keys(10);
  const BoundTask bound(config);
  EXPECT_EQ(bound.task().traits().features, 14);
  EXPECT_EQ(bound.task().traits().chance, 0.125);
  std::set<int64_t> asked, values;
  for (int64_t index = 0; index < 100; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(8, index));
    ASSERT_EQ(example.features.size(), 8u * 14);
    const auto key_of = [&](int64_t t) {
      const float* row = example.features.data() + t * 14;
      EXPECT_EQ(std::count(row, row + 10, 1.0f), 1);
      EXPECT_EQ(std::count(row, row + 10, 0.0f), 9);
      return std::find(row, row + 10, 1.0f) - row;
    };
    std::set<int64_t> keys;
    int64_t found = -1;
    for (int64_t t = 0; t < 7; ++t) {
      EXPECT_TRUE(keys.insert(key_of(t)).second);
      EXPECT_EQ(example.features[t * 14 + 13], 0);
      if (key_of(t) == key_of(7)) found = t;
    }
    ASSERT_GE(found, 0);
    asked.insert(found);
    int64_t value = 0;
    for (int64_t bit = 0; bit < 3; ++bit) {
      const float sign = example.features[found * 14 + 10 + bit];
      EXPECT_EQ(std::abs(sign), 1);
      EXPECT_EQ(example.features[7 * 14 + 10 + bit], 0);
      if (sign > 0) value += int64_t{1} << bit;
    }
    values.insert(value);
    EXPECT_EQ(example.features[7 * 14 + 13], 1);
    EXPECT_EQ(example.target.back(), value);
  }
  EXPECT_EQ(asked.size(), 7u);
  EXPECT_EQ(values.size(), 8u);
  EXPECT_THAT(bound.Make(12, 0), StatusIs(absl::StatusCode::kInvalidArgument, "expected 2 to 11"));
}

}  // namespace
}  // namespace longrange::linformer
