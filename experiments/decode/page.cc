#include "experiments/decode/page.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/text_proto.h"
#include "common/report/line_chart.h"
#include "common/report/number.h"
#include "common/report/table.h"

namespace longrange {
namespace {

using ::longrange::report::FormatFixed;
using ::longrange::report::FormatScientific;
using ::longrange::report::FormatSignificant;
using ::longrange::report::FormatWithUnit;
using ::longrange::report::Html;
using ::longrange::report::Verdict;

// Section 4(b) of RetNet's reproduction: how a form's time may grow when the length doubles.
constexpr double kQuadraticGrowth = 3, kLinearGrowth = 2.4;
// Between the shortest and the longest context.
constexpr double kSameStep = 1.2;
constexpr double kSameForm = 1e-4;

double TokensPerSecond(const DecodeResults& results, const DecodeRow& row) {
  return static_cast<double>(results.settings.batch()) / row.seconds;
}

std::vector<const DecodeRow*> StepsOf(const DecodeResults& results, const std::string& arm) {
  std::vector<const DecodeRow*> rows;
  for (const DecodeRow& row : results.steps)
    if (row.arm == arm) rows.push_back(&row);
  return rows;
}

// Rows of one form, by length.
using FormKey = std::pair<std::string, std::string>;
std::map<FormKey, std::vector<const FormRow*>> FormsOf(const DecodeResults& results) {
  std::map<FormKey, std::vector<const FormRow*>> forms;
  for (const FormRow& row : results.forms) forms[{row.arm, row.form}].push_back(&row);
  return forms;
}

Verdict Says(bool holds) { return holds ? Verdict::kHolds : Verdict::kDoesNotHold; }

std::string Times(double ratio) { return absl::StrCat(FormatFixed(ratio, 2), " times"); }

bool HasForms(const DecodeResults& results, const std::string& arm) {
  std::set<std::string> forms;
  for (const FormRow& row : results.forms)
    if (row.arm == arm) forms.insert(row.form);
  return forms.size() > 1;
}

Html StepChart(const DecodeResults& results, const char* y_label,
               double (*value)(const DecodeResults&, const DecodeRow&)) {
  report::LineChart chart;
  chart.x_label = "tokens seen before";
  chart.y_label = y_label;
  chart.x_scale = report::Scale::kLog2;
  chart.y_scale = report::Scale::kLog10;
  for (const ArmFacts& arm : results.arms) {
    report::Series series;
    series.name = arm.name;
    for (const DecodeRow* row : StepsOf(results, arm.name))
      series.points.push_back({static_cast<double>(row->context), value(results, *row)});
    chart.series.push_back(series);
  }
  return report::Render(chart);
}

Html StepTable(const DecodeResults& results) {
  report::Table table;
  table.columns.push_back({"tokens seen before"});
  for (const ArmFacts& arm : results.arms) {
    for (const auto& [header, digits] :
         {std::pair("tokens/s", 0), {"state (KiB)", 1}, {"prefill (s)", 2}}) {
      report::Column column;
      column.header = header;
      column.group = arm.name;
      column.digits = digits;
      table.columns.push_back(column);
    }
  }
  for (const int64_t context : results.settings.context()) {
    report::Row row;
    row.cells.push_back(report::Count(context));
    for (const ArmFacts& arm : results.arms) {
      const std::vector<const DecodeRow*> steps = StepsOf(results, arm.name);
      const auto at = std::find_if(steps.begin(), steps.end(),
                                   [&](const DecodeRow* s) { return s->context == context; });
      if (at == steps.end()) {
        row.cells.resize(row.cells.size() + 3);
        continue;
      }
      row.cells.push_back(report::Number(TokensPerSecond(results, **at)));
      row.cells.push_back(report::Number(static_cast<double>((*at)->state_bytes) / 1024));
      row.cells.push_back(report::Number((*at)->prefill_seconds));
    }
    table.rows.push_back(row);
  }
  return report::Render(table);
}

Html FormChart(const DecodeResults& results) {
  report::LineChart chart;
  chart.x_label = "rows of the sequence";
  chart.y_label = "time of one layer (ms)";
  chart.x_scale = report::Scale::kLog2;
  chart.y_scale = report::Scale::kLog10;
  for (const auto& [key, rows] : FormsOf(results)) {
    report::Series series;
    series.name =
        HasForms(results, key.first) ? absl::StrCat(key.first, ", ", key.second) : key.first;
    for (const FormRow* row : rows)
      series.points.push_back({static_cast<double>(row->length), 1e3 * row->seconds});
    chart.series.push_back(series);
  }
  return report::Render(chart);
}

Html FormTable(const DecodeResults& results) {
  report::Table table;
  const std::vector<std::pair<const char*, int>> columns = {
      {"layer", 0}, {"form", 0},   {"rows", 0}, {"time (ms)", 3}, {"growth since the row above", 2},
      {"GFLOP", 3}, {"GFLOP/s", 1}};
  for (const auto& [header, digits] : columns) {
    report::Column column;
    column.header = header;
    column.digits = digits;
    table.columns.push_back(column);
  }
  table.columns.push_back({"difference to the first form"});
  for (const auto& [key, rows] : FormsOf(results)) {
    const FormRow* before = nullptr;
    for (const FormRow* row : rows) {
      report::Row line;
      line.cells = {
          key.first,
          key.second,
          report::Count(row->length),
          report::Number(1e3 * row->seconds),
          before == nullptr ? report::Missing() : report::Number(row->seconds / before->seconds),
          report::Number(1e-9 * row->flops),
          report::Number(1e-9 * row->flops / row->seconds),
          row->difference == 0 ? std::string("0") : FormatScientific(row->difference, 2)};
      table.rows.push_back(line);
      before = row;
    }
  }
  table.footnotes.push_back("Difference: RMS ratio of the outputs.");
  return report::Render(table);
}

Html Judged(const DecodeResults& results, bool of_growth) {
  std::vector<std::pair<Html, Html>> lines;
  for (const DecodeFinding& finding : Findings(results)) {
    if (finding.of_growth != of_growth) continue;
    lines.emplace_back(absl::StrCat(finding.statement, " ", finding.measured),
                       report::Badge(finding.verdict));
  }
  return lines.empty() ? Html() : report::Ledger(lines);
}

Html Summary(const DecodeResults& results) {
  std::vector<report::KeyFigure> figures;
  for (const ArmFacts& arm : results.arms) {
    const std::vector<const DecodeRow*> steps = StepsOf(results, arm.name);
    if (steps.empty()) continue;
    const DecodeRow& last = *steps.back();
    figures.push_back({FormatWithUnit(std::round(TokensPerSecond(results, last))),
                       absl::StrCat("tokens/s, ", arm.name, " behind ", last.context, " tokens")});
  }
  return report::KeyFigures(figures) + Judged(results, /*of_growth=*/false);
}

}  // namespace

std::vector<DecodeFinding> Findings(const DecodeResults& results) {
  std::vector<DecodeFinding> findings;
  for (const ArmFacts& arm : results.arms) {
    const std::vector<const DecodeRow*> steps = StepsOf(results, arm.name);
    if (steps.size() > 1 && arm.constant_state) {
      const DecodeRow &first = *steps.front(), &last = *steps.back();
      const double ratio = last.seconds / first.seconds;
      findings.push_back({absl::StrCat(arm.name, "/step"),
                          absl::StrCat(arm.name, ": a step costs the same behind ", last.context,
                                       " tokens as behind ", first.context,
                                       ", within 20 %, and the state does not grow."),
                          absl::StrCat(Times(ratio), " the time; ", first.state_bytes, " and ",
                                       last.state_bytes, " bytes."),
                          Says(ratio <= kSameStep && last.state_bytes == first.state_bytes)});
    }
    if (!HasForms(results, arm.name)) continue;
    double difference = 0;
    for (const FormRow& row : results.forms)
      if (row.arm == arm.name && !(row.difference <= difference))
        difference = row.difference;  // NaN stays
    findings.push_back(
        {absl::StrCat(arm.name, "/forms"),
         absl::StrCat(arm.name, ": all forms agree to ", FormatScientific(kSameForm, 1), "."),
         absl::StrCat("At most ", FormatScientific(difference, 2), " apart."),
         Says(difference <= kSameForm)});
  }
  for (const auto& [key, rows] : FormsOf(results)) {
    if (!HasForms(results, key.first) || rows.size() < 2 ||
        rows.back()->length != 2 * rows[rows.size() - 2]->length)
      continue;
    const FormRow& last = *rows.back();
    const double growth = last.seconds / rows[rows.size() - 2]->seconds;
    findings.push_back(
        {absl::StrCat(key.first, "/", key.second, "_growth"),
         absl::StrCat(key.first, ", ", key.second, " form: from ", last.length / 2, " to ",
                      last.length, " rows it takes ",
                      last.quadratic ? "at least 3 times" : "at most 2.4 times", " as long."),
         absl::StrCat(Times(growth), "."),
         Says(last.quadratic ? growth >= kQuadraticGrowth : growth <= kLinearGrowth),
         /*of_growth=*/true});
  }
  return findings;
}

std::string DecodePage(const DecodeResults& results) {
  const DecodeSettings& settings = results.settings;
  report::Page page;
  page.title = "Decoding";
  page.subtitle = absl::StrCat("width ", settings.width(), ", ", settings.layers(), " layers, ",
                               settings.batch(), settings.batch() == 1 ? " stream, " : " streams, ",
                               results.threads, results.threads == 1 ? " thread" : " threads");
  page.summary = Summary(results);
  if (!results.steps.empty()) {
    page.sections.push_back(
        {"One more token",
         report::Figure(
             StepChart(results, "tokens/s",
                       [](const DecodeResults& r, const DecodeRow& row) {
                         return TokensPerSecond(r, row);
                       }),
             "Speed of decoding, a token at a time, behind a context; both axes are logarithmic.",
             "speed") +
             report::Figure(
                 StepChart(results, "bytes of state",
                           [](const DecodeResults&, const DecodeRow& row) {
                             return static_cast<double>(row.state_bytes);
                           }),
                 "What has to be remembered of the context: keys and values of all tokens, or a "
                 "state of fixed size.",
                 "state") +
             StepTable(results)});
  }
  if (!results.forms.empty()) {
    page.sections.push_back(
        {"All rows at once",
         report::Figure(FormChart(results),
                        "Time of one layer on a whole sequence (batch 1, no gradients), in each of "
                        "its forms. They are one function, computed in different orders.",
                        "forms") +
             Judged(results, /*of_growth=*/true) + FormTable(results)});
  }
  std::vector<std::pair<Html, Html>> models;
  for (const ArmFacts& arm : results.arms) {
    models.emplace_back(
        arm.name, absl::StrCat(FormatWithUnit(static_cast<double>(arm.parameters)), " parameters"));
  }
  page.sections.push_back(
      {"What was measured",
       report::Definitions(models) +
           report::Details("Settings", report::Preformatted(Resolve(settings)))});
  page.footer = Html("Made from the measurement behind ") +
                report::Link("rows.jsonl", "rows.jsonl") + " and " +
                report::Link("runs.jsonl", "runs.jsonl") + ".";
  return report::Render(page);
}

std::string DecodeText(const DecodeResults& results) {
  std::string text = absl::StrFormat("%10s", "context");
  for (const ArmFacts& arm : results.arms)
    absl::StrAppendFormat(&text, " %24s", absl::StrCat(arm.name, " tokens/s, KiB"));
  absl::StrAppend(&text, "\n");
  for (const int64_t context : results.settings.context()) {
    absl::StrAppendFormat(&text, "%10d", context);
    for (const ArmFacts& arm : results.arms) {
      for (const DecodeRow* row : StepsOf(results, arm.name)) {
        if (row->context != context) continue;
        absl::StrAppendFormat(&text, " %12.0f %11.1f", TokensPerSecond(results, *row),
                              static_cast<double>(row->state_bytes) / 1024);
      }
    }
    absl::StrAppend(&text, "\n");
  }
  for (const DecodeFinding& finding : Findings(results)) {
    absl::StrAppend(&text, report::VerdictText(finding.verdict), ": ", finding.statement, " ",
                    finding.measured, "\n");
  }
  return text;
}

std::vector<Row> DeterministicRows(const DecodeResults& results) {
  std::vector<Row> rows;
  for (const ArmFacts& arm : results.arms) {
    Row row;
    row.Set("kind", "arm").Set("arm", arm.name).Set("parameters", arm.parameters);
    rows.push_back(row);
  }
  for (const DecodeRow& step : results.steps) {
    Row row;
    row.Set("kind", "step").Set("arm", step.arm).Set("context", step.context);
    row.Set("state_bytes", step.state_bytes).Set("flops", step.flops);
    rows.push_back(row);
  }
  for (const FormRow& form : results.forms) {
    Row row;
    row.Set("kind", "form").Set("arm", form.arm).Set("form", form.form).Set("length", form.length);
    row.Set("flops", form.flops).Set("difference", form.difference);
    rows.push_back(row);
  }
  return rows;
}

std::vector<Row> TimeRows(const DecodeResults& results) {
  std::vector<Row> rows;
  for (const DecodeRow& step : results.steps) {
    Row row;
    row.Set("kind", "step").Set("arm", step.arm).Set("context", step.context);
    row.Set("threads", results.threads).Set("seconds", step.seconds);
    row.Set("tokens_per_s", TokensPerSecond(results, step));
    row.Set("prefill_seconds", step.prefill_seconds);
    rows.push_back(row);
  }
  for (const FormRow& form : results.forms) {
    Row row;
    row.Set("kind", "form").Set("arm", form.arm).Set("form", form.form).Set("length", form.length);
    row.Set("threads", results.threads).Set("seconds", form.seconds);
    rows.push_back(row);
  }
  for (const DecodeFinding& finding : Findings(results)) {
    Row row;
    row.Set("kind", "finding").Set("id", finding.id).Set("statement", finding.statement);
    row.Set("measured", finding.measured).Set("verdict", report::VerdictText(finding.verdict));
    rows.push_back(row);
  }
  return rows;
}

}  // namespace longrange
