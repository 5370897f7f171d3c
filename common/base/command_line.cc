#include "common/base/command_line.h"

#include <glog/logging.h>

#include <algorithm>
#include <iostream>
#include <set>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/base/near_names.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"

DEFINE_string(out, "", "Where results go; without it .out/ in the workspace");
DEFINE_int64(seed, 1, "What all randomness derives from");
DEFINE_int32(
    threads, 0,
    "Threads to compute with; 0: one for each processor. Results are the same for any number");
DEFINE_string(device, "cpu", "Where to compute; there are no CUDA tensors yet");
DEFINE_bool(dry_run, false, "Print what a run would take, and stop");
DEFINE_bool(quiet, false, "No progress, results only");

namespace longrange {
namespace {

constexpr char kSet[] = "set", kHelp[] = "help";
constexpr size_t kHelpColumns = 100;

// Groups and choices of the spec, by flag.
class Flags {
 public:
  explicit Flags(const CommandLineSpec& spec) : choices_(spec.choices) {
    choices_.emplace("device", std::vector<std::string>{"cpu", "cuda"});
    for (const FlagGroup& group : spec.groups)
      names_.insert(names_.end(), group.flags.begin(), group.flags.end());
    for (const std::string& name : names_) {
      gflags::CommandLineFlagInfo info;
      CHECK(name == kSet || gflags::GetCommandLineFlagInfo(name.c_str(), &info))
          << "flag '" << name << "' of the specification is not defined";
    }
  }

  bool Has(absl::string_view name) const {
    return std::find(names_.begin(), names_.end(), name) != names_.end();
  }

  gflags::CommandLineFlagInfo Info(const std::string& name) const {
    return gflags::GetCommandLineFlagInfoOrDie(name.c_str());
  }

  absl::Span<const std::string> Choices(const std::string& name) const {
    const auto it = choices_.find(name);
    return it == choices_.end() ? absl::Span<const std::string>() : absl::MakeConstSpan(it->second);
  }

  absl::Status Unknown(absl::string_view name) const {
    std::vector<std::string> known = names_;
    known.push_back(kHelp);
    return absl::InvalidArgumentError(absl::StrCat(
        "unknown flag --", name, DidYouMean(name, known, "--"), " (--help lists all flags)"));
  }

 private:
  std::vector<std::string> names_;
  std::map<std::string, std::vector<std::string>> choices_;
};

absl::string_view Kind(const gflags::CommandLineFlagInfo& info) {
  if (info.type == "int32" || info.type == "int64") return "an integer";
  if (info.type == "uint32" || info.type == "uint64") return "an integer of 0 or more";
  if (info.type == "double") return "a number";
  if (info.type == "bool") return "true or false";
  return "a text";
}

// "INT" in --seed=INT.
absl::string_view Placeholder(const gflags::CommandLineFlagInfo& info) {
  if (absl::StrContains(info.type, "int")) return "INT";
  return info.type == "double" ? "NUMBER" : "TEXT";
}

absl::Status SetFlag(const Flags& flags, const std::string& name, const std::string& value) {
  const absl::Span<const std::string> choices = flags.Choices(name);
  if (!choices.empty() && std::find(choices.begin(), choices.end(), value) == choices.end()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", name, "=", value, ": expected ", absl::StrJoin(choices, " or ")));
  }
  if (gflags::SetCommandLineOption(name.c_str(), value.c_str()).empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--", name, "=", value, ": expected ", Kind(flags.Info(name))));
  }
  return absl::OkStatus();
}

std::vector<std::string> Wrap(absl::string_view text, size_t columns) {
  std::vector<std::string> lines(1);
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (!lines.back().empty() && lines.back().size() + 1 + word.size() > columns)
      lines.emplace_back();
    absl::StrAppend(&lines.back(), lines.back().empty() ? "" : " ", word);
  }
  return lines;
}

// "--seed=INT" and what it does.
std::pair<std::string, std::string> Describe(const Flags& flags, const std::string& name) {
  if (name == kSet) {
    return {"--set PATH=VALUE",
            "Sets a field of the configuration, e.g. --set optimizer.beta2=0.95, a list as --set "
            "lengths=128,256; may be "
            "repeated"};
  }
  const gflags::CommandLineFlagInfo info = flags.Info(name);
  if (info.type == "bool") {
    return {absl::StrCat(info.default_value == "true" ? "--no" : "--", name), info.description};
  }
  const absl::Span<const std::string> choices = flags.Choices(name);
  return {
      absl::StrCat("--", name, "=",
                   choices.empty() ? Placeholder(info) : absl::StrJoin(choices, "|")),
      absl::StrCat(info.description, info.default_value.empty()
                                         ? ""
                                         : absl::StrCat(" (default: ", info.default_value, ")"))};
}

}  // namespace

FlagGroup StandardFlags() {
  return {"Run", {"out", "seed", "threads", "device", "dry_run", "quiet"}};
}

absl::StatusOr<CommandLine> ParseCommandLine(absl::Span<const std::string> args,
                                             const CommandLineSpec& spec) {
  const Flags flags(spec);
  CommandLine line;
  std::set<std::string> seen;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& arg = args[i];
    if (arg == "-h") {
      line.help = true;
      return line;
    }
    if (!absl::StartsWith(arg, "--") || arg.size() == 2) {
      return absl::InvalidArgumentError(absl::StrCat(
          "stray argument '", arg, "'; flags are written --name=value (--help lists them)"));
    }
    const size_t equals = arg.find('=');
    std::string name = absl::StrReplaceAll(
        arg.substr(2, equals == std::string::npos ? equals : equals - 2), {{"-", "_"}});
    bool has_value = equals != std::string::npos;
    std::string value = has_value ? arg.substr(equals + 1) : "";
    if (name == kHelp) {
      line.help = true;
      return line;
    }
    if (!flags.Has(name)) {
      // --noquiet
      const std::string positive = absl::StartsWith(name, "no") ? name.substr(2) : "";
      if (!flags.Has(positive) || positive == kSet || has_value ||
          flags.Info(positive).type != "bool") {
        return flags.Unknown(name);
      }
      name = positive;
      has_value = true;
      value = "false";
    } else if (!has_value && name != kSet && flags.Info(name).type == "bool") {
      has_value = true;
      value = "true";
    }
    if (!has_value) {
      if (i + 1 == args.size() || absl::StartsWith(args[i + 1], "--")) {
        return absl::InvalidArgumentError(
            absl::StrCat("--", name, " needs a value: --", name, "=..."));
      }
      value = args[++i];
    }
    if (name == kSet) {
      if (value.find('=') == std::string::npos || value[0] == '=') {
        return absl::InvalidArgumentError(absl::StrCat(
            "--set ", value, ": expected PATH=VALUE, as in --set optimizer.beta2=0.95"));
      }
      line.set.push_back(value);
      continue;
    }
    if (!seen.insert(name).second)
      return absl::InvalidArgumentError(absl::StrCat("--", name, " is given twice"));
    LR_RETURN_IF_ERROR(SetFlag(flags, name, value));
  }
  constexpr int kMostThreads = 1024;
  if (flags.Has("threads") && (FLAGS_threads < 0 || FLAGS_threads > kMostThreads)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--threads=", FLAGS_threads, ": expected 0 (all processors) to ", kMostThreads));
  }
  if (flags.Has("device") && FLAGS_device == "cuda") {
    return absl::UnimplementedError(
        "--device=cuda: this build computes on the CPU only (expected --device=cpu)");
  }
  return line;
}

std::string HelpText(absl::string_view program, const CommandLineSpec& spec) {
  const Flags flags(spec);
  std::string text;
  for (const absl::string_view paragraph : absl::StrSplit(spec.summary, '\n')) {
    absl::StrAppend(&text, absl::StrJoin(Wrap(paragraph, kHelpColumns), "\n"), "\n");
  }
  absl::StrAppend(&text, "\nUsage: ", program, " [--flag=value ...]\n");
  size_t width = 0;
  for (const FlagGroup& group : spec.groups) {
    for (const std::string& name : group.flags)
      width = std::max(width, Describe(flags, name).first.size());
  }
  for (const FlagGroup& group : spec.groups) {
    absl::StrAppend(&text, "\n", group.title, "\n");
    for (const std::string& name : group.flags) {
      const auto [left, right] = Describe(flags, name);
      std::string margin = absl::StrCat("  ", left, std::string(width - left.size() + 2, ' '));
      for (const std::string& part : Wrap(right, kHelpColumns - width - 4)) {
        absl::StrAppend(&text, margin, part, "\n");
        margin.assign(width + 4, ' ');
      }
    }
  }
  return text;
}

int ExitCode(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kUnimplemented:
      return 2;
    case absl::StatusCode::kCancelled:
      return 130;  // as a shell reports SIGINT
    default:
      return 1;
  }
}

int Main(int argc, char** argv, const CommandLineSpec& spec,
         absl::FunctionRef<absl::Status(const CommandLine& line)> run) {
  FLAGS_logtostderr = true;
  if (!google::IsGoogleLoggingInitialized()) google::InitGoogleLogging(argv[0]);
  const auto leave = [](const absl::Status& status) {
    if (!status.ok()) {
      std::cout.flush();
      std::cerr << (absl::IsCancelled(status) ? "" : "error: ")
                << absl::StrReplaceAll(status.message(), {{"\n", " "}}) << std::endl;
    }
    return ExitCode(status);
  };
  const absl::StatusOr<CommandLine> line =
      ParseCommandLine(std::vector<std::string>(argv + 1, argv + argc), spec);
  if (!line.ok()) return leave(line.status());
  if (line->help) {
    const absl::string_view path = argv[0];
    std::cout << HelpText(path.substr(path.rfind('/') + 1), spec);
    return 0;
  }
  if (Flags(spec).Has("threads")) SetNumThreads(FLAGS_threads);
  return leave(run(*line));
}

std::string OutFolder(absl::string_view study) {
  return FLAGS_out.empty() ? DefaultOut(study) : UserPath(FLAGS_out);
}

}  // namespace longrange
