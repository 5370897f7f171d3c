#include "common/testing/fuzz.h"

#include <glog/logging.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "absl/strings/str_cat.h"

namespace longrange {
namespace {

// Removes the folder when the process exits.
class Scratch {
 public:
  Scratch() {
    const char* parent = std::getenv("TEST_TMPDIR");
    path_ = absl::StrCat(parent == nullptr ? "/tmp" : parent, "/fuzz.XXXXXX");
    PCHECK(mkdtemp(&path_[0]) != nullptr) << path_;
  }
  ~Scratch() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace

std::string FuzzFile(absl::string_view bytes) {
  static const int file = memfd_create("fuzz", MFD_CLOEXEC);
  PCHECK(file >= 0);
  PCHECK(ftruncate(file, 0) == 0);
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n =
        pwrite(file, bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    PCHECK(n > 0);
    done += static_cast<size_t>(n);
  }
  return absl::StrCat("/proc/self/fd/", file);
}

std::string FuzzFolder() {
  static const Scratch scratch;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.path()))
    std::filesystem::remove_all(entry.path());
  return scratch.path();
}

}  // namespace longrange
