#include "common/base/paths.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

namespace fs = std::filesystem;

constexpr char kWorkspaceName[] =
    "longrange";  // of WORKSPACE: the runfiles lie in a folder of that name

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string WorkingDirectory() {
  std::error_code error;
  const fs::path path = fs::current_path(error);
  return error ? "." : path.string();
}

// "/a//b/../c/" -> "/a/c".
std::string Normal(const std::string& path) {
  std::string normal = fs::path(path).lexically_normal().string();
  while (normal.size() > 1 && normal.back() == '/') normal.pop_back();
  return normal;
}

std::string HomeDir() {
  const std::string home = Environment("HOME");
  if (!home.empty()) return home;
  const passwd* entry = getpwuid(getuid());
  return entry != nullptr && entry->pw_dir != nullptr ? entry->pw_dir : "/";
}

}  // namespace

std::string UserPath(absl::string_view path) {
  if (path.empty()) return "";
  if (path == "~" || absl::StartsWith(path, "~/"))
    return Normal(absl::StrCat(HomeDir(), path.substr(1)));
  if (path[0] == '/') return Normal(std::string(path));
  const std::string typed_in = Environment("BUILD_WORKING_DIRECTORY");
  return Normal(absl::StrCat(typed_in.empty() ? WorkingDirectory() : typed_in, "/", path));
}

std::string DefaultOut(absl::string_view study) {
  const std::string workspace = Environment("BUILD_WORKSPACE_DIRECTORY");
  return Normal(absl::StrCat(workspace.empty() ? WorkingDirectory() : workspace, "/.out/", study));
}

absl::StatusOr<std::string> RunfilePath(absl::string_view path) {
  std::vector<std::string> roots;
  for (const char* name : {"TEST_SRCDIR", "RUNFILES_DIR"}) {
    const std::string folder = Environment(name);
    if (!folder.empty()) roots.push_back(absl::StrCat(folder, "/", kWorkspaceName));
  }
  std::error_code error;
  // Where the program was built, whatever link it was started through.
  const fs::path executable = fs::read_symlink("/proc/self/exe", error);
  if (!error) roots.push_back(absl::StrCat(executable.string(), ".runfiles/", kWorkspaceName));
  roots.push_back(WorkingDirectory());
  const std::string workspace = Environment("BUILD_WORKSPACE_DIRECTORY");
  if (!workspace.empty()) roots.push_back(workspace);
  for (const std::string& root : roots) {
    const std::string candidate = absl::StrCat(root, "/", path);
    if (fs::exists(candidate, error)) return Normal(candidate);
  }
  return absl::NotFoundError(
      absl::StrCat("the program's data file '", path, "' is not next to it (", executable.string(),
                   ".runfiles) nor under ", WorkingDirectory(),
                   "; start the program with bazel run or from the repository's root"));
}

std::string CacheDir() { return Normal(absl::StrCat(HomeDir(), "/.cache/longrange")); }

std::string CorporaDir() {
  const std::string folder = Environment("LONGRANGE_CORPORA");
  return folder.empty() ? absl::StrCat(CacheDir(), "/corpora") : UserPath(folder);
}

absl::StatusOr<std::string> ReadWholeFile(const std::string& path, int64_t max_bytes) {
  const auto error = [&path] {
    const int number = errno;
    return absl::ErrnoToStatus(number, absl::StrCat("cannot read ", path));
  };
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return error();
  std::string bytes;
  struct stat facts;
  if (fstat(file, &facts) == 0 && S_ISREG(facts.st_mode))
    bytes.reserve(static_cast<size_t>(std::min<int64_t>(facts.st_size, max_bytes)) + 1);
  std::vector<char> part(1 << 20);
  for (;;) {
    const ssize_t count = read(file, part.data(), part.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const absl::Status status = error();
      close(file);
      return status;
    }
    if (count == 0) break;
    if (static_cast<int64_t>(bytes.size()) + count > max_bytes) {
      close(file);
      return absl::InvalidArgumentError(
          absl::StrCat("cannot read ", path, ": expected at most ", max_bytes, " bytes"));
    }
    bytes.append(part.data(), static_cast<size_t>(count));
  }
  close(file);
  return bytes;
}

}  // namespace longrange
