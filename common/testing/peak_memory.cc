#include "common/testing/peak_memory.h"

#include <glog/logging.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "common/tensor/allocator.h"

namespace longrange {
namespace {

// A line of /proc/self/status, in bytes: "VmHWM:", "VmRSS:".
int64_t StatusBytes(const std::string& key) {
  std::ifstream file("/proc/self/status");
  std::string word;
  int64_t kilobytes = -1;
  while (file >> word) {
    if (word == key) file >> kilobytes;
  }
  CHECK_GE(kilobytes, 0) << key;
  return kilobytes << 10;
}

}  // namespace

bool CanMeasurePeakMemory() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return false;
#else
  return true;
#endif
}

int64_t PeakMemoryOf(absl::FunctionRef<void()> read) {
  // Memory that lies free already would not be seen to be used.
  ReleaseCached();
  malloc_trim(0);
  int pipes[2];
  PCHECK(pipe(pipes) == 0);
  const pid_t child = fork();
  PCHECK(child >= 0);
  if (child == 0) {
    // The child's peak begins at what is resident when it is made.
    const int64_t before = StatusBytes("VmRSS:");
    read();
    const int64_t growth = StatusBytes("VmHWM:") - before;
    const bool written = write(pipes[1], &growth, sizeof(growth)) == sizeof(growth);
    _exit(written ? 0 : 1);
  }
  close(pipes[1]);
  int64_t growth = -1;
  const ssize_t count = ::read(pipes[0], &growth, sizeof(growth));
  close(pipes[0]);
  int status = 0;
  PCHECK(waitpid(child, &status, 0) == child);
  CHECK(count == sizeof(growth) && status == 0) << "the reader ended with status " << status;
  return growth;
}

}  // namespace longrange
