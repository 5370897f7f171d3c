#include "plugins/study/summary.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/report/html.h"
#include "common/report/number.h"
#include "plugins/study/findings.h"
#include "plugins/study/length_findings.h"
#include "plugins/study/report_words.h"
#include "plugins/study/results.h"

namespace longrange {
namespace {

using ::longrange::report::FormatFixed;
using ::longrange::study_report::PlusMinus;
using ::longrange::study_report::SpreadsText;

constexpr size_t kColumns = 100;

// The number of code points, for texts whose characters are one column wide.
size_t Width(absl::string_view text) {
  return std::count_if(text.begin(), text.end(),
                       [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

std::string Padded(const std::string& text, size_t width, bool right) {
  const std::string space(Width(text) < width ? width - Width(text) : 0, ' ');
  return right ? space + text : text + space;
}

// The first column to the left, the others to the right.
std::string Aligned(const std::vector<std::vector<std::string>>& lines) {
  std::vector<size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], Width(line[i]));
  }
  std::string text;
  for (const auto& line : lines) {
    std::string out;
    for (size_t i = 0; i < line.size(); ++i)
      absl::StrAppend(&out, i == 0 ? "" : "  ", Padded(line[i], widths[i], i > 0));
    absl::StrAppend(&text, out, "\n");
  }
  return text;
}

// The widest line of a text.
size_t WidestLine(const std::string& text) {
  size_t widest = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n'))
    widest = std::max(widest, Width(line));
  return widest;
}

// Arms down, lengths across; in several tables where one would be too wide.
std::string Block(const StudyResults& study, const std::string& title,
                  const std::vector<int64_t>& lengths, int digits,
                  const std::function<StudyEstimate(const StudyArmResults&, int64_t)>& value) {
  std::vector<std::vector<std::string>> lines = {{title}};
  for (const int64_t length : lengths) lines[0].push_back(absl::StrCat(length));
  for (const bool tuned : {false, true}) {
    for (const StudyArmResults& arm : study.arms) {
      if (arm.tuned != tuned) continue;
      std::vector<std::string> line = {arm.label};
      for (const int64_t length : lengths) {
        const StudyEstimate estimate = value(arm, length);
        line.push_back(std::isnan(estimate.value) ? "-" : PlusMinus(estimate, digits));
      }
      lines.push_back(std::move(line));
    }
  }
  const std::string table = Aligned(lines);
  if (WidestLine(table) <= kColumns || lengths.size() < 2) return table;
  const auto half = lengths.begin() + static_cast<int64_t>((lengths.size() + 1) / 2);
  return absl::StrCat(Block(study, title, {lengths.begin(), half}, digits, value), "\n",
                      Block(study, title, {half, lengths.end()}, digits, value));
}

}  // namespace

absl::StatusOr<std::string> StudySummary(const std::vector<Row>& rows) {
  LR_ASSIGN_OR_RETURN(const StudyResults study, ReadStudy(rows, {}));
  std::string text;
  if (!study.lengths.empty()) {
    absl::StrAppend(&text, Block(study, "perplexity at", study.lengths, 3,
                                 [](const StudyArmResults& arm, int64_t length) {
                                   return Perplexity(arm, length);
                                 }));
  }
  if (!study.task_lengths.empty()) {
    absl::StrAppend(&text, text.empty() ? "" : "\n",
                    Block(study, study.corpus.empty() ? "score at" : "needle at",
                          study.task_lengths, 2, [&](const StudyArmResults& arm, int64_t length) {
                            return TaskScore(arm, study.task, length);
                          }));
  }
  if (!study.arms.empty()) {
    absl::StrAppend(&text, "(± one standard error ", SpreadsText(study.arms, "windows or examples"),
                    ")\n");
  }
  const double base = BaseTaskScore(study);
  if (base < kNeedleSolved) {  // NaN: nobody looked
    absl::StrAppend(&text, "\nneedle not solved: the base model's held-out score is ",
                    FormatFixed(base, 2), " (wanted ", FormatFixed(kNeedleSolved, 2), ")\n");
  }
  std::vector<std::vector<std::string>> lines;
  const std::vector<Finding> findings = StudyFindings(study);
  if (!findings.empty()) {
    absl::StrAppend(&text, "\nfindings",
                    study.findings == kLengthFindings ? " of arXiv 2108.12409"
                    : study.findings == kFindings     ? " of arXiv 2409.12181"
                                                      : "",
                    "\n");
  }
  for (const Finding& finding : findings) {
    const std::string head = absl::StrCat(
        "  ", finding.id, "  ", Padded(report::VerdictText(finding.verdict), 28, false), "  ");
    std::string line = head;
    for (const absl::string_view word : absl::StrSplit(finding.statement, ' ')) {
      if (Width(line) + Width(word) > kColumns && Width(line) > Width(head)) {
        absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
        line = std::string(Width(head), ' ');
      }
      absl::StrAppend(&line, word, " ");
    }
    absl::StrAppend(&text, absl::StripTrailingAsciiWhitespace(line), "\n");
  }
  return text;
}

}  // namespace longrange
