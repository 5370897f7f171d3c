#include "plugins/study/report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "common/base/status_macros.h"
#include "common/report/heat_map.h"
#include "common/report/html.h"
#include "common/report/line_chart.h"
#include "common/report/number.h"
#include "common/report/table.h"
#include "plugins/study/findings.h"
#include "plugins/study/length_findings.h"
#include "plugins/study/report_words.h"
#include "plugins/study/results.h"
#include "plugins/study/study_page.h"
#include "plugins/study/task_page.h"

namespace longrange {
namespace study_report {
namespace {

using ::longrange::report::FormatCount;
using ::longrange::report::FormatFixed;
using ::longrange::report::FormatShort;
using ::longrange::report::FormatWithUnit;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// Where charts cut values off, so that one diverged arm does not flatten the others; the values are
// written at the edge.
constexpr double kHighestInOverview = 16;  // times the lowest perplexity
constexpr double kHighestInZoom = 1.25;    // times the lowest perplexity
constexpr double kHighestChange = 25;      // percent
constexpr double kHighestLoss = 5;         // times the lowest loss

// The page of a study on text.
class TextPage : public StudyPage {
 public:
  explicit TextPage(const StudyResults& study) : StudyPage(study) {
    const std::vector<Arm> frozen_direct = study.Find("direct", false);
    if (!frozen_direct.empty()) base_ = frozen_direct[0];
  }

  std::string Page() const {
    report::Page page = NewPage();
    page.summary = Summary();
    page.sections.push_back({"What was compared", Compared()});
    if (const Html along = Along(); !along.empty())
      page.sections.push_back({"Along training", along});
    if (!study_.lengths.empty()) {
      page.sections.push_back({"Perplexity by length", PerplexityFigures()});
      const Html gain = GainFigure(), position = PositionFigure();
      if (!gain.empty()) page.sections.push_back({"What more context gives", gain, 2});
      if (!position.empty())
        page.sections.push_back({"Where in a long text the loss arises", position, 2});
    }
    if (!study_.task.empty()) page.sections.push_back({"The needle", NeedleFigures()});
    if (const Html others = OtherTasks(); !others.empty())
      page.sections.push_back({"Other tasks", others});
    page.sections.push_back({"Results in numbers", Tables()});
    if (const Html inside = Inside(); !inside.empty())
      page.sections.push_back({"Inside the models", inside});
    if (!findings_.empty()) page.sections.push_back({"Findings", Findings(Repeats())});
    page.sections.push_back({"Cost", Cost()});
    if (!study_.from_scratch) page.sections.push_back({"The base model", Base()});
    page.sections.push_back({"Configurations", Configurations()});
    return report::Render(page);
  }

 private:
  Html Summary() const {
    Html out = report::KeyFigures(Key());
    if (!NeedleText().first)
      out += report::Paragraph(report::Strong("Needle not solved. ") + NeedleText().second);
    std::vector<Html> sentences;
    sentences.push_back(WhatRan());
    for (const std::string& sentence : {PerplexityText(), BeyondText()}) {
      if (!sentence.empty()) sentences.push_back(sentence);
    }
    if (NeedleText().first && !NeedleText().second.empty())
      sentences.push_back(NeedleText().second);
    if (const Html left = Left(); !left.empty()) sentences.push_back(left);
    out += report::BulletList(sentences);
    out += FindingsLedger(
        "Findings of the paper that these arms can decide, by rules fixed beforehand");
    return out;
  }

  std::vector<report::KeyFigure> Key() const {
    std::vector<report::KeyFigure> figures;
    const auto add = [&](Arm arm, int64_t length, const std::string& what) {
      if (arm == nullptr) return;
      const StudyEstimate perplexity = Perplexity(*arm, length);
      if (std::isnan(perplexity.value)) return;
      figures.push_back({FormatFixed(perplexity.value, 2), absl::StrCat(what, " at ", length)});
    };
    add(base_, study_.trained_length, "base perplexity");
    add(base_, study_.extended_length, "left as it is,");
    add(Lowest(frozen_, study_.extended_length), study_.extended_length, "best frozen");
    if (study_.from_scratch)
      add(Lowest(tuned_, study_.trained_length), study_.trained_length, "lowest perplexity");
    add(Lowest(tuned_, study_.extended_length), study_.extended_length,
        study_.from_scratch ? "lowest" : "best tuned");
    if (NeedleText().first) {
      double best = kNaN;
      for (const StudyArmResults& arm : study_.arms)
        best = std::fmax(best, TaskScore(arm, study_.task, study_.extended_length).value);
      if (!std::isnan(best))
        figures.push_back(
            {FormatFixed(best, 2), absl::StrCat("best needle at ", study_.extended_length)});
    }
    return figures;
  }

  Html WhatRan() const {
    std::vector<std::string> parts;
    if (!frozen_.empty())
      parts.push_back(absl::StrCat(Plural(frozen_.size(), "arm", "arms"), " frozen"));
    if (!tuned_.empty()) {
      parts.push_back(absl::StrCat(
          Plural(tuned_.size(), "arm", "arms"),
          study_.from_scratch ? absl::StrCat(" trained from scratch at ", study_.trained_length,
                                             " tokens of “", study_.corpus, "” with ")
                              : " tuned with ",
          Plural(TuningSeeds(study_).size(), "seed", "seeds")));
    }
    std::string base;
    if (!study_.bases.empty()) {
      base = absl::StrCat(", all from ",
                          study_.bases.size() == 1 ? "one base model"
                                                   : Plural(study_.bases.size(), "", "base models"),
                          " of ", FormatWithUnit(static_cast<double>(study_.bases[0].parameters)),
                          " parameters, trained at ", study_.trained_length, " tokens on ",
                          FormatWithUnit(study_.bases[0].tokens), " tokens",
                          study_.bases[0].from.empty()
                              ? absl::StrCat(" of “", study_.corpus, "”")
                              : absl::StrCat(" elsewhere (", study_.bases[0].from, ")"));
    }
    return absl::StrCat("Compared: ", Joined(study_.methods), "; ", Joined(parts), base, ".");
  }

  // The arm of the lowest perplexity; null where nothing was measured.
  static Arm Lowest(const std::vector<Arm>& arms, int64_t length) {
    Arm lowest = nullptr;
    double least = std::numeric_limits<double>::infinity();
    for (const Arm arm : arms) {
      const double value = Perplexity(*arm, length).value;
      if (value < least) least = value, lowest = arm;
    }
    return lowest;
  }

  // The lowest arm at the extended length, who cannot be told from it, and how far off the rest is.
  std::string PerplexityText() const {
    const int64_t length = study_.extended_length;
    std::vector<Arm> all = frozen_;
    all.insert(all.end(), tuned_.begin(), tuned_.end());
    const Arm best = Lowest(all, length);
    if (best == nullptr) return "";
    std::string text =
        absl::StrCat("At ", length, " tokens, the lowest perplexity is that of ",
                     study_.Spoken(*best), ": ", PlusMinus(Perplexity(*best, length), 3));
    std::vector<std::string> ties;
    for (const Arm arm : all) {
      if (arm == best) continue;
      const StudyEstimate difference = NllDifference(*arm, length, *best, length);
      if (!(difference.value > Margin(difference)) && std::isfinite(difference.value))
        ties.push_back(study_.Spoken(*arm));
    }
    absl::StrAppend(&text, ties.empty()
                               ? "; every other arm measured there is higher by more than noise."
                               : absl::StrCat("; not told apart from it: ", Joined(ties), "."));
    if (base_ != nullptr && best != base_ && length != study_.trained_length) {
      const StudyEstimate change = NllDifference(*base_, length, *base_, study_.trained_length);
      if (!std::isnan(change.value)) {
        absl::StrAppend(&text, " The base model as it is has ",
                        FormatFixed(Perplexity(*base_, length).value, 2), " there, ",
                        FormatFixed(std::exp(change.value), 2), " times its own at ",
                        study_.trained_length, ".");
      }
    }
    return text;
  }

  // The longest length that was measured beyond the extended one.
  std::string BeyondText() const {
    if (study_.lengths.empty() || study_.lengths.back() <= study_.extended_length || tuned_.empty())
      return "";
    const int64_t length = study_.lengths.back();
    std::vector<std::pair<double, std::string>> values;
    for (const Arm arm : tuned_) {
      const double value = Perplexity(*arm, length).value;
      if (!std::isnan(value))
        values.push_back({value, absl::StrCat(study_.Spoken(*arm), " ", FormatFixed(value, 2))});
    }
    if (values.empty()) return "";
    std::sort(values.begin(), values.end());
    std::vector<std::string> texts;
    for (const auto& [value, text] : values) texts.push_back(text);
    return absl::StrCat("At ", length,
                        " tokens, beyond what anything was tuned for: ", Joined(texts), ".");
  }

  // Whether the base model finds the needle, or there is no needle to find; and a sentence on it.
  std::pair<bool, std::string> NeedleText() const {
    const double base = BaseTaskScore(study_);
    if (study_.task_lengths.empty() && std::isnan(base)) return {true, ""};
    if (base < kNeedleSolved) {
      return {false, absl::StrCat("The base model answers ", FormatFixed(100 * base, 0),
                                  " % of held-out needles within its trained length (wanted: ",
                                  FormatFixed(100 * kNeedleSolved, 0),
                                  " %). What the needle says of longer texts is no evidence on the "
                                  "arms, and findings on retrieval cannot be seen.")};
    }
    std::vector<std::pair<double, std::string>> values;
    const auto& lengths = study_.task_lengths;
    if (std::count(lengths.begin(), lengths.end(), study_.extended_length) == 0) return {true, ""};
    for (const StudyArmResults& arm : study_.arms) {
      const StudyEstimate score = TaskScore(arm, study_.task, study_.extended_length);
      if (!std::isnan(score.value))
        values.push_back(
            {score.value, absl::StrCat(study_.Spoken(arm), " ", FormatFixed(score.value, 2))});
    }
    if (values.empty()) return {true, ""};
    std::stable_sort(values.begin(), values.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    std::vector<std::string> texts;
    for (const auto& [value, text] : values) texts.push_back(text);
    return {true, absl::StrCat("The base model finds the needle within its trained length (",
                               FormatFixed(base, 2), "). At ", study_.extended_length,
                               " tokens: ", Joined(texts), ".")};
  }

  Html Compared() const {
    std::vector<std::pair<Html, Html>> items;
    const auto add = [&](const Html& term, const Html& meaning) {
      if (!meaning.empty()) items.push_back({term, meaning});
    };
    add("Data",
        absl::StrCat(
            "“", study_.corpus, "”, ", FormatWithUnit(static_cast<double>(study_.corpus_bytes)),
            "B of text (checksum ", study_.corpus_checksum.substr(0, 12), ")",
            config_.Phrase("; vocabulary of ", "model.vocabulary",
                           study_.task.empty() ? " tokens: bytes"
                                               : " tokens: bytes, and special tokens of the task"),
            "."));
    add("Model", ModelText());
    if (!study_.from_scratch) add("Base training", Training("base"));
    add(study_.from_scratch ? "Training, of every arm" : "Tuning",
        tuned_.empty() ? "" : Training("tuning"));
    std::vector<int64_t> base_seeds;
    for (const StudyBaseResults& base : study_.bases) base_seeds.push_back(base.seed);
    add("Seeds",
        JoinNonEmpty({base_seeds.empty() ? ""
                                         : absl::StrCat("base model (initial values and data) ",
                                                        JoinedNumbers(base_seeds)),
                      tuned_.empty() ? ""
                                     : absl::StrCat(study_.from_scratch
                                                        ? "initial values and order of the data "
                                                        : "tuning (order of the data) ",
                                                    JoinedNumbers(TuningSeeds(study_)))},
                     "; "));
    add("Lengths",
        absl::StrCat("trained ", study_.trained_length,
                     study_.from_scratch ? ", up to " : ", extended ", study_.extended_length,
                     "; measured at ", JoinedNumbers(study_.lengths), " tokens"));
    add("Arms may differ in", Control());
    if (!study_.lengths.empty()) {
      add("Perplexity",
          absl::StrCat("exp of the mean loss over all tokens of a window, as in the paper; ",
                       windows_,
                       " windows of held-out text a length. Windows of one number end at the same "
                       "place in the text at every length and in every arm."));
      add("Tail", absl::StrCat("the same over the last ", study_.trained_length,
                               " tokens of each window only: the same tokens at every length, so a "
                               "change is what more context gives."));
    }
    if (!study_.task_lengths.empty()) {
      add("Needle",
          absl::StrCat("share of examples whose hidden values are all named right, ", examples_,
                       " examples at each of ", study_.depths.size(),
                       " depths a length, the same examples in every arm; a blind guess scores ",
                       FormatShort(study_.chance, 2), "."));
    }
    add("Spread", "one standard error. It is stated at each figure what it is over.");
    add("Differences",
        "are paired, window by window and seed by seed, so that what the windows have in common "
        "drops out; their error joins that over windows and that over seeds. A difference counts "
        "where it exceeds the half width of its 95 % interval (Student’s t) and two standard "
        "errors.");
    return report::Definitions(items) + ArmsTable();
  }

  // Frozen and tuned, as wide as half a page each where both are there.
  std::vector<LineChart> TwoPanels(const std::vector<int64_t>& lengths,
                                   const PointsOf& points) const {
    std::vector<LineChart> charts = {
        Chart("Frozen", frozen_, lengths, points),
        Chart(study_.from_scratch ? "" : "Tuned", tuned_, lengths, points)};
    for (LineChart& chart : charts) {
      if (!frozen_.empty() && !tuned_.empty()) chart.width = 480;
    }
    return charts;
  }

  std::vector<report::Point> PerplexityPoints(const StudyArmResults& arm, bool over_windows) const {
    std::vector<report::Point> points;
    for (const int64_t length : study_.lengths) {
      const StudyEstimate estimate = Perplexity(arm, length, over_windows);
      if (!std::isnan(estimate.value))
        points.push_back({static_cast<double>(length), estimate.value, estimate.error});
    }
    return points;
  }

  Html PerplexityFigures() const {
    const auto points = [this](const StudyArmResults& arm) {
      return PerplexityPoints(arm, /*over_windows=*/true);
    };
    std::vector<LineChart> charts = TwoPanels(study_.lengths, points);
    const auto [low, high] = RangeOf(charts);
    for (LineChart& chart : charts) {
      chart.y_label = "perplexity (logarithmic)";
      chart.y_scale = report::Scale::kLog10;
    }
    std::optional<double> y_min, y_max;
    if (low > 0 && high >= low)
      y_min = 0.95 * low, y_max = std::min(1.05 * high, kHighestInOverview * low);
    Html out = report::Figure(
        Panels(charts, y_min, y_max),
        absl::StrCat(
            "Perplexity over whole windows of each length; lower is better. ",
            study_.from_scratch
                ? "Every model was trained at the length of the dotted line alone."
                : "Frozen: the base model with other positions and no training. Tuned: after the "
                  "same short tuning. Dotted lines: the length the base model was trained at, and "
                  "the length it is extended to. Both panels have one scale.",
            " Bars: one standard error over ", windows_,
            " windows. All arms read the same windows, so arms differ far more surely than the "
            "bars suggest: the tables further down give paired differences. An arrow marks a line "
            "that leaves "
            "the axis; its values are written at the edge."),
        "perplexity");
    if (tuned_.empty()) return out;
    LineChart zoom = Chart(study_.from_scratch ? "Closer" : "Tuned arms, closer", tuned_,
                           study_.lengths, [this](const StudyArmResults& arm) {
                             return PerplexityPoints(arm, /*over_windows=*/false);
                           });
    const auto [zoom_low, zoom_high] = RangeOf({zoom});
    zoom.y_label = "perplexity";
    if (zoom_low > 0 && zoom_high > kHighestInZoom * zoom_low)
      zoom.y_max = kHighestInZoom * zoom_low;
    return out +
           report::Figure(
               report::Render(zoom),
               absl::StrCat(
                   study_.from_scratch ? "The same" : "The tuned arms again",
                   ", on a linear axis from the lowest value to a quarter above it, where they can "
                   "be told apart. Bars: one standard error ",
                   SpreadOnly(tuned_, "windows"),
                   study_.from_scratch
                       ? "."
                       : ". An arm that is low at the extended length and high beyond it has "
                         "learnt that length, not to read texts of any length."),
               "perplexity-tuned");
  }

  Html GainFigure() const {
    if (study_.lengths.size() < 2) return Html();
    std::vector<LineChart> charts = TwoPanels(study_.lengths, [this](const StudyArmResults& arm) {
      std::vector<report::Point> points;
      for (const int64_t length : study_.lengths) {
        const StudyEstimate change =
            NllDifference(arm, length, arm, study_.trained_length, /*tail=*/true);
        if (std::isnan(change.value)) continue;
        const double ratio = std::exp(change.value);
        points.push_back(
            {static_cast<double>(length), 100 * (ratio - 1), 100 * ratio * change.error});
      }
      return points;
    });
    const auto [low, high] = RangeOf(charts);
    if (!(high >= low)) return Html();
    for (LineChart& chart : charts) chart.y_label = "change of perplexity (%)";
    const double room = 0.05 * (std::min(high, kHighestChange) - std::min(low, 0.0));
    return report::Figure(
        Panels(charts, std::min(low, 0.0) - room,
               std::min(std::max(high, 0.0) + room, kHighestChange)),
        absl::StrCat(
            "The same ", study_.trained_length,
            " tokens, read with more and more text before them: perplexity of each window’s last ",
            study_.trained_length,
            " tokens, in percent of what the same arm has with nothing before them (zero). Below "
            "zero, the arm makes use of the longer context; above, the longer context does harm. "
            "Bars: one standard error of the paired difference."),
        "gain");
  }

  Html PositionFigure() const {
    int64_t length = 0;
    for (const StudyArmResults& arm : study_.arms) {
      for (const StudyRun& run : arm.runs) {
        if (!run.positions.empty()) length = std::max(length, run.positions.rbegin()->first);
      }
    }
    if (length == 0) return Html();
    std::vector<LineChart> charts = TwoPanels({}, [&](const StudyArmResults& arm) {
      std::map<double, std::vector<double>> by_middle;
      for (const StudyRun& run : arm.runs) {
        const auto buckets = run.positions.find(length);
        if (buckets == run.positions.end()) continue;
        for (const StudyBucket& bucket : buckets->second) {
          by_middle[0.5 * static_cast<double>(bucket.begin + bucket.end)].push_back(bucket.nll);
        }
      }
      std::vector<report::Point> points;
      for (const auto& [middle, values] : by_middle) {
        double sum = 0;
        for (const double value : values) sum += value;
        points.push_back({middle, sum / static_cast<double>(values.size()), 0});
      }
      return points;
    });
    const auto [low, high] = RangeOf(charts);
    for (LineChart& chart : charts) {
      chart.x_label =
          absl::StrCat("position in a window of ", length, " tokens (middle of each bucket)");
      chart.y_label = "loss (nats a token)";
      chart.x_scale = report::Scale::kLinear;
      chart.x_min = 0;
      chart.x_max = static_cast<double>(length);
    }
    std::optional<double> y_min, y_max;
    if (high > low) {
      const double room = 0.05 * (high - low);
      y_min = low - room;
      y_max = low > 0 ? std::min(high + room, kHighestLoss * low) : high + room;
    }
    return report::Figure(
        Panels(charts, y_min, y_max),
        absl::StrCat(
            "Loss by position in the longest windows, mean over windows and seeds. A method that "
            "extends well goes on falling to the right of the trained length; one that does not "
            "bends upwards where its positions end. Arms whose factor follows the length read the "
            "whole window, also its beginning, with the factor of ",
            length, " tokens."),
        "position");
  }

  Html NeedleFigures() const {
    if (study_.task_lengths.empty()) return report::Paragraph("The rows hold no needle test.");
    const auto [solved, sentence] = NeedleText();
    Html out;
    if (!solved) out += report::Paragraph(report::Strong("Needle not solved. ") + sentence);
    if (study_.depths == std::vector<double>{-1}) {  // at uniform ones: there is no map to draw
      return out + report::Figure(
                       report::Render(ScoreChart(study_.task, study_.task_lengths, study_.chance)),
                       absl::StrCat("Score by length, mean over ", examples_,
                                    " examples a length, the same ones in every arm; bars: one "
                                    "standard error ",
                                    SpreadsText(study_.arms, "examples"), "."),
                       "needle");
    }
    const std::string caption = absl::StrCat(
        "Marked values are hidden in real text, and asked for at its end. Across: length of the "
        "text. Down: where they were hidden, from its beginning (0 %) to its end (100 %). Each "
        "cell: share answered right of ",
        examples_, " examples, mean over seeds; a blind guess gets ", FormatShort(study_.chance, 2),
        ". To the right of the dashed line texts are longer than any the arm was trained on.");
    const auto grid = [&](const std::vector<std::vector<Arm>>& groups, int columns) {
      std::vector<report::HeatMap> maps;
      for (const std::vector<Arm>& arms : groups) {
        for (const Arm arm : arms) maps.push_back(Map(*arm));
      }
      return report::RenderGrid(maps, "needle score", columns);
    };
    // One under the other where there are as many of both.
    if (frozen_.size() == tuned_.size() || frozen_.empty() || tuned_.empty()) {
      const int columns = tuned_.empty() ? 0 : static_cast<int>(frozen_.size());
      return out + report::Figure(grid({frozen_, tuned_}, columns), caption, "needle");
    }
    return out + report::Figure(grid({frozen_}, 0), caption, "needle") +
           report::Figure(grid({tuned_}, 0), "The same of the tuned arms.", "needle-tuned");
  }

  // A heat map a task, arms down and lengths across.
  Html OtherTasks() const {
    std::vector<report::HeatMap> maps;
    std::vector<std::string> chances;
    for (const auto& [task, chance] : study_.further_tasks) {
      const auto lengths = study_.lengths_of.find(task);
      if (lengths == study_.lengths_of.end()) continue;
      report::HeatMap map;
      map.title = TaskTitle(task);
      map.x_label = "length (tokens)";
      for (size_t i = 0; i < lengths->second.size(); ++i) {
        map.x_names.push_back(absl::StrCat(lengths->second[i]));
        if (map.divider_before < 0 && lengths->second[i] > study_.extended_length)
          map.divider_before = static_cast<int>(i);
      }
      for (const std::vector<Arm>& arms : {frozen_, tuned_}) {
        for (const Arm arm : arms) {
          std::vector<double> values, errors;
          for (const int64_t length : lengths->second) {
            const StudyEstimate score = TaskScore(*arm, task, length);
            values.push_back(score.value);
            errors.push_back(score.error);
          }
          map.y_names.push_back(arm->label);
          map.values.push_back(std::move(values));
          map.errors.push_back(std::move(errors));
        }
      }
      chances.push_back(absl::StrCat(TaskTitle(task), " ", FormatShort(chance, 2)));
      maps.push_back(std::move(map));
    }
    if (maps.empty()) return Html();
    return report::Figure(
        report::RenderGrid(maps, "score"),
        absl::StrCat("Mean score of each arm by length: the share of the answers that are the most "
                     "likely tokens, mean over depths, examples and seeds; the same examples in "
                     "every arm. A blind guess gets ",
                     Joined(chances),
                     ". To the right of the dashed line texts are longer than the extended "
                     "length; the base model was trained at ",
                     study_.trained_length, "."),
        "other-tasks");
  }

  report::HeatMap Map(const StudyArmResults& arm) const {
    report::HeatMap map;
    map.title = arm.label;
    map.x_label = "length (tokens)";
    map.y_label = "depth";
    for (size_t i = 0; i < study_.task_lengths.size(); ++i) {
      const int64_t length = study_.task_lengths[i];
      map.x_names.push_back(absl::StrCat(length));
      if (map.divider_before < 0 &&
          length > (arm.tuned && !study_.from_scratch ? study_.extended_length
                                                      : study_.trained_length)) {
        map.divider_before = static_cast<int>(i);
      }
    }
    for (const double depth : study_.depths) {
      map.y_names.push_back(FormatShort(depth, 3) + " %");
      std::vector<double> values;
      for (const int64_t length : study_.task_lengths) {
        double sum = 0, count = 0;
        for (const StudyRun& run : arm.runs) {
          const auto grid = run.grids.find(study_.task);
          if (grid == run.grids.end()) continue;
          const auto cells = grid->second.find(length);
          if (cells == grid->second.end()) continue;
          const auto cell = cells->second.find(depth);
          if (cell == cells->second.end()) continue;
          sum += cell->second.score;
          count += 1;
        }
        values.push_back(sum / count);  // NaN where nothing was measured
      }
      map.values.push_back(std::move(values));
    }
    return map;
  }

  Html Tables() const {
    const bool compare = study_.arms.size() > 1;
    Html out;
    const auto& lengths = study_.lengths;
    if (!lengths.empty()) {
      out += ResultTable(
          lengths, "perplexity at", 3, report::Best::kLowest,
          [](const StudyArmResults& arm, int64_t length) { return Perplexity(arm, length); },
          absl::StrCat("Perplexity, ± one standard error ", SpreadsText(study_.arms, "windows"),
                       "."),
          "table-perplexity");
    }
    if (Arm strided = WithStride(); strided != nullptr) {
      const auto& [length, one] = *strided->runs[0].strides.begin();
      out += ResultTable(
          lengths, "perplexity at", 3, report::Best::kLowest,
          [](const StudyArmResults& arm, int64_t length) { return StridePerplexity(arm, length); },
          absl::StrCat("Perplexity as the paper’s code measures it: ", one.windows,
                       " windows from the beginning of the held-out text, each ", one.stride,
                       " tokens behind the one before, mean over all tokens of all of them; ± one "
                       "standard error over seeds where there are several. Windows overlap, so "
                       "there is no error over windows."),
          "table-stride");
    }
    if (!lengths.empty() && compare) {
      out += DifferenceTable(
          lengths, "difference of perplexity (%) at", 1,
          [this](const StudyArmResults& arm, int64_t length) {
            return NllDifference(arm, length, *reference_, length);
          },
          [](const StudyEstimate& change) {
            const double ratio = std::exp(change.value);
            return StudyEstimate{100 * (ratio - 1), 100 * ratio * change.error,
                                 change.degrees_of_freedom};
          },
          absl::StrCat("Perplexity against that of ", study_.Spoken(*reference_),
                       ", in percent, paired by window and seed, ± one standard error over both. "
                       "Below zero is better."),
          "table-perplexity-difference");
    }
    if (!study_.task_lengths.empty()) {
      out += ResultTable(
          study_.task_lengths, "needle at", 3, report::Best::kHighest,
          [this](const StudyArmResults& arm, int64_t length) {
            return TaskScore(arm, study_.task, length);
          },
          absl::StrCat("Needle score, mean over depths, ± one standard error ",
                       SpreadsText(study_.arms, "examples"), "."),
          "table-needle");
    }
    if (!study_.task_lengths.empty() && compare) {
      out += DifferenceTable(
          study_.task_lengths, "difference of needle at", 3,
          [this](const StudyArmResults& arm, int64_t length) {
            return TaskDifference(arm, *reference_, {{study_.task}, {length}, 0});
          },
          [](const StudyEstimate& difference) { return difference; },
          absl::StrCat("Needle score against that of ", study_.Spoken(*reference_),
                       ", paired by example and seed, ± one standard error over both. Above zero "
                       "is better."),
          "table-needle-difference");
    }
    return out;
  }

  // An arm measured by overlapping windows; null: none was.
  Arm WithStride() const {
    for (const StudyArmResults& arm : study_.arms) {
      if (!arm.runs.empty() && !arm.runs[0].strides.empty()) return &arm;
    }
    return nullptr;
  }

  Html Base() const {
    if (study_.bases.empty()) return report::Paragraph("The rows hold no base model.");
    std::vector<std::pair<Html, Html>> items;
    for (const StudyBaseResults& base : study_.bases) {
      const Html term = study_.bases.size() > 1 ? absl::StrCat("Seed ", base.seed) : "Training";
      items.push_back(
          {term, absl::StrCat(base.from.empty() ? "" : base.from + ": ", FormatCount(base.steps),
                              " steps, ", FormatWithUnit(base.tokens), " tokens, ",
                              FormatWithUnit(base.training_flops),
                              "FLOP; loss of the last batch (text and task) ",
                              FormatFixed(base.final_loss, 3), " nats a token; needle ",
                              base.checks.empty()
                                  ? "not checked"
                                  : absl::StrCat("at ", FormatFixed(base.checks.back().second, 2),
                                                 base.solved ? ", solved" : ", not solved"))});
    }
    Html out = report::Definitions(items);
    LineChart chart;
    chart.x_label = "training step";
    chart.y_label = "needle score on held-out examples";
    chart.y_min = 0;
    chart.y_max = 1;
    chart.plot_height = 220;
    double last = 0;
    for (const StudyBaseResults& base : study_.bases) {
      report::Series series;
      series.name = study_.bases.size() > 1 ? absl::StrCat("seed ", base.seed) : "base model";
      for (const auto& [step, score] : base.checks) {
        series.points.push_back({static_cast<double>(step), score, 0});
        last = std::max(last, static_cast<double>(step));
      }
      if (series.points.size() > 1) chart.series.push_back(std::move(series));
    }
    if (chart.series.empty()) return out;
    chart.x_min = 0;
    const double goal = config_.Number("base.stop_at_score");
    if (goal > 0) {
      report::Series line = {"wanted", {{0, goal, 0}, {last, goal, 0}}};
      line.color = report::kSeriesColors - 1;
      line.dash = report::Dash::kDotted;
      chart.series.push_back(line);
    }
    return out + report::Figure(report::Render(chart),
                                absl::StrCat("How the base model learns to find the needle within ",
                                             study_.trained_length,
                                             " tokens. All arms start from the end of this line."),
                                "base");
  }

  // What the findings of the project's own are on.
  Html Repeats() const {
    if (study_.findings == kLengthFindings) {
      return report::Paragraph(
          "The study repeats, at a small scale, Figure 1 of “Train Short, Test Long” (Press, "
          "Smith, Lewis; ICLR 2022).");
    }
    if (study_.findings != kFindings) return Html();
    return report::Paragraph(
        "The study repeats, at a small scale, the questions of “A Controlled Study on Long Context "
        "Extension and Generalization in LLMs” (Lu et al., arXiv 2409.12181).");
  }

  Arm base_ = nullptr;  // the frozen direct arm
};

}  // namespace
}  // namespace study_report

absl::StatusOr<std::string> StudyReport(const std::vector<Row>& rows,
                                        const std::vector<Row>& records) {
  LR_ASSIGN_OR_RETURN(const StudyResults study, ReadStudy(rows, records));
  if (study.corpus.empty()) return study_report::TaskPageOf(study);
  return study_report::TextPage(study).Page();
}

}  // namespace longrange
