#include "common/base/process_memory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace longrange {
namespace {

TEST(ProcessMemory, FindsALineByItsWholeKey) {
  constexpr char kStatus[] = "Name:\tx\nVmPeak:\t   9 kB\nVmHWM:\t    1536 kB\nThreads:\t2\n";
  using process_memory_internal::FindKilobytes;
  EXPECT_EQ(FindKilobytes(kStatus, "VmHWM"), 1536 * 1024);
  EXPECT_EQ(FindKilobytes(kStatus, "HWM"), 0);
  EXPECT_EQ(FindKilobytes(kStatus, "Threads"), 0);  // no size
}

TEST(ProcessMemory, PeakCountsWhatWasTouched) {
  const int64_t before = ProcessPeakBytes();
  constexpr size_t kBytes = size_t{64} << 20;
  const std::vector<char> touched(kBytes, 1);
  EXPECT_GE(ProcessPeakBytes(), before + static_cast<int64_t>(kBytes) / 2);
  EXPECT_EQ(touched.back(), 1);
  EXPECT_GT(AvailableBytes(), 0);
}

TEST(ProcessMemory, WhatDoesNotFitIsRefused) {
  EXPECT_TRUE(RequireMemory(1, "a step", "take a smaller one").ok());
  const absl::Status refused = RequireMemory(1e15, "a step", "take a smaller one");
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()),
              testing::MatchesRegex("a step needs 1000TB of memory, and the machine has .*B left; "
                                    "take a smaller one"));
}

}  // namespace
}  // namespace longrange
