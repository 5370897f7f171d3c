#include "plugins/study/study_page.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "common/eval/metrics.h"
#include "common/report/number.h"

namespace longrange::study_report {

using ::longrange::report::Cell;
using ::longrange::report::Column;
using ::longrange::report::FormatCount;
using ::longrange::report::FormatFixed;
using ::longrange::report::FormatShort;
using ::longrange::report::FormatWithUnit;
using ::longrange::report::Html;
using ::longrange::report::LineChart;
using ::longrange::report::Verdict;

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace

StudyPage::StudyPage(const StudyResults& study)
    : study_(study), config_(study.config), findings_(StudyFindings(study)) {
  for (const StudyArmResults& arm : study.arms) (arm.tuned ? tuned_ : frozen_).push_back(&arm);
  const std::vector<Arm> direct = study.Find("direct", true);
  if (!direct.empty()) {
    reference_ = direct[0];
  } else if (!study.arms.empty()) {
    reference_ = tuned_.empty() ? frozen_[0] : tuned_[0];
  }
  for (const StudyArmResults& arm : study.arms) {
    for (const StudyRun& run : arm.runs) {
      for (const auto& [length, windows] : run.windows)
        windows_ = std::max<int64_t>(windows_, windows.size());
      const auto grid = run.grids.find(study.task);
      if (grid == run.grids.end()) continue;
      for (const auto& [length, cells] : grid->second) {
        for (const auto& [depth, cell] : cells)
          examples_ = std::max(examples_, static_cast<int64_t>(cell.scores.size()));
      }
    }
  }
}

report::Page StudyPage::NewPage() const {
  report::Page page;
  page.title = study_.title.empty() ? study_.name : study_.title;
  page.subtitle = study_.question;
  page.footer = Html("Made from ") + report::Link("rows.jsonl", "rows.jsonl") +
                " (what is the same in every run of this protocol) and " +
                report::Link("runs.jsonl", "runs.jsonl") +
                absl::StrCat(" (time, memory, device). Study ", study_.name, ", protocol version ",
                             study_.version, ".");
  return page;
}

Html StudyPage::ArmsTable() const {
  report::Table table;
  table.caption = "The arms, and all that sets them apart.";
  table.columns = {{"Arm"}, {"What it does"}, {"Settings that differ from the protocol"}};
  table.columns[1].wrap = table.columns[2].wrap = true;
  for (const std::vector<Arm>& arms : {frozen_, tuned_}) {
    for (const Arm arm : arms) {
      Html differs;
      for (const absl::string_view one : absl::StrSplit(arm->differs, "; ", absl::SkipEmpty())) {
        differs += report::Element("div", {}, absl::StrReplaceAll(one, {{"->", "→"}}));
      }
      table.rows.push_back({{arm->label, arm->note, differs.empty() ? Html("–") : differs},
                            arm == arms[0] ? Heading(arm->tuned) : Html()});
    }
  }
  return report::Render(table);
}

Html StudyPage::Control() const {
  std::vector<Html> paths;
  for (const absl::string_view path : absl::StrSplit(study_.compares, ", ", absl::SkipEmpty()))
    paths.push_back(report::Code(path));
  if (paths.empty()) return Html();
  Html list;
  for (size_t i = 0; i < paths.size(); ++i)
    list += (i == 0 ? Html() : Html(i + 1 == paths.size() ? " and " : ", ")) + paths[i];
  const std::string optimiser =
      absl::StrContains(study_.compares, "tuning.optimizer") ? "" : " optimiser,";
  return list +
         absl::StrCat(" and in nothing else: data, tokens, order,", optimiser,
                      " seeds and evaluation are the same, and the runner refuses an arm that "
                      "breaks this.") +
         (study_.compares_further.empty()
              ? ""
              : absl::StrCat(" Arms whose method is more than that, or whose subject is the "
                             "budget, may differ in this too: ",
                             study_.compares_further, "."));
}

std::string StudyPage::ModelText() const {
  return JoinNonEmpty({config_.Phrase("", "model.backbone.layers", " layers"),
                       config_.Phrase("width ", "model.width", ""),
                       config_.Phrase("", "model.backbone.mixer.heads", " heads"),
                       Parameters() > 0 ? Plural(Parameters(), "parameter", "parameters") : ""},
                      ", ");
}

Html StudyPage::Left() const {
  if (study_.left.empty()) return Html();
  return Html("Left to ") + report::Code("--preset=full") + ": " + study_.left + ".";
}

int64_t StudyPage::Parameters() const {
  if (!study_.bases.empty()) return study_.bases[0].parameters;
  return study_.arms.empty() ? 0 : study_.arms[0].runs[0].parameters;
}

Html StudyPage::Training(const std::string& which) const {
  std::string batch;
  const std::string rows = config_.Text(which + ".batch"), length = config_.Text(which + ".length");
  if (!rows.empty() && !length.empty()) batch = absl::StrCat(rows, " × ", length, " tokens a step");
  std::string steps = config_.Phrase("", which + ".steps", " steps");
  if (which == "base" && !study_.bases.empty()) {
    std::vector<std::string> done;
    for (const StudyBaseResults& base : study_.bases)
      done.push_back(absl::StrCat(FormatCount(base.steps), " steps (", FormatWithUnit(base.tokens),
                                  " tokens)"));
    steps = absl::StrCat(Joined(done), config_.Phrase(", at most ", "base.steps", ""));
  }
  const bool has_text = !study_.corpus.empty();
  const double share = config_.Number(which + ".task_share");
  const double score = config_.Number(which + ".stop_at_score");
  const double short_share = config_.Number(which + ".short_share");
  return JoinNonEmpty(
      {steps, batch,
       short_share > 0
           ? absl::StrCat("as many tokens in shorter sequences (",
                          config_.Text(which + ".short_length"), " tokens) in a share of ",
                          FormatShort(short_share, 3), " of the steps")
           : "",
       config_.Phrase("learning rate ", which + ".optimizer.schedule.learning_rate", ""),
       share > 0 && has_text ? absl::StrCat("share of task examples ", FormatShort(share, 3)) : "",
       score > 0 ? absl::StrCat("until the held-out ", has_text ? "needle" : "score", " is at ",
                                FormatShort(score, 3))
                 : ""},
      ", ");
}

Html StudyPage::Heading(bool tuned) const {
  if (!tuned) return "Frozen: the base model as it is, with other positions";
  const std::string length = config_.Text("tuning.length");
  const size_t seeds = TuningSeeds(study_).size();
  return absl::StrCat(study_.from_scratch ? "Trained from scratch" : "Tuned",
                      length.empty() ? "" : absl::StrCat(" at ", length, " tokens"), ", ",
                      Plural(static_cast<int64_t>(seeds), "seed", "seeds"));
}

int StudyPage::ColorOf(const StudyArmResults& arm) const {
  for (size_t i = 0; i < study_.methods.size(); ++i) {
    if (absl::EqualsIgnoreCase(study_.methods[i], arm.method)) return static_cast<int>(i);
  }
  return 0;
}

std::string StudyPage::SpreadOnly(const std::vector<Arm>& arms, absl::string_view sample) {
  std::set<std::string> kinds;
  for (const Arm arm : arms) kinds.insert(SpreadText(SpreadOf(*arm), sample));
  return absl::StrJoin(kinds, " or ");
}

std::string StudyPage::NameIn(const std::vector<Arm>& panel, const StudyArmResults& arm) {
  const auto same = std::count_if(panel.begin(), panel.end(), [&](Arm other) {
    return absl::EqualsIgnoreCase(other->method, arm.method);
  });
  return same == 1 ? arm.method : arm.label;
}

LineChart StudyPage::Chart(const std::string& title, const std::vector<Arm>& arms,
                           const std::vector<int64_t>& lengths, const PointsOf& points) const {
  LineChart chart;
  chart.title = title;
  chart.x_label = "context length (tokens)";
  chart.x_scale = report::Scale::kLog2;
  for (const int64_t length : lengths) chart.x_ticks.push_back(static_cast<double>(length));
  chart.vertical_lines = {{static_cast<double>(study_.trained_length), "trained"}};
  if (!study_.from_scratch)
    chart.vertical_lines.push_back({static_cast<double>(study_.extended_length), "extended"});
  for (const Arm arm : arms) {
    report::Series series;
    series.name = NameIn(arms, *arm);
    series.color = ColorOf(*arm);
    if (series.color >= report::kSeriesColors) {  // colours come round
      series.hollow = true;
      series.dash = report::Dash::kDashed;
    }
    series.points = points(*arm);
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return chart;
}

std::pair<double, double> StudyPage::RangeOf(const std::vector<LineChart>& charts) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const LineChart& chart : charts) {
    for (const report::Series& series : chart.series) {
      for (const report::Point& point : series.points) {
        if (!std::isfinite(point.y)) continue;
        const double error = std::isfinite(point.error) ? point.error : 0;
        low = std::min(low, point.y - error);
        high = std::max(high, point.y + error);
      }
    }
  }
  return {low, high};
}

Html StudyPage::Panels(std::vector<LineChart> charts, std::optional<double> y_min,
                       std::optional<double> y_max) {
  std::vector<Html> drawn;
  for (LineChart& chart : charts) {
    if (chart.series.empty()) continue;
    chart.y_min = y_min;
    chart.y_max = y_max;
    drawn.push_back(report::Render(chart));
  }
  return drawn.size() < 2 ? (drawn.empty() ? Html() : drawn[0]) : report::Grid(drawn, 400);
}

report::Table StudyPage::EmptyTable(const std::vector<int64_t>& lengths, const std::string& group,
                                    int digits, report::Best best, const Html& caption,
                                    const std::string& id) const {
  report::Table table;
  table.caption = caption;
  table.id = id;
  table.columns.emplace_back();
  table.columns[0].header = "Arm";
  for (const int64_t length : lengths) {
    Column column;
    column.header = absl::StrCat(length);
    column.group = group;
    column.digits = digits;
    column.best = best;
    table.columns.push_back(column);
  }
  return table;
}

Html StudyPage::ResultTable(const std::vector<int64_t>& lengths, const std::string& group,
                            int digits, report::Best best, const EstimateOf& value,
                            const Html& caption, const std::string& id) const {
  report::Table table = EmptyTable(lengths, group, digits, best, caption, id);
  for (const std::vector<Arm>& arms : {frozen_, tuned_}) {
    for (const Arm arm : arms) {
      report::Row row = {{arm->label}, arm == arms[0] ? Heading(arm->tuned) : Html()};
      for (const int64_t length : lengths) row.cells.push_back(CellOf(value(*arm, length)));
      table.rows.push_back(std::move(row));
    }
  }
  table.footnotes.push_back(
      "Bold: the best of a column, and what reads the same; the differences below say what can "
      "be told apart.");
  return report::Render(table);
}

Html StudyPage::DifferenceTable(const std::vector<int64_t>& lengths, const std::string& group,
                                int digits, const EstimateOf& difference,
                                const std::function<StudyEstimate(const StudyEstimate&)>& shown,
                                const Html& caption, const std::string& id) const {
  report::Table table = EmptyTable(lengths, group, digits, report::Best::kNone, caption, id);
  std::vector<std::string> ties;
  for (const std::vector<Arm>& arms : {frozen_, tuned_}) {
    for (const Arm arm : arms) {
      report::Row row = {{arm->label}, arm == arms[0] ? Heading(arm->tuned) : Html()};
      std::vector<std::string> tied;
      for (const int64_t length : lengths) {
        if (arm == reference_) {
          row.cells.push_back("reference");
          continue;
        }
        const StudyEstimate estimate = difference(*arm, length);
        row.cells.push_back(CellOf(shown(estimate)));
        if (std::fabs(estimate.value) <= Margin(estimate)) tied.push_back(absl::StrCat(length));
      }
      if (!tied.empty()) ties.push_back(absl::StrCat(study_.Spoken(*arm), " at ", Joined(tied)));
      table.rows.push_back(std::move(row));
    }
  }
  table.footnotes.push_back(absl::StrCat("Within their margin, so not told apart from ",
                                         study_.Spoken(*reference_), ": ",
                                         ties.empty() ? "none" : absl::StrJoin(ties, "; "), "."));
  return report::Render(table);
}

Cell StudyPage::CellOf(const StudyEstimate& estimate) {
  return std::isnan(estimate.value) ? report::Missing()
                                    : report::Number(estimate.value, estimate.error);
}

Html StudyPage::Along() const {
  std::vector<std::string> order;
  std::set<std::string> probes;
  std::set<int64_t> lengths;
  for (const Arm arm : tuned_) {
    for (const StudyRun& run : arm->runs) {
      for (const StudyFigureCourse& course : run.courses) {
        if (!course.where.empty()) continue;
        if (std::find(order.begin(), order.end(), course.figure) == order.end())
          order.push_back(course.figure);
        probes.insert(course.probe);
        lengths.insert(course.length);
      }
    }
  }
  if (order.empty()) return Html();
  std::vector<Html> panels;
  for (const std::string& figure : order) {
    LineChart chart;
    chart.title = TaskTitle(figure);
    chart.x_label = "training step";
    chart.x_min = 0;
    chart.width = 480;
    chart.plot_height = 240;
    chart.legend = report::Legend::kBelow;
    for (const Arm arm : tuned_) {
      std::map<int64_t, std::vector<double>> by_step;
      for (const StudyRun& run : arm->runs) {
        for (const StudyFigureCourse& course : run.courses) {
          if (course.figure != figure || !course.where.empty()) continue;
          for (const auto& [step, value] : course.values) by_step[step].push_back(value);
        }
      }
      report::Series series;
      series.name = NameIn(tuned_, *arm);
      series.color = ColorOf(*arm);
      for (const auto& [step, values] : by_step) {
        const eval::Estimate mean = eval::Mean(values);
        series.points.push_back({static_cast<double>(step), mean.value, mean.standard_error});
      }
      if (!series.points.empty()) chart.series.push_back(std::move(series));
    }
    chart.errors = report::ErrorStyle::kBand;
    panels.push_back(report::Render(chart));
  }
  std::vector<int64_t> rows(lengths.begin(), lengths.end());
  return report::Figure(
      report::Grid(panels, 400),
      absl::StrCat("What ", absl::StrJoin(probes, ", "), " measured on sequences of ",
                   JoinedNumbers(rows),
                   " tokens while the arms were trained, on the same "
                   "sequences at every step and in every arm; mean over seeds",
                   TuningSeeds(study_).size() > 1 ? ", with a band of one standard error." : "."),
      "along");
}

Html StudyPage::Inside() const {
  report::Table table;
  table.columns = {{"Figure"}};
  std::map<std::string, std::map<Arm, std::pair<double, int64_t>>> sums;
  std::vector<std::string> order;
  std::set<std::string> probes;
  int64_t length = 0;
  for (const std::vector<Arm>& arms : {frozen_, tuned_}) {
    for (const Arm arm : arms) {
      table.columns.push_back({arm->label});
      for (const StudyRun& run : arm->runs) {
        for (const StudyProbeFigure& figure : run.figures) {
          const std::string name = figure.where.empty()
                                       ? figure.figure
                                       : absl::StrCat(figure.figure, ", ", figure.where);
          if (sums.count(name) == 0) order.push_back(name);
          auto& [sum, count] = sums[name][arm];
          sum += figure.value;
          ++count;
          probes.insert(figure.probe);
          length = figure.length;
        }
      }
    }
  }
  if (order.empty()) return Html();
  for (const std::string& name : order) {
    report::Row row = {{name}};
    for (const std::vector<Arm>& arms : {frozen_, tuned_}) {
      for (const Arm arm : arms) {
        const auto it = sums[name].find(arm);
        row.cells.push_back(
            it == sums[name].end()
                ? report::Missing()
                : report::Number(it->second.first / static_cast<double>(it->second.second)));
      }
    }
    table.rows.push_back(std::move(row));
  }
  table.caption = absl::StrCat("What ", absl::StrJoin(probes, ", "), " measured on ",
                               study_.corpus.empty() ? "test examples of " : "windows of ", length,
                               study_.corpus.empty() ? " tokens" : " tokens of the test text",
                               "; mean over an arm’s runs.");
  return report::Render(table);
}

Html StudyPage::Cost() const {
  report::Table table;
  table.columns = {{"Arm"},
                   {"Parameters"},
                   {"Tokens", "training"},
                   {"FLOP", "training"},
                   {"Time", "training"},
                   {"FLOP", "evaluation"},
                   {"Time", "evaluation"},
                   {"Peak memory"},
                   {"State"}};
  for (size_t i = 1; i < table.columns.size(); ++i) table.columns[i].align = report::Align::kRight;
  std::set<std::string> devices;
  double total = 0;
  bool complete = true;
  const auto unit = [](double value) {
    return value > 0 ? Html(FormatWithUnit(value)) : Html("–");
  };
  const auto note = [&](const std::optional<StudyRecord>& record) {
    complete = complete && record.has_value();
    if (!record.has_value()) return;
    devices.insert(
        absl::StrCat(record->device, ", ", Plural(record->threads, "thread", "threads")));
    total += record->training_seconds + record->evaluation_seconds;
  };
  for (const StudyBaseResults& base : study_.bases) {
    note(base.record);
    const std::string label =
        study_.bases.size() > 1 ? absl::StrCat("base model, seed ", base.seed) : "base model";
    table.rows.push_back(
        {{label, FormatCount(base.parameters), unit(base.tokens), unit(base.training_flops),
          Seconds(base.record.has_value() ? base.record->training_seconds : kNaN), "–", "–",
          Bytes(base.record.has_value() ? base.record->peak_bytes : 0), "–"},
         &base == &study_.bases[0] ? Html("Shared by all arms") : Html()});
  }
  for (const std::vector<Arm>& arms : {frozen_, tuned_}) {
    for (const Arm arm : arms) {
      double tokens = 0, training = 0, evaluation = 0, training_seconds = 0, evaluation_seconds = 0,
             peak = 0;
      for (const StudyRun& run : arm->runs) {
        note(run.record);
        const double share = 1.0 / static_cast<double>(arm->runs.size());
        tokens += share * run.tokens;
        training += share * run.training_flops;
        evaluation += share * run.evaluation_flops;
        training_seconds += share * (run.record.has_value() ? run.record->training_seconds : kNaN);
        evaluation_seconds +=
            share * (run.record.has_value() ? run.record->evaluation_seconds : kNaN);
        peak = std::max(peak, run.record.has_value() ? run.record->peak_bytes : 0);
      }
      const StudyRun& first = arm->runs[0];
      table.rows.push_back({{arm->label, FormatCount(first.parameters), unit(tokens),
                             unit(training), arm->tuned ? Seconds(training_seconds) : "–",
                             unit(evaluation), Seconds(evaluation_seconds), Bytes(peak),
                             Bytes(static_cast<double>(first.state_bytes))},
                            arm == arms[0] ? Heading(arm->tuned) : Html()});
    }
  }
  table.caption = absl::StrCat(
      "What each arm took: of one run, mean over its runs; peak memory, the highest. State: what "
      "streaming keeps of one sequence of ",
      study_.extended_length, " tokens",
      config_.Phrase(" (of ", "evaluation.longest_growing", " where it grows with them)"),
      ". FLOP are counted by the kernels, not estimated from the time.",
      devices.empty() ? "" : absl::StrCat(" Run on ", absl::StrJoin(devices, "; "), "."),
      complete && total > 0
          ? absl::StrCat(" The whole study took ", Seconds(total), " of training and evaluation.")
          : "");
  return report::Render(table);
}

Html StudyPage::Configurations() const {
  Html out = report::Paragraph("Every setting, defaults included, as the runs used them.");
  out += report::Details("Protocol", report::Preformatted(study_.config));
  for (const StudyArmResults& arm : study_.arms)
    out += report::Details(arm.label, report::Preformatted(arm.config));
  return out;
}

LineChart StudyPage::ScoreChart(const std::string& task, const std::vector<int64_t>& lengths,
                                double chance) const {
  std::vector<Arm> arms = frozen_;
  arms.insert(arms.end(), tuned_.begin(), tuned_.end());
  LineChart chart = Chart("", arms, lengths, [&](const StudyArmResults& arm) {
    std::vector<report::Point> points;
    for (const int64_t length : lengths) {
      const StudyEstimate score = TaskScore(arm, task, length);
      if (!std::isnan(score.value))
        points.push_back({static_cast<double>(length), score.value, score.error});
    }
    return points;
  });
  chart.y_label = "score";
  chart.y_min = 0;
  chart.y_max = 1;
  if (chance > 0 && !lengths.empty()) {
    report::Series guess = {"a guess",
                            {{static_cast<double>(lengths.front()), chance, 0},
                             {static_cast<double>(lengths.back()), chance, 0}}};
    guess.color = report::kSeriesColors - 1;
    guess.dash = report::Dash::kDotted;
    chart.series.push_back(std::move(guess));
  }
  return chart;
}

Html StudyPage::FindingsLedger(const std::string& title) const {
  std::vector<std::pair<Html, Html>> verdicts;
  for (const Finding& finding : findings_) {
    if (finding.verdict == Verdict::kNotRun) continue;
    verdicts.push_back(
        {report::Link(absl::StrCat("#", finding.id), finding.id) + " " + finding.statement,
         report::Badge(finding.verdict)});
  }
  if (verdicts.empty()) return Html();
  return report::Paragraph(report::Strong(title)) + report::Ledger(verdicts);
}

Html StudyPage::Findings(const Html& about) const {
  Html out = about;
  out += report::Paragraph(
      "Each verdict below follows from a rule that was written down before there were rows to "
      "look at; its bounds come from the paper or from the project’s protocol. A rule is made of "
      "comparisons; each is decided only where the figure is off its bound by more than its "
      "margin (the half width of the 95 % interval, two standard errors at least). Where all are "
      "decided in favour, the finding holds; where one is decided against (by one and a half "
      "margins if there are several, since one of several is off by chance more often), it does "
      "not hold; anything between cannot be seen at this scale.");
  std::vector<std::pair<Html, Html>> not_run;
  for (const Finding& finding : findings_) {
    if (finding.verdict == Verdict::kNotRun) {
      not_run.push_back(
          {report::Strong(finding.id) + " " + finding.statement + " " + finding.measured,
           report::Badge(finding.verdict)});
      continue;
    }
    out += report::Element("h3", {{"id", finding.id}},
                           report::Strong(finding.id) + " " + finding.statement);
    out += report::Definitions({{"Rule", finding.rule},
                                {"Measured", finding.measured},
                                {"Verdict", report::Badge(finding.verdict)}});
  }
  if (!not_run.empty()) {
    out += report::Element("h3", {}, "Not run here");
    out += report::Ledger(not_run);
  }
  return out;
}

}  // namespace longrange::study_report
