#include "papers/transformer_xl/evaluation_speed/page.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/text_proto.h"
#include "common/report/line_chart.h"
#include "common/report/number.h"
#include "common/report/table.h"

namespace longrange {
namespace {

using report::FormatFixed;
using report::Html;
using report::Verdict;

// What counts as growing linearly: an exponent of the attention length within these.
constexpr double kLeastExponent = 0.8, kMostExponent = 1.2;
// The paper's Table 9: attention length, how many times faster.
constexpr std::pair<double, double> kPaper[] = {
    {800, 363}, {1800, 773}, {2800, 1409}, {3800, 1874}};

constexpr ReadingWay kWithMemory[] = {ReadingWay::kMemory, ReadingWay::kSegments};

Html TimeChart(const EvaluationSpeedResults& results) {
  report::LineChart chart;
  chart.x_label = "attention length (tokens)";
  chart.y_label = "time of a token (ms)";
  chart.x_scale = report::Scale::kLog2;
  chart.y_scale = report::Scale::kLog10;
  for (const ReadingWay way : kReadingWays) {
    report::Series series;
    series.name = NameOf(way);
    for (const EvaluationSpeedRow& row : results.rows) {
      if (row.way == way)
        series.points.push_back({static_cast<double>(row.attention), 1e3 * row.seconds});
    }
    chart.series.push_back(series);
  }
  return report::Render(chart);
}

Html RatioChart(const EvaluationSpeedResults& results) {
  report::LineChart chart;
  chart.x_label = "attention length (tokens)";
  chart.y_label = "times as fast as the window read anew";
  chart.x_scale = report::Scale::kLog2;
  chart.y_scale = report::Scale::kLog10;
  for (const ReadingWay way : kWithMemory) {
    for (const bool of_work : {false, true}) {
      report::Series series;
      series.name = absl::StrCat(NameOf(way), of_work ? ", operations" : "");
      series.color = static_cast<int>(way);
      series.hollow = of_work;
      for (const int64_t attention : results.settings.attention()) {
        series.points.push_back(
            {static_cast<double>(attention),
             of_work ? WorkRatio(results, way, attention) : SpeedUp(results, way, attention)});
      }
      chart.series.push_back(series);
    }
  }
  report::Series paper;
  paper.name = "the paper's Table 9";
  paper.dash = report::Dash::kDotted;
  for (const auto& [attention, ratio] : kPaper) paper.points.push_back({attention, ratio});
  chart.series.push_back(paper);
  return report::Render(chart);
}

Html TimeTable(const EvaluationSpeedResults& results) {
  report::Table table;
  table.columns.push_back({"attention"});
  const auto column = [&](const char* header, const char* group, int digits) {
    report::Column c;
    c.header = header;
    c.group = group;
    c.digits = digits;
    table.columns.push_back(c);
  };
  for (const char* header : {"memory", "by segments", "window"})
    column(header, "time of a token (ms)", 3);
  for (const char* header : {"memory", "by segments"}) column(header, "times as fast", 1);
  for (const char* header : {"memory", "by segments"})
    column(header, "window's operations over its own", 1);
  column("KiB of state", "", 0);
  for (const int64_t attention : results.settings.attention()) {
    report::Row line;
    line.cells = {report::Count(attention)};
    for (const ReadingWay way : kReadingWays)
      line.cells.push_back(report::Number(1e3 * results.At(way, attention).seconds));
    for (const ReadingWay way : kWithMemory)
      line.cells.push_back(report::Number(SpeedUp(results, way, attention)));
    for (const ReadingWay way : kWithMemory)
      line.cells.push_back(report::Number(WorkRatio(results, way, attention)));
    line.cells.push_back(report::Number(
        static_cast<double>(results.At(ReadingWay::kMemory, attention).state_bytes) / 1024));
    table.rows.push_back(line);
  }
  table.footnotes.push_back(absl::StrCat("Median of ", results.settings.rounds(),
                                         " rounds; in a round every way is measured once at every "
                                         "length, one after the other."));
  return report::Render(table);
}

Verdict SaysLinear(double exponent) {
  return exponent >= kLeastExponent && exponent <= kMostExponent ? Verdict::kHolds
                                                                 : Verdict::kDoesNotHold;
}

}  // namespace

double SpeedUp(const EvaluationSpeedResults& results, ReadingWay way, int64_t attention) {
  return results.At(ReadingWay::kWindow, attention).seconds / results.At(way, attention).seconds;
}

double WorkRatio(const EvaluationSpeedResults& results, ReadingWay way, int64_t attention) {
  return results.At(ReadingWay::kWindow, attention).flops / results.At(way, attention).flops;
}

double ExponentOf(const EvaluationSpeedResults& results, ReadingWay way, bool of_work) {
  double n = 0, x_sum = 0, y_sum = 0, xx = 0, xy = 0;
  for (const int64_t attention : results.settings.attention()) {
    const double x = std::log(static_cast<double>(attention)),
                 y = std::log(of_work ? WorkRatio(results, way, attention)
                                      : SpeedUp(results, way, attention));
    n += 1;
    x_sum += x;
    y_sum += y;
    xx += x * x;
    xy += x * y;
  }
  return (n * xy - x_sum * y_sum) / (n * xx - x_sum * x_sum);
}

std::vector<EvaluationSpeedFinding> Findings(const EvaluationSpeedResults& results) {
  const int64_t first = results.settings.attention(0),
                last = *results.settings.attention().rbegin();
  std::vector<EvaluationSpeedFinding> findings;
  for (const ReadingWay way : kWithMemory) {
    const double exponent = ExponentOf(results, way, /*of_work=*/false);
    findings.push_back(
        {absl::StrCat("From ", first, " to ", last, " tokens, reading with the memory (",
                      NameOf(way), ") is faster by a factor that grows linearly (exponent ",
                      FormatFixed(kLeastExponent, 1), " to ", FormatFixed(kMostExponent, 1), ")."),
         absl::StrCat("Exponent ", FormatFixed(exponent, 2), "; ",
                      FormatFixed(SpeedUp(results, way, first), 1), " times at ", first, ", ",
                      FormatFixed(SpeedUp(results, way, last), 1), " at ", last,
                      "; of the operations ", FormatFixed(ExponentOf(results, way, true), 2), "."),
         SaysLinear(exponent)});
  }
  return findings;
}

std::vector<Row> DeterministicRows(const EvaluationSpeedResults& results) {
  std::vector<Row> rows;
  for (const EvaluationSpeedRow& r : results.rows) {
    Row row;
    row.Set("kind", "work").Set("way", NameOf(r.way)).Set("attention", r.attention);
    row.Set("flops", r.flops).Set("state_bytes", r.state_bytes);
    rows.push_back(row);
  }
  return rows;
}

std::vector<Row> TimeRows(const EvaluationSpeedResults& results) {
  std::vector<Row> rows;
  for (const EvaluationSpeedRow& r : results.rows) {
    Row row;
    row.Set("kind", "time").Set("way", NameOf(r.way)).Set("attention", r.attention);
    row.Set("threads", results.threads).Set("seconds", r.seconds);
    row.Set("least_seconds", r.least).Set("most_seconds", r.most);
    row.Set("times_as_fast", results.At(ReadingWay::kWindow, r.attention).seconds / r.seconds);
    rows.push_back(row);
  }
  return rows;
}

std::string EvaluationSpeedPage(const EvaluationSpeedResults& results) {
  const EvaluationSpeedSettings& s = results.settings;
  report::Page page;
  page.title = "Transformer-XL: what the memory saves at evaluation";
  page.subtitle =
      absl::StrCat(s.layers(), " layers of ", s.width(), ", ", s.batch(),
                   s.batch() == 1 ? " text, " : " texts, ", results.threads, " threads");
  std::vector<std::pair<Html, Html>> lines;
  for (const EvaluationSpeedFinding& f : Findings(results))
    lines.emplace_back(absl::StrCat(f.statement, " ", f.measured), report::Badge(f.verdict));
  page.summary = report::Ledger(lines);
  page.sections.push_back(
      {"How many times as fast",
       report::Figure(RatioChart(results),
                      "Time of a token where the window of tokens that it sees is read anew, over "
                      "the time where the memory is kept; and the same of counted operations. "
                      "Linear growth is a straight line of slope 1.")});
  page.sections.push_back(
      {"Time of a token",
       report::Figure(TimeChart(results),
                      "A token sees so many tokens, itself among them. With the memory it is "
                      "projected once; by segments, several tokens of a known text are read in "
                      "one call.") +
           TimeTable(results)});
  page.sections.push_back(
      {"What was measured",
       report::Paragraph(absl::StrCat(
           "Random weights. A model of one layer scores a token behind its memory as behind its "
           "window, to an RMS ratio of ",
           report::FormatScientific(results.difference, 1),
           "; more layers reach further through the memory.")) +
           report::Preformatted(Resolve(s))});
  page.footer = Html("Made from ") + report::Link("rows.jsonl", "rows.jsonl") + " and " +
                report::Link("runs.jsonl", "runs.jsonl") + ".";
  return report::Render(page);
}

std::string EvaluationSpeedText(const EvaluationSpeedResults& results) {
  std::string text =
      absl::StrFormat("%9s | ms a token: %9s %9s %9s | times as fast: %8s %8s\n", "attention",
                      "memory", "segments", "window", "memory", "segments");
  for (const int64_t attention : results.settings.attention()) {
    absl::StrAppendFormat(&text,
                          "%9d |             %9.3f %9.3f %9.3f |                %8.1f %8.1f\n",
                          attention, 1e3 * results.At(ReadingWay::kMemory, attention).seconds,
                          1e3 * results.At(ReadingWay::kSegments, attention).seconds,
                          1e3 * results.At(ReadingWay::kWindow, attention).seconds,
                          SpeedUp(results, ReadingWay::kMemory, attention),
                          SpeedUp(results, ReadingWay::kSegments, attention));
  }
  for (const EvaluationSpeedFinding& f : Findings(results)) {
    absl::StrAppend(&text, report::VerdictText(f.verdict), ": ", f.statement, " ", f.measured,
                    "\n");
  }
  return text;
}

}  // namespace longrange
