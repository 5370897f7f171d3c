#include "plugins/study/task_page.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/report/html.h"
#include "common/report/line_chart.h"
#include "common/report/number.h"
#include "plugins/study/report_words.h"
#include "plugins/study/study_page.h"

namespace longrange::study_report {
namespace {

using ::longrange::report::FormatCount;
using ::longrange::report::FormatFixed;
using ::longrange::report::FormatShort;

class TaskPage : public StudyPage {
 public:
  explicit TaskPage(const StudyResults& study) : StudyPage(study), title_(TaskTitle(study.task)) {
    for (const std::vector<Arm>* arms : {&frozen_, &tuned_})
      arms_.insert(arms_.end(), arms->begin(), arms->end());
    for (const int64_t length : study.task_lengths) {
      if (length <= study.trained_length) within_ = std::max(within_, length);
    }
  }

  std::string Page() const {
    report::Page page = NewPage();
    page.summary = Summary();
    page.sections.push_back({"What was compared", Compared()});
    if (const Html along = Along(); !along.empty())
      page.sections.push_back({"Along training", along});
    page.sections.push_back({"Score by length", Scores()});
    if (const Html others = OtherScores(); !others.empty())
      page.sections.push_back({"Other tasks", others});
    if (const Html learning = Learning(); !learning.empty())
      page.sections.push_back({"How the arms learn", learning});
    page.sections.push_back({"Results in numbers", Tables()});
    if (const Html inside = Inside(); !inside.empty())
      page.sections.push_back({"Inside the models", inside});
    if (!findings_.empty()) page.sections.push_back({"Findings", Findings(Html())});
    page.sections.push_back({"Cost", Cost()});
    page.sections.push_back({"Configurations", Configurations()});
    return report::Render(page);
  }

 private:
  Html Summary() const {
    Html out = report::KeyFigures(Key());
    std::vector<Html> sentences = {WhatRan()};
    if (within_ > 0) sentences.push_back(ScoresAt(within_, "as trained"));
    if (!study_.task_lengths.empty() && study_.task_lengths.back() > within_)
      sentences.push_back(ScoresAt(study_.task_lengths.back(), "the longest"));
    if (const Html left = Left(); !left.empty()) sentences.push_back(left);
    out += report::BulletList(sentences);
    return out + FindingsLedger("What was to be seen, by rules fixed beforehand");
  }

  // The best arm where models were trained, and at the longest length.
  std::vector<report::KeyFigure> Key() const {
    std::vector<report::KeyFigure> figures;
    const auto add = [&](int64_t length) {
      Arm best = nullptr;
      double most = -1;
      for (const Arm arm : arms_) {
        const double score = TaskScore(*arm, study_.task, length).value;
        if (score > most) most = score, best = arm;
      }
      if (best == nullptr) return;
      figures.push_back(
          {FormatFixed(most, 2), absl::StrCat("best at ", FormatCount(length), ": ", best->label)});
    };
    if (within_ > 0) add(within_);
    if (!study_.task_lengths.empty() && study_.task_lengths.back() > within_)
      add(study_.task_lengths.back());
    figures.push_back({FormatShort(study_.chance, 2), "a guess"});
    return figures;
  }

  Html WhatRan() const {
    return absl::StrCat(
        "Compared: ", Joined(study_.methods), "; ", Plural(study_.arms.size(), "arm", "arms"),
        study_.from_scratch ? " trained from scratch" : "", " on examples of ",
        FormatCount(study_.trained_length), " tokens of “", title_, "”, ",
        Plural(static_cast<int64_t>(TuningSeeds(study_).size()), "seed", "seeds"), " each.");
  }

  // What each arm scores at a length, the best first, and who was not measured there.
  Html ScoresAt(int64_t length, const std::string& what) const {
    std::vector<std::pair<double, std::string>> scores;
    std::vector<std::string> missing;
    for (const Arm arm : arms_) {
      const StudyEstimate score = TaskScore(*arm, study_.task, length);
      if (std::isnan(score.value)) {
        missing.push_back(arm->label);
      } else {
        scores.push_back({score.value, absl::StrCat(arm->label, " ", FormatFixed(score.value, 2))});
      }
    }
    std::stable_sort(scores.begin(), scores.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<std::string> texts;
    for (const auto& [score, text] : scores) texts.push_back(text);
    return absl::StrCat("At ", FormatCount(length), " tokens, ", what, ": ",
                        texts.empty() ? "nothing" : absl::StrJoin(texts, ", "),
                        missing.empty() ? "" : "; not measured: " + Joined(missing), ".");
  }

  Html Compared() const {
    std::vector<std::pair<Html, Html>> items;
    const auto add = [&](const Html& term, const Html& meaning) {
      if (!meaning.empty()) items.push_back({term, meaning});
    };
    add("Task",
        absl::StrCat("“", title_, "”", config_.Phrase("; ", "model.vocabulary", " symbols"),
                     config_.Phrase("; rows of ", "model.features", " numbers"),
                     ". There is no text: every sequence of training is an example, made anew, "
                     "and those that are measured are drawn apart from them."));
    add("Data", study_.task_data);
    add("Model", ModelText());
    if (!study_.from_scratch) add("Base training", Training("base"));
    add(study_.from_scratch ? "Training, of every arm" : "Tuning",
        tuned_.empty() ? "" : Training("tuning"));
    add("Seeds", tuned_.empty()
                     ? ""
                     : absl::StrCat(study_.from_scratch ? "initial values and order of the data "
                                                        : "tuning (order of the data) ",
                                    JoinedNumbers(TuningSeeds(study_))));
    add("Arms may differ in", Control());
    const std::string piece = config_.Text("evaluation.stream_rows"),
                      growing = config_.Text("evaluation.longest_growing");
    add("Score",
        absl::StrCat(
            "mean over examples, the same ones in every arm, of what is answered right: a reply "
            "counts where the wanted token is the most likely one. ",
            Examples(), " A guess scores ", FormatShort(study_.chance, 3), ".",
            piece.empty() || piece == "0"
                ? ""
                : absl::StrCat(" Examples of more than ", piece, " tokens are read in pieces of ",
                               piece, " with the state carried."),
            growing.empty() || growing == "0"
                ? ""
                : absl::StrCat(" Models whose state grows with what they have seen are measured "
                               "up to ",
                               growing, " tokens.")));
    add("Spread", "one standard error. It is stated at each figure what it is over.");
    add("Differences",
        "are paired, example by example and seed by seed; their error joins that over examples and "
        "that over seeds. A difference counts where it exceeds the half width of its 95 % interval "
        "(Student’s t) and two standard errors.");
    return report::Definitions(items) + ArmsTable();
  }

  // What standard errors are over. What is called tuning is all the training there is.
  std::string Spreads() const {
    const std::string text = SpreadsText(study_.arms, "examples");
    return study_.from_scratch && text == "over tuning seeds" ? "over seeds" : text;
  }

  // How many examples each figure is over.
  std::string Examples() const {
    int64_t least = examples_;
    for (const StudyArmResults& arm : study_.arms) {
      for (const StudyRun& run : arm.runs) {
        const auto grid = run.grids.find(study_.task);
        if (grid == run.grids.end()) continue;
        for (const auto& [length, cells] : grid->second) {
          for (const auto& [depth, cell] : cells)
            least = std::min(least, static_cast<int64_t>(cell.scores.size()));
        }
      }
    }
    const std::string depths = study_.depths.size() > 1
                                   ? absl::StrCat(" at each of ", study_.depths.size(), " depths")
                                   : std::string();
    return least == examples_
               ? absl::StrCat(Plural(examples_, "example", "examples"), depths, " a length.")
               : absl::StrCat(Plural(examples_, "example", "examples"), depths,
                              " a length, fewer where they are long: ", least, " at least.");
  }

  Html Scores() const {
    if (study_.task_lengths.empty()) return report::Paragraph("The rows hold no scores.");
    return report::Figure(
        report::Render(ScoreChart(study_.task, study_.task_lengths, study_.chance)),
        absl::StrCat("Share answered right, by the length of the example. ",
                     study_.from_scratch ? "Every model was trained at the length of the dotted "
                                           "line alone. "
                                         : "",
                     "Bars: one standard error ", Spreads(),
                     ". Dotted below: what a guess scores, ", FormatShort(study_.chance, 3), "."),
        "scores");
  }

  // A chart a further task.
  Html OtherScores() const {
    Html out;
    for (const auto& [task, chance] : study_.further_tasks) {
      const auto lengths = study_.lengths_of.find(task);
      if (lengths == study_.lengths_of.end()) continue;
      out += report::Figure(report::Render(ScoreChart(task, lengths->second, chance)),
                            absl::StrCat("The same of “", TaskTitle(task), "”; a guess scores ",
                                         FormatShort(chance, 3), "."),
                            absl::StrCat("scores-", task));
    }
    return out;
  }

  // Held-out scores during training, where they were looked at.
  Html Learning() const {
    LineChart chart;
    chart.x_label = "training step";
    chart.y_label = "score on held-out examples";
    chart.x_min = 0;
    chart.y_min = 0;
    chart.y_max = 1;
    for (const Arm arm : arms_) {
      std::map<int64_t, std::vector<double>> by_step;
      for (const StudyRun& run : arm->runs) {
        for (const auto& [step, score] : run.checks) by_step[step].push_back(score);
      }
      report::Series series;
      series.name = NameIn(arms_, *arm);
      series.color = ColorOf(*arm);
      for (const auto& [step, scores] : by_step) {
        const double sum = std::accumulate(scores.begin(), scores.end(), 0.0);
        series.points.push_back(
            {static_cast<double>(step), sum / static_cast<double>(scores.size()), 0});
      }
      if (!series.points.empty()) chart.series.push_back(std::move(series));
    }
    if (chart.series.empty()) return Html();
    return report::Figure(
        report::Render(chart),
        absl::StrCat(
            "Score on held-out examples of the length of training, mean over the seeds "
            "that were still being trained.",
            config_.Phrase(" Training ends once it is ", "tuning.stop_at_score", "."),
            config_.Phrase(" It goes on for ", "tuning.minimum_steps", " steps at least.")),
        "learning");
  }

  Html Tables() const {
    if (study_.task_lengths.empty()) return Html();
    Html out = ResultTable(
        study_.task_lengths, "score at", 3, report::Best::kHighest,
        [this](const StudyArmResults& arm, int64_t length) {
          return TaskScore(arm, study_.task, length);
        },
        absl::StrCat("Score, ± one standard error ", Spreads(), "."), "table-score");
    if (study_.arms.size() < 2) return out;
    return out + DifferenceTable(
                     study_.task_lengths, "difference of score at", 3,
                     [this](const StudyArmResults& arm, int64_t length) {
                       return TaskDifference(arm, *reference_, {{study_.task}, {length}, 0});
                     },
                     [](const StudyEstimate& difference) { return difference; },
                     absl::StrCat("Score against that of ", study_.Spoken(*reference_),
                                  ", paired by example and seed, ± one standard error over both. "
                                  "Above zero is better."),
                     "table-score-difference");
  }

  const std::string title_;
  std::vector<Arm> arms_;
  int64_t within_ = 0;  // the longest length measured that is not beyond the trained one; 0: none
};

}  // namespace

std::string TaskPageOf(const StudyResults& study) { return TaskPage(study).Page(); }

}  // namespace longrange::study_report
