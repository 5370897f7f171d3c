// Finds out what is installed by asking the programs, the package database and /proc.

#include "common/tools/doctor.h"

#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iomanip>
#include <sstream>
#include <system_error>
#include <thread>

namespace longrange {
namespace {

namespace fs = std::filesystem;

constexpr char kInstall[] = "run third_party/install.sh";

// Below this, compiling Eigen's solvers (0.8 GiB a job) on two cores is at risk.
constexpr uint64_t kLittleMemory = uint64_t{3} << 30;

Finding Ok(std::string name, std::string what) {
  return {Finding::State::kOk, std::move(name), std::move(what), ""};
}

Finding Missing(std::string name, std::string what, std::string advice) {
  return {Finding::State::kMissing, std::move(name), std::move(what), std::move(advice)};
}

Finding Optional(std::string name, std::string what, std::string advice) {
  return {Finding::State::kOptional, std::move(name), std::move(what), std::move(advice)};
}

std::string Trim(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\r\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

std::string FirstLine(const std::string& text) { return Trim(text.substr(0, text.find('\n'))); }

std::string ReadFile(const fs::path& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// What a shell command prints; empty if it fails.
std::string Output(const std::string& command) {
  FILE* pipe = popen(("(" + command + ") 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return "";
  std::string output;
  std::array<char, 4096> buffer;
  size_t num_read;
  while ((num_read = fread(buffer.data(), 1, buffer.size(), pipe)) > 0) {
    output.append(buffer.data(), num_read);
  }
  return pclose(pipe) == 0 ? output : "";
}

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

fs::path CorporaFolder() {
  const std::string folder = Environment("LONGRANGE_CORPORA");
  if (!folder.empty()) return folder;
  std::string home = Environment("HOME");
  const passwd* user = getpwuid(getuid());
  if (home.empty() && user != nullptr) home = user->pw_dir;
  return fs::path(home) / ".cache/longrange/corpora";
}

std::map<std::string, std::string> InstalledPackages() {
  return ParsePackageVersions(Output(
      "dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\\n' | sed -n 's/^ii *//p'"));
}

Section ExamineBuild(const std::map<std::string, std::string>& packages) {
  Section section{"Build", {}};
  // Debian's Bazel calls itself "no_version"; the package knows better.
  const auto bazel_package = packages.find("bazel-bootstrap");
  const std::string bazel = bazel_package != packages.end() ? bazel_package->second
                                                            : FirstLine(Output("bazel --version"));
  const std::string compiler = FirstLine(Output("g++ -dumpfullversion"));
  const std::string protoc = FirstLine(Output("protoc --version | sed 's/^libprotoc //'"));
  for (const auto& [name, version] :
       {std::pair("Bazel", bazel), std::pair("g++", compiler), std::pair("protoc", protoc)}) {
    section.findings.push_back(version.empty() ? Missing(name, "not found", kInstall)
                                               : Ok(name, version));
  }
  return section;
}

Section ExamineLibraries(const std::map<std::string, std::string>& packages) {
  struct Library {
    const char* name;
    const char* header;
    const char* package;
  };
  static constexpr Library kLibraries[] = {
      {"Abseil", "absl/base/config.h", "libabsl-dev"},
      {"Eigen", "eigen3/Eigen/Core", "libeigen3-dev"},
      {"Google Benchmark", "benchmark/benchmark.h", "libbenchmark-dev"},
      {"gflags", "gflags/gflags.h", "libgflags-dev"},
      {"glog", "glog/logging.h", "libgoogle-glog-dev"},
      {"GoogleTest", "gtest/gtest.h", "libgtest-dev"},
      {"GoogleMock", "gmock/gmock.h", "libgmock-dev"},
      {"nlohmann json", "nlohmann/json.hpp", "nlohmann-json3-dev"},
      {"Protocol Buffers", "google/protobuf/message.h", "libprotobuf-dev"},
      {"xxHash", "xxhash.h", "libxxhash-dev"},
  };
  Section section{"Libraries", {}};
  for (const Library& library : kLibraries) {
    fs::path found;
    for (const char* root : {"/usr/include", "/usr/local/include"}) {
      if (fs::exists(fs::path(root) / library.header)) found = fs::path(root) / library.header;
    }
    const auto package = packages.find(library.package);
    if (found.empty()) {
      section.findings.push_back(Missing(library.name, "not found", kInstall));
    } else {
      section.findings.push_back(
          Ok(library.name, package != packages.end() ? package->second : found.string()));
    }
  }
  return section;
}

Section ExamineMachine() {
  Section section{"Machine", {}};
  const std::string cpuinfo = ReadFile("/proc/cpuinfo");
  const std::string model = ParseProcValue(cpuinfo, "model name");
  section.findings.push_back(
      Ok("CPU", std::to_string(std::max(1u, std::thread::hardware_concurrency())) + " cores, " +
                    (model.empty() ? "unknown model" : model)));

  const std::string simd = DescribeSimd(ParseProcValue(cpuinfo, "flags"));
  section.findings.push_back(
      simd.empty()
          ? Optional("SIMD", "no AVX2", "works, but slowly: use a CPU with AVX2 or AVX-512")
          : Ok("SIMD", simd));

  const std::string meminfo = ReadFile("/proc/meminfo");
  const uint64_t total = std::strtoull(ParseProcValue(meminfo, "MemTotal").c_str(), nullptr, 10)
                         << 10;
  const uint64_t available =
      std::strtoull(ParseProcValue(meminfo, "MemAvailable").c_str(), nullptr, 10) << 10;
  const std::string memory = FormatBytes(total) + ", " + FormatBytes(available) + " available";
  section.findings.push_back(total < kLittleMemory
                                 ? Optional("memory", memory, "build with --jobs=1")
                                 : Ok("memory", memory));

  const std::string nvcc = ParseNvccVersion(Output("/usr/local/cuda/bin/nvcc --version"));
  section.findings.push_back(nvcc.empty()
                                 ? Optional("nvcc", "not in /usr/local/cuda",
                                            "for --config=cuda only: install NVIDIA's CUDA toolkit")
                                 : Ok("nvcc", nvcc));

  const std::string gpu = FirstLine(
      Output("nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv,noheader"));
  if (!gpu.empty()) {
    section.findings.push_back(Ok("GPU", gpu));
  } else if (fs::exists("/dev/nvidia0")) {
    section.findings.push_back(Ok("GPU", "/dev/nvidia0 (nvidia-smi does not answer)"));
  } else {
    section.findings.push_back(Optional("GPU", "not found", "for --device=cuda only"));
  }
  return section;
}

Section ExamineData() {
  struct Corpus {
    const char* name;
    const char* file;
    uint64_t min_bytes;  // as third_party/corpora.sh has it
  };
  static constexpr Corpus kCorpora[] = {
      {"anarchism", "anarchism.txt", 11'000'000},
      {"bible_kjv", "bible_kjv.txt", 4'300'000},
  };
  Section section{"Corpora", {}};
  for (const Corpus& corpus : kCorpora) {
    const fs::path path = CorporaFolder() / corpus.file;
    std::error_code error;
    const uint64_t size = fs::file_size(path, error);
    if (error) {
      section.findings.push_back(Missing(corpus.name, path.string() + " not found", kInstall));
    } else if (size <= corpus.min_bytes) {
      section.findings.push_back(
          Missing(corpus.name, path.string() + " is cut short: " + FormatBytes(size), kInstall));
    } else {
      section.findings.push_back(Ok(corpus.name, FormatBytes(size) + ", " + path.string()));
    }
  }
  return section;
}

// Looks for a disk cache that is set, of this very system, and writable.
Finding ExamineDiskCache(const fs::path& workspace) {
  constexpr char kName[] = "disk cache";
  const std::string settings = ReadFile(workspace / ".bazelrc.local");
  const std::string cache = ParseDiskCache(settings);
  if (cache.empty()) {
    return Optional(kName, "not set",
                    std::string(kInstall) + ", or clean builds start from nothing");
  }
  const std::string current =
      Output("'" + (workspace / "third_party/disk_cache.sh").string() + "' --print");
  if (!current.empty() && current != settings) {
    return Missing(kName, "set up for another CPU, compiler or set of libraries", kInstall);
  }
  std::error_code error;
  fs::create_directories(cache, error);
  if (error || access(cache.c_str(), W_OK) != 0) {
    return Missing(kName, cache + " is not writable", "make it so, or delete .bazelrc.local");
  }
  return Ok(kName, FormatBytes(fs::space(cache, error).available) + " free, " + cache);
}

}  // namespace

std::string FormatReport(const std::vector<Section>& sections, bool colour) {
  size_t name_width = 0;
  size_t num_missing = 0;
  for (const Section& section : sections) {
    for (const Finding& finding : section.findings) {
      name_width = std::max(name_width, finding.name.size());
      num_missing += finding.state == Finding::State::kMissing;
    }
  }
  std::ostringstream out;
  const auto paint = [colour](const char* code, const std::string& text) {
    return colour ? "\033[" + std::string(code) + "m" + text + "\033[0m" : text;
  };
  for (const Section& section : sections) {
    out << paint("1", section.title) << "\n";
    for (const Finding& finding : section.findings) {
      out << "  ";
      switch (finding.state) {
        case Finding::State::kOk:
          out << paint("32", "ok      ");
          break;
        case Finding::State::kMissing:
          out << paint("31", "missing ");
          break;
        case Finding::State::kOptional:
          out << paint("33", "optional");
          break;
      }
      out << "  " << std::left << std::setw(static_cast<int>(name_width)) << finding.name << "  "
          << finding.what;
      if (!finding.advice.empty()) out << ": " << finding.advice;
      out << "\n";
    }
    out << "\n";
  }
  if (num_missing == 0) {
    out << "Everything that is required is here.\n";
  } else {
    out << num_missing << " required " << (num_missing == 1 ? "thing is" : "things are")
        << " missing.\n";
  }
  return out.str();
}

int ExitCode(const std::vector<Section>& sections) {
  for (const Section& section : sections) {
    for (const Finding& finding : section.findings) {
      if (finding.state == Finding::State::kMissing) return 1;
    }
  }
  return 0;
}

std::string FormatBytes(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return std::to_string(bytes) + " B";
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << value << " " << kUnits[unit];
  return out.str();
}

std::string ParseNvccVersion(const std::string& output) {
  const size_t release = output.find("release ");
  if (release == std::string::npos) return "";
  const size_t version = output.find(", V", release);
  if (version == std::string::npos) return "";
  const size_t begin = version + 3;
  return output.substr(begin, output.find_first_not_of("0123456789.", begin) - begin);
}

std::string ParseProcValue(const std::string& text, const std::string& key) {
  std::istringstream lines(text);
  std::string line;
  while (std::getline(lines, line)) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && Trim(line.substr(0, colon)) == key) {
      return Trim(line.substr(colon + 1));
    }
  }
  return "";
}

std::string DescribeSimd(const std::string& flags) {
  const std::string padded = " " + flags + " ";
  const auto has = [&padded](const char* flag) {
    return padded.find(" " + std::string(flag) + " ") != std::string::npos;
  };
  if (!has("avx2") || !has("fma")) return "";
  std::string level = "AVX2";
  if (has("avx512f")) level += ", AVX-512";
  if (has("avx512_bf16")) level += ", AVX-512 BF16";
  if (has("amx_bf16")) level += ", AMX BF16";
  return level;
}

std::map<std::string, std::string> ParsePackageVersions(const std::string& output) {
  std::map<std::string, std::string> versions;
  std::istringstream lines(output);
  std::string package, version;
  while (lines >> package >> version) versions[package] = version;
  return versions;
}

std::string ParseDiskCache(const std::string& bazelrc) {
  constexpr char kOption[] = " --disk_cache=";
  std::string cache;
  std::istringstream lines(bazelrc);
  std::string line;
  while (std::getline(lines, line)) {
    if (line.empty() || line[0] == '#') continue;
    const size_t option = line.rfind(kOption);
    if (option == std::string::npos) continue;
    const size_t begin = option + sizeof(kOption) - 1;
    cache = line.substr(begin, line.find_first_of(" \t", begin) - begin);
  }
  return cache;
}

std::vector<Section> Examine(const std::string& workspace) {
  const std::map<std::string, std::string> packages = InstalledPackages();
  std::vector<Section> sections = {ExamineBuild(packages), ExamineLibraries(packages),
                                   ExamineMachine(), ExamineData()};
  if (!workspace.empty()) sections[0].findings.push_back(ExamineDiskCache(workspace));
  return sections;
}

}  // namespace longrange
