// Cases in JSON lines: kinds by keys, whose lines they are, and what counts as a failure.

#include "plugins/golden/golden_lines.h"

#include <string>
#include <vector>

#include "common/io/atomic_file.h"
#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

absl::Status RunSum(const GoldenLine& line, GoldenLineChecker* check) {
  double sum = 0;
  for (const nlohmann::json& term : line.fields["terms"]) {
    if (!term.is_number()) return absl::InvalidArgumentError("terms: expected numbers");
    sum += term.get<double>();
  }
  check->Number("sum", sum);
  return absl::OkStatus();
}
LR_REGISTER_GOLDEN_LINES("sums", RunSum, {{"terms"}, {"sum"}, {"note"}});

// The text of a file beside the case, cut before each comma, and the size of the last piece.
absl::Status RunCut(const GoldenLine& line, GoldenLineChecker* check) {
  const absl::StatusOr<nlohmann::json> text = line.SideFile("text.json");
  if (!text.ok()) return text.status();
  std::vector<std::string> pieces = {""};
  for (const char c : text->get<std::string>()) {
    if (c == ',') pieces.emplace_back();
    pieces.back() += c;
  }
  check->Texts("pieces", pieces);
  check->Numbers("sizes", {static_cast<double>(pieces.back().size())});
  if (line.fields["of"] != "lazy") check->Text("first", pieces[0]);
  return absl::OkStatus();
}
LR_REGISTER_GOLDEN_LINES("cuts", RunCut, {{"of"}, {"pieces", "sizes", "first"}});

class GoldenLinesTest : public testing::Test {
 protected:
  GoldenLinesTest()
      : dir_(testing::TempDir() + "/lines_" +
             testing::UnitTest::GetInstance()->current_test_info()->name()) {
    CHECK(RemoveAll(dir_).ok());
  }
  ~GoldenLinesTest() override { RemoveAll(dir_).IgnoreError(); }

  GoldenFile Write(const std::string& folder, const std::string& text) const {
    CHECK(MakeDirs(dir_ + "/" + folder).ok());
    GoldenFile file;
    file.path = dir_ + "/" + folder + "/any.jsonl";
    file.kind = GoldenFile::Kind::kJsonLines;
    file.paper = folder;
    file.name = "any";
    CHECK(WriteFileAtomically(file.path, text).ok());
    return file;
  }
  GoldenReport Run(const std::string& text) const { return RunGoldenLines(Write("sums", text)); }

  std::string dir_;
};

TEST_F(GoldenLinesTest, EveryLineIsRun) {
  const GoldenReport report =
      Run("{\"terms\": [1, 2], \"sum\": 3}\n"
          "{\"terms\": [], \"sum\": 0, \"note\": \"nothing\"}");
  EXPECT_TRUE(report.passed) << report.ToString();
  EXPECT_EQ(report.name, "sums/any");
  EXPECT_EQ(report.results.size(), 2u);
  EXPECT_THAT(report.results[1].name, "line 2: sum");
}

TEST_F(GoldenLinesTest, OneBadLineFailsTheCaseAndIsNamed) {
  const std::pair<const char*, const char*> bad[] = {
      {"{\"terms\": [1], \"sum\": 2}", "line 2: sum: "},
      {"{\"terms\": [1], \"sum\": \"1\"}", "line 2: sum: expected a number in the case"},
      {"{\"terms\": [1], \"sum\": null}", "line 2: sum: expected a number in the case"},
      {"{\"terms\": [\"1\"], \"sum\": 1}", "line 2: terms: expected numbers"},
      {"{\"terms\": [1]}",
       "line 2: its keys are those of no known kind of line; the nearest also has sum"},
      {"{\"terms\": [1], \"sum\": 1, \"sun\": 1}", "the nearest does not know sun"},
      {"{\"terms\": [1], \"sun\": 1}", "the nearest also has sum and does not know sun"},
      {"[1]", "line 2: expected an object"},
      {"{\"terms\": [1], \"sum\": NaN}", "no JSON"},
      {"", "line 2: "},
  };
  for (const auto& [line, message] : bad) {
    const std::string good = "{\"terms\": [1], \"sum\": 1}\n";
    const GoldenReport report = Run(good + line + "\n" + good);
    EXPECT_FALSE(report.passed) << line;
    EXPECT_THAT(report.ToString(), HasSubstr("FAIL sums/any: 1 of 3 results failed")) << line;
    EXPECT_THAT(report.ToString(), HasSubstr(message)) << line;
  }
}

TEST_F(GoldenLinesTest, NothingComparedIsAFailure) {
  EXPECT_THAT(Run("").ToString(), HasSubstr("any.jsonl: no line"));
  EXPECT_THAT(Run("\n").ToString(), HasSubstr("any.jsonl: no line"));
  GoldenFile absent = Write("sums", "");
  absent.path += "x";
  EXPECT_FALSE(RunGoldenLines(absent).passed);
}

TEST_F(GoldenLinesTest, SideFilesListsAndResultsLeftOut) {
  const auto line = [](const std::string& of, const std::string& pieces, const std::string& sizes) {
    return "{\"of\": \"" + of + "\", \"pieces\": " + pieces + ", \"sizes\": " + sizes +
           ", \"first\": \"a\"}\n";
  };
  const GoldenFile file =
      Write("cuts", line("text", "[\"a\", \",bc\"]", "[3]") + line("text", "[\"a\"]", "[3]") +
                        line("text", "[\"a\", \",b\"]", "[2]") + line("lazy", "[]", "{}"));
  EXPECT_THAT(RunGoldenLines(file).ToString(), HasSubstr("cuts/text.json"));
  ASSERT_THAT(WriteFileAtomically(dir_ + "/cuts/text.json", "\"a,bc\""), IsOk());
  const std::string report = RunGoldenLines(file).ToString();
  EXPECT_THAT(report, Not(HasSubstr("line 1:")));
  EXPECT_THAT(report, HasSubstr("line 2: pieces: got 2 elements, expected 1"));
  EXPECT_THAT(report, HasSubstr("line 3: pieces[1]: texts differ from byte 2"));
  EXPECT_THAT(report, HasSubstr("line 3: sizes[0]: "));
  EXPECT_THAT(report, HasSubstr("line 4: sizes: expected a list of numbers in the case"));
  EXPECT_THAT(report, HasSubstr("line 4: first: it was not compared"));
}

TEST_F(GoldenLinesTest, TheFolderTellsThePaperElseTheKeys) {
  const char* sum = "{\"terms\": [1], \"sum\": 1}\n";
  EXPECT_EQ(PaperOfGoldenLines(Write("sums", sum)), "sums");
  EXPECT_EQ(PaperOfGoldenLines(Write("cuts", sum)), "cuts");
  EXPECT_EQ(PaperOfGoldenLines(Write("cuts/goldens/more", sum)), "cuts");
  EXPECT_EQ(PaperOfGoldenLines(Write("elsewhere", sum)), "sums");
  EXPECT_EQ(PaperOfGoldenLines(Write("elsewhere", std::string("1\n{}\n") + sum)), "sums");
  EXPECT_EQ(PaperOfGoldenLines(Write("elsewhere", "{\"a\": 1}\n")), "elsewhere");
  EXPECT_EQ(PaperOfGoldenLines(Write("elsewhere", "")), "elsewhere");
}

}  // namespace
}  // namespace longrange
