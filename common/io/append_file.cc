#include "common/io/append_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

absl::Status SystemError(absl::string_view action, const std::string& path) {
  return absl::ErrnoToStatus(errno, absl::StrCat("cannot ", action, " ", path));
}

}  // namespace

absl::StatusOr<std::unique_ptr<AppendFile>> AppendFile::Open(const std::string& path,
                                                             int64_t kept_bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (fd < 0) return SystemError("write", path);
  std::unique_ptr<AppendFile> file(new AppendFile(path, fd));
  if (ftruncate(fd, kept_bytes) != 0) return SystemError("shorten", path);
  return file;
}

AppendFile::~AppendFile() { close(fd_); }

absl::Status AppendFile::Append(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(fd_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return SystemError("write", path_);
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status AppendFile::Sync() {
  return fdatasync(fd_) == 0 ? absl::OkStatus() : SystemError("sync", path_);
}

}  // namespace longrange
