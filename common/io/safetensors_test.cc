#include "common/io/safetensors.h"

#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/rng.h"
#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

std::string TempPath(const std::string& name) { return ::testing::TempDir() + "/" + name; }

// Not synced, as the tests write thousands of files.
void WriteQuickly(const std::string& path, const std::string& bytes) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
  ASSERT_EQ(std::fclose(file), 0);
}

std::string WithLength(uint64_t length, const std::string& rest) {
  std::string bytes(8, '\0');
  std::memcpy(&bytes[0], &length, 8);
  return bytes + rest;
}
std::string File(const std::string& header, const std::string& data) {
  return WithLength(header.size(), header + data);
}

TensorMap SomeTensors() {
  const Rng rng(7);
  TensorMap tensors;
  tensors["f32"] = RandomNormal({2, 3}, rng.Child("f32"));
  tensors["f64"] = RandomNormal({3}, rng.Child("f64"), 1, DType::kFloat64);
  tensors["bf16"] = RandomNormal({5, 1}, rng.Child("bf16"), 1, DType::kBFloat16);
  tensors["i32"] = RandomIds({2, 2}, rng.Child("i32"), 1000, DType::kInt32);
  tensors["i64"] = Tensor::FromVector<int64_t>({2}, {std::numeric_limits<int64_t>::min(), 7});
  tensors["u8"] = RandomIds({3}, rng.Child("u8"), 256, DType::kUInt8);
  tensors["scalar"] = Tensor::Scalar(2.5);
  tensors["empty"] = Tensor::Empty({4, 0, 2});
  tensors["näme \"quoted\""] =
      Tensor::FromVector<float>({1}, {std::numeric_limits<float>::quiet_NaN()});
  return tensors;
}

TEST(SafetensorsTest, RoundTripAndSameBytes) {
  const TensorMap tensors = SomeTensors();
  const SafetensorsMetadata metadata = {{"paper", "s4"}, {"config", "{\"a\": \"é\\n\"}"}};
  const std::string path = TempPath("round_trip.safetensors");
  ASSERT_THAT(WriteSafetensors(path, tensors, metadata), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const SafetensorsFile file, ReadSafetensors(path));
  EXPECT_EQ(file.metadata, metadata);
  ASSERT_EQ(file.tensors.size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    ASSERT_NE(file.Find(name), nullptr) << name;
    EXPECT_THAT(*file.Find(name), BitEqual(tensor)) << name;
  }
  EXPECT_EQ(file.Find("none"), nullptr);

  LR_ASSERT_OK_AND_ASSIGN(const std::string first, ReadFile(path));
  ASSERT_THAT(WriteSafetensors(path, file.tensors, file.metadata), IsOk());
  EXPECT_THAT(ReadFile(path), IsOkAndHolds(first));
}

TEST(SafetensorsTest, DataIsAligned) {
  const std::string path = TempPath("aligned.safetensors");
  ASSERT_THAT(WriteSafetensors(path, SomeTensors(), {{"k", "v"}}), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const auto reader, SafetensorsReader::Open(path));
  LR_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path));
  uint64_t length;
  std::memcpy(&length, bytes.data(), 8);
  EXPECT_EQ(length % 8, 0u);
  for (const auto& [name, entry] : reader->entries()) {
    LR_ASSERT_OK_AND_ASSIGN(const Tensor t, reader->Read(name));
    EXPECT_EQ(entry.begin % SizeOf(t.dtype()), 0) << name;
  }
}

TEST(SafetensorsTest, BytesAreAsSpecified) {
  const std::string path = TempPath("bytes.safetensors");
  ASSERT_THAT(WriteSafetensors(path,
                               {{"b", Tensor::FromVector<float>({1, 2}, {1, -2})},
                                {"a", Tensor::FromVector<uint8_t>({1}, {7})}},
                               {{"k", "v"}}),
              IsOk());
  const std::string header =
      R"({"__metadata__":{"k":"v"},"b":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"a":{"dtype":"U8","shape":[1],"data_offsets":[8,9]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  EXPECT_THAT(ReadFile(path),
              IsOkAndHolds(File(padded, std::string("\0\0\x80\x3F\0\0\0\xC0\x07", 9))));
  ASSERT_THAT(WriteSafetensors(path, {}), IsOk());
  EXPECT_THAT(ReadFile(path), IsOkAndHolds(File("{}      ", "")));
}

TEST(SafetensorsTest, ConvertsHalvesAndBooleans) {
  const std::string path = TempPath("convert.safetensors");
  const std::vector<uint16_t> halves = {0x0000, 0x8000, 0x3C00, 0xC000, 0x7BFF,
                                        0x0001, 0x83FF, 0x7C00, 0xFC00, 0x3555};
  const std::string data(reinterpret_cast<const char*>(halves.data()), 20);
  WriteQuickly(path, File(R"({"h":{"dtype":"F16","shape":[10],"data_offsets":[0,20]},)"
                          R"("m":{"dtype":"BOOL","shape":[2],"data_offsets":[20,22]}})",
                          data + std::string("\0\1", 2)));
  LR_ASSERT_OK_AND_ASSIGN(const SafetensorsFile file, ReadSafetensors(path));
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_THAT(*file.Find("h"),
              BitEqual(Tensor::FromVector<float>({10}, {0.f, -0.f, 1.f, -2.f, 65504.f, 0x1p-24f,
                                                        -0x1.ff8p-15f, inf, -inf, 0x1.554p-2f})));
  EXPECT_THAT(*file.Find("m"), BitEqual(Tensor::FromVector<uint8_t>({2}, {0, 1})));
  WriteQuickly(path, File(R"({"h":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}})", "\x01\x7E"));
  LR_ASSERT_OK_AND_ASSIGN(const SafetensorsFile nan, ReadSafetensors(path));
  EXPECT_TRUE(std::isnan(nan.Find("h")->item()));
  WriteQuickly(path, File(R"({"m":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]}})", "\2"));
  EXPECT_THAT(ReadSafetensors(path),
              StatusIs(absl::StatusCode::kInvalidArgument, "element 0 of type BOOL is 2"));
}

TEST(SafetensorsTest, OtherTypesAreRefusedWhenRead) {
  const std::string path = TempPath("types.safetensors");
  WriteQuickly(
      path,
      File(
          R"({"a":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]},)"
          R"("b":{"dtype":"I16","shape":[1],"data_offsets":[2,4]},"c":{"dtype":"U8","shape":[],"data_offsets":[4,5]}})",
          "12345"));
  LR_ASSERT_OK_AND_ASSIGN(const auto reader, SafetensorsReader::Open(path));
  EXPECT_EQ(reader->entries().at("b").dtype, "I16");
  EXPECT_THAT(reader->Read("a"),
              StatusIs(absl::StatusCode::kUnimplemented, "tensor \"a\": dtype F8_E4M3"));
  EXPECT_THAT(reader->Read("b"), StatusIs(absl::StatusCode::kUnimplemented, "I16"));
  EXPECT_THAT(reader->Read("c"), IsOk());
  EXPECT_THAT(reader->Read("d"), StatusIs(absl::StatusCode::kNotFound, "no tensor \"d\""));
  EXPECT_THAT(ReadSafetensors(path), StatusIs(absl::StatusCode::kUnimplemented, path));
}

TEST(SafetensorsTest, OddButGoodFilesAreRead) {
  const std::string path = TempPath("good.safetensors");
  const std::vector<std::string> good = {
      File("{}", ""),
      File("{}\n\t  ", ""),
      File(R"({"__metadata__":{}})", ""),
      // Without alignment, in any order of keys, with the data in another order than the names.
      File(
          R"({"b":{"data_offsets":[1,5],"shape":[1],"dtype":"F32"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})",
          "12345"),
      // Empty tensors share an offset.
      File(
          R"({"b":{"dtype":"F32","shape":[0],"data_offsets":[1,1]},"c":{"dtype":"F32","shape":[3,0],"data_offsets":[1,1]},)"
          R"("a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"d":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
          "12"),
      File(R"({"":{"dtype":"U8","shape":[1,1,1,1,1,1,1,1,1,1,1,1],"data_offsets":[0,1]}})", "1"),
      File(R"({"\u0000\u00e9":{"dtype":"U8","shape":[],"data_offsets":[0,1]}})", "1"),
  };
  for (const std::string& bytes : good) {
    WriteQuickly(path, bytes);
    EXPECT_THAT(ReadSafetensors(path), IsOk()) << bytes.substr(8);
  }
}

TEST(SafetensorsTest, MalformedFilesAreRefused) {
  const auto one = [](const std::string& fields, const std::string& data) {
    return File(R"({"t":{)" + fields + "}}", data);
  };
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  const std::string u8 = R"({"dtype":"U8","shape":[2],"data_offsets":)";
  std::string deep_shape = "1";
  for (int i = 0; i < 32; ++i) deep_shape += ",1";
  struct Case {
    std::string bytes;
    std::string message;
  };
  const std::vector<Case> cases = {
      // The length.
      {"", "0 bytes, expected at least 8"},
      {"1234567", "7 bytes, expected at least 8"},
      {WithLength(0, ""), "does not start with {"},
      {WithLength(3, "{}"), "cut short"},
      {WithLength(100'000'001, "{}"), "at most 100000000"},
      {WithLength(std::numeric_limits<uint64_t>::max(), "{}"), "at most 100000000"},
      {WithLength(uint64_t{1} << 63, "{}"), "at most 100000000"},
      {WithLength(99'999'999, "{}"), "cut short"},
      // The header as JSON.
      {File(" {}", ""), "does not start with {"},
      {File("[]", ""), "does not start with {"},
      {File("\xEF\xBB\xBF{}", ""), "does not start with {"},
      {File("{", ""), "end of input"},
      {File("{}x", ""), "invalid literal"},
      {File("{}{}", ""), "unexpected '{'"},
      {File(std::string("{}\0\0", 4), ""), "NUL byte"},
      {File("{\"t\":{" + good + "}," + "}", "12345678"), "unexpected '}'"},
      {File("{\"t\xFF\":{" + good + "}}", "12345678"), "UTF-8"},
      {File("{\"\\ud800\":{" + good + "}}", "12345678"), "surrogate"},
      {File("{" + std::string(100000, '['), ""), "unexpected '['"},
      {File("{\"t\":" + std::string(100000, '['), ""), "expected an object, got an array"},
      {one(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])", "12345678"), "got an array"},
      // Keys that appear twice.
      {File("{\"t\":{" + good + "},\"t\":{" + good + "}}", "12345678"), "name \"t\" appears twice"},
      {File("{\"t\":{" + good + "},\"\\u0074\":{" + good + "}}", "12345678"),
       "name \"t\" appears twice"},
      {one(R"("dtype":"F64","dtype":"F32","shape":[2],"data_offsets":[0,8])", "12345678"),
       "key \"dtype\" appears twice"},
      {one(R"("dtype":"F32","shape":[9],"shape":[2],"data_offsets":[0,8])", "12345678"),
       "key \"shape\" appears twice"},
      {one(good + R"(,"data_offsets":[0,8])", "12345678"), "key \"data_offsets\" appears twice"},
      {File(R"({"__metadata__":{"a":"1","a":"1"}})", ""), "__metadata__: key \"a\" appears twice"},
      {File(R"({"__metadata__":{},"__metadata__":{}})", ""), "name \"__metadata__\" appears twice"},
      // Metadata is strings.
      {File(R"({"__metadata__":{"a":1}})", ""), "expected a string, got the number 1"},
      {File(R"({"__metadata__":{"a":{}}})", ""), "expected a string, got an object"},
      {File(R"({"__metadata__":{"a":null}})", ""), "expected a string, got null"},
      {File(R"({"__metadata__":"a"})", ""), "expected an object, got the string \"a\""},
      {File(R"({"__metadata__":[]})", ""), "expected an object, got an array"},
      // The fields of a tensor.
      {File(R"({"t":7})", ""), "\"t\": expected an object, got the number 7"},
      {File(R"({"t":null})", ""), "expected an object, got null"},
      {one("", ""), "tensor \"t\": dtype is missing"},
      {one(R"("shape":[2],"data_offsets":[0,8])", "12345678"), "dtype is missing"},
      {one(R"("dtype":"F32","data_offsets":[0,8])", "12345678"), "shape is missing"},
      {one(R"("dtype":"F32","shape":[2])", "12345678"), "data_offsets is missing"},
      {one(good + R"(,"strides":[1])", "12345678"), "unknown key \"strides\""},
      {one(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])", "12345678"),
       "unknown dtype \"F33\""},
      {one(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])", "12345678"),
       "unknown dtype \"f32\""},
      {one(R"("dtype":4,"shape":[2],"data_offsets":[0,8])", "12345678"),
       "dtype: expected a string, got the number 4"},
      {one(R"("dtype":["F32"],"shape":[2],"data_offsets":[0,8])", "12345678"),
       "dtype: expected a string, got an array"},
      {one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])", "12345678"),
       "shape: expected an array, got the number 2"},
      {one(R"("dtype":"F32","shape":"2","data_offsets":[0,8])", "12345678"),
       "shape: expected an array"},
      {one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", "12345678"),
       "expected a whole number >= 0, got the number -2"},
      {one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", "12345678"),
       "got the number 2.0"},
      {one(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])", "12345678"),
       "shape: expected a whole number"},
      {one(R"("dtype":"F32","shape":[true],"data_offsets":[0,8])", "12345678"), "got a boolean"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0])", "12345678"),
       "expected 2 numbers, got 1"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[])", "12345678"),
       "expected 2 numbers, got 0"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])", "12345678"),
       "expected 2 numbers, got more"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,-8])", "12345678"), "got the number -8"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":{"0":8})", "12345678"),
       "data_offsets: expected an array, got an object"},
      {one(R"("dtype":"U8","shape":[)" + deep_shape + R"(],"data_offsets":[0,1])", "1"),
       "more than 32 dimensions"},
      // Sizes that wrap: 2^32 * 2^32, 2^62 * 4 bytes, and beyond int64 or uint64 in one number.
      {one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", ""),
       "overflows"},
      {one(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])", ""), "overflows"},
      {one(R"("dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,8])", "12345678"),
       "overflows"},
      {one(R"("dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0])", ""),
       "overflows"},
      {one(R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0])", ""),
       "9223372036854775808 is too large"},
      {one(R"("dtype":"U8","shape":[18446744073709551617],"data_offsets":[0,1])", "1"),
       "expected a whole number"},
      {one(R"("dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,0])", "1"),
       "is too large"},
      {one(R"("dtype":"U8","shape":[1],"data_offsets":[9223372036854775807,9223372036854775807])",
           "1"),
       "no range within the 1 bytes"},
      {one(R"("dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000])", "1234"),
       "no range within the 4 bytes"},
      // Sizes and places that do not agree.
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[0,12])", "123456789012"),
       "needs 8 bytes, data_offsets give 12"},
      {one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", "12345678"),
       "needs 12 bytes, data_offsets give 8"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", "12345678"), "no range"},
      {one(good, "1234567"), "no range within the 7 bytes"},
      {one(good, "123456789"), "cover 8 bytes of data, expected all 9"},
      {one(R"("dtype":"F32","shape":[2],"data_offsets":[1,9])", "123456789"),
       "begins at 1, expected 0 (a hole)"},
      {File("{}", "1"), "cover 0 bytes of data, expected all 1"},
      {File("{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[1,3]}}", "123"),
       "tensor \"b\": data begins at 1, expected 2 (it overlaps"},
      {File("{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[0,2]}}", "12"), "overlaps"},
      {File("{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[3,5]}}", "12345"),
       "tensor \"b\": data begins at 3, expected 2 (a hole)"},
      {File("{\"a\":" + u8 + R"([0,2]},"e":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
            "12"),
       "overlaps"},
  };
  EXPECT_GE(cases.size(), 30u);
  const std::string path = TempPath("malformed.safetensors");
  for (const Case& c : cases) {
    WriteQuickly(path, c.bytes);
    const absl::StatusOr<SafetensorsFile> file = ReadSafetensors(path);
    EXPECT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument, c.message))
        << c.bytes.substr(0, 200);
    EXPECT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument, path));
  }
}

TEST(SafetensorsTest, WhatIsNoFileIsRefused) {
  EXPECT_THAT(ReadSafetensors(TempPath("none")), StatusIs(absl::StatusCode::kNotFound, "none"));
  EXPECT_THAT(ReadSafetensors(::testing::TempDir()),
              StatusIs(absl::StatusCode::kFailedPrecondition, "not a regular file"));
  const std::string pipe = TempPath("pipe.safetensors");
  std::remove(pipe.c_str());
  ASSERT_EQ(mkfifo(pipe.c_str(), 0666), 0);
  EXPECT_THAT(ReadSafetensors(pipe),
              StatusIs(absl::StatusCode::kFailedPrecondition, "not a regular file"));
}

TEST(SafetensorsTest, AFileThatShrinksIsAnError) {
  const std::string path = TempPath("shrinks.safetensors");
  ASSERT_THAT(WriteSafetensors(path, SomeTensors()), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path));
  LR_ASSERT_OK_AND_ASSIGN(const auto reader, SafetensorsReader::Open(path));
  WriteQuickly(path, bytes.substr(0, bytes.size() - 1));
  EXPECT_THAT(reader->Read("f64"), IsOk());
  EXPECT_THAT(reader->Read("u8"), StatusIs(absl::StatusCode::kDataLoss, "shrank"));
}

TEST(SafetensorsTest, EveryTruncationIsAnError) {
  const std::string path = TempPath("truncated.safetensors");
  ASSERT_THAT(WriteSafetensors(path, SomeTensors(), {{"k", "v"}}), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::string bytes, ReadFile(path));
  for (size_t size = 0; size < bytes.size(); ++size) {
    WriteQuickly(path, bytes.substr(0, size));
    ASSERT_FALSE(ReadSafetensors(path).ok()) << size;
  }
  WriteQuickly(path, bytes + '\0');
  EXPECT_FALSE(ReadSafetensors(path).ok());
}

// Seeded damage: flipped bits, other bytes, pieces cut out, doubled or moved, digits changed.
// Whatever comes, the reader answers, and what it accepts covers the file exactly.
TEST(SafetensorsTest, DamagedFilesNeverCrash) {
  const std::string path = TempPath("mutated.safetensors");
  ASSERT_THAT(WriteSafetensors(path, SomeTensors(), {{"k", "v"}}), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::string original, ReadFile(path));
  uint64_t header_bytes;
  std::memcpy(&header_bytes, original.data(), 8);
  static constexpr char kTokens[] = "{}[],:\"0123456789-.eE\\ \0tn";
  int accepted = 0;
  const Rng rng(2024);
  for (int round = 0; round < 6000; ++round) {
    RngStream draw(rng.Child(round));
    std::string bytes = original;
    const int64_t num_edits = 1 + draw.UniformInt(4);
    for (int64_t e = 0; e < num_edits && !bytes.empty(); ++e) {
      // Mostly in the header, where all decisions are made.
      const auto limit = static_cast<int64_t>(
          draw.UniformInt(10) == 0 ? bytes.size()
                                   : std::min(bytes.size(), size_t{8} + header_bytes));
      const auto at = static_cast<size_t>(draw.UniformInt(limit));
      const auto length = static_cast<size_t>(draw.UniformInt(24));
      switch (draw.UniformInt(7)) {
        case 0:
          bytes[at] = static_cast<char>(bytes[at] ^ (1 << draw.UniformInt(8)));
          break;
        case 1:
          bytes[at] = static_cast<char>(draw.UniformInt(256));
          break;
        case 2:
          bytes[at] = kTokens[draw.UniformInt(sizeof(kTokens) - 1)];
          break;
        case 3:
          bytes.erase(at, length);
          break;
        case 4:
          bytes.insert(at, bytes.substr(at, length));
          break;
        case 5:
          bytes.insert(static_cast<size_t>(draw.UniformInt(limit)), bytes.substr(at, length));
          break;
        default: {
          const size_t digit = bytes.find_first_of("0123456789", std::max(at, size_t{8}));
          if (digit != std::string::npos)
            bytes[digit] = static_cast<char>('0' + draw.UniformInt(10));
        }
      }
    }
    // In every second round the length fits the header again, so that the damage gets past the
    // first check.
    if (round % 2 == 0 && bytes.size() >= 8) {
      const uint64_t data = original.size() - 8 - header_bytes;
      const uint64_t length = bytes.size() - 8 > data ? bytes.size() - 8 - data : 0;
      std::memcpy(&bytes[0], &length, 8);
    }
    WriteQuickly(path, bytes);
    const absl::StatusOr<std::unique_ptr<SafetensorsReader>> reader = SafetensorsReader::Open(path);
    if (!reader.ok()) {
      ASSERT_FALSE(reader.status().message().empty());
      continue;
    }
    ++accepted;
    int64_t covered = 0;
    for (const auto& [name, entry] : (*reader)->entries()) {
      covered += entry.end - entry.begin;
      const absl::StatusOr<Tensor> t = (*reader)->Read(name);
      if (t.ok()) {
        ASSERT_EQ(t->shape(), entry.shape);
      }
    }
    uint64_t length;
    std::memcpy(&length, bytes.data(), 8);
    ASSERT_EQ(static_cast<uint64_t>(covered), bytes.size() - 8 - length);
  }
  EXPECT_GT(accepted, 50);
  EXPECT_LT(accepted, 3000);
}

TEST(SafetensorsTest, WriterRefuses) {
  const std::string path = TempPath("refused.safetensors");
  ASSERT_THAT(WriteFileAtomically(path, "old"), IsOk());
  const Tensor t = Tensor::Zeros({1});
  const auto kInvalid = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(WriteSafetensors(path, {{"__metadata__", t}}), StatusIs(kInvalid, "__metadata__"));
  EXPECT_THAT(WriteSafetensors(path, {{"\xFF", t}}), StatusIs(kInvalid, "UTF-8"));
  EXPECT_THAT(WriteSafetensors(path, {{"t", t}}, {{"k", "\xFF"}}), StatusIs(kInvalid, "UTF-8"));
  EXPECT_THAT(WriteSafetensors(path, {{"t", Tensor()}}), StatusIs(kInvalid, "\"t\" is undefined"));
  EXPECT_THAT(WriteSafetensors(path, {{"t", t.To(Device::kMeta)}}),
              StatusIs(kInvalid, "is on meta, expected cpu"));
  EXPECT_THAT(WriteSafetensors(TempPath("no/f.safetensors"), {{"t", t}}),
              StatusIs(absl::StatusCode::kNotFound, "no/f"));
  EXPECT_THAT(ReadFile(path), IsOkAndHolds("old"));
}

}  // namespace
}  // namespace longrange
