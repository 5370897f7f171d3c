// What stands where in an example of each task.

#include <algorithm>
#include <memory>
#include <set>

#include "common/testing/matchers.h"
#include "common/testing/tensor_peak.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/mamba/mamba.pb.h"
#include "papers/mamba/tasks.pb.h"
#include "plugins/bound_task.h"
#include "plugins/model/answer.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;

TEST(SelectiveCopyingTest, DataStandsAmongNoiseAndIsWantedInOrder) {
  MambaSelectiveCopyingConfig config;
  config.set_data_tokens(4);
  const BoundTask bound(config);
  EXPECT_EQ(bound.vocabulary(), 16);
  EXPECT_EQ(bound.task().traits().chance, 1.0 / 14);
  std::set<int64_t> first_places;
  for (int64_t index = 0; index < 50; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(40, index));
    ASSERT_EQ(example.ids.size(), 40u);
    std::vector<int32_t> data;
    for (int64_t t = 0; t < 36; ++t) {
      EXPECT_EQ(example.target[t], -1);
      if (example.ids[t] == 0) continue;
      if (data.empty()) first_places.insert(t);
      EXPECT_LT(example.ids[t], 15);
      data.push_back(example.ids[t]);
    }
    ASSERT_EQ(data.size(), 4u);
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_EQ(example.ids[36 + i], 15);
      EXPECT_EQ(example.target[36 + i], data[i]);
    }
    EXPECT_THAT(example.answer_rows, ElementsAre(36, 37, 38, 39));
  }
  EXPECT_GT(first_places.size(), 10u);
  EXPECT_THAT(bound.Make(7, 0), StatusIs(absl::StatusCode::kInvalidArgument, "expected 8 or more"));
  EXPECT_THAT(bound.Make(40, 0, 50), StatusIs(absl::StatusCode::kInvalidArgument, "depth: 50"));
}

// Every place is as likely, the last ones too.
TEST(SelectiveCopyingTest, PlacesAreUniform) {
  MambaSelectiveCopyingConfig config;
  config.set_data_tokens(3);
  const BoundTask bound(config);
  constexpr int64_t kExamples = 4000, kPlaces = 10;
  std::vector<int64_t> count(kPlaces, 0);
  for (int64_t index = 0; index < kExamples; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(kPlaces + 3, index));
    for (int64_t t = 0; t < kPlaces; ++t) count[t] += example.ids[t] != 0;
  }
  // 0.3 of the examples each, standard deviation sqrt(0.21 n) = 29.
  for (const int64_t n : count) EXPECT_NEAR(n, 0.3 * kExamples, 150);
}

TEST(SelectiveCopyingTest, OrdinaryCopyingHasItsDataFirst) {
  MambaSelectiveCopyingConfig config;
  config.set_data_tokens(4);
  config.set_selective(false);
  config.set_exact(true);
  const BoundTask bound(config);
  LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(12, 0));
  for (int64_t t = 0; t < 8; ++t) EXPECT_EQ(example.ids[t] != 0, t < 4);
  EXPECT_EQ(bound.task().Score(example, {{0, 0, 0, 0}, {1, 1, 0, 1}}), 0);
  EXPECT_EQ(bound.task().Score(example, {{0, 0, 0, 0}, {1, 1, 1, 1}}), 1);
  config.set_exact(false);
  EXPECT_EQ(BoundTask(config).task().Score(example, {{0, 0, 0, 0}, {1, 1, 0, 1}}), 0.75);
}

TEST(InductionHeadsTest, WantedIsWhatFollowedTheSpecialToken) {
  const BoundTask bound{MambaInductionHeadsConfig()};
  EXPECT_EQ(bound.vocabulary(), 16);
  EXPECT_EQ(bound.task().traits().chance, 1.0 / 15);
  std::set<int64_t> places;
  for (int64_t index = 0; index < 200; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(11, index));
    ASSERT_EQ(example.ids.size(), 11u);
    EXPECT_EQ(std::count(example.ids.begin(), example.ids.end(), 15), 2);
    EXPECT_EQ(example.ids.back(), 15);
    const int64_t place =
        std::find(example.ids.begin(), example.ids.end(), 15) - example.ids.begin();
    places.insert(place);
    EXPECT_LE(place, 8);
    EXPECT_EQ(example.target.back(), example.ids[place + 1]);
    EXPECT_EQ(std::count(example.target.begin(), example.target.end(), -1), 10);
    EXPECT_THAT(example.answer_rows, ElementsAre(10));
    EXPECT_NEAR(example.axes.at("depth"), 100.0 * static_cast<double>(place) / 8, 1e-9);
  }
  EXPECT_EQ(places.size(), 9u);
  LR_ASSERT_OK_AND_ASSIGN(const Example middle, bound.Make(11, 0, 50));
  EXPECT_EQ(middle.ids[4], 15);
  EXPECT_THAT(bound.Make(2, 0), StatusIs(absl::StatusCode::kInvalidArgument, "expected 3 or more"));
}

TEST(InductionHeadsTest, AnExampleOfAMillionRowsIsMade) {
  const BoundTask bound{MambaInductionHeadsConfig()};
  LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(1 << 20, 1));
  EXPECT_EQ(std::count(example.ids.begin(), example.ids.end(), 15), 2);
  EXPECT_GE(example.target.back(), 0);
}

// Bytes of tensors at the most while one example is answered.
int64_t PeakBytes(const Model& model, const Example& example, int64_t piece) {
  return PeakTensorBytes([&] {
    const auto replies = Answer(model, {example}, 1, piece);
    CHECK(replies.ok()) << replies.status();
  });
}

TEST(InductionHeadsTest, MambaReadsAnyLengthAtTheMemoryOfAPiece) {
  const BoundTask bound{MambaInductionHeadsConfig()};
  StackConfig stack;
  stack.set_layers(2);
  stack.mutable_mixer()->PackFrom(MambaConfig());
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::NONE);
  ModelConfig config;
  config.set_vocabulary(16);
  config.set_width(16);
  config.mutable_backbone()->PackFrom(stack);
  LR_ASSERT_OK_AND_ASSIGN(const auto model, Model::Create(config, ModelArgs()));
  LR_ASSERT_OK_AND_ASSIGN(const Example shorter, bound.Make(256, 0));
  LR_ASSERT_OK_AND_ASSIGN(const Example longer, bound.Make(8192, 0));
  PeakBytes(*model, shorter, 64);  // what is made once
  const int64_t one = PeakBytes(*model, shorter, 64);
  EXPECT_GT(one, 0);
  EXPECT_EQ(PeakBytes(*model, longer, 64), one);
  EXPECT_GT(PeakBytes(*model, longer, 0), 20 * one);
}

}  // namespace
}  // namespace longrange
