// What the paper says in closed form: forced patterns score 1, identity circuits copy, keys that
// are not smeared are plain attention's, and ablation with kept patterns is ablation where nothing
// lies behind.

#include <google/protobuf/text_format.h>

#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/induction_heads/behaviour.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "papers/induction_heads/scores.h"
#include "plugins/attention/attention_host.h"
#include "plugins/bound_task.h"
#include "plugins/probe.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

constexpr int64_t kVocabulary = 24, kWidth = 24;

google::protobuf::Any ParseAny(const std::string& text) {
  google::protobuf::Any any;
  CHECK(google::protobuf::TextFormat::ParseFromString(text, &any)) << text;
  return any;
}

absl::StatusOr<std::unique_ptr<Model>> MakeModel(int layers, const std::string& mixer_fields,
                                                 const std::string& stack_fields = "") {
  ModelConfig config;
  config.set_vocabulary(kVocabulary);
  config.set_width(kWidth);
  config.set_init_std(0.5);
  *config.mutable_backbone() = ParseAny(absl::StrCat(
      "[type.googleapis.com/longrange.StackConfig] { layers: ", layers,
      " feed_forward { kind: NONE } norm { kind: LAYER } ", stack_fields,
      " mixer { [type.googleapis.com/longrange.InductionHeadsSmearedConfig] { heads: 2 init_std: "
      "0.4 ",
      mixer_fields, " } } }"));
  ModelArgs args;
  args.init = Rng(1);
  return Model::Create(config, args);
}

absl::StatusOr<std::unique_ptr<Probe>> MakeProbe(const std::string& text) {
  return Registry<Probe>::Get().Create(ParseAny(text), Probe::Args());
}

constexpr char kHeads[] =
    "[type.googleapis.com/longrange.InductionHeadsConfig] { random { sequences: 2 block: 7 "
    "repeats: "
    "3 start_token: 0 first_token: 1 } late: 15 early: 4 }";
constexpr char kAblation[] =
    "[type.googleapis.com/longrange.InductionHeadsAblationConfig] { random { sequences: 2 block: 7 "
    "repeats: 3 start_token: 0 first_token: 1 } late: 15 early: 4 }";

ProbeArgs Args() {
  ProbeArgs args;
  args.ids_bt = RandomIds({3, 16}, Rng(2), kVocabulary, DType::kInt32);
  return args;
}

// The value of a figure, of all heads or of one.
double ValueOf(const std::vector<Row>& rows, const std::string& figure, int64_t layer = -1,
               int64_t head = -1) {
  for (const Row& row : rows) {
    if (*row.String("figure") == figure && row.Integer("layer").value_or(-1) == layer &&
        row.Integer("head").value_or(-1) == head)
      return *row.Number("value");
  }
  ADD_FAILURE() << "no figure " << figure << " of layer " << layer << ", head " << head;
  return std::nan("");
}

// Puts a pattern, shared among its keys, in the place of the maps of one layer; what has none looks
// at the first key.
std::function<Tensor(absl::string_view, const Tensor&)> Force(
    const std::string& path, std::function<induction_heads::Pattern(int64_t rows)> of) {
  return [=](absl::string_view at, const Tensor& value) {
    if (at != path) return value;
    const int64_t rows = value.dim(3);
    const induction_heads::Pattern pattern = of(rows);
    Tensor forced = Tensor::Zeros(value.shape());
    for (int64_t i = 0; i < value.numel(); i += rows) {
      const int64_t query = i / rows % rows;
      int64_t count = 0;
      for (int64_t key = 0; key < rows; ++key) count += pattern.Has(query, key) ? 1 : 0;
      for (int64_t key = 0; key < rows; ++key) {
        const double share = count > 0 ? (pattern.Has(query, key) ? 1.0 / count : 0) : key == 0;
        forced.mutable_data<float>()[i + key] = static_cast<float>(share);
      }
    }
    return forced;
  };
}

// Blocks of seven behind a start token: a repeated token came seven rows before.
induction_heads::Pattern RepeatsOfSeven(int64_t rows) {
  std::vector<int32_t> ids = {0};
  for (int64_t t = 1; t < rows; ++t) ids.push_back(static_cast<int32_t>(1 + (t - 1) % 7));
  return induction_heads::Induction(ids);
}

TEST(InductionHeadsTest, APerfectHeadScoresOne) {
  LR_ASSERT_OK_AND_ASSIGN(const auto model, MakeModel(2, ""));
  LR_ASSERT_OK_AND_ASSIGN(const auto probe, MakeProbe(kHeads));
  ProbeArgs args = Args();
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> free, probe->Measure(*model, args));
  EXPECT_LT(ValueOf(free, "best_prefix_matching"), 0.5);
  args.intervene = Force("layers.1.mixer/attention", RepeatsOfSeven);
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> forced, probe->Measure(*model, args));
  EXPECT_NEAR(ValueOf(forced, "best_prefix_matching"), 1, 1e-6);
  EXPECT_NEAR(ValueOf(forced, "prefix_matching", 1, 0), 1, 1e-6);
  EXPECT_EQ(ValueOf(forced, "prefix_matching", 0, 1), ValueOf(free, "prefix_matching", 0, 1));
  // Seven queries have one earlier copy, seven have two: 7 (1) + 14 (1/2) over 21 entries.
  EXPECT_NEAR(ValueOf(forced, "prefix_matching_entry", 1, 1), 14. / 21, 1e-6);

  args.intervene = Force("layers.0.mixer/attention", induction_heads::PreviousToken);
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> previous, probe->Measure(*model, args));
  EXPECT_NEAR(ValueOf(previous, "best_previous_token"), 1, 1e-6);
}

TEST(InductionHeadsTest, IdentityCircuitsCopy) {
  for (const double sign : {1.0, -1.0}) {
    LR_ASSERT_OK_AND_ASSIGN(const auto model, MakeModel(1, "head_width: 24"));
    for (const nn::Parameter& p : model->parameters().all()) {
      const bool output = p.name == "layers.0.mixer.w_o";
      if (!output && p.name != "layers.0.mixer.w_v" && p.name != "embedding" && p.name != "output")
        continue;
      p.value.Fill(0);
      const int64_t columns = p.value.dim(1);
      for (int64_t i = 0; i < std::max(p.value.dim(0), columns); ++i) {
        p.value.mutable_data<float>()[i % p.value.dim(0) * columns + i % columns] =
            output ? static_cast<float>(sign) : 1;
      }
    }
    LR_ASSERT_OK_AND_ASSIGN(const auto probe, MakeProbe(kHeads));
    LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, Args()));
    for (const int64_t head : {0, 1}) {
      EXPECT_NEAR(ValueOf(rows, "copying", 0, head), sign > 0 ? 1 : 0, 1e-6);
      EXPECT_NEAR(ValueOf(rows, "copying_eigenvalues", 0, head), sign, 1e-6);
      EXPECT_NEAR(ValueOf(rows, "copying_circuit_eigenvalues", 0, head), sign, 1e-6);
    }
  }
}

TEST(InductionHeadsTest, LossesAreThoseOfTheRows) {
  LR_ASSERT_OK_AND_ASSIGN(const auto model, MakeModel(1, ""));
  ProbeArgs args = Args();
  args.target_bt = RandomIds({3, 16}, Rng(3), kVocabulary, DType::kInt32);
  args.answer_bt = Tensor::Zeros({3, 16}, DType::kUInt8);
  for (int64_t i = 0; i < 48; i += 3) args.answer_bt.mutable_data<uint8_t>()[i] = 1;
  LR_ASSERT_OK_AND_ASSIGN(const auto probe, MakeProbe(kHeads));
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, args));
  const std::vector<double> nll =
      model->Score(args.ids_bt, args.target_bt, nn::Rows(), nn::Call()).nll_bt.ToDoubles();
  double answers = 0, others = 0, late = 0, early = 0;
  for (int64_t i = 0; i < 48; ++i)
    (i % 3 == 0 ? answers : others) += nll[i] / (i % 3 == 0 ? 16 : 32);
  for (int64_t b = 0; b < 3; ++b) late += nll[16 * b + 13] / 3, early += nll[16 * b + 2] / 3;
  EXPECT_NEAR(ValueOf(rows, "answer_loss"), answers, 1e-5);
  EXPECT_NEAR(ValueOf(rows, "other_loss"), others, 1e-5);
  // Token 15 is predicted by row 13, counted from 0.
  EXPECT_NEAR(ValueOf(rows, "in_context_score"), late - early, 1e-5);
}

TEST(InductionHeadsTest, RefusesSequencesThatAreTooShortByName) {
  LR_ASSERT_OK_AND_ASSIGN(const auto model, MakeModel(1, ""));
  const auto refused = [&](const char* fields, const char* why) {
    LR_ASSERT_OK_AND_ASSIGN(
        const auto probe,
        MakeProbe(
            absl::StrCat("[type.googleapis.com/longrange.InductionHeadsConfig] { ", fields, " }")));
    EXPECT_THAT(probe->Measure(*model, Args()), StatusIs(absl::StatusCode::kInvalidArgument, why));
  };
  refused("late: 17 early: 4 random { block: 7 }",
          "late: 17 (expected 0, for no score, or at most");
  refused("late: 0", "random.block: 25 (expected at most the 24 tokens");
  refused("late: 0 random { block: 5 last_token: 24 }", "random.last_token: 24");
  refused("late: 0 random { block: 5 start_token: 30 }", "random.start_token: 30");
}

TEST(AblationTest, NothingLiesBehindTheLastLayer) {
  LR_ASSERT_OK_AND_ASSIGN(const auto model, MakeModel(2, ""));
  LR_ASSERT_OK_AND_ASSIGN(const auto probe, MakeProbe(kAblation));
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, Args()));
  for (const int64_t head : {0, 1}) {
    EXPECT_NEAR(ValueOf(rows, "ablated", 1, head), ValueOf(rows, "kept_patterns", 1, head), 1e-5);
    EXPECT_GT(std::abs(ValueOf(rows, "ablated", 0, head) - ValueOf(rows, "kept_patterns", 0, head)),
              1e-5);
    EXPECT_GT(std::abs(ValueOf(rows, "in_context_ablated", 0, head)), 1e-5);
  }
  const double matching = ValueOf(rows, "matching_heads");
  EXPECT_GE(matching, 1);
  EXPECT_LE(matching, 4);
  EXPECT_GT(std::abs(ValueOf(rows, "ablated_matching")), 1e-5);
}

// A head that writes nothing is missed by nobody, and one whose values do not matter is missed
// through the patterns behind it alone.
TEST(AblationTest, AHeadThatWritesNothingIsNotMissed) {
  LR_ASSERT_OK_AND_ASSIGN(const auto model, MakeModel(2, ""));
  const Tensor w_o = model->parameters().Find("layers.0.mixer.w_o")->value;
  for (int64_t d = 0; d < kWidth; ++d) {
    for (int64_t i = 0; i < kWidth / 2; ++i) w_o.mutable_data<float>()[d * kWidth + i] = 0;
  }
  LR_ASSERT_OK_AND_ASSIGN(const auto probe, MakeProbe(kAblation));
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, Args()));
  EXPECT_NEAR(ValueOf(rows, "ablated", 0, 0), 0, 1e-6);
  EXPECT_NEAR(ValueOf(rows, "kept_patterns", 0, 0), 0, 1e-6);
  EXPECT_GT(std::abs(ValueOf(rows, "ablated", 0, 1)), 1e-4);
}

// The layer by itself, and the same attention without a filter of its keys.
TEST(SmearedTest, AllOfTheOwnKeyIsPlainAttention) {
  const Tensor x = RandomNormal({2, 9, kWidth}, Rng(4), 1);
  const auto layer = [&](double alpha) -> Tensor {
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng(5))};
    args.width = kWidth;
    auto mixer = Registry<Mixer>::Get().Create(
        ParseAny(absl::StrCat(
            "[type.googleapis.com/longrange.InductionHeadsSmearedConfig] { heads: 2 init_std: 0.4 "
            "init_alpha: ",
            alpha, " }")),
        args);
    CHECK(mixer.ok()) << mixer.status();
    const NoGradScope no_grad;
    return (*mixer)->Forward(x, nn::Rows(), nn::Call());
  };
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(5))};
  args.width = kWidth;
  AttentionHostOptions options;
  options.heads = options.kv_heads = 2;
  options.head_width = kWidth / 2;
  options.init_std = 0.4;
  LR_ASSERT_OK_AND_ASSIGN(const auto plain, AttentionHost::Create(std::move(options), args));
  const NoGradScope no_grad;
  const Tensor expected = plain->Forward(x, nn::Rows(), nn::Call());
  EXPECT_THAT(layer(40), RmsClose(expected, kFloat32ForwardRms));
  // Half of each key is the one before: further off than 1 %, which is no tolerance but a distance.
  EXPECT_FALSE(testing::Matches(RmsClose(expected, 1e-2))(layer(0)));
}

TEST(PositionsTest, BelongToAttentionAndHaveAnEnd) {
  const std::string positions =
      "position { [type.googleapis.com/longrange.InductionHeadsPositionsConfig] { positions: 12 } "
      "}";
  LR_ASSERT_OK_AND_ASSIGN(const auto model, MakeModel(2, positions));
  const nn::Parameter* table = model->parameters().Find("shared.induction_heads_positions.table");
  ASSERT_NE(table, nullptr);  // one for both layers
  EXPECT_EQ(table->value.shape(), (Shape{12, kWidth}));
  EXPECT_THAT(model->Supports(1, 12, nn::Rows(), nn::Call()), IsOk());
  EXPECT_THAT(model->Supports(1, 13, nn::Rows(), nn::Call()),
              StatusIs(absl::StatusCode::kInvalidArgument, "13 tokens; this layer takes 1 to 12"));
  EXPECT_THAT(MakeModel(1, "", positions),
              StatusIs(absl::StatusCode::kInvalidArgument, "positions"));
}

TEST(RepeatsTest, BlocksOfEverySizeRepeat) {
  InductionHeadsRepeatsConfig config;
  config.set_vocabulary(9);
  config.set_least_block(3);
  config.set_most_block(5);
  const BoundTask bound(config);
  std::set<int64_t> blocks;
  for (int64_t i = 0; i < 40; ++i) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(12, i));
    const auto block = static_cast<int64_t>(example.axes.at("block"));
    blocks.insert(block);
    ASSERT_EQ(example.ids.size(), 12u);
    EXPECT_EQ(example.ids[0], 0);
    // Row `block` has the last token of the first block; the next one came before.
    ASSERT_EQ(example.answer_rows.front(), block + 1);
    EXPECT_EQ(example.answer_rows.size(), static_cast<size_t>(11 - block));
    for (int64_t t = 1; t < 12; ++t) {
      EXPECT_GT(example.ids[t], 0);
      EXPECT_EQ(example.target[t - 1], example.ids[t]);
      EXPECT_EQ(example.ids[t], example.ids[t > block ? t - block : t]);
    }
  }
  EXPECT_EQ(blocks, (std::set<int64_t>{3, 4, 5}));
  EXPECT_THAT(bound.Make(4, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, "length: 4 (expected 5 or more"));
}

TEST(ScoresTest, FlatMapsAndEmptyPatterns) {
  const std::vector<int32_t> ids = {1, 2, 3};
  const std::vector<double> map = {1, 0, 0, 0.5, 0.5, 0, 0.25, 0.25, 0.5};
  EXPECT_EQ(induction_heads::MeanEntry(map, induction_heads::Induction(ids)), 0);
  EXPECT_EQ(induction_heads::MeanRowMass(map, induction_heads::Induction(ids)), 0);
  EXPECT_DOUBLE_EQ(induction_heads::MeanEntry(map, induction_heads::PreviousToken(3)), 0.375);
  // A token twice in a row: the second one's own place follows the first.
  EXPECT_TRUE(induction_heads::Induction({4, 4}).Has(1, 1));
  EXPECT_EQ(induction_heads::PositiveEigenvalues({0, -2, 2, 0}, 2), 0);
  EXPECT_DOUBLE_EQ(induction_heads::PositiveEigenvalues({3, 0, 0, -1}, 2), 0.5);
}

}  // namespace
}  // namespace longrange
