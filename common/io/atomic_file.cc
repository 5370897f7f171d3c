#include "common/io/atomic_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

constexpr char kTemporary[] = ".tmp.";  // TARGET.tmp.PROCESS.NUMBER

bool IsTemporary(absl::string_view name) {
  const size_t at = name.rfind(kTemporary);
  if (at == 0 || at == absl::string_view::npos) return false;
  const std::vector<absl::string_view> parts =
      absl::StrSplit(name.substr(at + strlen(kTemporary)), '.');
  return parts.size() == 2 && std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
           return !part.empty() && std::all_of(part.begin(), part.end(), absl::ascii_isdigit);
         });
}

absl::Status SystemError(absl::string_view action, absl::string_view path, int error) {
  const absl::Status status =
      absl::ErrnoToStatus(error, absl::StrCat("cannot ", action, " ", path));
  // absl has this one as OutOfRange, a mistake of the user; it is a quota.
  if (error == EFBIG) return absl::ResourceExhaustedError(status.message());
  return status;
}

// The directory part of a path, "." where there is none.
std::string DirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

absl::Status SyncDirectory(const std::string& directory) {
  const int fd = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return SystemError("open directory", directory, errno);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  // Some file systems (FUSE, network) have no sync of directories.
  if (error != 0 && error != EINVAL && error != ENOTSUP)
    return SystemError("sync directory", directory, error);
  return absl::OkStatus();
}

}  // namespace

AtomicFileWriter::AtomicFileWriter(std::string path, std::string temporary, int fd)
    : path_(std::move(path)), temporary_(std::move(temporary)), fd_(fd) {}

AtomicFileWriter::~AtomicFileWriter() {
  if (fd_ >= 0) close(fd_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::StatusOr<std::unique_ptr<AtomicFileWriter>> AtomicFileWriter::Create(absl::string_view path) {
  std::string target(path);
  if (target.empty()) return absl::InvalidArgumentError("cannot write a file without a name");
  struct stat info;
  if (lstat(target.c_str(), &info) == 0) {
    if (S_ISLNK(info.st_mode)) {
      char* resolved = realpath(target.c_str(), nullptr);
      if (resolved == nullptr) return SystemError("follow the link", target, errno);
      target = resolved;
      free(resolved);
      if (lstat(target.c_str(), &info) != 0) return SystemError("look at", target, errno);
    }
    // Renaming over a device or a pipe would destroy it.
    if (!S_ISREG(info.st_mode)) {
      return absl::FailedPreconditionError(
          absl::StrCat("cannot write ", target, ": it exists and is not a regular file"));
    }
  } else if (errno != ENOENT) {
    return SystemError("write", target, errno);
  }
  static std::atomic<int64_t> counter{0};
  while (true) {
    std::string temporary = absl::StrCat(target, kTemporary, getpid(), ".", counter.fetch_add(1));
    const int fd = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd >= 0) {
      return std::unique_ptr<AtomicFileWriter>(
          new AtomicFileWriter(std::move(target), std::move(temporary), fd));
    }
    // A killed process with the same id may have left one behind.
    if (errno != EEXIST) return SystemError("create", temporary, errno);
  }
}

absl::Status AtomicFileWriter::Fail(absl::string_view action, int error) {
  status_ = SystemError(action, path_, error);
  return status_;
}

absl::Status AtomicFileWriter::Append(absl::string_view bytes) {
  LR_RETURN_IF_ERROR(status_);
  if (fd_ < 0) return absl::FailedPreconditionError(absl::StrCat("append after commit: ", path_));
  while (!bytes.empty()) {
    const ssize_t n = write(fd_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return Fail("write", errno);
    bytes.remove_prefix(static_cast<size_t>(n));
    bytes_written_ += n;
  }
  return absl::OkStatus();
}

absl::Status AtomicFileWriter::Commit() {
  LR_RETURN_IF_ERROR(status_);
  if (fd_ < 0) return absl::FailedPreconditionError(absl::StrCat("a second commit: ", path_));
  if (fsync(fd_) != 0) return Fail("sync", errno);
  if (close(std::exchange(fd_, -1)) != 0) return Fail("close", errno);
  if (rename(temporary_.c_str(), path_.c_str()) != 0)
    return Fail("rename the new version over", errno);
  temporary_.clear();
  return SyncDirectory(DirectoryOf(path_));
}

absl::Status WriteFileAtomically(absl::string_view path, absl::string_view contents) {
  LR_ASSIGN_OR_RETURN(std::unique_ptr<AtomicFileWriter> writer, AtomicFileWriter::Create(path));
  LR_RETURN_IF_ERROR(writer->Append(contents));
  return writer->Commit();
}

absl::Status RemoveStaleTemporaries(absl::string_view directory) {
  if (!PathExists(directory)) return absl::OkStatus();
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDir(directory));
  for (const std::string& name : names) {
    const std::string path = absl::StrCat(directory, "/", name);
    struct stat info;
    if (!IsTemporary(name) || lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) continue;
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return SystemError("remove", path, errno);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadFile(absl::string_view path, int64_t max_bytes) {
  const std::string name(path);
  // Without O_NONBLOCK, opening a pipe would wait for its writer.
  const int fd = open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return SystemError("open", path, errno);
  std::string contents;
  absl::Status status;
  struct stat info;
  if (fstat(fd, &info) != 0) {
    status = SystemError("look at", path, errno);
  } else if (!S_ISREG(info.st_mode)) {
    status =
        absl::FailedPreconditionError(absl::StrCat("cannot read ", path, ": not a regular file"));
  } else if (info.st_size > max_bytes) {
    status =
        absl::ResourceExhaustedError(absl::StrCat("cannot read ", path, ": it has ", info.st_size,
                                                  " bytes, at most ", max_bytes, " are allowed"));
  } else {
    contents.resize(static_cast<size_t>(info.st_size));
    size_t done = 0;
    while (done < contents.size()) {
      const ssize_t n = read(fd, &contents[done], contents.size() - done);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) {
        status = SystemError("read", path, errno);
        break;
      }
      if (n == 0) break;  // it shrank
      done += static_cast<size_t>(n);
    }
    contents.resize(done);
  }
  close(fd);
  if (!status.ok()) return status;
  return contents;
}

absl::Status ForEachLine(
    absl::string_view path,
    absl::FunctionRef<absl::Status(absl::string_view line, absl::string_view what)> fn) {
  LR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  int64_t number = 1;
  for (size_t begin = 0; begin < text.size(); ++number) {
    const std::string what = absl::StrCat(path, ": line ", number);
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos)
      return absl::DataLossError(absl::StrCat(what, ": cut short, no end of line"));
    LR_RETURN_IF_ERROR(fn(absl::string_view(text).substr(begin, end - begin), what));
    begin = end + 1;
  }
  return absl::OkStatus();
}

bool PathExists(absl::string_view path) {
  struct stat info;
  return stat(std::string(path).c_str(), &info) == 0;
}

bool IsDirectory(absl::string_view path) {
  struct stat info;
  return stat(std::string(path).c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

absl::Status MakeDirs(absl::string_view path) {
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(std::string(path)), error);
  if (error) return SystemError("make directory", path, error.value());
  if (!IsDirectory(path)) return SystemError("make directory", path, ENOTDIR);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> ListDir(absl::string_view path) {
  DIR* dir = opendir(std::string(path).c_str());
  if (dir == nullptr) return SystemError("list directory", path, errno);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(dir)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
    errno = 0;
  }
  const int error = errno;
  closedir(dir);
  if (error != 0) return SystemError("list directory", path, error);
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status RenameDurably(absl::string_view from, absl::string_view to) {
  std::string target(to);
  while (target.size() > 1 && target.back() == '/') target.pop_back();
  if (rename(std::string(from).c_str(), target.c_str()) != 0) {
    return SystemError(absl::StrCat("rename ", from, " to"), to, errno);
  }
  return SyncDirectory(DirectoryOf(target));
}

absl::Status RemoveAll(absl::string_view path) {
  std::error_code error;
  std::filesystem::remove_all(std::filesystem::path(std::string(path)), error);
  if (error) return SystemError("remove", path, error.value());
  return absl::OkStatus();
}

absl::Status MakeOutFolder(absl::string_view folder) {
  if (PathExists(folder) && !IsDirectory(folder)) {
    return absl::FailedPreconditionError(
        absl::StrCat("--out: ", folder, " is a file (expected a folder, or nothing yet)"));
  }
  const absl::Status status = MakeDirs(folder);
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), "; give another --out"));
}

}  // namespace longrange
