// What readers take, of good files and of files made to take as much as they can.

#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/io/json.h"
#include "common/io/safetensors.h"
#include "common/testing/peak_memory.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

constexpr int64_t kMiB = int64_t{1} << 20;
constexpr int64_t kData = 96 * kMiB;

std::string TempPath() { return ::testing::TempDir() + "/memory_test.file"; }

// Writes `text`, and after it zeros that take no room on the disk. Returns the bytes of the file.
int64_t WriteFile(const std::string& text, int64_t zeros = 0) {
  const auto bytes = static_cast<int64_t>(text.size()) + zeros;
  std::ofstream(TempPath(), std::ios::binary) << text;
  EXPECT_EQ(truncate(TempPath().c_str(), bytes), 0);
  return bytes;
}

int64_t WriteTensors(const std::string& header, int64_t data_bytes) {
  const uint64_t length = header.size();
  std::string bytes(sizeof(length), '\0');
  std::memcpy(&bytes[0], &length, sizeof(length));
  return WriteFile(bytes + header, data_bytes);
}

// `item` with each @ replaced by a number from `begin` on, comma by comma, up to so many bytes.
std::string Repeated(const std::string& item, int64_t bytes, int64_t begin = 0) {
  std::string text;
  for (int64_t i = begin; static_cast<int64_t>(text.size()) < bytes; ++i) {
    if (!text.empty()) text += ',';
    const size_t at = item.find('@');
    if (at == std::string::npos) {
      text += item;
    } else {
      absl::StrAppend(&text, item.substr(0, at), i, item.substr(at + 1));
    }
  }
  return text;
}

// Reads the file as safetensors; returns the peak.
int64_t PeakOfTensors(bool good) {
  return PeakMemoryOf([&] {
    const absl::StatusOr<SafetensorsFile> file = ReadSafetensors(TempPath());
    if (file.ok() != good) _exit(3);
  });
}

class MemoryTest : public ::testing::Test {
 protected:
  ~MemoryTest() override { std::remove(TempPath().c_str()); }
};

TEST_F(MemoryTest, OfGoodSafetensors) {
  LR_SKIP_WITHOUT_PEAK_MEMORY();
  const auto one = [](const char* type, int64_t element) {
    return WriteTensors(absl::StrCat(R"({"t":{"dtype":")", type, R"(","shape":[)", kData / element,
                                     R"(],"data_offsets":[0,)", kData, "]}}"),
                        kData);
  };
  for (const auto& [type, element] :
       std::vector<std::pair<const char*, int64_t>>{{"F32", 4}, {"F16", 2}, {"BOOL", 1}}) {
    SCOPED_TRACE(type);
    const int64_t bytes = one(type, element);
    const int64_t peak = PeakOfTensors(true);
    EXPECT_GE(peak, kData) << "nothing was measured";
    EXPECT_LE(peak, MaxReadingMemory(bytes));
  }
  // Small ones, about as many as are allowed in a file of this size.
  constexpr int64_t kTensors = 30000;
  std::string header = "{";
  for (int64_t i = 0; i < kTensors; ++i) {
    absl::StrAppend(&header, i == 0 ? "" : ",", "\"layers.", i,
                    R"(.weight":{"dtype":"F32","shape":[1,3],"data_offsets":[)", 12 * i, ",",
                    12 * (i + 1), "]}");
  }
  const int64_t bytes = WriteTensors(header + "}", 12 * kTensors);
  const int64_t peak = PeakOfTensors(true);
  EXPECT_LE(peak, MaxReadingMemory(bytes));
}

TEST_F(MemoryTest, OfHostileSafetensors) {
  LR_SKIP_WITHOUT_PEAK_MEMORY();
  const std::string entry = R"("@":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  const std::vector<std::pair<const char*, std::string>> headers = {
      {"many tensors", "{" + Repeated(entry, 40 * kMiB) + "}"},
      {"many keys", R"({"__metadata__":{)" + Repeated(R"("@":"")", 40 * kMiB) + "}}"},
      {"a long name", "{\"" + std::string(40 * kMiB, 'a') + "\":7}"},
      {"long names",
       "{" + Repeated("\"@" + std::string(kMiB, 'a') + entry.substr(2), 40 * kMiB) + "}"},
      {"a long word", "{\"a\":" + std::string(40 * kMiB, '1') + "}"},
      {"a long string, not ended", "{\"" + std::string(40 * kMiB, 'a')},
      {"escapes", "{\"" + Repeated("\\u0041", 40 * kMiB) + "\":7}"},
      {"a long value", R"({"__metadata__":{"a":")" + std::string(2 * kMiB - 10, 'a') + R"("}x)"},
      {"nesting", std::string("{\"a\":") + std::string(40 * kMiB, '[')},
      {"white space", "{" + std::string(40 * kMiB, ' ')},
  };
  for (const auto& [name, header] : headers) {
    SCOPED_TRACE(name);
    const int64_t bytes = WriteTensors(header, 0);
    EXPECT_LE(PeakOfTensors(false), MaxReadingMemory(bytes)) << bytes;
  }
  // Sizes that only the length claims.
  EXPECT_LE(PeakMemoryOf([&] {
              WriteFile(std::string("\xFF\xE0\xF5\x05\0\0\0\0{}", 10));
              ReadSafetensors(TempPath()).status().IgnoreError();
            }),
            kMiB);
}

TEST_F(MemoryTest, OfJson) {
  LR_SKIP_WITHOUT_PEAK_MEMORY();
  const std::vector<std::pair<const char*, std::string>> texts = {
      {"numbers", "[" + Repeated("1", 8 * kMiB) + "]"},
      {"empty lists", "[" + Repeated("[]", 8 * kMiB) + "]"},
      {"empty objects", "[" + Repeated("{}", 8 * kMiB) + "]"},
      {"small objects", "[" + Repeated("{\"\":0}", 8 * kMiB) + "]"},
      {"keys", "{" + Repeated("\"@\":0", 8 * kMiB) + "}"},
      {"strings", "[" + Repeated("\"\"", 8 * kMiB) + "]"},
      {"a string", "\"" + std::string(15 * kMiB, 'a') + "\""},
      {"a word", std::string(15 * kMiB, 'a')},
      {"digits", std::string(15 * kMiB, '1')},
      {"nesting", std::string(8 * kMiB, '[')},
  };
  for (const auto& [name, text] : texts) {
    SCOPED_TRACE(name);
    const int64_t bytes = WriteFile(text + "\n");
    EXPECT_LE(PeakMemoryOf([&] { ReadJson(TempPath()).status().IgnoreError(); }),
              MaxReadingMemory(bytes));
    EXPECT_LE(PeakMemoryOf([&] { ReadJsonLines(TempPath()).status().IgnoreError(); }),
              MaxReadingMemory(bytes));
  }
  const int64_t lines = WriteFile([] {
    std::string text;
    while (static_cast<int64_t>(text.size()) < 8 * kMiB) text += "[0,[],{}]\n";
    return text;
  }());
  EXPECT_LE(PeakMemoryOf([&] { ReadJsonLines(TempPath()).status().IgnoreError(); }),
            MaxReadingMemory(lines));
}

}  // namespace
}  // namespace longrange
