#include "common/base/interrupt.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

namespace longrange {
namespace {

// Signals change the process for good: each case runs in one of its own.
TEST(InterruptDeathTest, TheFirstSignalAsks) {
  EXPECT_EXIT(
      {
        CatchInterrupts();
        const bool before = Interrupted();
        raise(SIGTERM);
        _exit(!before && Interrupted() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "interrupted: saving");
}

TEST(InterruptDeathTest, TheSecondOneEnds) {
  EXPECT_EXIT(
      {
        CatchInterrupts();
        raise(SIGTERM);
        raise(SIGINT);
        _exit(0);
      },
      testing::KilledBySignal(SIGINT), "interrupted: saving");
}

TEST(InterruptDeathTest, IgnoredStaysIgnored) {
  EXPECT_EXIT(
      {
        signal(SIGINT, SIG_IGN);
        CatchInterrupts();
        raise(SIGINT);
        raise(SIGINT);
        _exit(Interrupted() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace longrange
