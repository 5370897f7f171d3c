#include "common/io/json.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/io/atomic_file.h"
#include "common/io/rows.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

TEST(JsonTest, ParsesValues) {
  LR_ASSERT_OK_AND_ASSIGN(
      const nlohmann::json value,
      ParseJson(R"( {"b": [1, -2, 2.5e3, true, null, "\u00e9"], "a": {"x": {}}} )", "text"));
  EXPECT_EQ(value.dump(), R"({"a":{"x":{}},"b":[1,-2,2500.0,true,null,"é"]})");
  LR_ASSERT_OK_AND_ASSIGN(const nlohmann::ordered_json ordered,
                          ParseOrderedJson(R"({"b":1,"a":[{"d":1,"c":2}]})", "text"));
  EXPECT_EQ(ordered.dump(), R"({"b":1,"a":[{"d":1,"c":2}]})");
}

TEST(JsonTest, Refuses) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"", "unexpected end of input"},
      {"{", "unexpected end of input"},
      {"{} {}", "unexpected '{'"},
      {"[1,]", "unexpected ']'"},
      {"{a:1}", "invalid literal"},
      {"// x\n1", "invalid literal"},
      {R"({"a":1,"a":1})", "key \"a\" appears twice"},
      {R"([{"x":{"a":1,"b":2,"\u0061":3}}])", "key \"a\" appears twice"},
      {"\"\xFF\"", "UTF-8"},
      {"\"\xED\xA0\x80\"", "UTF-8"},
      {R"("\ud800")", "surrogate"},
      {"1e999", "number overflow"},
      {"NaN", "invalid literal"},
      {std::string("1\0 2", 4), "NUL at byte 1"},
      {"\xEF\xBB\xBF{}", "byte order mark"},
      {std::string(65, '[') + std::string(65, ']'), "nested deeper than 64"},
      {std::string(1 << 20, '['), "nested deeper than 64"},
  };
  for (const auto& [text, message] : bad) {
    const absl::StatusOr<nlohmann::json> value = ParseJson(text, "some text");
    EXPECT_THAT(value, StatusIs(absl::StatusCode::kInvalidArgument, message)) << text.substr(0, 60);
    EXPECT_THAT(value, StatusIs(absl::StatusCode::kInvalidArgument, "some text: no JSON"))
        << text.substr(0, 60);
  }
  EXPECT_THAT(ParseJson(std::string(64, '[') + std::string(64, ']'), "x"), IsOk());
}

TEST(JsonTest, QuotesAndNumbers) {
  EXPECT_EQ(JsonQuote("a\"\\\n\t\x01\x1f é/"), R"("a\"\\\n\t\u0001\u001f é/")");
  EXPECT_EQ(JsonNumber(0.1), "0.1");
  EXPECT_EQ(JsonNumber(1), "1.0");
  EXPECT_EQ(JsonNumber(-0.0), "-0.0");
  EXPECT_EQ(JsonNumber(1e300), "1e+300");
  EXPECT_EQ(JsonNumber(std::nan("")), "\"nan\"");
  EXPECT_EQ(JsonNumber(-kInf), "\"-inf\"");
  const Rng rng(1);
  for (int i = 0; i < 2000; ++i) {
    const uint64_t bits = rng.Bits(i);
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    LR_ASSERT_OK_AND_ASSIGN(const nlohmann::json back, ParseJson(JsonNumber(value), "number"));
    ASSERT_TRUE(back.is_number_float());
    EXPECT_EQ(back.get<double>(), value);
  }
}

TEST(JsonTest, Utf8) {
  for (const char* good :
       {"", "ascii", "é", "中", "\xF0\x9F\x98\x80", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_TRUE(IsValidUtf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80",
                          "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xC3",
                          "\xE4\xB8", "a\xF0\x9F\x98", "\xC3(", "\xFF"}) {
    EXPECT_FALSE(IsValidUtf8(bad));
  }
}

std::string TempPath(const std::string& name) { return ::testing::TempDir() + "/" + name; }

std::vector<Row> SomeRows() {
  std::vector<Row> rows(3);
  rows[0]
      .Set("arm", "alibi")
      .Set("seed", 1)
      .Set("loss", 2.0)
      .Set("done", true)
      .Set("note", std::string("a\"b\né"));
  rows[1]
      .Set("x", 0.1)
      .Set("big", std::numeric_limits<int64_t>::min())
      .Set("tiny", 5e-324)
      .Set("x", 1.0 / 3);
  return rows;
}

TEST(RowsTest, TextIsAsStated) {
  const std::vector<Row> rows = SomeRows();
  EXPECT_EQ(rows[0].ToJson(),
            R"({"arm":"alibi","seed":1,"loss":2.0,"done":true,"note":"a\"b\né"})");
  EXPECT_EQ(rows[1].ToJson(),
            R"({"x":0.3333333333333333,"big":-9223372036854775808,"tiny":5e-324})");
  EXPECT_EQ(rows[2].ToJson(), "{}");
}

TEST(RowsTest, RoundTrip) {
  const std::string path = TempPath("rows.jsonl");
  const std::vector<Row> rows = SomeRows();
  ASSERT_THAT(WriteRows(path, rows), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> back, ReadRows(path));
  EXPECT_TRUE(back == rows);
  LR_ASSERT_OK_AND_ASSIGN(const std::string first, ReadFile(path));
  ASSERT_THAT(WriteRows(path, back), IsOk());
  EXPECT_THAT(ReadFile(path), IsOkAndHolds(first));
  ASSERT_THAT(WriteRows(path, {}), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> none, ReadRows(path));
  EXPECT_TRUE(none.empty());
}

TEST(RowsTest, ValuesByType) {
  LR_ASSERT_OK_AND_ASSIGN(
      const Row row, ParseRow(R"({"i":3,"d":3.0,"s":"nan","n":"-inf","b":false,"t":"x"})", "row"));
  EXPECT_THAT(row.Integer("i"), IsOkAndHolds(3));
  EXPECT_THAT(row.Number("i"), IsOkAndHolds(3.0));
  EXPECT_THAT(row.Number("d"), IsOkAndHolds(3.0));
  EXPECT_THAT(row.Integer("d"), StatusIs(absl::StatusCode::kInvalidArgument,
                                         "key \"d\": expected an integer, got 3.0"));
  EXPECT_TRUE(std::isnan(row.Number("s").value()));
  EXPECT_THAT(row.Number("n"), IsOkAndHolds(-kInf));
  EXPECT_THAT(row.Bool("b"), IsOkAndHolds(false));
  EXPECT_THAT(row.String("t"), IsOkAndHolds("x"));
  EXPECT_THAT(row.Number("t"),
              StatusIs(absl::StatusCode::kInvalidArgument, "expected a number, got \"x\""));
  EXPECT_THAT(row.Bool("none"), StatusIs(absl::StatusCode::kInvalidArgument, "got nothing"));
}

TEST(RowsTest, RefusesWithLineNumber) {
  const std::vector<std::pair<std::string, std::string>> bad = {
      {"{\"a\":1}\n{\"a\":1", "line 2: cut short"},
      {"{\"a\":1}\n{\"a\":1}", "line 2: cut short"},
      {"{\"a\":1}\n\n", "line 2: no JSON"},
      {"{\"a\":1}\n[1]\n", "line 2: expected an object, got array"},
      {"{\"a\":[1]}\n", "line 1: key \"a\": expected a string, a number or a boolean, got array"},
      {"{\"a\":null}\n", "got null"},
      {"{\"a\":1,\"a\":2}\n", "appears twice"},
      {"{\"a\":9223372036854775808}\n", "got 9223372036854775808"},
      {"{\"a\":1}{\"b\":2}\n", "line 1: no JSON"},
  };
  const std::string path = TempPath("bad.jsonl");
  for (const auto& [text, message] : bad) {
    ASSERT_THAT(WriteFileAtomically(path, text), IsOk());
    const absl::StatusOr<std::vector<Row>> rows = ReadRows(path);
    ASSERT_FALSE(rows.ok()) << text;
    EXPECT_NE(std::string(rows.status().message()).find(message), std::string::npos)
        << rows.status();
    EXPECT_NE(std::string(rows.status().message()).find(path), std::string::npos) << rows.status();
  }
  ASSERT_THAT(WriteFileAtomically(path, "1\n{\"a\":[{}]}\n"), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const std::vector<nlohmann::json> values, ReadJsonLines(path));
  EXPECT_EQ(values.size(), 2u);
}

}  // namespace
}  // namespace longrange
