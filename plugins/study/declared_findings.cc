#include "plugins/study/declared_findings.h"

#include <cmath>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/report/number.h"

namespace longrange {
namespace {

using ::longrange::report::FormatShort;

using Arm = const StudyArmResults*;

class Judge {
 public:
  explicit Judge(const StudyResults& study) : study_(study) {}

  Finding Decide(const StudyRule& rule) const {
    Finding finding = {rule.id, rule.statement};
    std::vector<Inequality> inequalities;
    std::vector<std::string> asked, measured, lacking;
    for (size_t i = 0; i < rule.comparisons.size();) {
      // Those that differ in their lengths alone are told together.
      const StudyComparison& first = rule.comparisons[i];
      std::vector<std::string> lengths, figures;
      for (; i < rule.comparisons.size() && Alike(first, rule.comparisons[i]); ++i) {
        const StudyComparison& one = rule.comparisons[i];
        lengths.push_back(absl::StrCat(one.length));
        const StudyEstimate estimate = Estimate(one);
        const std::string at = one.reading.has_value() ? "" : absl::StrCat(" at ", one.length);
        if (std::isnan(estimate.value)) {
          lacking.push_back(absl::StrCat(Subject(one), at, at.empty() ? "" : " tokens"));
          continue;
        }
        figures.push_back(absl::StrCat(Shown(one, estimate), at));
        const auto bound = [&](double value) { return one.perplexity ? std::log(value) : value; };
        if (one.at_least.has_value()) inequalities.push_back({estimate, bound(*one.at_least)});
        if (one.at_most.has_value())
          inequalities.push_back(-Inequality{estimate, bound(*one.at_most)});
      }
      asked.push_back(
          absl::StrCat(first.reading.has_value()
                           ? ""
                           : absl::StrCat("at ", absl::StrJoin(lengths, ", "), " tokens, "),
                       Subject(first), " is ", Bounds(first)));
      if (!figures.empty())
        measured.push_back(absl::StrCat(Subject(first), ": ", absl::StrJoin(figures, ", ")));
    }
    finding.rule = Sentence(asked);
    finding.measured = Sentence(measured);
    if (!lacking.empty()) {
      finding.measured = absl::StrCat("Lacking: ", absl::StrJoin(lacking, ", "), ".",
                                      measured.empty() ? "" : " ", finding.measured);
      return finding;
    }
    finding.verdict = VerdictOf(Every(inequalities));
    return finding;
  }

 private:
  Arm Find(const std::string& name) const {
    for (const StudyArmResults& arm : study_.arms) {
      if (arm.name == name) return &arm;
    }
    return nullptr;
  }

  std::string LabelOf(const std::string& name) const {
    const Arm arm = Find(name);
    return arm == nullptr ? name : arm->label;
  }

  static bool Alike(const StudyComparison& a, const StudyComparison& b) {
    if (a.reading.has_value() || b.reading.has_value()) return &a == &b;
    return a.arm == b.arm && a.against == b.against && a.perplexity == b.perplexity &&
           a.task == b.task && a.at_least == b.at_least && a.at_most == b.at_most;
  }

  // Of perplexities in nats. NaN: not measured.
  StudyEstimate Estimate(const StudyComparison& one) const {
    const StudyEstimate none = {std::nan(""), std::nan(""), 0};
    const Arm arm = Find(one.arm);
    if (arm == nullptr) return none;
    if (one.reading.has_value()) {
      const Arm against = one.against.empty() ? nullptr : Find(one.against);
      if (against == nullptr && !one.against.empty()) return none;
      return ReadingEstimate(*arm, against, *one.reading, one.less);
    }
    const TaskCells cells = {{one.task.empty() ? study_.task : one.task}, {one.length}};
    if (one.against.empty()) {
      return one.perplexity ? LogPerplexity(*arm, one.length) : TaskScoreOfBoth(*arm, cells);
    }
    const Arm against = Find(one.against);
    if (against == nullptr) return none;
    return one.perplexity ? NllDifference(*arm, one.length, *against, one.length)
                          : TaskDifference(*arm, *against, cells);
  }

  // "the least answer_loss", "the step at which prefix_matching first exceeds 0.3".
  static std::string Read(const StudyReading& reading) {
    const std::string figure = absl::StrCat("“", reading.figure, "”"),
                      span = absl::StrCat(" within ", reading.within, " steps"),
                      before = reading.before > 0 ? absl::StrCat(" before step ", reading.before)
                                                  : std::string();
    switch (reading.kind) {
      case StudyReading::kLast:
        return absl::StrCat("the last ", figure, before);
      case StudyReading::kLeast:
        return absl::StrCat("the least ", figure, before);
      case StudyReading::kMost:
        return absl::StrCat("the highest ", figure, before);
      case StudyReading::kFall:
        return absl::StrCat("the deepest fall of ", figure, span, before);
      case StudyReading::kFallStep:
        return absl::StrCat("the middle step of the deepest fall of ", figure, span, before);
      case StudyReading::kFirstStep:
        return absl::StrCat("the first step with ", figure, " above ",
                            FormatShort(reading.level, 4), before);
    }
    return figure;
  }

  // "the score of Mamba", "the score of Mamba less that of S4".
  std::string Subject(const StudyComparison& one) const {
    if (one.reading.has_value()) {
      return absl::StrCat(
          Read(*one.reading), one.less.has_value() ? absl::StrCat(" less ", Read(*one.less)) : "",
          " of ", LabelOf(one.arm),
          one.against.empty() ? "" : absl::StrCat(" less that of ", LabelOf(one.against)));
    }
    const std::string figure = one.perplexity     ? "perplexity"
                               : one.task.empty() ? "score"
                                                  : absl::StrCat("score in ", one.task);
    return absl::StrCat("the ", figure, " of ", LabelOf(one.arm),
                        one.against.empty() ? ""
                        : one.perplexity    ? absl::StrCat(" over that of ", LabelOf(one.against))
                                            : absl::StrCat(" less that of ", LabelOf(one.against)));
  }

  static std::string Bounds(const StudyComparison& one) {
    std::vector<std::string> bounds;
    if (one.at_least.has_value())
      bounds.push_back(absl::StrCat("at least ", FormatShort(*one.at_least, 4)));
    if (one.at_most.has_value())
      bounds.push_back(absl::StrCat("at most ", FormatShort(*one.at_most, 4)));
    return absl::StrJoin(bounds, " and ");
  }

  static std::string Shown(const StudyComparison& one, const StudyEstimate& estimate) {
    return one.perplexity ? Ratio(estimate) : Points(estimate);
  }

  static std::string Sentence(const std::vector<std::string>& parts) {
    if (parts.empty()) return "";
    std::string text = absl::StrCat(absl::StrJoin(parts, "; "), ".");
    text[0] = absl::ascii_toupper(static_cast<unsigned char>(text[0]));
    return text;
  }

  const StudyResults& study_;
};

}  // namespace

std::vector<Finding> DeclaredFindings(const StudyResults& study) {
  const Judge judge(study);
  std::vector<Finding> findings;
  for (const StudyRule& rule : study.rules) findings.push_back(judge.Decide(rule));
  return findings;
}

}  // namespace longrange
