#include "common/data/batches.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>
#include <string>

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Token i is i.
std::vector<int32_t> Counting(int32_t size) {
  std::vector<int32_t> tokens(static_cast<size_t>(size));
  std::iota(tokens.begin(), tokens.end(), 0);
  return tokens;
}

void ExpectWindows(const Batch& batch) {
  ASSERT_EQ(batch.ids_bt.shape(), batch.target_bt.shape());
  ASSERT_EQ(batch.ids_bt.dtype(), DType::kInt32);
  EXPECT_FALSE(batch.weight_bt.defined());
  const std::vector<int64_t> ids = batch.ids_bt.ToInts(), target = batch.target_bt.ToInts();
  const size_t length = static_cast<size_t>(batch.ids_bt.dim(1));
  for (size_t i = 0; i < ids.size(); ++i) {
    ASSERT_EQ(target[i], ids[i] + 1) << i;
    if (i % length != 0) {
      ASSERT_EQ(ids[i], ids[i - 1] + 1) << i;
    }
  }
}

TEST(RandomBatchTest, WindowsWithTheirNextTokens) {
  const std::vector<int32_t> tokens = Counting(1000);
  const absl::StatusOr<Batch> batch = RandomBatch(tokens, 8, 20, Rng(1), 0);
  ASSERT_TRUE(batch.ok()) << batch.status();
  EXPECT_EQ(batch->ids_bt.shape(), Shape({8, 20}));
  ExpectWindows(*batch);
}

TEST(RandomBatchTest, IsAFunctionOfKeyAndStep) {
  const std::vector<int32_t> tokens = Counting(100000);
  const auto ids = [&](int64_t batch, const Rng& rng, int64_t step) {
    return RandomBatch(tokens, batch, 16, rng, step)->ids_bt.ToInts();
  };
  EXPECT_EQ(ids(4, Rng(1), 7), ids(4, Rng(1), 7));
  EXPECT_NE(ids(4, Rng(1), 7), ids(4, Rng(1), 8));
  EXPECT_NE(ids(4, Rng(1), 7), ids(4, Rng(2), 7));
  std::vector<int64_t> head = ids(4, Rng(1), 7);
  head.resize(2 * 16);
  EXPECT_EQ(head, ids(2, Rng(1), 7));
}

TEST(RandomBatchTest, ReachesBothEndsOfTheText) {
  const std::vector<int32_t> tokens = Counting(12);
  std::set<int64_t> first;
  for (int64_t step = 0; step < 100; ++step) {
    const Batch batch = *RandomBatch(tokens, 2, 8, Rng(1), step);
    first.insert(batch.ids_bt.ToInts()[0]);
    ExpectWindows(batch);
  }
  EXPECT_THAT(first, ElementsAre(0, 1, 2, 3));
  EXPECT_TRUE(RandomBatch(tokens, 1, 11, Rng(1), 0).ok());
}

TEST(RandomBatchTest, RefusesTooShortATextAndBadSizes) {
  const std::vector<int32_t> tokens = Counting(12);
  const absl::Status status = RandomBatch(tokens, 1, 12, Rng(1), 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "the text has 12 tokens; a window of 12 needs 13");
  EXPECT_FALSE(RandomBatch(tokens, 0, 4, Rng(1), 0).ok());
  EXPECT_FALSE(RandomBatch(tokens, 4, 0, Rng(1), 0).ok());
  EXPECT_FALSE(RandomBatch({}, 1, 1, Rng(1), 0).ok());
}

TEST(TrackBatchTest, ReadsEachTrackOn) {
  const std::vector<int32_t> tokens = Counting(103);  // 3 tracks of 34 tokens: 4 steps of 8, 2 left
  EXPECT_EQ(TrackSteps(103, 3, 8), 4);
  std::set<int64_t> begins;
  for (int64_t pass = 0; pass < 40; ++pass) {
    std::vector<int64_t> before;
    for (int64_t step = 4 * pass; step < 4 * pass + 4; ++step) {
      const absl::StatusOr<Batch> batch = TrackBatch(tokens, 3, 8, Rng(1), step);
      ASSERT_TRUE(batch.ok()) << batch.status();
      ExpectWindows(*batch);
      const std::vector<int64_t> ids = batch->ids_bt.ToInts();
      for (size_t b = 0; b < 3; ++b) {
        if (step % 4 > 0) {
          EXPECT_EQ(ids[8 * b], before[8 * b + 7] + 1) << step;
        } else {
          EXPECT_EQ(ids[8 * b], ids[0] + 34 * static_cast<int64_t>(b)) << step;
        }
      }
      if (step % 4 == 0) begins.insert(ids[0]);
      EXPECT_EQ(ids, TrackBatch(tokens, 3, 8, Rng(1), step)->ids_bt.ToInts());
      before = ids;
    }
  }
  EXPECT_THAT(begins, ElementsAre(0, 1, 2));
}

TEST(TrackBatchTest, RefusesTooShortATextAndBadSizes) {
  EXPECT_EQ(TrackSteps(25, 3, 8), 1);
  EXPECT_EQ(TrackSteps(24, 3, 8), 0);
  EXPECT_TRUE(TrackBatch(Counting(25), 3, 8, Rng(1), 7).ok());
  const absl::Status status = TrackBatch(Counting(24), 3, 8, Rng(1), 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "the text has 24 tokens; 3 tracks of one step of 8 need 25");
  EXPECT_FALSE(TrackBatch(Counting(25), 0, 8, Rng(1), 0).ok());
  EXPECT_FALSE(TrackBatch(Counting(25), 3, 0, Rng(1), 0).ok());
  EXPECT_FALSE(TrackBatch({}, 1, 1, Rng(1), 0).ok());
}

TEST(EvaluationEndsTest, SpreadEvenlyWithoutOverlapWhereTheTextAllows) {
  EXPECT_THAT(*EvaluationEnds(Counting(101), 10, 4), ElementsAre(11, 41, 71, 101));
  EXPECT_THAT(*EvaluationEnds(Counting(41), 10, 4),
              ElementsAre(11, 21, 31, 41));  // 4 * 10 + 1: side by side
  EXPECT_THAT(*EvaluationEnds(Counting(40), 10, 4), ElementsAre(11, 20, 30, 40));
  EXPECT_THAT(*EvaluationEnds(Counting(14), 10, 4), ElementsAre(11, 12, 13, 14));
  EXPECT_THAT(*EvaluationEnds(Counting(50), 10, 1), ElementsAre(50));
  const absl::Status status = EvaluationEnds(Counting(13), 10, 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("the text has 13 tokens; 4 evaluation windows of 10 need at least 14"));
  EXPECT_FALSE(EvaluationEnds(Counting(13), 0, 4).ok());
  EXPECT_FALSE(EvaluationEnds(Counting(13), 4, 0).ok());
  EXPECT_FALSE(EvaluationEnds({}, 4, 1).ok());
}

TEST(WindowsEndingAtTest, EveryLengthEndsAtTheSamePlaces) {
  const std::vector<int32_t> tokens = Counting(500);
  const std::vector<int64_t> ends = *EvaluationEnds(tokens, 64, 5);
  for (const int64_t length : {1, 16, 64}) {
    const Batch batch = WindowsEndingAt(tokens, ends, length);
    EXPECT_EQ(batch.ids_bt.shape(), Shape({5, length}));
    ExpectWindows(batch);
    for (size_t b = 0; b < ends.size(); ++b) {
      const auto last = static_cast<size_t>(length) * (b + 1) - 1;
      EXPECT_EQ(batch.target_bt.ToInts()[last], ends[b] - 1);
    }
  }
  // Any part of the places is a batch of its own.
  const Batch part = WindowsEndingAt(tokens, absl::MakeConstSpan(ends).subspan(2, 2), 16);
  EXPECT_EQ(part.target_bt.ToInts()[15], ends[2] - 1);
}

TEST(WindowsEndingAtDeathTest, RefusesAWindowOutsideTheText) {
  EXPECT_DEATH(WindowsEndingAt(Counting(20), {10}, 10),
               "a window of 10 that ends at token 10 of 20");
  EXPECT_DEATH(WindowsEndingAt(Counting(20), {21}, 10), "ends at token 21");
}

}  // namespace
}  // namespace longrange
