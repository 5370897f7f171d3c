#include "common/base/trace.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <mutex>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace longrange {
namespace trace_internal {

std::atomic<bool> enabled{false};

int64_t Nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace trace_internal

namespace {

constexpr size_t kBuffered = size_t{1} << 18;  // bytes
constexpr int64_t kWait = 1000000000;          // between writes, in ns, at most
constexpr char kEnd[] = "\n]\n";

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + '"';
}

// The file: an array of events. Each write replaces the closing bracket of the one before.
struct Trace {
  std::mutex mutex;
  std::string path;
  int fd = -1;
  int64_t start = 0, written_at = 0;  // ns
  int64_t size = 0;                   // of the file without its end
  std::string buffer;                 // events to come, each behind a comma but for the first
  int64_t events = 0;
  int64_t details = 0, most_details = 0, dropped = 0;  // spans that are no phases
  absl::Status status;

  void Add(absl::string_view event) {
    absl::StrAppend(&buffer, events++ == 0 ? "[\n" : ",\n", event);
  }

  void Write() {
    std::string bytes = absl::StrCat(buffer, kEnd);
    size_t done = 0;
    while (status.ok() && done < bytes.size()) {
      const ssize_t n =
          pwrite(fd, bytes.data() + done, bytes.size() - done, size + static_cast<int64_t>(done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) status = absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
      if (n > 0) done += static_cast<size_t>(n);
    }
    size += static_cast<int64_t>(buffer.size());
    buffer.clear();
    written_at = trace_internal::Nanoseconds();
  }
};

Trace& GetTrace() {
  static auto* trace = new Trace;  // never destroyed: threads may outlive statics
  return *trace;
}

// Threads are numbered as they come; the first is the one that started the trace.
int ThreadNumber() {
  static std::atomic<int> next{1};
  static thread_local const int number = next++;
  return number;
}

std::string NameEvent(absl::string_view what, int thread, absl::string_view name) {
  return absl::StrFormat(R"({"ph":"M","name":"%s","pid":1,"tid":%d,"args":{"name":%s}})", what,
                         thread, Quoted(name));
}

constexpr const char* kKinds[] = {"kernel", "operation", "phase"};

}  // namespace

absl::Status StartTrace(const std::string& path, absl::string_view process_name,
                        int64_t most_details) {
  Trace& trace = GetTrace();
  std::lock_guard<std::mutex> lock(trace.mutex);
  if (trace.fd >= 0) return absl::FailedPreconditionError("a trace runs already");
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", path));
  trace.path = path;
  trace.fd = fd;
  trace.start = trace_internal::Nanoseconds();
  trace.size = trace.events = trace.details = trace.dropped = 0;
  trace.most_details = most_details;
  trace.status = absl::OkStatus();
  trace.Add(NameEvent("process_name", ThreadNumber(), process_name));
  trace.Write();
  trace_internal::enabled.store(true, std::memory_order_relaxed);
  return absl::OkStatus();
}

absl::Status StopTrace() {
  trace_internal::enabled.store(false, std::memory_order_relaxed);
  Trace& trace = GetTrace();
  std::lock_guard<std::mutex> lock(trace.mutex);
  if (trace.fd < 0) return absl::OkStatus();
  if (trace.dropped > 0) {
    trace.Add(absl::StrFormat(
        R"({"ph":"i","name":"%d spans of kernels and operations were left out","s":"g","ts":%.3f,"pid":1,"tid":1})",
        trace.dropped, static_cast<double>(trace_internal::Nanoseconds() - trace.start) / 1e3));
  }
  trace.Write();
  if (close(trace.fd) != 0 && trace.status.ok())
    trace.status = absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", trace.path));
  trace.fd = -1;
  return trace.status;
}

void TraceSpan::End() const {
  const int64_t end = trace_internal::Nanoseconds();
  const int thread = ThreadNumber();
  Trace& trace = GetTrace();
  std::lock_guard<std::mutex> lock(trace.mutex);
  if (trace.fd < 0) return;  // it ended within the span
  if (kind_ != kPhase && trace.details++ >= trace.most_details) {
    ++trace.dropped;
    return;
  }
  trace.Add(
      absl::StrFormat(R"({"ph":"X","name":%s,"cat":"%s","ts":%.3f,"dur":%.3f,"pid":1,"tid":%d})",
                      Quoted(name_), kKinds[kind_], static_cast<double>(begin_ - trace.start) / 1e3,
                      static_cast<double>(end - begin_) / 1e3, thread));
  if (trace.buffer.size() >= kBuffered || end - trace.written_at >= kWait) trace.Write();
}

}  // namespace longrange
