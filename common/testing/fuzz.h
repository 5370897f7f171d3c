// What a fuzz target is: a file of an lr_cc_fuzz_test (common/bazel/fuzz.bzl) defines the first two
// functions here.

#ifndef LONGRANGE_COMMON_TESTING_FUZZ_H_
#define LONGRANGE_COMMON_TESTING_FUZZ_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace longrange {

// Gives one input to the code under test. Whatever the input is, the code must answer, with a value
// or a Status; a promise about the answer that does not hold is a failed CHECK.
void FuzzOne(absl::string_view input);

// Inputs of the format, small ones, of which others are made. Of libFuzzer they are the first
// corpus.
std::vector<std::string> FuzzSeeds();

// For code that reads a file: one with these bytes, in memory. The path is good until the next
// call.
std::string FuzzFile(absl::string_view bytes);

// For code that reads a folder: an empty one of this process, the same in every call; what was in
// it is removed.
std::string FuzzFolder();

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TESTING_FUZZ_H_
