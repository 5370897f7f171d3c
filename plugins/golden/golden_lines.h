// Golden cases in JSON lines: cases of generation and scoring. A file is one case, each of its
// lines an object with what is given and what has to come out. A line's kind is its set of keys,
// never the file's name.
//
// An adapter registers the kinds of its paper, a line each, in an alwayslink library:
//   LR_REGISTER_GOLDEN_LINES("needle_in_a_haystack", RunRouge,
//                            {/*given=*/{"needle", "response"}, /*results=*/{"score"}});

#ifndef LONGRANGE_PLUGINS_GOLDEN_GOLDEN_LINES_H_
#define LONGRANGE_PLUGINS_GOLDEN_GOLDEN_LINES_H_

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/testing/golden_file.h"
#include "nlohmann/json.hpp"

namespace longrange {

// A line is of the kind if it has all of `given` and `results`, and nothing else but `optional`.
struct GoldenLineKind {
  std::set<std::string> given;
  std::set<std::string> results;  // each must be compared
  std::set<std::string> optional;
};

struct GoldenLine {
  std::string path;       // of its file
  int64_t number = 0;     // in the file, from 1
  nlohmann::json fields;  // an object with the keys of its kind

  // A file of JSON that lies beside this one and belongs to the format; errors name its path.
  absl::StatusOr<nlohmann::json> SideFile(absl::string_view name) const;
};

// Collects the comparisons of one line with its results, by key. Numbers are held to
// GoldenTolerance(paper, case, key), texts must be equal.
class GoldenLineChecker {
 public:
  // All must outlive the checker.
  GoldenLineChecker(const GoldenFile* file, const GoldenLine* line, const GoldenLineKind* kind)
      : file_(file), line_(line), kind_(kind) {}

  bool Text(absl::string_view key, absl::string_view actual);
  bool Number(absl::string_view key, double actual);
  // Lists; elements are compared in order and their number must be equal.
  bool Numbers(absl::string_view key, absl::Span<const double> actual);
  bool Texts(absl::string_view key, const std::vector<std::string>& actual);
  // A failure that belongs to no key.
  void Fail(absl::string_view what, absl::string_view why) { AddFailure(what, why); }

  // To be called once, at the end: a result that was not compared is a failure.
  std::vector<GoldenResult> Finish();

 private:
  // Null, with a failure, where `key` is no result of the line or was compared already.
  const nlohmann::json* Expected(absl::string_view key);
  bool Add(absl::string_view key, GoldenResult result);
  bool AddFailure(absl::string_view what, absl::string_view why);  // returns false
  bool AddSize(absl::string_view key, size_t actual, size_t expected);

  const GoldenFile* file_;
  const GoldenLine* line_;
  const GoldenLineKind* kind_;
  std::set<std::string> compared_;
  std::vector<GoldenResult> results_;
};

// Computes what a line asks for and compares it. An error fails the line.
using GoldenLineAdapter =
    std::function<absl::Status(const GoldenLine& line, GoldenLineChecker* check)>;

bool RegisterGoldenLines(absl::string_view paper, GoldenLineAdapter adapter, GoldenLineKind kind);

#define LR_REGISTER_GOLDEN_LINES(paper, run, ...) \
  static const bool lr_golden_lines_##run =       \
      ::longrange::RegisterGoldenLines(paper, run, __VA_ARGS__)

// Papers that have registered kinds of lines.
std::set<std::string> PapersWithGoldenLines();

// Whose lines a file holds: of the paper of the nearest folder above it that is called like one; in
// no such folder, of the one paper that knows the keys of any line. Else `file.paper`.
std::string PaperOfGoldenLines(const GoldenFile& file);

// Runs all lines of a file for `file.paper`. A broken line, one of no kind and an adapter's error
// are failures of that line; a file without lines is one, too.
GoldenReport RunGoldenLines(const GoldenFile& file);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_GOLDEN_GOLDEN_LINES_H_
