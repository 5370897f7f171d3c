#include "plugins/study/findings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/report/number.h"
#include "plugins/study/declared_findings.h"
#include "plugins/study/length_findings.h"

namespace longrange {
namespace {

using ::longrange::report::FormatFixed;
using ::longrange::report::FormatShort;
using ::longrange::report::Verdict;

using Arm = const StudyArmResults*;

// Methods of the paper whose attention is exact: they only change the angles.
constexpr const char* kExactMethods[] = {"PI", "NTK", "YaRN", "CLEX"};
// What the arms beside them are called, on which findings rest.
constexpr char kLmInfinite[] = "LM-Infinite";
constexpr char kTwiceTheTarget[] = "NTK 2x";
constexpr char kTwiceTheTokens[] = "NTK 2x, 2x tokens";
constexpr char kSmallerFactor[] = "NTK, smaller factor";
constexpr char kLargerFactor[] = "NTK, larger factor";
// Further tasks that ask for retrieval: RULER's (Hsieh et al. 2024).
constexpr const char* kRetrieval[] = {"multi_key", "multi_value", "multi_query",
                                      "variable_tracking"};

// Several texts as "a; b".
std::string Listed(const std::vector<std::string>& texts) { return absl::StrJoin(texts, "; "); }

class Judge {
 public:
  explicit Judge(const StudyResults& study)
      : study_(study), c_(study.trained_length), extended_(study.extended_length) {
    for (const StudyArmResults& arm : study.arms) {
      const bool exact = std::any_of(
          std::begin(kExactMethods), std::end(kExactMethods),
          [&](const char* method) { return absl::EqualsIgnoreCase(arm.method, method); });
      if (arm.tuned && exact) tuned_.push_back(&arm);
      if (!arm.tuned && !absl::EqualsIgnoreCase(arm.method, "direct")) frozen_.push_back(&arm);
    }
    const std::vector<Arm> direct = study.Find("direct", false);
    if (!direct.empty()) base_ = direct[0];
    retrieval_.tasks = {study.task};
    retrieval_.lengths = {extended_};
    for (const char* task : kRetrieval) {
      const bool solved = base_ != nullptr && TaskScore(*base_, task, c_).value >= kTaskSolved;
      if (solved) retrieval_.tasks.push_back(task);
    }
  }

  Finding DirectDiverges() const {
    Finding finding = {"S1",
                       "Direct use of rotary positions beyond the trained length diverges within "
                       "twice that length.",
                       absl::StrFormat("The frozen direct arm’s perplexity at %d tokens is more "
                                       "than %s times its perplexity at %d.",
                                       2 * c_, FormatShort(kDiverged, 3), c_)};
    if (!Have(base_ != nullptr, "the frozen direct arm", &finding)) return finding;
    if (!HavePerplexity({base_}, {c_, 2 * c_}, &finding)) return finding;
    std::vector<std::string> ratios, tails;
    for (const int64_t length : study_.lengths) {
      if (length <= c_) continue;
      ratios.push_back(
          absl::StrCat(Ratio(NllDifference(*base_, length, *base_, c_)), " at ", length));
      tails.push_back(
          absl::StrCat(Ratio(NllDifference(*base_, length, *base_, c_, true)), " at ", length));
    }
    finding.measured = absl::StrCat("Times its perplexity at ", c_, ": ",
                                    absl::StrJoin(ratios, ", "), ". Of each window’s last ", c_,
                                    " tokens alone: ", absl::StrJoin(tails, ", "), ".");
    finding.verdict =
        VerdictOf(Every({{NllDifference(*base_, 2 * c_, *base_, c_), std::log(kDiverged)}}));
    return finding;
  }

  Finding TunedBeatsFrozen() const {
    Finding finding = {
        "S2",
        "Every tuned exact method beats every frozen method at retrieval at the extended length.",
        absl::StrFormat("At %d tokens, the score of every tuned extension (PI, NTK, YaRN, CLEX) is "
                        "above that of every frozen one; direct is no extension. %s",
                        extended_, RetrievalText())};
    if (!Have(!tuned_.empty(), "a tuned extension", &finding)) return finding;
    if (!Have(!frozen_.empty(), "a frozen extension", &finding)) return finding;
    if (!HaveTask(Together(tuned_, frozen_), extended_, &finding)) return finding;
    std::vector<Inequality> comparisons;
    size_t decided = 0;
    std::string closest;
    double least = std::numeric_limits<double>::infinity();
    for (const Arm tuned : tuned_) {
      for (const Arm frozen : frozen_) {
        comparisons.push_back({TaskDifference(*tuned, *frozen, retrieval_), 0});
        decided += comparisons.back().Decide(1) == Truth::kYes ? 1 : 0;
        if (!(comparisons.back().estimate.value < least)) continue;
        least = comparisons.back().estimate.value;
        closest = absl::StrCat(study_.Spoken(*tuned), " − ", study_.Spoken(*frozen), ": ",
                               Points(comparisons.back().estimate));
      }
    }
    finding.measured =
        absl::StrCat("Scores: ", Scores(Together(tuned_, frozen_)),
                     ". Decided for the claim: ", decided, " of ", comparisons.size(), " pairs",
                     closest.empty() ? "" : "; the least difference, " + closest, ".");
    finding.verdict = VerdictOf(Every(comparisons));
    return Gated(std::move(finding));
  }

  Finding CollapseBeyond() const {
    Finding finding = {
        "S3",
        "PI and YaRN collapse beyond the length they were tuned at; dynamic NTK degrades gently.",
        absl::StrFormat("At %d tokens, tuned PI and YaRN both have more than %s times the base "
                        "model’s perplexity at %d, and tuned NTK has less than either.",
                        2 * extended_, FormatShort(kCollapsed, 3), c_)};
    const std::vector<Arm> pi = study_.Find("PI", true), yarn = study_.Find("YaRN", true),
                           ntk = study_.Find("NTK", true);
    if (!Have(base_ != nullptr, "the frozen direct arm", &finding)) return finding;
    if (!Have(!pi.empty() && !yarn.empty() && !ntk.empty(), "tuned PI, YaRN and NTK", &finding))
      return finding;
    if (!HavePerplexity({base_}, {c_}, &finding)) return finding;
    if (!HavePerplexity(Together(pi, Together(yarn, ntk)), {2 * extended_}, &finding))
      return finding;
    std::vector<Inequality> comparisons;
    std::vector<std::string> collapsed, against;
    for (const Arm arm : Together(pi, yarn)) {
      comparisons.push_back({NllDifference(*arm, 2 * extended_, *base_, c_), std::log(kCollapsed)});
      collapsed.push_back(
          absl::StrCat(study_.Spoken(*arm), " ", Ratio(comparisons.back().estimate)));
      for (const Arm gentle : ntk) {
        comparisons.push_back({NllDifference(*arm, 2 * extended_, *gentle, 2 * extended_), 0});
        against.push_back(absl::StrCat(study_.Spoken(*arm), " ", Ratio(comparisons.back().estimate),
                                       " times ", study_.Spoken(*gentle)));
      }
    }
    for (const Arm arm : ntk) {
      collapsed.push_back(absl::StrCat(study_.Spoken(*arm), " ",
                                       Ratio(NllDifference(*arm, 2 * extended_, *base_, c_))));
    }
    finding.measured =
        absl::StrCat("Times the base model’s perplexity: ", absl::StrJoin(collapsed, ", "),
                     ". Against NTK: ", absl::StrJoin(against, ", "), ".");
    finding.verdict = VerdictOf(Every(comparisons));
    return finding;
  }

  Finding FrozenNtk() const {
    Finding finding = {
        "S4", "NTK without tuning works to about twice the trained length and fails at four times.",
        absl::StrFormat("Frozen NTK’s perplexity is less than %s times the base model’s at %d "
                        "tokens, and more than %s times at %d (the base model’s: at %d).",
                        FormatShort(kWorks, 3), 2 * c_, FormatShort(kFails, 3), 4 * c_, c_)};
    const std::vector<Arm> ntk = study_.Find("NTK", false);
    if (!Have(base_ != nullptr, "the frozen direct arm", &finding)) return finding;
    if (!Have(!ntk.empty(), "frozen NTK", &finding)) return finding;
    if (!HavePerplexity({base_}, {c_}, &finding) ||
        !HavePerplexity(ntk, {2 * c_, 4 * c_}, &finding))
      return finding;
    std::vector<Inequality> comparisons;
    std::vector<std::string> texts;
    for (const Arm arm : ntk) {
      const StudyEstimate twice = NllDifference(*arm, 2 * c_, *base_, c_),
                          four = NllDifference(*arm, 4 * c_, *base_, c_);
      comparisons.push_back(-Inequality{twice, std::log(kWorks)});
      comparisons.push_back({four, std::log(kFails)});
      texts.push_back(absl::StrCat(study_.Spoken(*arm), " ", Ratio(twice), " at ", 2 * c_, ", ",
                                   Ratio(four), " at ", 4 * c_));
    }
    finding.measured = absl::StrCat("Times the base model’s perplexity: ", Listed(texts), ".");
    finding.verdict = VerdictOf(Every(comparisons));
    return finding;
  }

  Finding MisranksDroppedKeys() const {
    const TaskCells unseen = {{study_.task}, {extended_}, 3 * c_ / 2, c_ / 4};
    Finding finding = {
        "S5",
        "LM-Infinite keeps perplexity flat while it retrieves almost nothing outside its window: "
        "perplexity alone misranks modified attention.",
        absl::StrFormat("At %d tokens, frozen LM-Infinite’s perplexity is less than %s times the "
                        "base model’s at %d; of needles that lie %d tokens or more before the "
                        "question, and not in the first %d, it finds less than %s; and an arm of "
                        "higher perplexity finds more of those. Needs a base model that finds the "
                        "needle (%s or more).",
                        extended_, FormatShort(kFlat, 3), c_, unseen.least_distance,
                        unseen.least_offset, FormatShort(kAlmostNothing, 3),
                        FormatFixed(kNeedleSolved, 2))};
    const std::vector<Arm> lm_infinite = study_.Find(kLmInfinite, false);
    if (!Have(base_ != nullptr, "the frozen direct arm", &finding)) return finding;
    if (!Have(!lm_infinite.empty(), "frozen LM-Infinite", &finding)) return finding;
    const Arm arm = lm_infinite[0];
    if (!HavePerplexity({base_}, {c_}, &finding) || !HavePerplexity({arm}, {extended_}, &finding) ||
        !HaveTask({arm}, extended_, &finding))
      return finding;
    const StudyEstimate flat = NllDifference(*arm, extended_, *base_, c_),
                        found = TaskScore(*arm, unseen);
    if (!Have(!std::isnan(found.value),
              absl::StrCat("needles that lie ", unseen.least_distance, " tokens back"), &finding))
      return finding;
    Truth misranked = Truth::kNo;
    std::vector<std::string> ahead;
    for (const StudyArmResults& other : study_.arms) {
      if (&other == arm) continue;
      const Truth higher =
                      Inequality{NllDifference(other, extended_, *arm, extended_), 0}.Decide(1),
                  finds = Inequality{TaskDifference(other, *arm, unseen), 0}.Decide(1);
      misranked = std::max(misranked, Both(higher, finds));
      if (Both(higher, finds) != Truth::kYes) continue;
      ahead.push_back(absl::StrCat(study_.Spoken(other), " ",
                                   FormatFixed(Perplexity(other, extended_).value, 2), " and ",
                                   FormatFixed(TaskScore(other, unseen).value, 2)));
    }
    finding.measured = absl::StrCat(
        "LM-Infinite: ", Ratio(flat), " times the base model’s perplexity; finds ", Points(found),
        " of those needles. Perplexity ", FormatFixed(Perplexity(*arm, extended_).value, 2),
        " and ", FormatFixed(found.value, 2),
        "; of higher perplexity and finding more: ", ahead.empty() ? "none" : Listed(ahead), ".");
    finding.verdict = VerdictOf(
        Both(Every({-Inequality{flat, std::log(kFlat)}, -Inequality{found, kAlmostNothing}}),
             misranked));
    return Gated(std::move(finding));
  }

  Finding LongerTargets() const {
    TaskCells cells = {{study_.task}, {}, 0};
    for (const int64_t length : study_.task_lengths) {
      if (length <= 2 * extended_) cells.lengths.push_back(length);
    }
    Finding finding = {
        "S8", "Longer targets need more tokens of tuning.",
        absl::StrFormat("Over the needle’s grid up to %d tokens, NTK tuned for %d tokens finds "
                        "fewer than NTK tuned for %d with as many tokens of training, and with "
                        "twice as many it finds more than with as many. Needs a base model that "
                        "finds the needle (%s or more).",
                        2 * extended_, 2 * extended_, extended_, FormatFixed(kNeedleSolved, 2))};
    const std::vector<Arm> ntk = study_.Find("NTK", true),
                           twice = study_.Find(kTwiceTheTarget, true),
                           more = study_.Find(kTwiceTheTokens, true);
    if (!Have(!ntk.empty(), "tuned NTK", &finding)) return finding;
    if (!Have(!twice.empty() && !more.empty(),
              "NTK tuned for twice the target, with as many tokens and with twice as many",
              &finding))
      return finding;
    for (const Arm arm : {ntk[0], twice[0], more[0]}) {
      if (!HaveTask({arm}, 2 * extended_, &finding)) return finding;
    }
    const StudyEstimate costs = TaskDifference(*ntk[0], *twice[0], cells),
                        closes = TaskDifference(*more[0], *twice[0], cells);
    finding.measured =
        absl::StrCat("Scores over the grid: for ", extended_, " tokens ",
                     FormatFixed(TaskScore(*ntk[0], cells).value, 3), "; for ", 2 * extended_, " ",
                     FormatFixed(TaskScore(*twice[0], cells).value, 3), ", with twice the tokens ",
                     FormatFixed(TaskScore(*more[0], cells).value, 3), ". The longer target costs ",
                     Points(costs), ", the tokens give back ", Points(closes), ".");
    for (const int64_t length : {extended_, 2 * extended_}) {
      const StudyEstimate ratio = NllDifference(*twice[0], length, *ntk[0], length),
                          with_more = NllDifference(*more[0], length, *ntk[0], length);
      if (std::isnan(ratio.value) || std::isnan(with_more.value)) continue;
      absl::StrAppend(&finding.measured, " Perplexity at ", length,
                      ", times that of NTK tuned for ", extended_, ": ", Ratio(ratio),
                      "; with twice the tokens ", Ratio(with_more), ".");
    }
    finding.verdict = VerdictOf(Every({{costs, 0}, {closes, 0}}));
    return Gated(std::move(finding));
  }

  Finding SmallerFactor() const {
    Finding finding = {
        "S9", "The dynamic factor must not be smaller than the one used in training.",
        absl::StrFormat("At %d tokens, tuned NTK has more than %s times its perplexity when it is "
                        "used with about half the factor it was tuned with, and less than %s times "
                        "with about twice it.",
                        extended_, FormatShort(kHurts, 3), FormatShort(kHurts, 3))};
    const std::vector<Arm> ntk = study_.Find("NTK", true),
                           smaller = study_.Find(kSmallerFactor, true),
                           larger = study_.Find(kLargerFactor, true);
    if (!Have(!ntk.empty(), "tuned NTK", &finding)) return finding;
    if (!Have(!smaller.empty() && !larger.empty(),
              "tuned NTK used with a smaller and with a larger factor", &finding))
      return finding;
    for (const Arm arm : {ntk[0], smaller[0], larger[0]}) {
      if (!HavePerplexity({arm}, {extended_}, &finding)) return finding;
    }
    std::vector<std::string> texts;
    for (const int64_t length : study_.lengths) {
      const StudyEstimate of_smaller = NllDifference(*smaller[0], length, *ntk[0], length),
                          of_larger = NllDifference(*larger[0], length, *ntk[0], length);
      if (std::isnan(of_smaller.value) || std::isnan(of_larger.value)) continue;
      texts.push_back(absl::StrCat(Ratio(of_smaller), " and ", Ratio(of_larger), " at ", length));
    }
    finding.measured = absl::StrCat(
        "Times its perplexity, with the smaller and the larger factor: ", Listed(texts), ".");
    const StudyEstimate hurts = NllDifference(*smaller[0], extended_, *ntk[0], extended_),
                        harmless = NllDifference(*larger[0], extended_, *ntk[0], extended_);
    finding.verdict =
        VerdictOf(Every({{hurts, std::log(kHurts)}, -Inequality{harmless, std::log(kHurts)}}));
    return finding;
  }

  Finding RankedAlike() const {
    Finding finding = {
        "S6", "Over exact methods after tuning, perplexity and retrieval rank alike.",
        absl::StrFormat("At %d tokens, at least %d tuned arms of direct, PI, NTK, YaRN and CLEX "
                        "differ from one another in perplexity and in score alike, the lower "
                        "perplexity with the higher score; no pair says the opposite. %s",
                        extended_, kLeastRanking, RetrievalText())};
    const std::vector<Arm> arms = Together(study_.Find("direct", true), tuned_);
    if (!Have(arms.size() >= kLeastRanking, absl::StrCat(kLeastRanking, " tuned arms"), &finding))
      return finding;
    if (!HavePerplexity(arms, {extended_}, &finding) || !HaveTask(arms, extended_, &finding))
      return finding;
    // agree[i][j]: 1 ranked alike, -1 the opposite, 0 not told apart by both.
    std::vector<std::vector<int>> agree(arms.size(), std::vector<int>(arms.size(), 0));
    std::vector<std::string> alike, opposite;
    Truth truth = Truth::kUnclear;
    for (size_t i = 0; i < arms.size(); ++i) {
      for (size_t j = i + 1; j < arms.size(); ++j) {
        const Inequality nll = {NllDifference(*arms[i], extended_, *arms[j], extended_), 0};
        const Inequality needle = {TaskDifference(*arms[i], *arms[j], retrieval_), 0};
        const auto pair = absl::StrCat(study_.Spoken(*arms[i]), " and ", study_.Spoken(*arms[j]));
        if (Opposed(nll, needle, 1)) {
          agree[i][j] = agree[j][i] = 1;
          alike.push_back(pair);
        } else if (Opposed(nll, -needle, kRefutedAlone)) {
          agree[i][j] = agree[j][i] = -1;
          opposite.push_back(pair);
          truth = Truth::kNo;
        } else if (Opposed(nll, -needle, 1)) {
          agree[i][j] = agree[j][i] = -1;
          opposite.push_back(pair);
        }
      }
    }
    if (opposite.empty() && HasRanking(agree)) truth = Truth::kYes;
    std::vector<std::string> texts;
    for (const Arm arm : arms) {
      texts.push_back(absl::StrCat(study_.Spoken(*arm), " ",
                                   FormatFixed(Perplexity(*arm, extended_).value, 2), " and ",
                                   FormatFixed(TaskScore(*arm, retrieval_).value, 2)));
    }
    const size_t pairs = arms.size() * (arms.size() - 1) / 2;
    finding.measured = absl::StrCat(
        "Perplexity and score: ", Listed(texts), ". Of ", pairs, " pairs, ", alike.size(),
        " ranked alike", Named(alike), ", ", opposite.size(), " the opposite way", Named(opposite),
        ", ", pairs - alike.size() - opposite.size(), " not told apart by both measures.");
    finding.verdict = VerdictOf(truth);
    return Gated(std::move(finding));
  }

  Finding CostsALittle() const {
    Finding finding = {
        "S7", "Extension costs a little within the trained length and pays only at long positions.",
        absl::StrFormat("At %d tokens, every tuned extension has less than %s times the base "
                        "model’s perplexity, at least one has more than the base model’s, and at "
                        "%d tokens all have less than the base model’s there.",
                        c_, FormatShort(kALittle, 3), extended_)};
    if (!Have(base_ != nullptr, "the frozen direct arm", &finding)) return finding;
    if (!Have(!tuned_.empty(), "a tuned extension", &finding)) return finding;
    if (!HavePerplexity(Together({base_}, tuned_), {c_, extended_}, &finding)) return finding;
    std::vector<Inequality> little, costs, pays;
    std::vector<std::string> texts;
    for (const Arm arm : tuned_) {
      const StudyEstimate within = NllDifference(*arm, c_, *base_, c_);
      const StudyEstimate beyond = NllDifference(*arm, extended_, *base_, extended_);
      little.push_back(-Inequality{within, std::log(kALittle)});
      costs.push_back({within, 0});
      pays.push_back(-Inequality{beyond, 0});
      texts.push_back(absl::StrCat(study_.Spoken(*arm), " ", Ratio(within), " at ", c_, " and ",
                                   Ratio(beyond), " at ", extended_));
    }
    finding.measured =
        absl::StrCat("Times the base model’s perplexity at the same length: ", Listed(texts), ".");
    // What tuning does by itself, which the rule leaves in: the paper's base models had no more to
    // gain from it.
    for (const Arm arm : study_.Find("direct", true)) {
      const StudyEstimate within = NllDifference(*arm, c_, *base_, c_);
      if (std::isnan(within.value)) continue;
      absl::StrAppend(&finding.measured, " For comparison, ", study_.Spoken(*arm), " ",
                      Ratio(within), " at ", c_, ".");
    }
    finding.verdict = VerdictOf(Both(Every(little), Both(Some(costs), Every(pays))));
    return finding;
  }

 private:
  // The two differences are decided, with opposite signs.
  static bool Opposed(const Inequality& a, const Inequality& b, double factor) {
    const Truth of_a = a.Decide(factor), of_b = b.Decide(factor);
    return of_a != Truth::kUnclear && of_b == Not(of_a);
  }

  // kLeastRanking arms of which every two agree.
  static bool HasRanking(const std::vector<std::vector<int>>& agree) {
    static_assert(kLeastRanking == 3, "looks for triples");
    for (size_t i = 0; i < agree.size(); ++i) {
      for (size_t j = i + 1; j < agree.size(); ++j) {
        for (size_t k = j + 1; k < agree.size(); ++k) {
          if (agree[i][j] == 1 && agree[i][k] == 1 && agree[j][k] == 1) return true;
        }
      }
    }
    return false;
  }

  static std::string Named(const std::vector<std::string>& pairs) {
    return pairs.empty() ? "" : absl::StrCat(" (", absl::StrJoin(pairs, "; "), ")");
  }

  static bool Have(bool there, absl::string_view what, Finding* finding) {
    if (!there) finding->measured = absl::StrCat("Needs ", what, ".");
    return there;
  }

  bool HavePerplexity(const std::vector<Arm>& arms, const std::vector<int64_t>& lengths,
                      Finding* finding) const {
    for (const Arm arm : arms) {
      for (const int64_t length : lengths) {
        const bool there =
            std::all_of(arm->runs.begin(), arm->runs.end(),
                        [&](const StudyRun& run) { return run.windows.count(length) > 0; });
        if (!Have(there,
                  absl::StrCat("perplexity of ", study_.Spoken(*arm), " at ", length, " tokens"),
                  finding))
          return false;
      }
    }
    return true;
  }

  bool HaveTask(const std::vector<Arm>& arms, int64_t length, Finding* finding) const {
    for (const Arm arm : arms) {
      const bool there = std::all_of(arm->runs.begin(), arm->runs.end(), [&](const StudyRun& run) {
        return Measured(run, study_.task, length);
      });
      if (!Have(there,
                absl::StrCat("the needle for ", study_.Spoken(*arm), " at ", length, " tokens"),
                finding))
        return false;
    }
    return true;
  }

  static std::vector<Arm> Together(std::vector<Arm> a, const std::vector<Arm>& b) {
    a.insert(a.end(), b.begin(), b.end());
    return a;
  }

  std::string Scores(const std::vector<Arm>& arms) const {
    std::vector<std::string> texts;
    for (const Arm arm : arms) {
      texts.push_back(absl::StrCat(study_.Spoken(*arm), " ",
                                   FormatFixed(TaskScore(*arm, retrieval_).value, 2)));
    }
    return absl::StrJoin(texts, ", ");
  }

  static bool Measured(const StudyRun& run, const std::string& task, int64_t length) {
    const auto grid = run.grids.find(task);
    return grid != run.grids.end() && grid->second.count(length) > 0;
  }

  // What findings on retrieval look at.
  std::string RetrievalText() const {
    return absl::StrFormat(
        "The score is the mean over examples of the needle and of those of RULER’s tasks that the "
        "base model solves within its trained length (%s or more); here: %s. Needs a base model "
        "that finds the needle (%s or more).",
        FormatFixed(kTaskSolved, 2), absl::StrJoin(retrieval_.tasks, ", "),
        FormatFixed(kNeedleSolved, 2));
  }

  // A finding on retrieval cannot be seen with a base model that does not retrieve.
  Finding Gated(Finding finding) const {
    const double score = BaseTaskScore(study_);
    if (score >= kNeedleSolved) return finding;
    finding.verdict = Verdict::kCannotBeSeen;
    absl::StrAppend(&finding.measured,
                    " The base model does not find the needle within its trained length (score ",
                    FormatFixed(score, 2), ").");
    return finding;
  }

  const StudyResults& study_;
  const int64_t c_, extended_;  // C and C' of the paper
  std::vector<Arm> tuned_, frozen_;
  Arm base_ = nullptr;   // the base model as it is: the frozen direct arm
  TaskCells retrieval_;  // what retrieval at the extended length is judged by
};

}  // namespace

double BaseTaskScore(const StudyResults& study) {
  double worst = std::numeric_limits<double>::quiet_NaN();
  for (const StudyBaseResults& base : study.bases) {
    if (!base.checks.empty()) worst = std::fmin(worst, base.checks.back().second);
  }
  if (!std::isnan(worst)) return worst;
  const std::vector<Arm> direct = study.Find("direct", false);
  for (const int64_t length : study.task_lengths) {
    if (length <= study.trained_length && !direct.empty())
      worst = TaskScore(*direct[0], study.task, length).value;
  }
  return worst;
}

std::vector<Finding> StudyFindings(const StudyResults& study) {
  std::vector<Finding> findings;
  if (study.findings == kLengthFindings) {
    findings = LengthFindings(study);
  } else if (study.findings == kFindings) {
    const Judge judge(study);
    findings = {judge.DirectDiverges(), judge.TunedBeatsFrozen(),    judge.CollapseBeyond(),
                judge.FrozenNtk(),      judge.MisranksDroppedKeys(), judge.RankedAlike(),
                judge.CostsALittle(),   judge.LongerTargets(),       judge.SmallerFactor()};
  }
  for (Finding& declared : DeclaredFindings(study)) findings.push_back(std::move(declared));
  return findings;
}

}  // namespace longrange
