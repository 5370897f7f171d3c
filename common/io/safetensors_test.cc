#include "common/io/safetensors.h"

#include <sys/stat.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <set>
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
          R"("b":{"dtype":"I16","shape":[1],"data_offsets":[2,4]},"c":{"dtype":"U8","shape":[],"data_offsets":[4,5]},)"
          R"("d4":{"dtype":"F4","shape":[2,3],"data_offsets":[5,8]}})",
          "12345678"));
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
  std::string many_tensors = "{", many_keys = "{\"__metadata__\":{";
  for (int i = 0; i < 100000; ++i) {
    absl::StrAppend(&many_tensors, i == 0 ? "" : ",", "\"", i,
                    R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})");
  }
  for (int i = 0; i < 200000; ++i)
    absl::StrAppend(&many_keys, i == 0 ? "" : ",", "\"", i, "\":\"\"");
  many_tensors = File(many_tensors + "}", "");
  many_keys = File(many_keys + "}}", "");
  struct Case {
    std::string name;
    std::string bytes;
    std::string message;
  };
  const std::vector<Case> cases = {
      // The length.
      {"an empty file", "", "0 bytes, expected at least 8"},
      {"a file shorter than the length", "1234567", "7 bytes, expected at least 8"},
      {"a header of no bytes", WithLength(0, ""), "does not start with {"},
      {"a header longer than the file", WithLength(3, "{}"), "cut short"},
      {"a header above the limit", WithLength(100'000'001, "{}"), "at most 100000000"},
      {"a length of all ones", WithLength(std::numeric_limits<uint64_t>::max(), "{}"),
       "at most 100000000"},
      {"a length with the sign bit", WithLength(uint64_t{1} << 63, "{}"), "at most 100000000"},
      {"a length below the limit in a file of ten bytes", WithLength(99'999'999, "{}"),
       "cut short"},
      // The header as JSON.
      {"white space before the header", File(" {}", ""), "does not start with {"},
      {"an array as the header", File("[]", ""), "does not start with {"},
      {"a byte order mark", File("\xEF\xBB\xBF{}", ""), "does not start with {"},
      {"an object that does not end", File("{", ""), "end of input"},
      {"a word after the header", File("{}x", ""), "invalid literal"},
      {"a second header", File("{}{}", ""), "unexpected '{'"},
      {"NUL bytes after the header", File(std::string("{}\0\0", 4), ""), "NUL byte"},
      {"a comma before the last brace", File("{\"t\":{" + good + "}," + "}", "12345678"),
       "unexpected '}'"},
      {"a name that is not UTF-8", File("{\"t\xFF\":{" + good + "}}", "12345678"), "UTF-8"},
      {"a name with half a surrogate pair", File("{\"\\ud800\":{" + good + "}}", "12345678"),
       "surrogate"},
      {"an array in place of a name, nested deeply", File("{" + std::string(100000, '['), ""),
       "unexpected '['"},
      {"arrays nested deeply", File("{\"t\":" + std::string(100000, '['), ""),
       "expected an object, got an array"},
      {"an array within a shape",
       one(R"("dtype":"F32","shape":[[2]],"data_offsets":[0,8])", "12345678"), "got an array"},
      // Keys that appear twice.
      {"a name twice", File("{\"t\":{" + good + "},\"t\":{" + good + "}}", "12345678"),
       "name \"t\" appears twice"},
      {"a name twice, once escaped",
       File("{\"t\":{" + good + "},\"\\u0074\":{" + good + "}}", "12345678"),
       "name \"t\" appears twice"},
      {"dtype twice",
       one(R"("dtype":"F64","dtype":"F32","shape":[2],"data_offsets":[0,8])", "12345678"),
       "key \"dtype\" appears twice"},
      {"shape twice",
       one(R"("dtype":"F32","shape":[9],"shape":[2],"data_offsets":[0,8])", "12345678"),
       "key \"shape\" appears twice"},
      {"data_offsets twice", one(good + R"(,"data_offsets":[0,8])", "12345678"),
       "key \"data_offsets\" appears twice"},
      {"a key of the metadata twice", File(R"({"__metadata__":{"a":"1","a":"1"}})", ""),
       "__metadata__: key \"a\" appears twice"},
      {"the metadata twice", File(R"({"__metadata__":{},"__metadata__":{}})", ""),
       "name \"__metadata__\" appears twice"},
      // Metadata is strings.
      {"a number in the metadata", File(R"({"__metadata__":{"a":1}})", ""),
       "expected a string, got the number 1"},
      {"an object in the metadata", File(R"({"__metadata__":{"a":{}}})", ""),
       "expected a string, got an object"},
      {"null in the metadata", File(R"({"__metadata__":{"a":null}})", ""),
       "expected a string, got null"},
      {"metadata that is a string", File(R"({"__metadata__":"a"})", ""),
       "expected an object, got the string \"a\""},
      {"metadata that is an array", File(R"({"__metadata__":[]})", ""),
       "expected an object, got an array"},
      // The fields of a tensor.
      {"a tensor that is a number", File(R"({"t":7})", ""),
       "\"t\": expected an object, got the number 7"},
      {"a tensor that is null", File(R"({"t":null})", ""), "expected an object, got null"},
      {"a tensor without fields", one("", ""), "tensor \"t\": dtype is missing"},
      {"a tensor without a dtype", one(R"("shape":[2],"data_offsets":[0,8])", "12345678"),
       "dtype is missing"},
      {"a tensor without a shape", one(R"("dtype":"F32","data_offsets":[0,8])", "12345678"),
       "shape is missing"},
      {"a tensor without data_offsets", one(R"("dtype":"F32","shape":[2])", "12345678"),
       "data_offsets is missing"},
      {"a field that is not known", one(good + R"(,"strides":[1])", "12345678"),
       "unknown key \"strides\""},
      {"a dtype that is not known",
       one(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])", "12345678"),
       "unknown dtype \"F33\""},
      {"a dtype in lower case",
       one(R"("dtype":"f32","shape":[2],"data_offsets":[0,8])", "12345678"),
       "unknown dtype \"f32\""},
      {"a dtype that is a number", one(R"("dtype":4,"shape":[2],"data_offsets":[0,8])", "12345678"),
       "dtype: expected a string, got the number 4"},
      {"a dtype that is an array",
       one(R"("dtype":["F32"],"shape":[2],"data_offsets":[0,8])", "12345678"),
       "dtype: expected a string, got an array"},
      {"a shape that is a number",
       one(R"("dtype":"F32","shape":2,"data_offsets":[0,8])", "12345678"),
       "shape: expected an array, got the number 2"},
      {"a shape that is a string",
       one(R"("dtype":"F32","shape":"2","data_offsets":[0,8])", "12345678"),
       "shape: expected an array"},
      {"a negative dimension",
       one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])", "12345678"),
       "expected a whole number >= 0, got the number -2"},
      {"a dimension with a point",
       one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])", "12345678"),
       "got the number 2.0"},
      {"a dimension that is a string",
       one(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])", "12345678"),
       "shape: expected a whole number"},
      {"a dimension that is a boolean",
       one(R"("dtype":"F32","shape":[true],"data_offsets":[0,8])", "12345678"), "got a boolean"},
      {"one offset", one(R"("dtype":"F32","shape":[2],"data_offsets":[0])", "12345678"),
       "expected 2 numbers, got 1"},
      {"no offset", one(R"("dtype":"F32","shape":[2],"data_offsets":[])", "12345678"),
       "expected 2 numbers, got 0"},
      {"three offsets", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,8])", "12345678"),
       "expected 2 numbers, got more"},
      {"a negative offset", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,-8])", "12345678"),
       "got the number -8"},
      {"offsets that are an object",
       one(R"("dtype":"F32","shape":[2],"data_offsets":{"0":8})", "12345678"),
       "data_offsets: expected an array, got an object"},
      {"too many dimensions",
       one(R"("dtype":"U8","shape":[)" + deep_shape + R"(],"data_offsets":[0,1])", "1"),
       "more than 32 dimensions"},
      // Sizes that wrap: 2^32 * 2^32, 2^62 * 4 bytes, and beyond int64 or uint64 in one number.
      {"a number of elements that wraps to 0",
       one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])", ""),
       "overflows"},
      {"a number of bytes that wraps to 0",
       one(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])", ""), "overflows"},
      {"a number of bytes that wraps to the right one",
       one(R"("dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,8])", "12345678"),
       "overflows"},
      {"an overflow hidden by a dimension of 0",
       one(R"("dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0])", ""),
       "overflows"},
      {"a dimension above int64",
       one(R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0])", ""),
       "9223372036854775808 is too large"},
      {"a dimension above uint64",
       one(R"("dtype":"U8","shape":[18446744073709551617],"data_offsets":[0,1])", "1"),
       "expected a whole number"},
      {"an offset above int64",
       one(R"("dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,0])", "1"),
       "is too large"},
      {"an empty range at the end of int64",
       one(R"("dtype":"U8","shape":[1],"data_offsets":[9223372036854775807,9223372036854775807])",
           "1"),
       "no range within the 1 bytes"},
      {"terabytes in a file of a few bytes",
       one(R"("dtype":"F32","shape":[1000000000000],"data_offsets":[0,4000000000000])", "1234"),
       "no range within the 4 bytes"},
      // Sizes and places that do not agree.
      {"elements that fill no whole bytes",
       one(R"("dtype":"F6_E2M3","shape":[3],"data_offsets":[0,2])", "12"), "needs 18 bits"},
      {"more bytes than the shape needs",
       one(R"("dtype":"F32","shape":[2],"data_offsets":[0,12])", "123456789012"),
       "needs 8 bytes, data_offsets give 12"},
      {"fewer bytes than the shape needs",
       one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])", "12345678"),
       "needs 12 bytes, data_offsets give 8"},
      {"a range that ends before it begins",
       one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])", "12345678"), "no range"},
      {"data that is cut short", one(good, "1234567"), "no range within the 7 bytes"},
      {"a byte after the data", one(good, "123456789"), "cover 8 bytes of data, expected all 9"},
      {"a hole before the first tensor",
       one(R"("dtype":"F32","shape":[2],"data_offsets":[1,9])", "123456789"),
       "begins at 1, expected 0 (a hole)"},
      {"data without a tensor", File("{}", "1"), "cover 0 bytes of data, expected all 1"},
      {"tensors that overlap", File("{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[1,3]}}", "123"),
       "tensor \"b\": data begins at 1, expected 2 (it overlaps"},
      {"two tensors in one place", File("{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[0,2]}}", "12"),
       "overlaps"},
      {"a hole between tensors", File("{\"a\":" + u8 + "[0,2]},\"b\":" + u8 + "[3,5]}}", "12345"),
       "tensor \"b\": data begins at 3, expected 2 (a hole)"},
      {"an empty tensor within another",
       File("{\"a\":" + u8 + R"([0,2]},"e":{"dtype":"U8","shape":[0],"data_offsets":[1,1]}})",
            "12"),
       "overlaps"},
      // Lengths that a reader or a message would have to hold.
      {"a name of megabytes", File("{\"" + std::string(3 << 20, 'a') + "\":{}}", ""),
       "a string of more than 2097152 bytes"},
      {"a number of megabytes", one(R"("dtype":"U8","shape":[)" + std::string(3 << 20, '1'), ""),
       "white space of more than 1048576 bytes"},
      {"white space of megabytes", File("{" + std::string(3 << 20, ' ') + "}", ""),
       "white space of more than 1048576 bytes"},
      {"a long name in a message", File("{\"" + std::string(1 << 20, 'a') + "\":7}", ""),
       "aaa... (1048576 bytes)\": expected an object"},
      {"a long string in a message", File("{\"" + std::string(1 << 20, 'a') + R"(\q":7})", ""),
       "bytes) (byte 1048580 of"},
      {"line breaks in a name", File(R"({"a\nb\u001b":7})", ""), R"("a\x0ab\x1b": expected)"},
      {"hundreds of thousands of empty tensors", many_tensors, "too much memory"},
      {"millions of keys in the metadata", many_keys, "too much memory"},
  };
  EXPECT_GE(cases.size(), 30u);
  const std::string path = TempPath("malformed.safetensors");
  std::set<std::string> names;
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_TRUE(names.insert(c.name).second) << "this name appears twice";
    WriteQuickly(path, c.bytes);
    const absl::StatusOr<SafetensorsFile> file = ReadSafetensors(path);
    EXPECT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument, c.message));
    EXPECT_THAT(file, StatusIs(absl::StatusCode::kInvalidArgument, path));
    const std::string message(file.status().message());
    EXPECT_THAT(message, ::testing::Not(::testing::HasSubstr("\n")));
    EXPECT_LT(message.size(), path.size() + 500);
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
