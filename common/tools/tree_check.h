// What must be true of the source tree and Bazel cannot see: lists that name folders, files that
// every paper has, tests that a BUILD file has forgotten, includes that reach across layers.

#ifndef LONGRANGE_COMMON_TOOLS_TREE_CHECK_H_
#define LONGRANGE_COMMON_TOOLS_TREE_CHECK_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace longrange {

struct TreeFinding {
  std::string where;  // file, or file:line
  std::string what;
  std::string cure;

  std::string ToString() const { return where + ": " + what + " (" + cure + ")"; }
};

// All findings in the repository at `root`, by place. NotFound: `root` is no repository.
absl::StatusOr<std::vector<TreeFinding>> CheckTree(const std::string& root);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TOOLS_TREE_CHECK_H_
