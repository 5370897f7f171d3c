// Files that are there in full or not at all, and the few directory operations around them.
//
// A write goes to a sibling of the target, is synced, renamed over the target, and the directory is
// synced: a reader sees the old bytes or the new ones, also after a crash or a power cut. Errors
// name the path and the system's reason.

#ifndef LONGRANGE_COMMON_IO_ATOMIC_FILE_H_
#define LONGRANGE_COMMON_IO_ATOMIC_FILE_H_

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

// A new version of one file, written piece by piece. Without Commit() the destructor removes what
// was written and the target keeps its old content. Where the target is a symbolic link, the file
// it points to is replaced.
class AtomicFileWriter {
 public:
  // FailedPrecondition where something other than a regular file is in the way.
  static absl::StatusOr<std::unique_ptr<AtomicFileWriter>> Create(absl::string_view path);
  ~AtomicFileWriter();
  AtomicFileWriter(const AtomicFileWriter&) = delete;
  AtomicFileWriter& operator=(const AtomicFileWriter&) = delete;

  // After an error the writer only repeats that error.
  absl::Status Append(absl::string_view bytes);
  // Makes the new content the file's content. To be called once, as the last thing.
  absl::Status Commit();

  int64_t bytes_written() const { return bytes_written_; }

 private:
  AtomicFileWriter(std::string path, std::string temporary, int fd);
  absl::Status Fail(absl::string_view action, int error);

  std::string path_;
  std::string temporary_;  // empty once it has been renamed or removed
  int fd_;
  int64_t bytes_written_ = 0;
  absl::Status status_;
};

absl::Status WriteFileAtomically(absl::string_view path, absl::string_view contents);

// Removes what writers that were killed have left in a directory (not below it): regular files
// named TARGET.tmp.PROCESS.NUMBER. For whoever knows that nobody writes there now, as the holder of
// a lock does. OK where the directory is not there.
absl::Status RemoveStaleTemporaries(absl::string_view directory);

// The whole of a regular file; ResourceExhausted where it is larger than max_bytes.
absl::StatusOr<std::string> ReadFile(absl::string_view path,
                                     int64_t max_bytes = std::numeric_limits<int64_t>::max());

// Calls fn with each line of a file, without its end, and with "PATH: line N" for messages; stops
// at the first error. A last line without its end was cut short: DataLoss.
absl::Status ForEachLine(
    absl::string_view path,
    absl::FunctionRef<absl::Status(absl::string_view line, absl::string_view what)> fn);

// Whether anything is there (a dangling link is nothing).
bool PathExists(absl::string_view path);
bool IsDirectory(absl::string_view path);

// The directory and its parents, as far as they are missing.
absl::Status MakeDirs(absl::string_view path);
// The same for the folder that a user named by --out. FailedPrecondition: a file is in its place.
absl::Status MakeOutFolder(absl::string_view folder);

// Names (not paths) in a directory, sorted, without . and ..
absl::StatusOr<std::vector<std::string>> ListDir(absl::string_view path);

// Renames a file or a directory and syncs the target's directory: how a directory of several files
// is published at once. A target that is a file is replaced; one that is a directory must be empty.
absl::Status RenameDurably(absl::string_view from, absl::string_view to);

// Removes a file, or a directory with all its content; links are removed, not followed. OK where
// nothing is there.
absl::Status RemoveAll(absl::string_view path);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_ATOMIC_FILE_H_
