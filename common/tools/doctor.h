// What `bazel run //common/tools:doctor` finds out about a machine, and how it prints it. Rests on
// the standard library alone, so that it still builds where the libraries that it looks for are
// missing.

#ifndef LONGRANGE_COMMON_TOOLS_DOCTOR_H_
#define LONGRANGE_COMMON_TOOLS_DOCTOR_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace longrange {

// One line of the report.
struct Finding {
  enum class State {
    kOk,
    kMissing,   // required; what the default commands need
    kOptional,  // absent, and only some things need it
  };

  State state = State::kOk;
  std::string name;
  std::string what;    // version, size or place
  std::string advice;  // what to do about it; empty for kOk
};

struct Section {
  std::string title;
  std::vector<Finding> findings;
};

// Lays the sections out as aligned columns and closes with a verdict; `colour` adds terminal
// escapes.
std::string FormatReport(const std::vector<Section>& sections, bool colour);

// The process's exit code: 1 if anything required is missing, else 0.
int ExitCode(const std::vector<Section>& sections);

// "4.0 KiB", "23.4 GiB": binary units, one decimal from KiB on.
std::string FormatBytes(uint64_t bytes);

// The version in nvcc's --version ("... release 12.8, V12.8.93"), without the V; empty if there is
// none.
std::string ParseNvccVersion(const std::string& output);

// The value of `key` in text of lines "key : value", as /proc/cpuinfo and /proc/meminfo have it;
// empty if there is none.
std::string ParseProcValue(const std::string& text, const std::string& key);

// The vector extensions in cpuinfo's flags that decide the speed: "AVX2, AVX-512, AVX-512 BF16";
// empty below AVX2 with FMA.
std::string DescribeSimd(const std::string& flags);

// Lines "package version" to a map.
std::map<std::string, std::string> ParsePackageVersions(const std::string& output);

// The folder in the last `--disk_cache=` of a bazelrc's text; empty if there is none.
std::string ParseDiskCache(const std::string& bazelrc);

// Looks at this machine. `workspace` is the repository's root; empty if unknown, which leaves the
// disk cache unjudged.
std::vector<Section> Examine(const std::string& workspace);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TOOLS_DOCTOR_H_
