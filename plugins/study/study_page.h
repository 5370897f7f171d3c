// What the pages of all studies have in common: charts by length, tables, findings, cost.

#ifndef LONGRANGE_PLUGINS_STUDY_STUDY_PAGE_H_
#define LONGRANGE_PLUGINS_STUDY_STUDY_PAGE_H_

#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/report/html.h"
#include "common/report/line_chart.h"
#include "common/report/table.h"
#include "plugins/study/findings.h"
#include "plugins/study/report_words.h"
#include "plugins/study/results.h"

namespace longrange::study_report {

class StudyPage {
 protected:
  using Arm = const StudyArmResults*;
  using Html = report::Html;
  using LineChart = report::LineChart;
  using PointsOf = std::function<std::vector<report::Point>(const StudyArmResults&)>;
  using EstimateOf = std::function<StudyEstimate(const StudyArmResults&, int64_t)>;

  explicit StudyPage(const StudyResults& study);

  // Title and footer; the caller fills in the rest.
  report::Page NewPage() const;

  // What sets the arms apart.
  Html ArmsTable() const;
  // The paths in which arms may differ, and the promise that they do in nothing else; "": none.
  Html Control() const;
  // Of the base model; where there is none, of the first arm's.
  int64_t Parameters() const;
  // Layers, width, heads and parameters.
  std::string ModelText() const;
  // What the protocol says of "base" or "tuning", and for the base model what was done.
  Html Training(const std::string& which) const;
  Html Heading(bool tuned) const;
  // What this run leaves to a larger preset; empty: nothing.
  Html Left() const;

  int ColorOf(const StudyArmResults& arm) const;
  static std::string SpreadOnly(const std::vector<Arm>& arms, absl::string_view sample);
  // Its method, where no other arm of the panel has it.
  static std::string NameIn(const std::vector<Arm>& panel, const StudyArmResults& arm);
  LineChart Chart(const std::string& title, const std::vector<Arm>& arms,
                  const std::vector<int64_t>& lengths, const PointsOf& points) const;
  // Lowest and highest finite value of all series.
  static std::pair<double, double> RangeOf(const std::vector<LineChart>& charts);
  // The charts that have a line, side by side, on one y axis.
  static Html Panels(std::vector<LineChart> charts, std::optional<double> y_min,
                     std::optional<double> y_max);
  // Scores of a task by length, a line an arm, and where a guess would be.
  LineChart ScoreChart(const std::string& task, const std::vector<int64_t>& lengths,
                       double chance) const;

  Html ResultTable(const std::vector<int64_t>& lengths, const std::string& group, int digits,
                   report::Best best, const EstimateOf& value, const Html& caption,
                   const std::string& id) const;
  // `difference` is tested, `shown` turns it into what is written.
  Html DifferenceTable(const std::vector<int64_t>& lengths, const std::string& group, int digits,
                       const EstimateOf& difference,
                       const std::function<StudyEstimate(const StudyEstimate&)>& shown,
                       const Html& caption, const std::string& id) const;

  // Those that were decided, with their verdicts; empty: none.
  Html FindingsLedger(const std::string& title) const;
  // All of them, with rules and figures, after a paragraph of the caller's.
  Html Findings(const Html& about) const;
  // What probes measured while the arms were trained: a panel a figure without a place.
  Html Along() const;
  // What probes measured: a row a figure and place, a column an arm, the mean over an arm's runs.
  Html Inside() const;
  Html Cost() const;
  Html Configurations() const;

  const StudyResults& study_;
  const Config config_;
  const std::vector<Finding> findings_;
  std::vector<Arm> frozen_, tuned_;
  Arm reference_ = nullptr;  // of differences: the tuned direct arm where there is one
  int64_t windows_ = 0, examples_ = 0;

 private:
  // Arms down, lengths across.
  report::Table EmptyTable(const std::vector<int64_t>& lengths, const std::string& group,
                           int digits, report::Best best, const Html& caption,
                           const std::string& id) const;
  static report::Cell CellOf(const StudyEstimate& estimate);
};

}  // namespace longrange::study_report

#endif  // LONGRANGE_PLUGINS_STUDY_STUDY_PAGE_H_
