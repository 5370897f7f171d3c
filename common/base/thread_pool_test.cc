#include "common/base/thread_pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <thread>
#include <utility>
#include <vector>

namespace longrange {
namespace {

class ThreadPoolTest : public testing::TestWithParam<int> {
 protected:
  void SetUp() override { SetNumThreads(GetParam()); }
  void TearDown() override { SetNumThreads(0); }
};

INSTANTIATE_TEST_SUITE_P(Threads, ThreadPoolTest, testing::Values(1, 2, 3, 8));

TEST_P(ThreadPoolTest, UsesTheThreadsAskedFor) { EXPECT_EQ(NumThreads(), GetParam()); }

TEST_P(ThreadPoolTest, RunsEachTaskOnce) {
  for (const int64_t tasks : {0, 1, 2, 3, 7, 64, 1000}) {
    std::vector<std::atomic<int>> runs(static_cast<size_t>(tasks) + 1);
    ParallelFor(tasks, [&](int64_t task) { runs[static_cast<size_t>(task)].fetch_add(1); });
    for (int64_t task = 0; task < tasks; ++task)
      ASSERT_EQ(runs[static_cast<size_t>(task)], 1) << task << " of " << tasks;
    ASSERT_EQ(runs[static_cast<size_t>(tasks)], 0);
  }
}

TEST_P(ThreadPoolTest, IsDoneWhenItReturns) {
  // No atomics: what tasks wrote must be visible to the caller, and what the caller wrote to them.
  std::vector<int64_t> values(512, 0);
  for (int64_t round = 1; round <= 2000; ++round) {
    const int64_t size = 1 + round % static_cast<int64_t>(values.size());
    ParallelFor(size, [&](int64_t task) { values[static_cast<size_t>(task)] += task + round; });
    for (int64_t task = 0; task < size; ++task) {
      ASSERT_EQ(values[static_cast<size_t>(task)], task + round) << "round " << round;
      values[static_cast<size_t>(task)] = 0;
    }
  }
}

TEST_P(ThreadPoolTest, WaitsForTheSlowestThread) {
  const std::thread::id caller = std::this_thread::get_id();
  for (int round = 0; round < 20; ++round) {
    std::atomic<int> done{0};
    ParallelFor(16, [&](int64_t) {
      // The caller runs out of tasks while others are still at one.
      std::this_thread::sleep_for(
          std::chrono::microseconds(std::this_thread::get_id() == caller ? 100 : 3000));
      ++done;
    });
    ASSERT_EQ(done, 16);
  }
}

TEST_P(ThreadPoolTest, NestedTasksRunInOrderOnTheirThread) {
  std::vector<std::vector<int64_t>> order(20);
  std::vector<std::vector<std::thread::id>> threads(order.size());
  ParallelFor(static_cast<int64_t>(order.size()), [&](int64_t outer) {
    const auto at = static_cast<size_t>(outer);
    const std::thread::id mine = std::this_thread::get_id();
    ParallelFor(5, [&](int64_t inner) {
      order[at].push_back(inner);
      threads[at].push_back(std::this_thread::get_id());
      ParallelFor(2, [&](int64_t) {});
    });
    for (const std::thread::id id : threads[at]) EXPECT_EQ(id, mine);
  });
  for (const std::vector<int64_t>& inner : order)
    EXPECT_EQ(inner, (std::vector<int64_t>{0, 1, 2, 3, 4}));
}

TEST_P(ThreadPoolTest, ParallelAgainAfterNesting) {
  // A nested call must not leave its thread in the state "inside a task" or out of it too early.
  ParallelFor(4, [](int64_t) { ParallelFor(4, [](int64_t) {}); });
  std::atomic<int64_t> sum{0};
  ParallelFor(100,
              [&](int64_t task) { ParallelFor(10, [&](int64_t inner) { sum += task * inner; }); });
  EXPECT_EQ(sum, 4950 * 45);
}

TEST_P(ThreadPoolTest, RangesCoverTheSizeOnceAndByGrainAlone) {
  for (const auto& [size, grain] : std::vector<std::pair<int64_t, int64_t>>{
           {0, 4}, {1, 4}, {4, 4}, {5, 4}, {100, 7}, {3, 100}}) {
    std::vector<int> covered(static_cast<size_t>(size), 0);
    ParallelForRange(size, grain, [&](int64_t begin, int64_t end) {
      EXPECT_EQ(begin % grain, 0);
      EXPECT_EQ(end, std::min(size, begin + grain));
      for (int64_t i = begin; i < end; ++i) ++covered[static_cast<size_t>(i)];
    });
    for (const int count : covered) EXPECT_EQ(count, 1);
  }
}

TEST_P(ThreadPoolTest, CallersFromSeveralThreadsTakeTurns) {
  constexpr int kCallers = 4, kRounds = 300, kTasks = 17;
  std::vector<std::atomic<int64_t>> sums(kCallers);
  std::vector<std::thread> callers;
  for (int c = 0; c < kCallers; ++c) {
    callers.emplace_back([&sums, c] {
      for (int round = 0; round < kRounds; ++round) {
        ParallelFor(kTasks, [&](int64_t task) { sums[static_cast<size_t>(c)] += task; });
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  for (const std::atomic<int64_t>& sum : sums) EXPECT_EQ(sum, kRounds * kTasks * (kTasks - 1) / 2);
}

// The habit that keeps bits independent of the thread count: a partial result a task, added in task
// order.
TEST(ThreadPoolBitsTest, PartialSumsDoNotDependOnThreads) {
  std::vector<double> sums;
  for (const int threads : {1, 2, 5}) {
    SetNumThreads(threads);
    std::vector<double> partial(100);
    ParallelFor(100, [&](int64_t task) {
      double sum = 0;
      for (int64_t i = 0; i < 100; ++i) sum += std::sin(static_cast<double>(task * 100 + i));
      partial[static_cast<size_t>(task)] = sum;
    });
    sums.push_back(std::accumulate(partial.begin(), partial.end(), 0.0));
  }
  SetNumThreads(0);
  EXPECT_EQ(sums[0], sums[1]);
  EXPECT_EQ(sums[0], sums[2]);
}

TEST(ThreadPoolBitsTest, ThreadsComeAndGo) {
  std::atomic<int64_t> runs{0};
  for (int round = 0; round < 60; ++round) {
    SetNumThreads(1 + round % 4);
    ParallelFor(8, [&](int64_t) { ++runs; });
  }
  SetNumThreads(0);
  EXPECT_EQ(NumThreads(), NumProcessors());
  EXPECT_EQ(runs, 480);
}

}  // namespace
}  // namespace longrange
