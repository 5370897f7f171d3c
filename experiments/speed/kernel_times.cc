#include "experiments/speed/kernel_times.h"

#include <benchmark/benchmark.h>
#include <regex.h>

#include <cctype>
#include <cmath>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/refuse.h"
#include "kernels/timed_work.h"

namespace longrange {
namespace {

// What benchmarks with UseRealTime() have behind their names.
constexpr char kSuffix[] = "/real_time";

// Google Benchmark has flags and no other settings.
void SetBenchmarkFlags(std::vector<std::string> flags) {
  flags.insert(flags.begin(), "speed");
  std::vector<char*> argv;
  for (std::string& flag : flags) argv.push_back(flag.data());
  argv.push_back(nullptr);
  int argc = static_cast<int>(flags.size());
  benchmark::Initialize(&argc, argv.data());
}

// Keeps what it is told.
class Keeper : public benchmark::BenchmarkReporter {
 public:
  Keeper() {
    SetOutputStream(&text);
    SetErrorStream(&text);
  }
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& reported) override {
    runs.insert(runs.end(), reported.begin(), reported.end());
  }

  std::ostringstream text;
  std::vector<Run> runs;
};

std::string Quoted(const std::string& name) {
  std::string quoted;
  for (const char c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '/' && c != '_' && c != ':')
      quoted += '\\';
    quoted += c;
  }
  return quoted;
}

}  // namespace

absl::StatusOr<std::vector<std::string>> KernelNames(const std::string& expression) {
  regex_t compiled;
  const int error = regcomp(&compiled, expression.c_str(), REG_EXTENDED | REG_NOSUB);
  if (error != 0) {
    char why[256];
    regerror(error, &compiled, why, sizeof(why));
    return Refuse("kernels", absl::StrCat("'", expression, "'"),
                  absl::StrCat("a regular expression; ", why));
  }
  SetBenchmarkFlags({"--benchmark_list_tests=true"});
  Keeper keeper;
  benchmark::RunSpecifiedBenchmarks(&keeper, ".");
  SetBenchmarkFlags({"--benchmark_list_tests=false"});
  std::vector<std::string> names;
  for (const absl::string_view line : absl::StrSplit(keeper.text.str(), '\n', absl::SkipEmpty())) {
    const std::string name(absl::StripSuffix(line, kSuffix));
    if (regexec(&compiled, name.c_str(), 0, nullptr, 0) == 0) names.push_back(name);
  }
  regfree(&compiled);
  return names;
}

absl::StatusOr<WorkTime> TimeKernel(const std::string& name, double seconds) {
  SetBenchmarkFlags({absl::StrCat("--benchmark_min_time=", seconds)});
  Keeper keeper;
  benchmark::RunSpecifiedBenchmarks(&keeper, absl::StrCat("^", Quoted(name), "(", kSuffix, ")?$"));
  if (keeper.runs.empty()) return absl::NotFoundError(absl::StrCat("no benchmark '", name, "'"));
  const benchmark::BenchmarkReporter::Run& run = keeper.runs.front();
  if (run.error_occurred) return absl::InternalError(absl::StrCat(name, ": ", run.error_message));
  WorkTime time;
  time.seconds = run.real_accumulated_time / static_cast<double>(run.iterations);
  const auto of_one = [&](const char* counter) {
    const auto found = run.counters.find(counter);
    // A rate; what it is of is a whole number.
    return found == run.counters.end() ? 0 : std::round(found->second.value * time.seconds);
  };
  time.flops = of_one(kernels::kFlopsCounter);
  time.bytes = of_one(kernels::kBytesCounter);
  return time;
}

}  // namespace longrange
