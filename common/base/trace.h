// Where the time goes: spans of phases, operations and kernels, written while the program runs as
// Chrome's JSON trace events, which https://ui.perfetto.dev and chrome://tracing open.
//
//   const TraceSpan span("GemmForward");   // until the end of the scope
//
// Without a trace a span costs one relaxed load. The file is valid JSON whenever a reader looks,
// also after a kill. Its size is bounded as that of memory is: after a million spans of kernels and
// operations only those of phases go on.

#ifndef LONGRANGE_COMMON_BASE_TRACE_H_
#define LONGRANGE_COMMON_BASE_TRACE_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longrange {

namespace trace_internal {
extern std::atomic<bool> enabled;
int64_t Nanoseconds();
}  // namespace trace_internal

// Starts the one trace of the process, into a new file, with at most `most_details` spans that are
// no phases. An error names the path and the reason.
absl::Status StartTrace(const std::string& path, absl::string_view process_name,
                        int64_t most_details = 1000000);
// Writes what is left and closes the file. A file that could not be written in full is an error.
// Nothing where no trace was started.
absl::Status StopTrace();

// The name must outlive the span.
class TraceSpan {
 public:
  enum Kind { kKernel, kOperation, kPhase };

  explicit TraceSpan(absl::string_view name, Kind kind = kKernel) {
    if (!trace_internal::enabled.load(std::memory_order_relaxed)) return;
    name_ = name;
    kind_ = kind;
    begin_ = trace_internal::Nanoseconds();
  }
  ~TraceSpan() {
    if (begin_ >= 0) End();
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

 private:
  void End() const;

  absl::string_view name_;
  Kind kind_ = kKernel;
  int64_t begin_ = -1;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_TRACE_H_
