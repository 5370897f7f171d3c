// Where things lie, whoever started the program: `bazel run` (which changes the working directory),
// `bazel test`, or a shell.

#ifndef LONGRANGE_COMMON_BASE_PATHS_H_
#define LONGRANGE_COMMON_BASE_PATHS_H_

#include <cstdint>
#include <limits>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

// A path as the user meant it: absolute and without "." and "..", a relative one resolved against
// the directory in which `bazel run` was typed (BUILD_WORKING_DIRECTORY) or else the working
// directory; "~/" is the home folder. Empty stays empty.
std::string UserPath(absl::string_view path);

// `.out/<study>` in the workspace (BUILD_WORKSPACE_DIRECTORY), without Bazel in the working
// directory.
std::string DefaultOut(absl::string_view study);

// A file or folder of the repository that is in the binary's `data`, e.g.
// "experiments/speed/protocol.textproto". Looked for among the runfiles (of the test, of the
// environment, next to the executable), then in the working directory and in the workspace.
// NotFound: in none of them.
absl::StatusOr<std::string> RunfilePath(absl::string_view path);

// ~/.cache/longrange, and the folder of the installed corpora:
// ${LONGRANGE_CORPORA:-~/.cache/longrange/corpora}.
std::string CacheDir();
std::string CorporaDir();

// The bytes of a file. NotFound, PermissionDenied, ...: says which file and why. InvalidArgument
// where there are more than max_bytes.
absl::StatusOr<std::string> ReadWholeFile(const std::string& path,
                                          int64_t max_bytes = std::numeric_limits<int64_t>::max());

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_PATHS_H_
