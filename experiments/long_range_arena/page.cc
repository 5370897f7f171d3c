#include "experiments/long_range_arena/page.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/status_macros.h"
#include "common/report/line_chart.h"
#include "common/report/number.h"
#include "common/report/table.h"
#include "glog/logging.h"

namespace longrange {
namespace {

using ::longrange::report::FormatCount;
using ::longrange::report::FormatFixed;
using ::longrange::report::FormatShort;
using ::longrange::report::Html;
using ::longrange::report::Verdict;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// From the shortest length to the longest, in multiples of what the length itself grows by: what
// counts as growing with it, in operations and bytes, and in time, which is disturbed.
constexpr double kWithLength = 1.15, kWithLengthInTime = 1.4;

const ArenaMixerResult& MixerOf(const ArenaResults& results, const std::string& name) {
  for (const ArenaMixerResult& mixer : results.mixers) {
    if (mixer.name == name) return mixer;
  }
  LOG(FATAL) << "no mixer " << name;
}

const ArenaScore* ScoreOf(const ArenaTaskResult& task, const std::string& mixer) {
  const auto found = task.scores.find(mixer);
  return found == task.scores.end() ? nullptr : &found->second;
}

// Rows of one mixer, by length.
std::vector<const SpeedRow*> SpeedOf(const ArenaResults& results, const std::string& mixer) {
  std::vector<const SpeedRow*> rows;
  for (const SpeedRow& row : results.speed) {
    if (row.mixer == mixer) rows.push_back(&row);
  }
  std::sort(rows.begin(), rows.end(),
            [](const SpeedRow* a, const SpeedRow* b) { return a->length < b->length; });
  return rows;
}

const SpeedRow* SpeedAt(const ArenaResults& results, const std::string& mixer, int64_t length) {
  for (const SpeedRow& row : results.speed) {
    if (row.mixer == mixer && row.length == length) return &row;
  }
  return nullptr;
}

std::vector<int64_t> SpeedLengths(const ArenaResults& results) {
  std::vector<int64_t> lengths;
  for (const SpeedRow& row : results.speed) {
    if (std::find(lengths.begin(), lengths.end(), row.length) == lengths.end())
      lengths.push_back(row.length);
  }
  std::sort(lengths.begin(), lengths.end());
  return lengths;
}

// The one that others are held against: attention, or else the first.
std::string Reference(const ArenaResults& results) {
  return results.mixers.empty() ? "" : results.mixers.front().name;
}

std::string Percent(double share) { return FormatFixed(100 * share, 1); }

// The mixers that are no better than a guess.
std::vector<std::string> Guessing(const ArenaResults& results, const ArenaTaskResult& task) {
  std::vector<std::string> guessing;
  for (const ArenaMixerResult& mixer : results.mixers) {
    const ArenaScore* score = ScoreOf(task, mixer.name);
    if (score != nullptr && !score->above_chance) guessing.push_back(mixer.label);
  }
  return guessing;
}

std::string Titled(const ArenaTaskResult& task) {
  return absl::StrCat(task.title, task.stand_in ? "*" : "");
}

Html AccuracyTable(const ArenaResults& results) {
  report::Table table;
  table.id = "accuracy";
  table.caption = absl::StrCat(
      "Accuracy in percent, ± one standard error; in bold the best of a "
      "column. Preset “",
      results.preset, "”.");
  table.columns.push_back({"mixer"});
  bool any_stand_in = false;
  std::vector<std::string> headers;
  for (const ArenaTaskResult& task : results.tasks) {
    any_stand_in = any_stand_in || task.stand_in;
    headers.push_back(Titled(task));
  }
  headers.emplace_back("average");
  for (const std::string& header : headers) {
    report::Column column;
    column.header = header;
    column.digits = 1;
    column.best = report::Best::kHighest;
    table.columns.push_back(column);
  }
  for (const ArenaMixerResult& mixer : results.mixers) {
    report::Row row;
    row.cells.push_back(mixer.label);
    for (const ArenaTaskResult& task : results.tasks) {
      const ArenaScore* score = ScoreOf(task, mixer.name);
      row.cells.push_back(score == nullptr
                              ? report::Missing()
                              : report::Number(100 * score->score.value, 100 * score->score.error));
    }
    const double average = AverageScore(results, mixer.name);
    row.cells.push_back(std::isnan(average) ? report::Missing() : report::Number(100 * average));
    table.rows.push_back(std::move(row));
  }
  report::Row guess;
  guess.cells.push_back("a guess");
  double sum = 0;
  int64_t counted = 0;
  for (const ArenaTaskResult& task : results.tasks) {
    guess.cells.push_back(Percent(task.chance));
    if (task.in_average) sum += task.chance, ++counted;
  }
  guess.cells.push_back(counted == 0 ? std::string("–")
                                     : Percent(sum / static_cast<double>(counted)));
  table.rows.push_back(std::move(guess));
  if (any_stand_in)
    table.footnotes.push_back("* A stand-in, not the benchmark’s data: see Tasks below.");
  return report::Render(table);
}

// The same columns as published, where there is anything.
Html PublishedTable(const ArenaResults& results) {
  report::Table table;
  table.id = "published";
  table.caption =
      "Published accuracies in percent, of the benchmark’s own data at the authors’ sizes and "
      "budgets: where a task can lead, and no yardstick for the table above.";
  table.columns.push_back({"mixer"});
  for (const ArenaTaskResult& task : results.tasks) {
    report::Column column;
    column.header = task.title;
    table.columns.push_back(column);
  }
  table.columns.push_back({"average"});
  table.columns.push_back({"source"});
  for (const ArenaMixerResult& mixer : results.mixers) {
    if (mixer.published.empty()) continue;
    report::Row row;
    row.cells.push_back(mixer.label);
    for (const ArenaTaskResult& task : results.tasks) {
      const auto published = mixer.published.find(task.name);
      if (published == mixer.published.end()) {
        row.cells.push_back(report::Missing());
      } else if (std::isnan(published->second)) {
        row.cells.push_back("chance");
      } else {
        row.cells.push_back(report::Number(published->second));
      }
    }
    row.cells.push_back(mixer.published_average > 0 ? report::Number(mixer.published_average)
                                                    : report::Missing());
    row.cells.push_back(mixer.published_in);
    table.rows.push_back(std::move(row));
  }
  return table.rows.empty() ? Html() : report::Render(table);
}

// What is missing from the table, and why.
Html Gaps(const ArenaResults& results) {
  std::vector<Html> lines;
  for (const ArenaTaskResult& task : results.tasks) {
    for (const auto& [mixer, why] : task.unserved) {
      lines.push_back(absl::StrCat(MixerOf(results, mixer).label, " does not serve “", task.title,
                                   "”: ", why, "."));
    }
  }
  for (const std::string& title : results.left)
    lines.push_back(absl::StrCat("“", title, "” is not run in the preset “", results.preset, "”."));
  for (const ArenaTaskResult& task : results.tasks) {
    const std::vector<std::string> guessing = Guessing(results, task);
    if (guessing.empty()) continue;
    lines.push_back(absl::StrCat(
        "On “", task.title, "” no better than a guess, by two standard errors: ",
        guessing.size() == task.scores.size() ? "all" : absl::StrJoin(guessing, ", "), "."));
  }
  return lines.empty() ? Html() : report::BulletList(lines);
}

Html SpeedChart(const ArenaResults& results, const char* y_label,
                double (*value)(const SpeedRow&)) {
  report::LineChart chart;
  chart.x_label = "rows of a sequence";
  chart.y_label = y_label;
  chart.x_scale = report::Scale::kLog2;
  chart.y_scale = report::Scale::kLog10;
  for (const int64_t length : SpeedLengths(results))
    chart.x_ticks.push_back(static_cast<double>(length));
  for (const ArenaMixerResult& mixer : results.mixers) {
    report::Series series;
    series.name = mixer.label;
    for (const SpeedRow* row : SpeedOf(results, mixer.name))
      series.points.push_back({static_cast<double>(row->length), value(*row)});
    if (!series.points.empty()) chart.series.push_back(std::move(series));
  }
  return report::Render(chart);
}

// As the paper's Table 2: by length, and behind each figure how many times the reference's it is.
Html SpeedTable(const ArenaResults& results, bool memory) {
  const std::string reference = Reference(results);
  report::Table table;
  table.id = memory ? "memory" : "speed";
  table.caption = memory ? "Peak memory of a training step, MiB." : "Training steps a second.";
  table.columns.push_back({"mixer"});
  const std::vector<int64_t> lengths = SpeedLengths(results);
  for (const int64_t length : lengths) {
    for (const bool ratio : {false, true}) {
      report::Column column;
      column.header = ratio ? "times" : memory ? "MiB" : "steps/s";
      column.group = absl::StrCat(FormatCount(length), " rows");
      column.digits = ratio ? 2 : 1;
      if (!ratio) column.best = memory ? report::Best::kLowest : report::Best::kHighest;
      table.columns.push_back(column);
    }
  }
  for (const ArenaMixerResult& mixer : results.mixers) {
    report::Row row;
    row.cells.push_back(mixer.label);
    for (const int64_t length : lengths) {
      const SpeedRow *mine = SpeedAt(results, mixer.name, length),
                     *theirs = SpeedAt(results, reference, length);
      if (mine == nullptr) {
        row.cells.resize(row.cells.size() + 2);
        continue;
      }
      const auto value = [&](const SpeedRow& r) {
        return memory ? static_cast<double>(r.peak_bytes) / (1 << 20) : 1 / r.seconds;
      };
      row.cells.push_back(report::Number(value(*mine)));
      row.cells.push_back(theirs == nullptr ? report::Missing()
                                            : report::Number(value(*mine) / value(*theirs)));
    }
    table.rows.push_back(std::move(row));
  }
  table.footnotes.push_back(absl::StrCat(
      "times: of ", reference.empty() ? "" : MixerOf(results, reference).label, "’s. ",
      memory ? "Parameters, moments, gradients and what a step holds between, in tensors."
             : absl::StrCat("The median step; mixers take turns, a step each. Batches of ",
                            results.speed_batch, ", ", results.threads,
                            results.threads == 1 ? " thread." : " threads.")));
  return report::Render(table);
}

Html TaskList(const ArenaResults& results) {
  Html out;
  for (const ArenaTaskResult& task : results.tasks) {
    std::vector<std::pair<Html, Html>> items = {
        {"Question", task.question},
        {"Examples", task.data.empty() ? Html("generated, as in the benchmark") : Html(task.data)},
        {"Size", absl::StrCat(FormatCount(task.rows), " rows a sequence; ", FormatCount(task.steps),
                              " steps of ", task.batch, " examples, ", task.seeds,
                              task.seeds == 1 ? " seed; " : " seeds; ", FormatCount(task.examples),
                              " examples to test on")},
        {"A guess", absl::StrCat(Percent(task.chance), " %")}};
    if (!task.note.empty()) items.push_back({"Note", task.note});
    items.push_back({"Its own report", report::Link(absl::StrCat(task.folder, "/report.html"),
                                                    absl::StrCat(task.folder, "/report.html"))});
    out += report::Paragraph(
               report::Strong(absl::StrCat(task.title, task.stand_in ? " (a stand-in)" : ""))) +
           report::Definitions(items);
  }
  return out;
}

Html MixerTable(const ArenaResults& results) {
  report::Table table;
  table.columns.push_back({"mixer"});
  report::Column note;
  note.header = "what it is";
  note.wrap = true;
  table.columns.push_back(note);
  for (const ArenaTaskResult& task : results.tasks) {
    for (const bool seconds : {false, true}) {
      report::Column column;
      column.header = seconds ? "seconds" : "parameters";
      column.group = task.title;
      column.digits = 0;
      table.columns.push_back(column);
    }
  }
  for (const ArenaMixerResult& mixer : results.mixers) {
    report::Row row;
    row.cells = {mixer.label, mixer.note};
    for (const ArenaTaskResult& task : results.tasks) {
      const ArenaScore* score = ScoreOf(task, mixer.name);
      if (score == nullptr) {
        row.cells.resize(row.cells.size() + 2);
        continue;
      }
      row.cells.push_back(report::Count(score->parameters));
      row.cells.push_back(report::Number(score->seconds));
    }
    table.rows.push_back(std::move(row));
  }
  table.footnotes.push_back("Seconds: of training, all seeds and sessions together.");
  return report::Render(table);
}

// Findings of speed, or the others.
Html Ledger(const ArenaResults& results, bool of_speed) {
  std::vector<std::pair<Html, Html>> lines;
  for (const ArenaFinding& finding : ArenaFindings(results)) {
    if (finding.of_speed != of_speed) continue;
    lines.emplace_back(absl::StrCat(finding.statement, " ", finding.measured),
                       report::Badge(finding.verdict));
  }
  return lines.empty() ? Html() : report::Ledger(lines);
}

Html Summary(const ArenaResults& results) {
  std::vector<report::KeyFigure> figures;
  std::string best;
  double most = 0;
  for (const ArenaMixerResult& mixer : results.mixers) {
    const double average = AverageScore(results, mixer.name);
    if (average > most) most = average, best = mixer.label;
  }
  if (!best.empty())
    figures.push_back({Percent(most) + " %", absl::StrCat("best average: ", best)});
  for (const ArenaTaskResult& task : results.tasks) {
    const ArenaScore* score = nullptr;
    std::string who;
    for (const ArenaMixerResult& mixer : results.mixers) {
      const ArenaScore* mine = ScoreOf(task, mixer.name);
      if (mine == nullptr || (score != nullptr && mine->score.value <= score->score.value))
        continue;
      score = mine;
      who = mixer.label;
    }
    if (score != nullptr) {
      figures.push_back(
          {Percent(score->score.value) + " %",
           absl::StrCat(Titled(task), ": ", who, " (a guess: ", Percent(task.chance), " %)")});
    }
  }
  std::vector<std::string> stand_ins;
  for (const ArenaTaskResult& task : results.tasks) {
    if (task.stand_in) stand_ins.push_back(absl::StrCat(task.title, " (", task.data, ")"));
  }
  Html out = report::KeyFigures(figures);
  if (!stand_ins.empty())
    out += report::Paragraph(
        absl::StrCat("* Not the benchmark’s data: ", absl::StrJoin(stand_ins, "; "), "."));
  return out + Ledger(results, /*of_speed=*/false);
}

}  // namespace

double AverageScore(const ArenaResults& results, const std::string& mixer) {
  double sum = 0;
  int64_t count = 0;
  for (const ArenaTaskResult& task : results.tasks) {
    if (!task.in_average) continue;
    const ArenaScore* score = ScoreOf(task, mixer);
    if (score == nullptr) return kNaN;
    sum += score->score.value;
    ++count;
  }
  return count == 0 ? kNaN : sum / static_cast<double>(count);
}

std::vector<ArenaFinding> ArenaFindings(const ArenaResults& results) {
  std::vector<ArenaFinding> findings;
  const auto says = [](bool holds) { return holds ? Verdict::kHolds : Verdict::kDoesNotHold; };
  for (const ArenaTaskResult& task : results.tasks) {
    if (task.scores.empty()) continue;
    const std::vector<std::string> guessing = Guessing(results, task);
    const bool none = guessing.size() == task.scores.size();
    findings.push_back(
        {absl::StrCat("learnt/", task.name),
         absl::StrCat("“", task.title, "”: every mixer does better than a guess."),
         guessing.empty() ? "All do." : absl::StrCat("Not ", absl::StrJoin(guessing, ", "), "."),
         none ? Verdict::kCannotBeSeen : says(guessing.empty())});
  }
  for (const ArenaMixerResult& mixer : results.mixers) {
    const std::vector<const SpeedRow*> rows = SpeedOf(results, mixer.name);
    if (rows.size() < 2) continue;
    const SpeedRow &first = *rows.front(), &last = *rows.back();
    const double length = static_cast<double>(last.length) / static_cast<double>(first.length),
                 work = last.flops / first.flops / length,
                 time = last.seconds / first.seconds / length,
                 memory = static_cast<double>(last.peak_bytes) /
                          static_cast<double>(first.peak_bytes) / length;
    const bool linear = work <= kWithLength;
    findings.push_back(
        {absl::StrCat("time/", mixer.name),
         absl::StrCat(
             mixer.label, ": from ", first.length, " to ", last.length, " rows its work grows by ",
             linear ? "no more than the length" : "more", " (", FormatShort(work * length, 3),
             " times), and so does the time of a step ", linear ? "(at most " : "(more than ",
             FormatShort(length * (linear ? kWithLengthInTime : kWithLength), 3), " times)."),
         absl::StrCat(FormatFixed(time * length, 2), " times."),
         says(linear ? time <= kWithLengthInTime : time > kWithLength), /*of_speed=*/true});
    findings.push_back({absl::StrCat("memory/", mixer.name),
                        absl::StrCat(mixer.label,
                                     ": the memory of a step grows by no more than the "
                                     "length (at most ",
                                     FormatShort(length * kWithLength, 3), " times)."),
                        absl::StrCat(FormatFixed(memory * length, 2), " times."),
                        says(memory <= kWithLength), /*of_speed=*/true});
  }
  return findings;
}

std::string ArenaPage(const ArenaResults& results) {
  report::Page page;
  page.title = "Long Range Arena";
  page.subtitle = absl::StrCat(results.mixers.size(), " mixers, ", results.tasks.size(),
                               " tasks, preset “", results.preset, "”");
  page.summary = Summary(results);
  if (!results.tasks.empty())
    page.sections.push_back(
        {"Accuracy", AccuracyTable(results) + Gaps(results) + PublishedTable(results)});
  if (!results.speed.empty()) {
    page.sections.push_back(
        {"Speed and memory",
         report::Figure(SpeedChart(results, "training steps a second",
                                   [](const SpeedRow& row) { return 1 / row.seconds; }),
                        "Training on byte text by the length of a sequence; both axes are "
                        "logarithmic.",
                        "steps") +
             SpeedTable(results, /*memory=*/false) +
             report::Figure(SpeedChart(results, "peak memory (MiB)",
                                       [](const SpeedRow& row) {
                                         return static_cast<double>(row.peak_bytes) / (1 << 20);
                                       }),
                            "Memory of a training step. Attention here keeps no matrix of scores, "
                            "so its memory grows with the length, too.",
                            "peak") +
             SpeedTable(results, /*memory=*/true) + Ledger(results, /*of_speed=*/true)});
  }
  if (!results.tasks.empty()) page.sections.push_back({"Tasks", TaskList(results)});
  page.sections.push_back({"Mixers", MixerTable(results)});
  page.footer = Html("Made from ") + report::Link("rows.jsonl", "rows.jsonl") + " and " +
                report::Link("runs.jsonl", "runs.jsonl") + ".";
  return report::Render(page);
}

std::string ArenaText(const ArenaResults& results) {
  std::string text = absl::StrFormat("%-16s", "accuracy, %");
  for (const ArenaTaskResult& task : results.tasks)
    absl::StrAppendFormat(&text, " %12s", Titled(task));
  absl::StrAppendFormat(&text, " %12s\n", "average");
  const auto cell = [&](double share) {
    absl::StrAppendFormat(&text, " %12s",
                          std::isnan(share) ? "-" : absl::StrFormat("%.1f", 100 * share));
  };
  for (const ArenaMixerResult& mixer : results.mixers) {
    absl::StrAppendFormat(&text, "%-16s", mixer.label);
    for (const ArenaTaskResult& task : results.tasks) {
      const ArenaScore* score = ScoreOf(task, mixer.name);
      cell(score == nullptr ? kNaN : score->score.value);
    }
    cell(AverageScore(results, mixer.name));
    absl::StrAppend(&text, "\n");
  }
  absl::StrAppendFormat(&text, "%-16s", "a guess");
  for (const ArenaTaskResult& task : results.tasks) cell(task.chance);
  absl::StrAppend(&text, "\n");
  for (const ArenaTaskResult& task : results.tasks) {
    if (task.stand_in) absl::StrAppend(&text, "* ", task.title, ": ", task.data, "\n");
  }
  for (const ArenaTaskResult& task : results.tasks) {
    for (const auto& [mixer, why] : task.unserved)
      absl::StrAppend(&text, "- ", mixer, " does not serve ", task.name, ": ", why, "\n");
  }
  if (!results.speed.empty()) {
    absl::StrAppendFormat(&text, "%-16s", "steps/s, MiB");
    for (const int64_t length : SpeedLengths(results))
      absl::StrAppendFormat(&text, " %16d", length);
    absl::StrAppend(&text, "\n");
    for (const ArenaMixerResult& mixer : results.mixers) {
      absl::StrAppendFormat(&text, "%-16s", mixer.label);
      for (const int64_t length : SpeedLengths(results)) {
        const SpeedRow* row = SpeedAt(results, mixer.name, length);
        absl::StrAppendFormat(
            &text, " %16s",
            row == nullptr ? "-"
                           : absl::StrFormat("%.2f %7.1f", 1 / row->seconds,
                                             static_cast<double>(row->peak_bytes) / (1 << 20)));
      }
      absl::StrAppend(&text, "\n");
    }
  }
  for (const ArenaFinding& finding : ArenaFindings(results)) {
    absl::StrAppend(&text, report::VerdictText(finding.verdict), ": ", finding.statement, " ",
                    finding.measured, "\n");
  }
  return text;
}

std::vector<Row> ArenaRows(const ArenaResults& results) {
  std::vector<Row> rows;
  rows.push_back(Row().Set("kind", "arena").Set("preset", results.preset));
  for (const ArenaTaskResult& task : results.tasks) {
    Row row;
    row.Set("kind", "task").Set("task", task.name).Set("title", task.title);
    row.Set("data", task.data).Set("stand_in", task.stand_in).Set("chance", task.chance);
    row.Set("rows", task.rows).Set("examples", task.examples).Set("steps", task.steps);
    row.Set("batch", task.batch).Set("seeds", task.seeds);
    rows.push_back(std::move(row));
    for (const ArenaMixerResult& mixer : results.mixers) {
      if (const ArenaScore* score = ScoreOf(task, mixer.name); score != nullptr) {
        Row mine;
        mine.Set("kind", "score").Set("task", task.name).Set("mixer", mixer.name);
        mine.Set("score", score->score.value).Set("error", score->score.error);
        mine.Set("above_chance", score->above_chance).Set("parameters", score->parameters);
        mine.Set("training_flops", score->training_flops);
        rows.push_back(std::move(mine));
      }
      const auto unserved = task.unserved.find(mixer.name);
      if (unserved == task.unserved.end()) continue;
      rows.push_back(Row()
                         .Set("kind", "unserved")
                         .Set("task", task.name)
                         .Set("mixer", mixer.name)
                         .Set("why", unserved->second));
    }
  }
  for (const ArenaMixerResult& mixer : results.mixers) {
    const double average = AverageScore(results, mixer.name);
    if (!std::isnan(average))
      rows.push_back(Row().Set("kind", "average").Set("mixer", mixer.name).Set("score", average));
    for (const auto& [task, accuracy] : mixer.published) {
      Row row;
      row.Set("kind", "published").Set("task", task).Set("mixer", mixer.name);
      if (!std::isnan(accuracy)) row.Set("accuracy", accuracy);
      row.Set("in", mixer.published_in);
      rows.push_back(std::move(row));
    }
  }
  for (const std::string& title : results.left)
    rows.push_back(Row().Set("kind", "left").Set("title", title));
  return rows;
}

std::vector<Row> SpeedRows(const std::vector<SpeedRow>& speed) {
  std::vector<Row> rows;
  for (const SpeedRow& one : speed) {
    Row row;
    row.Set("kind", "speed").Set("mixer", one.mixer).Set("length", one.length);
    row.Set("seconds", one.seconds).Set("least_seconds", one.least);
    row.Set("peak_bytes", one.peak_bytes).Set("flops", one.flops);
    rows.push_back(std::move(row));
  }
  return rows;
}

absl::StatusOr<std::vector<SpeedRow>> ParseSpeedRows(const std::vector<Row>& rows) {
  std::vector<SpeedRow> speed;
  for (const Row& row : rows) {
    SpeedRow one;
    LR_ASSIGN_OR_RETURN(one.mixer, row.String("mixer"));
    LR_ASSIGN_OR_RETURN(one.length, row.Integer("length"));
    LR_ASSIGN_OR_RETURN(one.seconds, row.Number("seconds"));
    LR_ASSIGN_OR_RETURN(one.least, row.Number("least_seconds"));
    LR_ASSIGN_OR_RETURN(one.peak_bytes, row.Integer("peak_bytes"));
    LR_ASSIGN_OR_RETURN(one.flops, row.Number("flops"));
    speed.push_back(std::move(one));
  }
  return speed;
}

std::vector<Row> ArenaTimes(const ArenaResults& results) {
  std::vector<Row> rows;
  for (const ArenaTaskResult& task : results.tasks) {
    for (const auto& [mixer, score] : task.scores) {
      rows.push_back(Row()
                         .Set("kind", "training")
                         .Set("task", task.name)
                         .Set("mixer", mixer)
                         .Set("threads", results.threads)
                         .Set("seconds", score.seconds));
    }
  }
  for (const Row& row : SpeedRows(results.speed)) rows.push_back(row);
  for (const ArenaFinding& finding : ArenaFindings(results)) {
    Row row;
    row.Set("kind", "finding").Set("id", finding.id).Set("statement", finding.statement);
    row.Set("measured", finding.measured).Set("verdict", report::VerdictText(finding.verdict));
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace longrange
