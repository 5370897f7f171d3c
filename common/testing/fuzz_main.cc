// A fuzz target as an ordinary test: its seeds, and mutations of them that are a function of their
// number. They run in a child process, so that whatever ends it, the round and its input are told.

#include <gflags/gflags.h>
#include <glog/logging.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/testing/fuzz.h"

DEFINE_int64(rounds, 5000, "Mutations to try, beside the seeds");
DEFINE_int64(round, -1, "Try only this one, in this process; -1: all");
DEFINE_string(input, "", "Try only this file, in this process");

namespace longrange {
namespace {

// No input here has more than some kilobytes: one that asks for this much has fooled the reader.
constexpr rlim_t kMaxDataBytes = rlim_t{512} << 20;
constexpr unsigned kMaxSeconds = 60;  // of one round; milliseconds are usual
constexpr size_t kMaxInputBytes = 64 << 10;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kLimitData = false;  // shadow memory counts
constexpr int64_t kSlowdown = 10;
#else
constexpr bool kLimitData = true;
constexpr int64_t kSlowdown = 1;
#endif

// Numbers at which sizes and types end.
constexpr const char* kNumbers[] = {"0",
                                    "1",
                                    "-1",
                                    "255",
                                    "65536",
                                    "2147483648",
                                    "4294967296",
                                    "9223372036854775807",
                                    "9223372036854775808",
                                    "18446744073709551615",
                                    "18446744073709551617",
                                    "1e999",
                                    "-0.0",
                                    "nan"};
constexpr char kPunctuation[] = "{}[]()<>,:;\"'0123456789-.eE\\/ \n\t\r\0tn*#\x80\xFF";

class Mutator {
 public:
  explicit Mutator(const std::vector<std::string>& seeds) : seeds_(seeds) {
    for (const std::string& seed : seeds) {
      if (!seed.empty()) pieces_.push_back(&seed);
    }
  }

  // Rounds below seeds.size() are the seeds themselves.
  std::string Input(int64_t round) const {
    const auto num_seeds = static_cast<int64_t>(seeds_.size());
    if (round < num_seeds) return seeds_[static_cast<size_t>(round)];
    RngStream draw(Rng(2024).Child("fuzz").Child(round));
    std::string bytes = seeds_[static_cast<size_t>(draw.UniformInt(num_seeds))];
    const int64_t num_edits = int64_t{1} << draw.UniformInt(4);
    for (int64_t i = 0; i < num_edits; ++i) Edit(&draw, &bytes);
    if (bytes.size() > kMaxInputBytes) bytes.resize(kMaxInputBytes);
    return bytes;
  }

 private:
  void Edit(RngStream* draw, std::string* bytes) const {
    if (bytes->empty()) *bytes = "0";
    const auto anywhere = [&](size_t size) {
      return static_cast<size_t>(draw->UniformInt(static_cast<int64_t>(size)));
    };
    const size_t at = anywhere(bytes->size()), length = anywhere(24);
    switch (draw->UniformInt(11)) {
      case 0:
        (*bytes)[at] = static_cast<char>((*bytes)[at] ^ (1 << draw->UniformInt(8)));
        break;
      case 1:
        (*bytes)[at] = static_cast<char>(draw->UniformInt(256));
        break;
      case 2:
        (*bytes)[at] = kPunctuation[anywhere(sizeof(kPunctuation) - 1)];
        break;
      case 3:
        bytes->insert(at, 1, kPunctuation[anywhere(sizeof(kPunctuation) - 1)]);
        break;
      case 4:
        bytes->erase(at, length);
        break;
      case 5:
        bytes->insert(at, bytes->substr(at, length));
        break;
      case 6:
        bytes->insert(anywhere(bytes->size()), bytes->substr(at, length));
        break;
      case 7: {
        if (pieces_.empty()) break;
        const std::string& other = *pieces_[anywhere(pieces_.size())];
        bytes->insert(at, other.substr(anywhere(other.size()), 2 * length));
        break;
      }
      case 8: {  // a number
        const size_t begin = bytes->find_first_of("0123456789", at);
        if (begin == std::string::npos) break;
        const size_t end = std::min(bytes->find_first_not_of("0123456789", begin), bytes->size());
        constexpr size_t kCount = sizeof(kNumbers) / sizeof(kNumbers[0]);
        bytes->replace(begin, end - begin, kNumbers[anywhere(kCount)]);
        break;
      }
      case 9: {  // the same piece many times: nesting, long lists
        const std::string piece = bytes->substr(at, 1 + length);
        std::string many;
        for (int64_t left = draw->UniformInt(2000) / (1 + draw->UniformInt(40)); left > 0; --left)
          many += piece;
        bytes->insert(at, many);
        break;
      }
      default:
        bytes->resize(at);
    }
  }

  const std::vector<std::string>& seeds_;
  std::vector<const std::string*> pieces_;
};

// All rounds; `at` shows the parent which one is at work. Returns from main() in the end, so that
// leaks are looked for.
absl::Status RunRounds(const Mutator& mutator, int64_t count, volatile int64_t* at) {
  if (kLimitData) {
    const rlimit limit = {kMaxDataBytes, kMaxDataBytes};
    PCHECK(setrlimit(RLIMIT_DATA, &limit) == 0);
  }
  for (int64_t round = 0; round < count; ++round) {
    *at = round;
    const std::string input = mutator.Input(round);
    alarm(kMaxSeconds);
    FuzzOne(input);
  }
  alarm(0);
  *at = count;
  return absl::OkStatus();
}

// Where the input of a failed round is left.
std::string Keep(const std::string& input, int64_t round) {
  const char* folder = std::getenv("TEST_UNDECLARED_OUTPUTS_DIR");
  const std::string path = absl::StrCat(folder == nullptr ? "/tmp" : folder, "/fuzz_round_", round);
  std::ofstream(path, std::ios::binary) << input;
  return path;
}

absl::Status Run() {
  if (!FLAGS_input.empty()) {
    LR_ASSIGN_OR_RETURN(const std::string input, ReadWholeFile(UserPath(FLAGS_input)));
    FuzzOne(input);
    return absl::OkStatus();
  }
  const std::vector<std::string> seeds = FuzzSeeds();
  CHECK(!seeds.empty()) << "a fuzz target needs seeds";
  const Mutator mutator(seeds);
  if (FLAGS_round >= 0) {
    FuzzOne(mutator.Input(FLAGS_round));
    return absl::OkStatus();
  }
  const int64_t count = static_cast<int64_t>(seeds.size()) + FLAGS_rounds / kSlowdown;
  void* shared =
      mmap(nullptr, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  PCHECK(shared != MAP_FAILED);
  auto* at = static_cast<volatile int64_t*>(shared);
  *at = 0;
  const pid_t child = fork();
  PCHECK(child >= 0);
  if (child == 0) return RunRounds(mutator, count, at);
  int status = 0;
  PCHECK(waitpid(child, &status, 0) == child);
  const int64_t round = *at;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && round == count) {
    std::cout << count << " inputs\n";
    return absl::OkStatus();
  }
  const std::string how = WIFSIGNALED(status) ? absl::StrCat("signal ", WTERMSIG(status), " (",
                                                             strsignal(WTERMSIG(status)), ")")
                                              : absl::StrCat("exit code ", WEXITSTATUS(status));
  if (round == count) return absl::InternalError(absl::StrCat(how, " after the last round"));
  return absl::InternalError(absl::StrCat("round ", round, " ended with ", how,
                                          "; again with --round=", round, ", input in ",
                                          Keep(mutator.Input(round), round)));
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Gives damaged inputs to a reader.", {{"Fuzzing", {"rounds", "round", "input"}}}},
      [](const longrange::CommandLine&) { return longrange::Run(); });
}
