#include "common/base/interrupt.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <initializer_list>

namespace longrange {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a signal handler may not lock");

void Handle(int) {
  interrupted.store(true, std::memory_order_relaxed);
  constexpr char kText[] = "\ninterrupted: saving what is done; once more stops at once\n";
  const ssize_t written = write(STDERR_FILENO, kText, sizeof(kText) - 1);
  static_cast<void>(written);
  signal(SIGINT, SIG_DFL);
  signal(SIGTERM, SIG_DFL);
}

}  // namespace

void CatchInterrupts() {
  for (const int number : {SIGINT, SIGTERM}) {
    struct sigaction now = {};
    if (sigaction(number, nullptr, &now) == 0 && now.sa_handler == SIG_IGN) continue;
    struct sigaction wanted = {};
    wanted.sa_handler = Handle;
    wanted.sa_flags = SA_RESTART;
    sigemptyset(&wanted.sa_mask);
    sigaction(number, &wanted, nullptr);
  }
}

bool Interrupted() { return interrupted.load(std::memory_order_relaxed); }

}  // namespace longrange
