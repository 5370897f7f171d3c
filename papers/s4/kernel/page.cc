#include "papers/s4/kernel/page.h"

#include <algorithm>
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
using report::FormatScientific;
using report::Html;
using report::Verdict;

// How far float32 may be from float64, as everywhere in the project (common/testing/tolerance.h),
// and how a time may grow when the length doubles.
constexpr double kSame = 1e-5, kNearlyLinear = 2.6;

Verdict Says(bool holds) { return holds ? Verdict::kHolds : Verdict::kDoesNotHold; }

Html Chart(const S4KernelResults& results, const char* y_label,
           const std::vector<std::pair<const char*, double S4KernelRow::*>>& values, double scale) {
  report::LineChart chart;
  chart.x_label = "length (rows)";
  chart.y_label = y_label;
  chart.x_scale = report::Scale::kLog2;
  chart.y_scale = report::Scale::kLog10;
  for (const S4KernelArm& arm : results.settings.arm()) {
    for (const auto& [name, member] : values) {
      report::Series series;
      series.name = absl::StrCat(arm.name(), ", ", name);
      for (const S4KernelRow& row : results.rows) {
        if (row.arm == arm.name())
          series.points.push_back({static_cast<double>(row.length), scale * row.*member});
      }
      chart.series.push_back(series);
    }
  }
  return report::Render(chart);
}

Html ErrorTable(const S4KernelResults& results) {
  report::Table table;
  for (const char* header : {"system", "length"}) table.columns.push_back({header});
  for (const char* header : {"kernel", "its largest difference", "kernel, float64", "convolution",
                             "recurrence, float32"})
    table.columns.push_back({header});
  for (const S4KernelRow& row : results.rows) {
    report::Row line;
    line.cells = {row.arm, report::Count(row.length)};
    for (const double error : {row.kernel_rms, row.kernel_largest, row.kernel_wide_rms,
                               row.output_rms, row.recurrence_rms})
      line.cells.push_back(FormatScientific(error, 2));
    table.rows.push_back(line);
  }
  table.footnotes.push_back(
      "RMS ratios to the recurrence in float64; the largest difference is over the largest value.");
  return report::Render(table);
}

Html TimeTable(const S4KernelResults& results) {
  report::Table table;
  for (const char* header : {"system", "length"}) table.columns.push_back({header});
  for (const auto& [header, group] : {std::pair("forward", "kernel (ms)"),
                                      {"and backward", "kernel (ms)"},
                                      {"forward", "convolution (ms)"},
                                      {"and backward", "convolution (ms)"},
                                      {"forward", "recurrence (ms)"},
                                      {"one row", "recurrence (ms)"}}) {
    report::Column column;
    column.header = header;
    column.group = group;
    column.digits = 3;
    table.columns.push_back(column);
  }
  for (const S4KernelRow& row : results.rows) {
    report::Row line;
    line.cells = {row.arm, report::Count(row.length)};
    for (const double seconds :
         {row.kernel_seconds, row.kernel_both_seconds, row.convolution_seconds,
          row.convolution_both_seconds, row.recurrence_seconds, row.step_seconds})
      line.cells.push_back(report::Number(1e3 * seconds));
    table.rows.push_back(line);
  }
  return report::Render(table);
}

// A value that is no number stays: what is not known is not small.
double Largest(double a, double b) { return a >= b || std::isnan(a) ? a : b; }

}  // namespace

std::vector<S4KernelFinding> Findings(const S4KernelResults& results) {
  std::vector<S4KernelFinding> findings;
  for (const S4KernelArm& arm : results.settings.arm()) {
    double kernel = 0, output = 0, growth = 0;
    const S4KernelRow* before = nullptr;
    for (const S4KernelRow& row : results.rows) {
      if (row.arm != arm.name()) continue;
      kernel = Largest(kernel, row.kernel_rms);
      output = Largest(output, row.output_rms);
      if (before != nullptr && row.length == 2 * before->length) {
        growth = std::max(growth, (row.kernel_flops + row.convolution_flops) /
                                      (before->kernel_flops + before->convolution_flops));
      }
      before = &row;
    }
    if (before == nullptr) continue;
    const std::string lengths = absl::StrCat(arm.name(), ", up to ", before->length, " rows: ");
    findings.push_back({absl::StrCat(lengths, "the kernel is that of the recurrence, to ",
                                     FormatScientific(kSame, 1), "."),
                        absl::StrCat("RMS ratio ", FormatScientific(kernel, 2), " at most."),
                        Says(kernel <= kSame)});
    findings.push_back(
        {absl::StrCat(lengths, "the convolution gives what the recurrence gives, to ",
                      FormatScientific(kSame, 1), "."),
         absl::StrCat("RMS ratio ", FormatScientific(output, 2), " at most."),
         Says(output <= kSame)});
    if (growth > 0) {
      findings.push_back(
          {absl::StrCat(lengths, "kernel and convolution of twice the length are at most ",
                        FormatFixed(kNearlyLinear, 1), " times the work."),
           absl::StrCat(FormatFixed(growth, 2), " times at most."), Says(growth <= kNearlyLinear)});
    }
  }
  return findings;
}

std::vector<Row> DeterministicRows(const S4KernelResults& results) {
  std::vector<Row> rows;
  for (const S4KernelRow& r : results.rows) {
    Row row;
    row.Set("kind", "kernel").Set("arm", r.arm).Set("length", r.length);
    row.Set("kernel_rms", r.kernel_rms).Set("kernel_largest", r.kernel_largest);
    row.Set("kernel_wide_rms", r.kernel_wide_rms).Set("output_rms", r.output_rms);
    row.Set("recurrence_rms", r.recurrence_rms).Set("kernel_flops", r.kernel_flops);
    row.Set("convolution_flops", r.convolution_flops).Set("recurrence_flops", r.recurrence_flops);
    rows.push_back(row);
  }
  return rows;
}

std::vector<Row> TimeRows(const S4KernelResults& results) {
  std::vector<Row> rows;
  for (const S4KernelRow& r : results.rows) {
    Row row;
    row.Set("kind", "time").Set("arm", r.arm).Set("length", r.length);
    row.Set("threads", results.threads);
    row.Set("kernel_seconds", r.kernel_seconds).Set("kernel_both_seconds", r.kernel_both_seconds);
    row.Set("convolution_seconds", r.convolution_seconds);
    row.Set("convolution_both_seconds", r.convolution_both_seconds);
    row.Set("recurrence_seconds", r.recurrence_seconds).Set("step_seconds", r.step_seconds);
    rows.push_back(row);
  }
  return rows;
}

std::string S4KernelPage(const S4KernelResults& results) {
  report::Page page;
  page.title = "S4: kernel, convolution and recurrence";
  page.subtitle = absl::StrCat(results.settings.features(), " features, batch ",
                               results.settings.batch(), ", ", results.threads, " threads");
  std::vector<std::pair<Html, Html>> lines;
  for (const S4KernelFinding& f : Findings(results))
    lines.emplace_back(absl::StrCat(f.statement, " ", f.measured), report::Badge(f.verdict));
  page.summary = report::Ledger(lines);
  page.sections.push_back(
      {"Exactness",
       report::Figure(
           Chart(results, "RMS ratio to the recurrence in float64",
                 {{"kernel", &S4KernelRow::kernel_rms}, {"output", &S4KernelRow::output_rms}}, 1),
           "The kernel K of a layer as it starts, made for each length (dt from 1 / length on) in "
           "float32, and its "
           "convolution with noise, both against x ← dA x + dB u, y = C x row by row in float64.") +
           ErrorTable(results)});
  page.sections.push_back(
      {"Cost",
       report::Figure(Chart(results, "time (ms)",
                            {{"kernel", &S4KernelRow::kernel_seconds},
                             {"convolution", &S4KernelRow::convolution_seconds},
                             {"recurrence", &S4KernelRow::recurrence_seconds}},
                            1e3),
                      "Forward, the fastest of several runs. The kernel is made once for the whole "
                      "batch; the recurrence runs over all rows, with the state in the cache.") +
           TimeTable(results)});
  page.sections.push_back({"What was measured", report::Preformatted(Resolve(results.settings))});
  page.footer = Html("Made from ") + report::Link("rows.jsonl", "rows.jsonl") + " and " +
                report::Link("runs.jsonl", "runs.jsonl") + ".";
  return report::Render(page);
}

std::string S4KernelText(const S4KernelResults& results) {
  std::string text =
      absl::StrFormat("%-12s %8s %10s %10s | ms: %9s %9s %9s %9s\n", "system", "length", "kernel",
                      "output", "kernel", "conv.", "recur.", "one row");
  for (const S4KernelRow& r : results.rows) {
    absl::StrAppendFormat(&text, "%-12s %8d %10.1e %10.1e |     %9.3f %9.3f %9.3f %9.4f\n", r.arm,
                          r.length, r.kernel_rms, r.output_rms, 1e3 * r.kernel_seconds,
                          1e3 * r.convolution_seconds, 1e3 * r.recurrence_seconds,
                          1e3 * r.step_seconds);
  }
  for (const S4KernelFinding& f : Findings(results)) {
    absl::StrAppend(&text, report::VerdictText(f.verdict), ": ", f.statement, " ", f.measured,
                    "\n");
  }
  return text;
}

}  // namespace longrange
