#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/safetensors.h"
#include "common/testing/fuzz.h"
#include "glog/logging.h"

namespace longrange {
namespace {

std::string File(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(&bytes[0], &length, sizeof(length));
  return bytes + header + data;
}

// Whatever the reader accepts covers the file exactly, and reads as it is described.
void ReadOne(absl::string_view bytes) {
  const std::string path = FuzzFile(bytes);
  const absl::StatusOr<std::unique_ptr<SafetensorsReader>> reader = SafetensorsReader::Open(path);
  const absl::StatusOr<SafetensorsFile> file = ReadSafetensors(path);
  if (!reader.ok()) {
    CHECK(!file.ok());
    const absl::string_view why = reader.status().message();
    CHECK(why.find('\n') == absl::string_view::npos && why.size() < 1000) << why;
    return;
  }
  int64_t covered = 0;
  for (const auto& [name, entry] : (*reader)->entries()) {
    covered += entry.end - entry.begin;
    const absl::StatusOr<Tensor> t = (*reader)->Read(name);
    if (!t.ok()) continue;
    CHECK(t->shape() == entry.shape);
    if (!file.ok()) continue;
    const Tensor* again = file->Find(name);
    CHECK(again != nullptr && again->dtype() == t->dtype() && again->shape() == t->shape());
    CHECK(t->bytes() == 0 ||
          std::memcmp(t->raw_data(), again->raw_data(), static_cast<size_t>(t->bytes())) == 0);
  }
  uint64_t length;
  CHECK_GE(bytes.size(), sizeof(length));
  std::memcpy(&length, bytes.data(), sizeof(length));
  CHECK_EQ(static_cast<uint64_t>(covered), bytes.size() - sizeof(length) - length);
}

}  // namespace

void FuzzOne(absl::string_view input) {
  ReadOne(input);
  // Once more with a length that reaches to the last brace, so that damage gets past the first
  // check.
  const size_t end = input.rfind('}');
  if (input.size() < 8 || end == absl::string_view::npos || end < 8) return;
  ReadOne(File(std::string(input.substr(8, end - 7)), std::string(input.substr(end + 1))));
}

std::vector<std::string> FuzzSeeds() {
  const char* kTypes[] = {"BOOL", "U8",  "I8",  "F8_E5M2", "F8_E4M3", "I16", "U16", "F16",
                          "BF16", "I32", "U32", "F32",     "C64",     "F64", "I64", "U64"};
  std::vector<std::string> seeds = {
      File("{}", ""),
      File(R"({"__metadata__":{"k":"v","case":"\u00e9\n"}})", ""),
      File(R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},)"
           R"("b":{"dtype":"F16","shape":[3],"data_offsets":[16,22]},)"
           R"("__metadata__":{"format":"pt"},)"
           R"("c":{"dtype":"I64","shape":[],"data_offsets":[22,30]},)"
           R"("d":{"dtype":"BF16","shape":[4,0],"data_offsets":[30,30]}}  )",
           std::string(30, '\1')),
  };
  for (const char* type : kTypes) {
    seeds.push_back(
        File(absl::StrCat(R"({"t":{"dtype":")", type, R"(","shape":[8],"data_offsets":[0,8]}})"),
             std::string(8, '\0')));
  }
  return seeds;
}

}  // namespace longrange
