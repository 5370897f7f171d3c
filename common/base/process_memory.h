// Memory of this process and of the machine, as Linux tells it.

#ifndef LONGRANGE_COMMON_BASE_PROCESS_MEMORY_H_
#define LONGRANGE_COMMON_BASE_PROCESS_MEMORY_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longrange {

// The most memory this process ever held, code and libraries included; 0: not known.
int64_t ProcessPeakBytes();

// What the machine can still give without swapping; 0: not known.
int64_t AvailableBytes();

// ResourceExhausted where the machine has less left than `needed` bytes: "`what` needs 8 GB of
// memory, and the machine has 4 GB left; `advice`".
absl::Status RequireMemory(double needed, absl::string_view what, absl::string_view advice);

namespace process_memory_internal {
// The bytes of a line "Key:   123 kB" in a file as /proc/self/status; 0 where there is none.
int64_t FindKilobytes(absl::string_view text, absl::string_view key);
}  // namespace process_memory_internal

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_PROCESS_MEMORY_H_
