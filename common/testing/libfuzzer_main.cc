// A fuzz target under libFuzzer, whose main() this file feeds.

#include <glog/logging.h>
#include <stdlib.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/testing/fuzz.h"

// Adds a folder with the seeds to libFuzzer's arguments. It comes last: the first folder is the one
// that libFuzzer writes to.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  static auto* folder = new std::string("/tmp/fuzz_seeds.XXXXXX");
  PCHECK(mkdtemp(&(*folder)[0]) != nullptr);
  int number = 0;
  for (const std::string& seed : longrange::FuzzSeeds())
    std::ofstream(absl::StrCat(*folder, "/", number++), std::ios::binary) << seed;
  static auto* arguments = new std::vector<char*>(*argv, *argv + *argc);
  bool has_folder = false;
  for (int i = 1; i < *argc; ++i) has_folder |= (*argv)[i][0] != '-';
  // Without a folder of the user's, what is found is kept nowhere.
  static auto* scratch = new std::string("/tmp/fuzz_corpus.XXXXXX");
  if (!has_folder) {
    PCHECK(mkdtemp(&(*scratch)[0]) != nullptr);
    arguments->push_back(&(*scratch)[0]);
  }
  arguments->push_back(&(*folder)[0]);
  arguments->push_back(nullptr);
  *argc = static_cast<int>(arguments->size()) - 1;
  *argv = arguments->data();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  longrange::FuzzOne({reinterpret_cast<const char*>(data), size});
  return 0;
}
