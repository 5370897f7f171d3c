// Longformer: the limits in which its pattern is one that is known, what belongs to which layer and
// head, roles, and the ring of a stream. The numbers of whole layers are in the golden cases
// (//papers:goldens_test).

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/longformer/longformer.pb.h"
#include "plugins/attention/attention_host.h"
#include "plugins/bound_task.h"
#include "plugins/mixer.h"
#include "plugins/model/answer.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::Not;

constexpr int64_t kWidth = 8;

BuildArgs ArgsOf(nn::ParameterStore* store, nn::Direction direction) {
  BuildArgs args{nn::Scope(store, Rng(5), DType::kFloat64)};
  args.width = kWidth;
  args.direction = direction;
  return args;
}

struct Layer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Mixer> mixer;

  Tensor operator()(const Tensor& x, const nn::Rows& rows = nn::Rows()) const {
    return mixer->Forward(x, rows, nn::Call());
  }
};

absl::StatusOr<Layer> Create(const LongformerConfig& config,
                             nn::Direction direction = nn::Direction::kBidirectional,
                             int64_t index = 0, int64_t num_layers = 1) {
  Layer layer;
  BuildArgs args = ArgsOf(layer.store.get(), direction);
  args.layer = index;
  args.num_layers = num_layers;
  google::protobuf::Any any;
  any.PackFrom(config);
  LR_ASSIGN_OR_RETURN(layer.mixer, Registry<Mixer>::Get().Create(any, args));
  return layer;
}

template <typename... Args>
Layer Make(const LongformerConfig& config, Args... args) {
  auto layer = Create(config, args...);
  CHECK(layer.ok()) << layer.status();
  return *std::move(layer);
}

LongformerConfig Config(int64_t window) {
  LongformerConfig config;
  config.set_heads(2);
  config.add_window(window);
  config.set_init_std(0.4);
  return config;
}

Tensor Input(int64_t batch, int64_t rows) {
  return RandomNormal({batch, rows, kWidth}, Rng(3), 1, DType::kFloat64);
}

nn::Rows Roles(int64_t rows, const std::vector<std::vector<int64_t>>& global_b) {
  nn::Rows made;
  const int64_t batch = static_cast<int64_t>(global_b.size());
  made.role_bt = Tensor::Zeros({batch, rows}, DType::kInt32);
  for (int64_t b = 0; b < batch; ++b) {
    for (const int64_t row : global_b[b])
      made.role_bt.mutable_data<int32_t>()[b * rows + row] = nn::kGlobalRole;
  }
  return made;
}

// A window that holds all rows is attention to all, in both directions and in one.
TEST(LongformerTest, AWindowOfTwiceTheLengthIsFullAttention) {
  const Tensor x = Input(2, 19);
  for (const nn::Direction direction : {nn::Direction::kBidirectional, nn::Direction::kCausal}) {
    LongformerConfig config = Config(38);
    config.set_global_projections(false);
    const Layer layer = Make(config, direction);
    nn::ParameterStore store;
    AttentionHostOptions options;
    options.heads = options.kv_heads = 2;
    options.head_width = kWidth / 2;
    LR_ASSERT_OK_AND_ASSIGN(const auto host,
                            AttentionHost::Create(std::move(options), ArgsOf(&store, direction)));
    ASSERT_THAT(store.Load(layer.store->Values()), IsOk());
    EXPECT_THAT(layer(x), RmsClose(host->Forward(x, nn::Rows(), nn::Call()), kFloat64Rms));
    EXPECT_THAT(Make(Config(4), direction)(x), Not(RmsClose(layer(x), 1e-3)));
  }
}

// So is a text of global rows alone; their own projections start as copies of the others.
TEST(LongformerTest, GlobalProjectionsStartAsCopies) {
  const Tensor x = Input(2, 11);
  std::vector<int64_t> all(11);
  for (int64_t t = 0; t < 11; ++t) all[t] = t;
  const Layer layer = Make(Config(2));
  LongformerConfig wide = Config(22);
  wide.set_global_projections(false);
  EXPECT_THAT(layer(x, Roles(11, {all, all})), RmsClose(Make(wide)(x), kFloat64Rms));
  EXPECT_THAT(layer.store->Find("w_global_k")->value, BitEqual(layer.store->Find("w_k")->value));
}

// Local rows see global keys through the local projections (section 3.1): those of their own are
// for the global rows alone.
TEST(LongformerTest, OwnProjectionsAreForGlobalRowsAlone) {
  const Tensor x = Input(1, 12);
  const nn::Rows roles = Roles(12, {{5}});
  const Layer layer = Make(Config(4));
  const Tensor before = layer(x, roles).Clone();
  for (const char* name : {"w_global_q", "w_global_k", "w_global_v"})
    layer.store->Find(name)->value.Fill(0.3);
  const Tensor after = layer(x, roles);
  for (int64_t t = 0; t < 12; ++t) {
    const auto row = [t](const Tensor& y) { return y.View({12, kWidth}).ViewRows(t, t + 1); };
    if (t == 5) {
      EXPECT_THAT(row(after), Not(BitEqual(row(before))));
    } else {
      EXPECT_THAT(row(after), BitEqual(row(before))) << t;
    }
  }
}

// Rows of the config are rows of that role; counted from the first real one and from behind the
// last.
TEST(LongformerTest, RowsOfTheConfigAreGlobalInEverySample) {
  const Tensor x = Input(2, 14);
  LongformerConfig config = Config(4);
  config.add_global_row(1);
  config.add_global_row(-2);
  config.add_global_row(20);
  const Layer by_config = Make(config), by_role = Make(Config(4));
  EXPECT_THAT(by_config(x), BitEqual(by_role(x, Roles(14, {{1, 12}, {1, 12}}))));
  EXPECT_THAT(by_config(x), Not(BitEqual(by_role(x))));
  nn::Rows padded, marked = Roles(14, {{4, 12}, {1, 8}});
  padded.begin_b = marked.begin_b = Tensor::FromVector<int64_t>({2}, {3, 0});
  padded.end_b = marked.end_b = Tensor::FromVector<int64_t>({2}, {14, 10});
  EXPECT_THAT(by_config(x, padded), BitEqual(by_role(x, marked)));
}

TEST(LongformerTest, WindowsAndDilationsOfALayer) {
  const Tensor x = Input(1, 30);
  LongformerConfig by_layer = Config(4);
  by_layer.add_window(8);
  by_layer.add_dilation()->add_head(1);
  LongformerDilation* second = by_layer.add_dilation();
  second->add_head(1);
  second->add_head(3);
  LongformerConfig alone = Config(8);
  *alone.add_dilation() = *second;
  const nn::Direction both = nn::Direction::kBidirectional;
  EXPECT_THAT(Make(by_layer, both, 1, 2)(x), BitEqual(Make(alone, both, 0, 2)(x)));
  EXPECT_THAT(Make(by_layer, both, 0, 2)(x), BitEqual(Make(Config(4), both, 0, 2)(x)));
  EXPECT_THAT(Create(by_layer, both, 0, 3).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "window: 2 of them (expected 1, or one for each of 3 layers)"));
}

TEST(LongformerTest, ACausalLayerHasNoGlobalRows) {
  LongformerConfig config = Config(4);
  config.add_global_row(0);
  EXPECT_THAT(Create(config, nn::Direction::kCausal).status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "global_row: 0 (expected none"));
  const Layer causal = Make(Config(4), nn::Direction::kCausal);
  EXPECT_THAT(causal.mixer->Supports(1, 6, Roles(6, {{0}}), nn::Call()),
              StatusIs(absl::StatusCode::kInvalidArgument, "knows no roles"));
  EXPECT_EQ(causal.store->Find("w_global_q"), nullptr);
}

// The ring holds what the widest head looks back, under padding on the left too.
TEST(LongformerTest, AStreamWithPaddingOnTheLeft) {
  LongformerConfig config = Config(6);
  LongformerDilation* dilation = config.add_dilation();
  dilation->add_head(1);
  dilation->add_head(4);
  const Layer layer = Make(config, nn::Direction::kCausal);
  const int64_t rows = 40;
  const Tensor x = Input(2, rows);
  nn::Rows padded;
  padded.begin_b = Tensor::FromVector<int64_t>({2}, {0, 5});
  const Tensor whole = layer(x, padded);
  nn::State state = layer.mixer->NewState(2);
  int64_t at = 0;
  for (const int64_t piece : {7, 1, 1, 20, 3, 8}) {
    Tensor part = Tensor::Empty({2, piece, kWidth}, DType::kFloat64),
           expected = Tensor::EmptyLike(part);
    for (int64_t b = 0; b < 2; ++b) {
      const auto rows_of = [&](const Tensor& t) {
        return t.View({2 * rows, kWidth}).ViewRows(b * rows + at, b * rows + at + piece);
      };
      part.View({2 * piece, kWidth}).ViewRows(b * piece, (b + 1) * piece).CopyFrom(rows_of(x));
      expected.View({2 * piece, kWidth})
          .ViewRows(b * piece, (b + 1) * piece)
          .CopyFrom(rows_of(whole));
    }
    EXPECT_THAT(layer.mixer->Extend(part, at == 0 ? padded : nn::Rows(), nn::Call(), &state),
                RmsClose(expected, kFloat64Rms))
        << "from row " << at;
    at += piece;
    EXPECT_EQ(state.Get("k").dim(1), std::min<int64_t>(at, 3 * 4));
  }
  EXPECT_EQ(at, rows);
}

TEST(LongformerNeedleTest, OneSymbolAtTheDistanceAskedFor) {
  LongformerNeedleConfig config;
  config.set_min_distance(3);
  config.set_max_distance(5);
  const BoundTask bound(config);
  EXPECT_EQ(bound.task().traits().chance, 0.125);
  std::vector<int64_t> seen(6, 0);
  for (int64_t index = 0; index < 60; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(12, index));
    ASSERT_EQ(example.ids.size(), 12u);
    std::vector<int64_t> symbols;
    for (int64_t t = 0; t < 12; ++t) {
      if (example.ids[t] < 8) symbols.push_back(t);
    }
    ASSERT_EQ(symbols.size(), 1u);
    const int64_t distance = 11 - symbols[0];
    ASSERT_TRUE(distance >= 3 && distance <= 5) << distance;
    ++seen[distance];
    EXPECT_EQ(example.target[11], example.ids[symbols[0]]);
    EXPECT_EQ(std::count(example.target.begin(), example.target.end(), -1), 11);
    EXPECT_THAT(example.answer_rows, ElementsAre(11));
    EXPECT_TRUE(example.role.empty());
  }
  for (const int64_t distance : {3, 4, 5}) EXPECT_GT(seen[distance], 8);
  EXPECT_THAT(bound.Make(5, 0), StatusIs(absl::StatusCode::kInvalidArgument, "expected 6 or more"));
  EXPECT_THAT(bound.Make(12, 0, 50), StatusIs(absl::StatusCode::kInvalidArgument, "depth: 50"));
}

// Example, batch, rows, layer: the role of the row that asks arrives.
TEST(LongformerNeedleTest, AMarkedQuestionIsAGlobalRow) {
  LongformerNeedleConfig plain, marking;
  marking.set_mark_question(true);
  const BoundTask unmarked(plain), marked(marking);
  const auto model_of = [](bool last_row_is_global) {
    LongformerConfig mixer;
    mixer.set_heads(2);
    mixer.add_window(2);
    mixer.set_init_std(0.4);
    if (last_row_is_global) mixer.add_global_row(-1);
    StackConfig stack;
    stack.set_layers(1);
    stack.mutable_mixer()->PackFrom(mixer);
    ModelConfig config;
    config.set_vocabulary(32);
    config.set_width(kWidth);
    config.set_init_std(0.5);
    config.set_direction(ModelConfig::BIDIRECTIONAL);
    config.mutable_backbone()->PackFrom(stack);
    auto model = Model::Create(config, ModelArgs());
    CHECK(model.ok()) << model.status();
    return *std::move(model);
  };
  const auto by_role = model_of(false), by_config = model_of(true);
  std::vector<Example> with, without;
  for (int64_t index = 0; index < 4; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(Example example, marked.Make(32, index));
    EXPECT_EQ(std::count(example.role.begin(), example.role.end(), nn::kGlobalRole), 1);
    EXPECT_EQ(example.role.back(), nn::kGlobalRole);
    with.push_back(std::move(example));
    LR_ASSERT_OK_AND_ASSIGN(example, unmarked.Make(32, index));
    EXPECT_EQ(example.ids, with.back().ids);
    without.push_back(std::move(example));
  }
  LR_ASSERT_OK_AND_ASSIGN(const auto role, Answer(*by_role, with, 2));
  LR_ASSERT_OK_AND_ASSIGN(const auto row, Answer(*by_config, without, 2));
  LR_ASSERT_OK_AND_ASSIGN(const auto none, Answer(*by_role, without, 2));
  for (size_t i = 0; i < role.size(); ++i) {
    EXPECT_EQ(role[i].logprob, row[i].logprob);
    EXPECT_NE(role[i].logprob, none[i].logprob);
  }
  // And in training.
  EXPECT_EQ(by_role->Loss(Collate(with), nn::Call()).item(),
            by_config->Loss(Collate(without), nn::Call()).item());
}

}  // namespace
}  // namespace longrange
