// What stands where in an example of each task.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "common/testing/matchers.h"
#include "papers/recurrent_memory_transformer/tasks.pb.h"
#include "plugins/bound_task.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;

TEST(Copy, TheSourceIsWantedAgain) {
  RecurrentMemoryTransformerCopyConfig config;
  config.set_symbols(5);
  for (const int64_t times : {1, 2}) {
    for (const bool reverse : {false, true}) {
      config.set_times(times);
      config.set_reverse(reverse);
      const BoundTask bound(config);
      EXPECT_EQ(bound.vocabulary(), 6);
      EXPECT_EQ(bound.task().traits().chance, 0.2);
      LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(4 * (1 + times), 3));
      const std::vector<int32_t> source(example.ids.begin(), example.ids.begin() + 4);
      for (const int32_t id : source) EXPECT_LT(id, 5);
      std::vector<int32_t> wanted;
      for (int64_t i = 0; i < times; ++i) {
        std::vector<int32_t> once = source;
        if (reverse) std::reverse(once.begin(), once.end());
        wanted.insert(wanted.end(), once.begin(), once.end());
      }
      EXPECT_EQ(example.ids[4], 5);  // the start token
      for (size_t i = 0; i < wanted.size(); ++i) {
        EXPECT_EQ(example.target[4 + i], wanted[i]);
        EXPECT_EQ(example.answer_rows[i], static_cast<int64_t>(4 + i));
        if (i > 0) {
          EXPECT_EQ(example.ids[4 + i], wanted[i - 1]);
        }
      }
      EXPECT_EQ(std::count(example.target.begin(), example.target.end(), -1), 4);
    }
  }
}

TEST(Copy, LengthsAreMultiples) {
  const BoundTask bound{RecurrentMemoryTransformerCopyConfig()};
  EXPECT_TRUE(bound.Make(72, 0).ok());
  EXPECT_THAT(bound.Make(73, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, "length: 73 (expected a multiple of 3"));
  EXPECT_THAT(bound.Make(72, 0, 50), StatusIs(absl::StatusCode::kInvalidArgument, "depth: 50"));
}

TEST(AssociativeRetrieval, OneOfThePairsIsAskedFor) {
  RecurrentMemoryTransformerAssociativeRetrievalConfig config;
  config.set_pairs(3);
  config.set_keys(4);
  config.set_values(5);
  const BoundTask bound(config);
  // Values 0 to 4, keys 5 to 8, noise 9, the question 10.
  EXPECT_EQ(bound.vocabulary(), 11);
  EXPECT_EQ(bound.task().traits().chance, 0.2);
  std::set<int32_t> keys_seen;
  std::set<int64_t> places, asked;
  for (int64_t index = 0; index < 300; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(20, index));
    const std::vector<int32_t>& ids = example.ids;
    ASSERT_EQ(ids.size(), 20u);
    EXPECT_EQ(ids[19], 10);
    EXPECT_THAT(example.answer_rows, ElementsAre(19));
    std::set<int32_t> keys;
    int64_t pair = 0;
    for (int64_t t = 0; t < 18; ++t) {
      if (ids[t] == 9) continue;
      EXPECT_EQ(t / 6, pair) << "in its third of the rows";
      ASSERT_TRUE(ids[t] >= 5 && ids[t] <= 8) << ids[t];
      EXPECT_TRUE(keys.insert(ids[t]).second) << "a key twice";
      ASSERT_LT(ids[t + 1], 5);
      if (ids[t] == ids[18]) {
        EXPECT_EQ(example.target[19], ids[t + 1]);
        EXPECT_EQ(example.axes.at("depth"), 50.0 * static_cast<double>(pair));
        asked.insert(pair);
      }
      places.insert(t);
      keys_seen.insert(ids[t]);
      ++t;
      ++pair;
    }
    EXPECT_EQ(pair, 3);
    EXPECT_EQ(keys.count(ids[18]), 1u);
  }
  EXPECT_EQ(keys_seen.size(), 4u);
  EXPECT_EQ(places.size(), 15u);  // five in each third
  EXPECT_EQ(asked.size(), 3u);
}

TEST(AssociativeRetrieval, ThePapersHasNoNoise) {
  const BoundTask bound{RecurrentMemoryTransformerAssociativeRetrievalConfig()};
  LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(10, 0, 100));
  EXPECT_EQ(std::count(example.ids.begin(), example.ids.end(), 36), 0);
  EXPECT_EQ(example.ids[8], example.ids[6]);
  EXPECT_EQ(example.target[9], example.ids[7]);
  EXPECT_THAT(bound.Make(9, 0),
              StatusIs(absl::StatusCode::kInvalidArgument, "expected 10 or more"));
}

TEST(Carry, OneSymbolStandsInTheFirstRows) {
  RecurrentMemoryTransformerCarryConfig config;
  config.set_window(4);
  const BoundTask bound(config);
  EXPECT_EQ(bound.vocabulary(), 16);
  std::set<int64_t> places;
  for (int64_t index = 0; index < 100; ++index) {
    LR_ASSERT_OK_AND_ASSIGN(const Example example, bound.Make(12, index));
    int64_t symbols = 0;
    for (int64_t t = 0; t < 12; ++t) {
      if (example.ids[t] >= 8) continue;
      ++symbols;
      places.insert(t);
      EXPECT_EQ(example.target[11], example.ids[t]);
    }
    EXPECT_EQ(symbols, 1);
    EXPECT_THAT(example.answer_rows, ElementsAre(11));
  }
  EXPECT_THAT(places, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(bound.Make(3, 0), StatusIs(absl::StatusCode::kInvalidArgument, "length: 3"));
}

}  // namespace
}  // namespace longrange
