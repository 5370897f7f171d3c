// A file that grows at its end, such as a log: what is appended is there for readers at once, and
// after a crash of the program. Only Sync() makes it outlast a power cut.

#ifndef LONGRANGE_COMMON_IO_APPEND_FILE_H_
#define LONGRANGE_COMMON_IO_APPEND_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

class AppendFile {
 public:
  // Opens or makes the file, and cuts off what lies behind its first `kept_bytes`. Errors name the
  // path and the system's reason.
  static absl::StatusOr<std::unique_ptr<AppendFile>> Open(const std::string& path,
                                                          int64_t kept_bytes = 0);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  // After an error the file may end in a part of `bytes`.
  absl::Status Append(absl::string_view bytes);
  absl::Status Sync();

 private:
  AppendFile(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::string path_;
  const int fd_;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_APPEND_FILE_H_
