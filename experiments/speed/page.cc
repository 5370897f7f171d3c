#include "experiments/speed/page.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "common/base/text_proto.h"
#include "common/report/html.h"
#include "common/report/line_chart.h"
#include "common/report/number.h"
#include "common/report/table.h"

namespace longrange {
namespace {

using ::longrange::report::FormatCount;
using ::longrange::report::FormatFixed;
using ::longrange::report::FormatWithUnit;
using ::longrange::report::Html;

// "Retention/forward/b:1/h:8" -> "Retention"
std::string FamilyOf(const WorkRow& row) { return row.name.substr(0, row.name.find('/')); }

// Operations for each byte that must move.
double Intensity(const WorkRow& row) { return row.flops / row.bytes; }

double GeometricMeanRatio(const SpeedResults& results, bool kernels, int* count) {
  double sum = 0;
  *count = 0;
  for (const WorkRow& row : results.work) {
    const std::optional<Ratio> ratio = RatioOf(row);
    if (!ratio.has_value() || row.kernel != kernels) continue;
    sum += std::log(ratio->median);
    ++*count;
  }
  return *count == 0 ? 0 : std::exp(sum / *count);
}

Html Roofline(const SpeedResults& results) {
  report::LineChart chart;
  chart.x_label = "operations for each byte that must move";
  chart.y_label = "GFLOP/s";
  chart.x_scale = report::Scale::kLog10;
  chart.y_scale = report::Scale::kLog10;
  chart.legend = report::Legend::kBelow;
  chart.plot_height = 420;
  double least = results.peak.flops / results.peak.bytes, most = least;
  std::vector<report::Series> families;
  for (const WorkRow& row : results.work) {
    if (!row.kernel || row.flops <= 0 || row.bytes <= 0) continue;
    const std::string family = FamilyOf(row);
    if (families.empty() || families.back().name != family) {
      report::Series series;
      series.name = family;
      series.dash = report::Dash::kNone;
      series.hollow = (families.size() + 1) / report::kSeriesColors % 2 == 1;
      families.push_back(series);
    }
    families.back().points.push_back({Intensity(row), 1e-9 * row.flops / Seconds(row)});
    least = std::min(least, Intensity(row));
    most = std::max(most, Intensity(row));
  }
  report::Series roof;
  roof.name = "what the machine can do";
  roof.marker = report::Marker::kNone;
  for (const double x : {least, results.peak.flops / results.peak.bytes, most})
    roof.points.push_back({x, 1e-9 * std::min(x * results.peak.bytes, results.peak.flops)});
  chart.series.push_back(roof);
  chart.series.insert(chart.series.end(), families.begin(), families.end());
  return report::Render(chart);
}

Html WorkTable(const SpeedResults& results, bool kernels) {
  report::Table table;
  const bool peer = !results.peer.empty();
  for (const auto& [header, digits] : {std::pair("work", 0),
                                       {"time (ms)", 3},
                                       {"GFLOP/s", 1},
                                       {"GB/s", 1},
                                       {"of the machine (%)", 0}}) {
    report::Column column;
    column.header = header;
    column.digits = digits;
    table.columns.push_back(column);
  }
  table.columns.push_back({"limit"});
  if (peer) {
    for (const auto& [header, digits] :
         {std::pair("peer (ms)", 3), {"ratio", 2}, {"least", 2}, {"most", 2}}) {
      report::Column column;
      column.header = header;
      column.digits = digits;
      table.columns.push_back(column);
    }
  }
  for (const WorkRow& row : results.work) {
    if (row.kernel != kernels) continue;
    const double seconds = Seconds(row);
    const Reach reach = ReachOf(row, results.peak);
    report::Row line;
    line.cells = {row.name,
                  report::Number(1e3 * seconds),
                  report::Number(1e-9 * row.flops / seconds),
                  report::Number(1e-9 * row.bytes / seconds),
                  report::Number(100 * reach.share),
                  reach.of_memory ? "memory" : "arithmetic"};
    const std::optional<Ratio> ratio = RatioOf(row);
    if (ratio.has_value()) {
      line.cells.insert(
          line.cells.end(),
          {report::Number(1e3 * seconds * ratio->median), report::Number(ratio->median),
           report::Number(ratio->least), report::Number(ratio->most)});
    }
    table.rows.push_back(line);
  }
  table.footnotes.push_back(
      "GB/s counts every input once and every output once. Share of the machine: the time that the "
      "measured peak of arithmetic or of memory would take, the longer of the two, by the time "
      "taken; above 100 where data stays in a cache.");
  if (peer) {
    table.footnotes.push_back(
        "Ratio: the peer's time by ours, the median of the rounds, the least and the most; the "
        "two take turns. Without a figure: the peer has no such work.");
  }
  return report::Render(table);
}

Html LengthChart(const std::vector<LengthRow>& rows, const char* x_label, const char* y_label) {
  report::LineChart chart;
  chart.x_label = x_label;
  chart.y_label = y_label;
  chart.x_scale = report::Scale::kLog2;
  chart.y_scale = report::Scale::kLog10;
  for (const LengthRow& row : rows) {
    if (chart.series.empty() || chart.series.back().name != row.arm) {
      chart.series.emplace_back();
      chart.series.back().name = row.arm;
    }
    chart.series.back().points.push_back({static_cast<double>(row.length), 1e3 * row.seconds});
  }
  return report::Render(chart);
}

Html CrossoverTable(const std::vector<LengthRow>& rows) {
  report::Table table;
  table.columns.push_back({"layer"});
  table.columns.push_back({"against"});
  table.columns.push_back({"from which length on"});
  for (const Crossover& crossover : Crossovers(rows)) {
    report::Row line;
    line.cells = {crossover.arm, crossover.against, Describe(crossover)};
    table.rows.push_back(line);
  }
  return report::Render(table);
}

Html Summary(const SpeedResults& results) {
  std::vector<report::KeyFigure> figures = {
      {absl::StrCat(FormatFixed(1e-9 * results.peak.flops, 0), " GFLOP/s"),
       "peak of float32 arithmetic, measured"},
      {absl::StrCat(FormatFixed(1e-9 * results.peak.bytes, 0), " GB/s"),
       "from and to memory (triad), measured"}};
  for (const bool kernels : {true, false}) {
    int count = 0;
    const double mean = GeometricMeanRatio(results, kernels, &count);
    if (count == 0) continue;
    figures.push_back({absl::StrCat(FormatFixed(mean, 2), " ×"),
                       absl::StrCat("as fast as ", results.peer, ", geometric mean of ", count,
                                    kernels ? " kernels" : " training steps")});
  }
  return report::KeyFigures(figures);
}

void AppendWork(const SpeedResults& results, bool kernels, std::string* text) {
  bool first = true;
  for (const WorkRow& row : results.work) {
    if (row.kernel != kernels) continue;
    if (first) {
      absl::StrAppendFormat(text, "%-68s %10s %8s %8s %6s", kernels ? "kernel" : "training step",
                            "ms", "GFLOP/s", "GB/s", "%");
      if (!results.peer.empty()) absl::StrAppendFormat(text, " %10s  %s", "peer ms", "ratio");
      absl::StrAppend(text, "\n");
      first = false;
    }
    const double seconds = Seconds(row);
    absl::StrAppendFormat(text, "%-68s %10.3f %8.1f %8.1f %6.0f", row.name, 1e3 * seconds,
                          1e-9 * row.flops / seconds, 1e-9 * row.bytes / seconds,
                          100 * ReachOf(row, results.peak).share);
    const std::optional<Ratio> ratio = RatioOf(row);
    if (ratio.has_value()) {
      absl::StrAppendFormat(text, " %10.3f  %.2f (%.2f-%.2f)", 1e3 * seconds * ratio->median,
                            ratio->median, ratio->least, ratio->most);
    }
    absl::StrAppend(text, "\n");
  }
  int count = 0;
  const double mean = GeometricMeanRatio(results, kernels, &count);
  if (count > 0) {
    absl::StrAppendFormat(text, "%d compared with %s, geometric mean of the ratios %.2f\n", count,
                          results.peer, mean);
  }
}

}  // namespace

std::string Describe(const Crossover& crossover) {
  if (!crossover.overtakes)
    return absl::StrCat("does not overtake up to ", crossover.longest, " rows");
  const auto length = static_cast<int64_t>(std::round(crossover.length));
  if (crossover.always) return absl::StrCat("ahead from ", length, " rows, the shortest, on");
  return absl::StrCat("overtakes at ", length, " rows");
}

std::string SpeedPage(const SpeedResults& results) {
  const SpeedSettings& settings = results.settings;
  report::Page page;
  page.title = "Speed";
  page.subtitle =
      absl::StrCat(results.threads, results.threads == 1 ? " thread" : " threads",
                   results.peer.empty() ? "" : absl::StrCat(", in turn with ", results.peer));
  page.summary = Summary(results);
  const auto has = [&](bool kernels) {
    return std::any_of(results.work.begin(), results.work.end(),
                       [&](const WorkRow& row) { return row.kernel == kernels; });
  };
  if (has(true)) {
    page.sections.push_back(
        {"Kernels",
         report::Figure(
             Roofline(results),
             "Each point is a kernel at one size. None can be above the line, unless its "
             "data is in a cache from the run before: at the left memory is the limit, "
             "at the right arithmetic. Both edges were measured before.",
             "roofline") +
             WorkTable(results, true)});
  }
  if (has(false)) page.sections.push_back({"Training steps", WorkTable(results, false)});
  if (!results.layers.empty()) {
    page.sections.push_back(
        {"Where layers overtake: training",
         report::Figure(LengthChart(results.layers, "rows of the sequence",
                                    "forward and backward of a layer (ms)"),
                        absl::StrCat("One layer of width ", settings.width(),
                                     ", batch 1, forward and backward; both axes logarithmic."),
                        "training") +
             CrossoverTable(results.layers)});
  }
  if (!results.decode.empty()) {
    page.sections.push_back(
        {"Where layers overtake: decoding",
         report::Figure(LengthChart(results.decode, "tokens seen before", "one more token (ms)"),
                        absl::StrCat("One more token of a model of width ",
                                     settings.decode().width(), ", ", settings.decode().batch(),
                                     settings.decode().batch() == 1 ? " stream" : " streams",
                                     "; both axes logarithmic."),
                        "decoding") +
             CrossoverTable(results.decode)});
  }
  page.sections.push_back(
      {"What was measured", report::Details("Settings", report::Preformatted(Resolve(settings)))});
  page.footer = Html("Made from the measurement behind ") +
                report::Link("rows.jsonl", "rows.jsonl") + " and " +
                report::Link("runs.jsonl", "runs.jsonl") + ".";
  return report::Render(page);
}

std::string SpeedText(const SpeedResults& results) {
  std::string text =
      absl::StrFormat("%d threads; peak %.0f GFLOP/s, memory %.1f GB/s\n", results.threads,
                      1e-9 * results.peak.flops, 1e-9 * results.peak.bytes);
  AppendWork(results, true, &text);
  AppendWork(results, false, &text);
  for (const auto& [title, rows] :
       {std::pair("forward and backward", &results.layers), {"decoding", &results.decode}}) {
    if (rows->empty()) continue;
    absl::StrAppend(&text, title, "\n");
    for (const Crossover& crossover : Crossovers(*rows))
      absl::StrAppend(&text, "  ", crossover.arm, ", against ", crossover.against, ": ",
                      Describe(crossover), "\n");
  }
  return text;
}

std::vector<Row> DeterministicRows(const SpeedResults& results) {
  std::vector<Row> rows;
  for (const WorkRow& work : results.work) {
    Row row;
    row.Set("kind", work.kernel ? "kernel" : "training_step").Set("name", work.name);
    row.Set("flops", work.flops).Set("bytes", work.bytes);
    rows.push_back(row);
  }
  return rows;
}

std::vector<Row> TimeRows(const SpeedResults& results) {
  std::vector<Row> rows;
  Row machine;
  machine.Set("kind", "machine").Set("threads", results.threads);
  machine.Set("peak_flops", results.peak.flops).Set("peak_bytes", results.peak.bytes);
  machine.Set("peer", results.peer);
  rows.push_back(machine);
  for (const WorkRow& work : results.work) {
    const Reach reach = ReachOf(work, results.peak);
    Row row;
    row.Set("kind", work.kernel ? "kernel" : "training_step").Set("name", work.name);
    row.Set("seconds", Seconds(work)).Set("share_of_machine", reach.share);
    row.Set("limit", reach.of_memory ? "memory" : "arithmetic");
    const std::optional<Ratio> ratio = RatioOf(work);
    if (ratio.has_value()) {
      row.Set("ratio", ratio->median).Set("ratio_least", ratio->least);
      row.Set("ratio_most", ratio->most);
    }
    rows.push_back(row);
  }
  for (const auto& [kind, lengths] :
       {std::pair("forward_backward", &results.layers), {"decode", &results.decode}}) {
    for (const LengthRow& at : *lengths) {
      Row row;
      row.Set("kind", kind).Set("arm", at.arm).Set("length", at.length).Set("seconds", at.seconds);
      rows.push_back(row);
    }
    for (const Crossover& crossover : Crossovers(*lengths)) {
      Row row;
      row.Set("kind", absl::StrCat(kind, "_crossover")).Set("arm", crossover.arm);
      row.Set("against", crossover.against);
      row.Set("overtakes", crossover.overtakes);
      if (crossover.overtakes) row.Set("length", crossover.length);
      row.Set("longest", crossover.longest);
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace longrange
