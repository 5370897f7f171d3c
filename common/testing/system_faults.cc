#include "common/testing/system_faults.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <glog/logging.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

SystemFaults* active = nullptr;

}  // namespace

SystemFaults::SystemFaults(std::string folder, SystemFault fault)
    : folder_(std::move(folder)), fault_(fault) {
  CHECK(active == nullptr) << "faults within faults";
  active = this;
}

SystemFaults::~SystemFaults() { active = nullptr; }

bool SystemFaults::Concerns(const char* path) const {
  return path != nullptr && absl::StartsWith(path, folder_);
}

SystemFaults::Decision SystemFaults::Decide(const char* call, bool moves, bool changes,
                                            bool makes) {
  const int64_t n = calls_++;
  Decision decision;
  switch (fault_.kind) {
    case SystemFault::kNone:
      break;
    case SystemFault::kError:
      if (n == fault_.nth) decision = {Verdict::kFail, fault_.error};
      break;
    case SystemFault::kShort:
      if (n == fault_.nth && moves) decision = {Verdict::kHalf, 0};
      break;
    case SystemFault::kDiskFull:
      if (n < fault_.nth) break;
      if (makes || (moves && changes && full_)) decision = {Verdict::kFail, ENOSPC};
      if (moves && changes && !full_) {
        decision = {Verdict::kHalf, 0};
        full_ = true;
      }
      break;
    case SystemFault::kReadOnly:
      if (n >= fault_.nth && changes && !moves) decision = {Verdict::kFail, EROFS};
      break;
    case SystemFault::kDie:
      if (n < fault_.nth) break;
      if (!(moves && changes)) _exit(9);
      decision = {Verdict::kHalfAndDie, 0};
      break;
  }
  if (decision.verdict != Verdict::kGoOn && what_.empty()) what_ = absl::StrCat(call, " ", n);
  return decision;
}

namespace {

using Verdict = SystemFaults::Verdict;

template <typename Fn>
Fn* Real(const char* name) {
  Fn* found = reinterpret_cast<Fn*>(dlsym(RTLD_NEXT, name));
  CHECK(found != nullptr) << name;
  return found;
}

// A call that gives -1 or a null pointer for an error.
template <typename Result, typename Run>
Result Call(const char* name, bool concerned, bool changes, Result failed, const Run& run) {
  if (active == nullptr || !concerned) return run();
  const SystemFaults::Decision decision = active->Decide(name, /*moves=*/false, changes, false);
  if (decision.verdict != Verdict::kFail) return run();
  errno = decision.error;
  return failed;
}

template <typename Run>
ssize_t Move(const char* name, int fd, size_t count, bool changes, const Run& run) {
  if (active == nullptr || !active->Concerns(fd)) return run(count);
  const SystemFaults::Decision decision = active->Decide(name, /*moves=*/true, changes, false);
  switch (decision.verdict) {
    case Verdict::kGoOn:
      return run(count);
    case Verdict::kFail:
      errno = decision.error;
      return -1;
    case Verdict::kHalf:
      return run(count - count / 2);
    case Verdict::kHalfAndDie:
      run(count - count / 2);
      _exit(9);
  }
  return -1;
}

bool Ours(const char* path) { return active != nullptr && active->Concerns(path); }

}  // namespace
}  // namespace longrange

using longrange::active;
using longrange::Call;
using longrange::Move;
using longrange::Ours;
using longrange::Real;

extern "C" {

int open(const char* path, int flags, ...) {
  static auto* const real = Real<int(const char*, int, ...)>("open");
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list rest;
    va_start(rest, flags);
    mode = va_arg(rest, mode_t);
    va_end(rest);
  }
  if (!Ours(path)) return real(path, flags, mode);
  const bool writes = (flags & (O_WRONLY | O_RDWR)) != 0;
  const auto decision = active->Decide("open", false, writes, (flags & O_CREAT) != 0);
  if (decision.verdict == longrange::SystemFaults::Verdict::kFail) {
    errno = decision.error;
    return -1;
  }
  const int fd = real(path, flags, mode);
  if (fd >= 0) active->Opened(fd);
  return fd;
}

int close(int fd) {
  static auto* const real = Real<int(int)>("close");
  if (active == nullptr || !active->Concerns(fd)) return real(fd);
  active->Closed(fd);
  const int closed = real(fd);
  return Call("close", true, false, -1, [&] { return closed; });
}

ssize_t read(int fd, void* data, size_t count) {
  static auto* const real = Real<ssize_t(int, void*, size_t)>("read");
  return Move("read", fd, count, false, [&](size_t n) { return real(fd, data, n); });
}

ssize_t pread(int fd, void* data, size_t count, off_t at) {
  static auto* const real = Real<ssize_t(int, void*, size_t, off_t)>("pread");
  return Move("pread", fd, count, false, [&](size_t n) { return real(fd, data, n, at); });
}

ssize_t write(int fd, const void* data, size_t count) {
  static auto* const real = Real<ssize_t(int, const void*, size_t)>("write");
  return Move("write", fd, count, true, [&](size_t n) { return real(fd, data, n); });
}

int fsync(int fd) {
  static auto* const real = Real<int(int)>("fsync");
  return Call("fsync", active != nullptr && active->Concerns(fd), false, -1,
              [&] { return real(fd); });
}

int rename(const char* from, const char* to) {
  static auto* const real = Real<int(const char*, const char*)>("rename");
  return Call("rename", Ours(to), true, -1, [&] { return real(from, to); });
}

int unlink(const char* path) {
  static auto* const real = Real<int(const char*)>("unlink");
  return Call("unlink", Ours(path), true, -1, [&] { return real(path); });
}

int remove(const char* path) {
  static auto* const real = Real<int(const char*)>("remove");
  return Call("remove", Ours(path), true, -1, [&] { return real(path); });
}

int unlinkat(int directory, const char* path, int flags) {
  static auto* const real = Real<int(int, const char*, int)>("unlinkat");
  return Call("unlinkat", Ours(path), true, -1, [&] { return real(directory, path, flags); });
}

int mkdir(const char* path, mode_t mode) {
  static auto* const real = Real<int(const char*, mode_t)>("mkdir");
  return Call("mkdir", Ours(path), true, -1, [&] { return real(path, mode); });
}

DIR* opendir(const char* path) {
  static auto* const real = Real<DIR*(const char*)>("opendir");
  return Call("opendir", Ours(path), false, static_cast<DIR*>(nullptr), [&] { return real(path); });
}

}  // extern "C"
