// bazel run //common/tools:doctor: prints what was found on this machine, and what to do about what
// is missing.

#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "common/tools/doctor.h"

int main(int argc, char** argv) {
  if (argc == 2 && std::string(argv[1]) == "--help") {
    std::cout << "Prints what was found on this machine (Bazel, compiler, libraries, CPU, GPU, "
                 "corpora, disk cache)\n"
                 "and what to do about what is missing. It takes no flags.\n"
                 "Exit code: 0 if everything required is here, else 1.\n";
    return 0;
  }
  if (argc > 1) {
    std::cerr << "doctor: unknown argument '" << argv[1] << "'; it takes none but --help\n";
    return 2;
  }
  // Set by `bazel run`.
  const char* workspace = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  const std::vector<longrange::Section> sections =
      longrange::Examine(workspace == nullptr ? "" : workspace);
  std::cout << longrange::FormatReport(sections, isatty(STDOUT_FILENO) != 0);
  return longrange::ExitCode(sections);
}
