#include "common/base/process_memory.h"

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/paths.h"
#include "common/base/progress.h"

namespace longrange {
namespace process_memory_internal {

int64_t FindKilobytes(absl::string_view text, absl::string_view key) {
  const std::string start = absl::StrCat(key, ":");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    int64_t kilobytes = 0;
    if (absl::ConsumePrefix(&line, start) && absl::ConsumeSuffix(&line, "kB") &&
        absl::SimpleAtoi(absl::StripAsciiWhitespace(line), &kilobytes)) {
      return kilobytes * 1024;
    }
  }
  return 0;
}

}  // namespace process_memory_internal

int64_t ProcessPeakBytes() {
  return process_memory_internal::FindKilobytes(ReadWholeFile("/proc/self/status").value_or(""),
                                                "VmHWM");
}

int64_t AvailableBytes() {
  return process_memory_internal::FindKilobytes(ReadWholeFile("/proc/meminfo").value_or(""),
                                                "MemAvailable");
}

absl::Status RequireMemory(double needed, absl::string_view what, absl::string_view advice) {
  const double available = static_cast<double>(AvailableBytes());
  if (available == 0 || needed <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(what, " needs ", FormatCount(needed),
                                                   "B of memory, and the machine has ",
                                                   FormatCount(available), "B left; ", advice));
}

}  // namespace longrange
