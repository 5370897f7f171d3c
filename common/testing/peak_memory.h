// How much memory reading takes, for tests of the bound that all readers of files keep:
//   EXPECT_LE(PeakMemoryOf([&] { ReadSafetensors(path).IgnoreError(); }),
//             MaxReadingMemory(file_bytes));

#ifndef LONGRANGE_COMMON_TESTING_PEAK_MEMORY_H_
#define LONGRANGE_COMMON_TESTING_PEAK_MEMORY_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace longrange {

// False under sanitizers: their shadow, and what they keep of freed memory, would be counted.
bool CanMeasurePeakMemory();

// Bytes by which the resident memory of a child process grows at most while it runs `read`.
int64_t PeakMemoryOf(absl::FunctionRef<void()> read);

// Twice the file and 64 MB.
constexpr int64_t MaxReadingMemory(int64_t file_bytes) {
  return 2 * file_bytes + (int64_t{64} << 20);
}

}  // namespace longrange

// At the beginning of a test that measures.
#define LR_SKIP_WITHOUT_PEAK_MEMORY() \
  if (!CanMeasurePeakMemory())        \
  GTEST_SKIP() << "under a sanitizer its shadow and quarantine would be measured"

#endif  // LONGRANGE_COMMON_TESTING_PEAK_MEMORY_H_
