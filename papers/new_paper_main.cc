// bazel run //papers:new -- --name=NAME --kind=mixer: starts a paper's folder.

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "papers/new_paper.h"

DEFINE_string(name, "",
              "The folder, the target and the start of the config's name, in snake_case; needed");
DEFINE_string(kind, "",
              "What the paper brings: all layers of a model, what a layer does between rows, a "
              "measurement, whom a row attends to, positions, or examples to learn; needed");
DEFINE_string(root, "", "The repository; none: the one that bazel run is typed in");

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Makes papers/NAME: a small working plugin with its config, tests, claims and README, to be "
       "replaced by a method. Adds its line to papers/papers.bzl; nothing else is changed.",
       {{"Paper", {"name", "kind"}}, {"Where", {"root"}}},
       {{"kind", longrange::NewPaperKinds()}}},
      [](const longrange::CommandLine&) -> absl::Status {
        std::string root = longrange::UserPath(FLAGS_root);
        const char* workspace = std::getenv("BUILD_WORKSPACE_DIRECTORY");
        if (root.empty() && workspace != nullptr) root = workspace;
        if (root.empty()) {
          return absl::InvalidArgumentError(
              "--root is missing: the repository (bazel run //papers:new knows it)");
        }
        for (const auto& [flag, value] : {std::pair("name", FLAGS_name), {"kind", FLAGS_kind}}) {
          if (value.empty()) {
            return absl::InvalidArgumentError(absl::StrCat(
                "--", flag, " is missing (expected, for example, --name=linear_recurrence ",
                "--kind=mixer; kinds: ", absl::StrJoin(longrange::NewPaperKinds(), ", "), ")"));
          }
        }
        LR_ASSIGN_OR_RETURN(const std::string next,
                            longrange::MakePaper(root, FLAGS_name, FLAGS_kind));
        std::fputs(next.c_str(), stdout);
        return absl::OkStatus();
      });
}
