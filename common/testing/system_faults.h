// System calls on files that fail on purpose, with no seam in the code under test: a test that
// links this has its own open, write, fsync, ... before those of the C library, and they do as they
// are told for files under one folder.
//
//   for (int64_t n = 0;; ++n) {
//     const SystemFaults faults(folder, {SystemFault::kError, n, EIO});
//     const absl::Status status = Save(folder);
//     if (!faults.hit()) break;  // there are only n calls
//     EXPECT_THAT(status, ...) << faults.what();
//   }

#ifndef LONGRANGE_COMMON_TESTING_SYSTEM_FAULTS_H_
#define LONGRANGE_COMMON_TESTING_SYSTEM_FAULTS_H_

#include <cstdint>
#include <set>
#include <string>

namespace longrange {

struct SystemFault {
  enum Kind {
    kNone,      // calls are only counted
    kError,     // call `nth` fails with `error` and does nothing (close does close)
    kShort,     // a read or write at call `nth` moves half of its bytes, at least one
    kDiskFull,  // from call `nth` on a write moves half of its bytes and the next one has ENOSPC;
                // no file can be made
    kReadOnly,  // from call `nth` on whatever would change the folder has EROFS
    kDie,       // the process ends at call `nth`, a write after half of its bytes
  };
  Kind kind = kNone;
  int64_t nth = 0;  // from 0
  int error = 0;
};

// One at a time, in a test of one thread.
class SystemFaults {
 public:
  SystemFaults(std::string folder, SystemFault fault);
  ~SystemFaults();
  SystemFaults(const SystemFaults&) = delete;
  SystemFaults& operator=(const SystemFaults&) = delete;

  int64_t calls() const { return calls_; }
  bool hit() const { return !what_.empty(); }        // has a call been changed?
  const std::string& what() const { return what_; }  // the first of them: "fsync 7"

  // For the calls themselves. What a call is to do: go on, go on with half of its bytes, or fail
  // with an error; a process that is to die does so after half a write.
  enum class Verdict { kGoOn, kHalf, kFail, kHalfAndDie };
  struct Decision {
    Verdict verdict = Verdict::kGoOn;
    int error = 0;
  };
  bool Concerns(const char* path) const;
  bool Concerns(int fd) const { return fds_.count(fd) > 0; }
  void Opened(int fd) { fds_.insert(fd); }
  void Closed(int fd) { fds_.erase(fd); }
  // `moves`: reads or writes bytes; `changes`: what is in the folder; `makes`: a new file.
  Decision Decide(const char* call, bool moves, bool changes, bool makes);

 private:
  const std::string folder_;
  const SystemFault fault_;
  int64_t calls_ = 0;
  bool full_ = false;
  std::string what_;
  std::set<int> fds_;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TESTING_SYSTEM_FAULTS_H_
