// The front end of every program: flags are defined with gflags, and read by rules that gflags
// alone does not keep.
//
//   DEFINE_int64(steps, 1000, "Updates of the base model");
//   int main(int argc, char** argv) {
//     return longrange::Main(argc, argv,
//                            {"Compares ways to extend a context window.",
//                             {{"Study", {"steps", "set"}}, longrange::StandardFlags()}},
//                            [](const longrange::CommandLine& line) { return Run(line.set); });
//   }
//
// A program has exactly the flags that its groups name; those of gflags and glog do not exist for
// the user. Accepted are `--flag=value`, `--flag value`, `--flag` and `--noflag` for booleans, and
// `-` for `_` in names. A flag given twice, a stray argument, an unknown flag and a value that does
// not parse are refused. `set` needs no definition: `--set path.to.field=value` may be repeated.

#ifndef LONGRANGE_COMMON_BASE_COMMAND_LINE_H_
#define LONGRANGE_COMMON_BASE_COMMAND_LINE_H_

#include <gflags/gflags.h>

#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Flags with one meaning in every program that names them in a group.
DECLARE_string(out);     // folder; OutFolder() resolves it
DECLARE_int64(seed);     // everything random derives from it
DECLARE_int32(threads);  // Main() applies it
DECLARE_string(device);  // "cpu" or "cuda"; other values are refused, and so far "cuda"
DECLARE_bool(dry_run);
DECLARE_bool(quiet);  // no progress

namespace longrange {

struct FlagGroup {
  std::string title;
  std::vector<std::string> flags;
};

struct CommandLineSpec {
  // What the program does, at the top of --help; a line break starts a new paragraph.
  std::string summary;
  std::vector<FlagGroup> groups;
  // The values that a flag may have: {{"preset", {"default", "full"}}}. Known already: --device.
  std::map<std::string, std::vector<std::string>> choices = {};
};

struct CommandLine {
  bool help = false;
  std::vector<std::string> set;  // the values of --set, in order
};

// {"Run", {"out", "seed", "threads", "device", "dry_run", "quiet"}}
FlagGroup StandardFlags();

// Sets the flags of `spec` from `args` (without the program's name). On --help the flags may be
// left half set. InvalidArgument: the first mistake, in one line.
absl::StatusOr<CommandLine> ParseCommandLine(absl::Span<const std::string> args,
                                             const CommandLineSpec& spec);

// What --help prints: the summary and our own flags in groups, with types and defaults.
std::string HelpText(absl::string_view program, const CommandLineSpec& spec);

// 0: ok. 2, a mistake of the user, who can mend it by asking differently: InvalidArgument, NotFound
// (a name, a file or a corpus that was asked for), AlreadyExists, FailedPrecondition, OutOfRange,
// Unimplemented. 130, stopped by the user: Cancelled. 1, the environment failed or the program did:
// all others (PermissionDenied, ResourceExhausted, Unavailable, DataLoss, Internal, ...).
int ExitCode(const absl::Status& status);

// Parses, starts logging (to stderr), applies --threads, runs, and returns the exit code. An error
// is one line on stderr, "error: ..."; of Cancelled only the message. --help prints to stdout and
// runs nothing.
int Main(int argc, char** argv, const CommandLineSpec& spec,
         absl::FunctionRef<absl::Status(const CommandLine& line)> run);

// The folder that --out names, or DefaultOut(study) where it is not given (paths.h).
std::string OutFolder(absl::string_view study);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_COMMAND_LINE_H_
