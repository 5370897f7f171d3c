#include "common/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

class ProgressTest : public testing::Test {
 protected:
  ProgressOutput Output(bool is_terminal, int columns = 80) {
    ProgressOutput output;
    output.is_terminal = is_terminal;
    output.columns = columns;
    output.seconds = [this] { return now_; };
    output.write = [this](absl::string_view text) { written_.emplace_back(text); };
    return output;
  }

  double now_ = 100;
  std::vector<std::string> written_;
};

TEST_F(ProgressTest, LinesAreTenSecondsAndOnePercentApart) {
  Progress progress({"base", 1000}, Output(false));
  for (int second = 1; second <= 30; ++second) {
    now_ += 1;
    progress.Advance(10, 500, absl::StrCat("loss ", second));
  }
  EXPECT_THAT(written_, ElementsAre("base: 10 % (100/1000), 500 tokens/s, loss 10, 1:30 left\n",
                                    "base: 20 % (200/1000), 500 tokens/s, loss 20, 1:20 left\n",
                                    "base: 30 % (300/1000), 500 tokens/s, loss 30, 1:10 left\n"));
}

TEST_F(ProgressTest, LongRunsSaySomethingOnceAMinute) {
  Progress progress({"base", 1000000}, Output(false));
  for (int second = 0; second < 180; ++second) {
    now_ += 1;
    progress.Advance(1);
  }
  EXPECT_EQ(written_.size(), 3);
}

TEST_F(ProgressTest, ResumedStepsDoNotCountAsSpeed) {
  ProgressOptions options = {"base", 1000};
  options.done = 900;
  Progress progress(options, Output(false));
  now_ += 10;
  progress.Advance(10, 100);
  EXPECT_THAT(written_, ElementsAre("base: 91 % (910/1000), 10.0 tokens/s, 1:30 left\n"));
}

TEST_F(ProgressTest, FinishSummarises) {
  Progress progress({"tune", 100}, Output(false));
  now_ += 4;
  progress.Advance(100, 8000, "loss 1.5");
  EXPECT_THAT(written_, IsEmpty());
  progress.Finish();
  progress.Finish();
  progress.Advance(1);
  EXPECT_THAT(written_, ElementsAre("tune: 100/100 in 0:04, 2.00k tokens/s, loss 1.5\n"));
}

TEST_F(ProgressTest, UnknownTotal) {
  Progress progress({"scan"}, Output(false));
  now_ += 11;
  progress.Advance(5);
  progress.Finish();
  EXPECT_THAT(written_, ElementsAre("scan: 5\n", "scan: 5 in 0:11\n"));
}

TEST_F(ProgressTest, TheBarIsRedrawnTenTimesASecondAtMost) {
  {
    Progress progress({"base", 100}, Output(true));
    progress.Advance(1);
    EXPECT_EQ(written_.size(), 1);
    now_ += 0.05;
    progress.Advance(1);
    EXPECT_EQ(written_.size(), 1);
    now_ += 9.95;
    progress.Advance(48, 2500, "loss 2");
    ASSERT_EQ(written_.size(), 2);
    EXPECT_EQ(written_[1],
              "\r\x1b[Kbase  [==========>         ]  50 %  250 tokens/s  loss 2  0:10 left");
    progress.Print("note");
    ASSERT_EQ(written_.size(), 4);
    EXPECT_EQ(written_[2], "\r\x1b[Knote\n");
    EXPECT_EQ(written_[3], written_[1]);
  }
  EXPECT_EQ(written_.back(), "\n");  // never finished
}

TEST_F(ProgressTest, TheBarFitsTheTerminal) {
  for (const int columns : {0, 1, 10, 30, 45, 60, 80, 200}) {
    written_.clear();
    Progress progress({"a title of some length", 10}, Output(true, columns));
    now_ += 2;
    progress.Advance(5, 10, "loss 1.234");
    ASSERT_FALSE(written_.empty());
    EXPECT_LE(static_cast<int>(written_[0].size()), std::max(0, columns - 1) + 4)
        << columns;  // 4: "\r\x1b[K"
    progress.Finish();
    EXPECT_EQ(written_.back(),
              "\r\x1b[Ka title of some length: 5/10 in 0:02, 5.00 tokens/s, loss 1.234\n");
  }
}

TEST_F(ProgressTest, CutsBetweenLetters) {
  Progress progress({"\xC3\xA4\xC3\xB6\xC3\xBC", 10}, Output(true, 4));  // two bytes each
  progress.Advance(1);
  EXPECT_EQ(written_[0], "\r\x1b[K\xC3\xA4");
}

TEST_F(ProgressTest, QuietWritesNothing) {
  Progress progress({"base", 10}, ProgressOutput::Quiet());
  progress.Advance(5);
  progress.Print("note");
  progress.Finish();
}

TEST_F(ProgressTest, OneThreadAtATime) {
  constexpr int kThreads = 4, kSteps = 2000;
  ProgressOutput output = Output(true);
  // The clock is read within Advance: nobody else may be in there.
  std::atomic<bool> inside{false}, overlap{false}, go{false};
  output.seconds = [&] {
    if (inside.exchange(true)) overlap = true;
    std::this_thread::yield();
    inside = false;
    return now_;
  };
  Progress progress({"base", kThreads * kSteps}, output);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      while (!go) std::this_thread::yield();
      for (int i = 0; i < kSteps; ++i) progress.Advance(1, 2, "m");
    });
  }
  go = true;
  for (std::thread& thread : threads) thread.join();
  EXPECT_FALSE(overlap);
  now_ += 2;
  progress.Finish();
  EXPECT_THAT(written_.back(), HasSubstr("base: 8000/8000 in 0:02, 8.00k tokens/s, m\n"));
}

TEST(FormatTest, Durations) {
  EXPECT_EQ(FormatDuration(0), "0:00");
  EXPECT_EQ(FormatDuration(7.4), "0:07");
  EXPECT_EQ(FormatDuration(59.6), "1:00");
  EXPECT_EQ(FormatDuration(754), "12:34");
  EXPECT_EQ(FormatDuration(3723), "1:02:03");
  EXPECT_EQ(FormatDuration(-1), "0:00");
}

TEST(FormatTest, Counts) {
  EXPECT_EQ(FormatCount(0), "0.00");
  EXPECT_EQ(FormatCount(7.25), "7.25");
  EXPECT_EQ(FormatCount(9.999), "10.0");
  EXPECT_EQ(FormatCount(412.3), "412");
  EXPECT_EQ(FormatCount(999.7), "1.00k");
  EXPECT_EQ(FormatCount(41234), "41.2k");
  EXPECT_EQ(FormatCount(999600), "1.00M");
  EXPECT_EQ(FormatCount(1030000), "1.03M");
}

}  // namespace
}  // namespace longrange
