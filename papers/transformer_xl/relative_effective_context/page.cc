#include "papers/transformer_xl/relative_effective_context/page.h"

#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/text_proto.h"
#include "common/report/html.h"
#include "common/report/line_chart.h"
#include "common/report/number.h"
#include "common/report/table.h"

namespace longrange {
namespace {

using report::Html;

double Mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

size_t Contexts(const RelativeEffectiveContextResults& results) {
  return static_cast<size_t>(results.settings.longest() / results.settings.step());
}

int64_t TokensOf(const RelativeEffectiveContextResults& results, size_t k) {
  return static_cast<int64_t>(k + 1) * results.settings.step();
}

// The mean over seeds of value(losses of the group).
template <typename Fn>
double OverSeeds(const RelativeEffectiveContextResults& results, Fn&& value) {
  double sum = 0;
  for (const SeedLosses& seed : results.seeds) sum += value(seed.losses);
  return sum / static_cast<double>(results.seeds.size());
}

Html Chart(const RelativeEffectiveContextResults& results, const char* y_label, size_t contexts,
           const std::function<double(const GroupLosses&, size_t arm, size_t k)>& value) {
  report::LineChart chart;
  chart.x_label = "context (tokens)";
  chart.y_label = y_label;
  for (size_t arm = 0; arm < results.labels.size(); ++arm) {
    report::Series series;
    series.name = results.labels[arm];
    for (size_t k = 0; k < contexts; ++k) {
      series.points.push_back(
          {static_cast<double>(TokensOf(results, k)),
           OverSeeds(results, [&](const GroupLosses& losses) { return value(losses, arm, k); })});
    }
    chart.series.push_back(series);
  }
  return report::Render(chart);
}

std::string LengthText(const EffectiveContext& length) {
  return absl::StrCat(length.open ? "≥ " : "", report::FormatFixed(length.tokens, 0));
}

Html LengthTable(const RelativeEffectiveContextResults& results) {
  report::Table table;
  table.columns.push_back({"model"});
  for (const double share : results.settings.hardest()) {
    report::Column column;
    column.header = absl::StrCat("r = ", report::FormatFixed(share, 2));
    column.align = report::Align::kRight;
    table.columns.push_back(column);
  }
  for (size_t arm = 0; arm < results.labels.size(); ++arm) {
    report::Row line;
    line.cells = {results.labels[arm]};
    for (const double share : results.settings.hardest())
      line.cells.push_back(LengthText(EffectiveContextOf(results, arm, share)));
    table.rows.push_back(line);
  }
  table.footnotes.push_back(absl::StrCat(
      "Tokens; mean over ", results.seeds.size(), results.seeds.size() == 1 ? " seed" : " seeds",
      ". ≥: the search came to the longest context that was measured."));
  return report::Render(table);
}

}  // namespace

EffectiveContext EffectiveContextOf(const RelativeEffectiveContextResults& results, size_t arm,
                                    double share) {
  EffectiveContext length;
  for (const SeedLosses& seed : results.seeds) {
    const Recl recl = ReclOf(seed.losses, arm, share, results.settings.threshold());
    length.tokens +=
        static_cast<double>(static_cast<int64_t>(recl.steps) * results.settings.step()) /
        static_cast<double>(results.seeds.size());
    length.open = length.open || recl.open;
  }
  return length;
}

std::vector<Row> EffectiveContextRows(const RelativeEffectiveContextResults& results) {
  std::vector<Row> rows;
  for (const SeedLosses& seed : results.seeds) {
    for (int arm = 0; arm < results.settings.arm_size(); ++arm) {
      const auto at = static_cast<size_t>(arm);
      const auto row_of = [&](const char* kind) {
        Row row;
        row.Set("kind", kind).Set("arm", results.settings.arm(arm).name());
        row.Set("seed", seed.seed);
        return row;
      };
      for (size_t k = 0; k < Contexts(results); ++k) {
        rows.push_back(row_of("context")
                           .Set("context", TokensOf(results, k))
                           .Set("nll", Mean(seed.losses[at][k])));
      }
      for (const double share : results.settings.hardest()) {
        for (size_t k = 0; k + 1 < Contexts(results); ++k) {
          const Gain gain = GainOf(seed.losses, at, k, share);
          rows.push_back(row_of("gain")
                             .Set("hardest", share)
                             .Set("context", TokensOf(results, k))
                             .Set("perplexity_gain", gain.perplexity)
                             .Set("relative_gain", gain.relative));
        }
        const Recl recl = ReclOf(seed.losses, at, share, results.settings.threshold());
        rows.push_back(row_of("effective_context")
                           .Set("hardest", share)
                           .Set("tokens", TokensOf(results, recl.steps - 1))
                           .Set("open", recl.open));
      }
    }
  }
  return rows;
}

std::string EffectiveContextPage(const RelativeEffectiveContextResults& results) {
  const RelativeEffectiveContextSettings& s = results.settings;
  const double hardest = s.hardest(0);
  report::Page page;
  page.title = "Transformer-XL: relative effective context";
  page.subtitle = absl::StrCat(s.positions(), " tokens of the test text, contexts of ", s.step(),
                               " to ", s.longest(), " tokens");
  page.summary = LengthTable(results);
  page.sections.push_back(
      {"What more context gains",
       report::Figure(
           Chart(results, "perplexity gained by the next step", Contexts(results) - 1,
                 [&](const GroupLosses& losses, size_t arm, size_t k) {
                   return GainOf(losses, arm, k, hardest).perplexity;
                 }),
           absl::StrCat("exp f(c) − exp f(c + ", s.step(),
                        "), as in Figure 3 of the paper: f is the mean over the hardest ",
                        report::FormatFixed(100 * hardest, 0),
                        " % of the tokens of the smaller of the model's loss and the best loss "
                        "that any model of the group has behind c tokens."))});
  page.sections.push_back(
      {"Loss by context",
       report::Figure(Chart(results, "loss (nats a token)", Contexts(results),
                            [](const GroupLosses& losses, size_t arm, size_t k) {
                              return Mean(losses[arm][k]);
                            }),
                      "Mean over all tokens that are predicted. A model gets no more context than "
                      "it can use.")});
  page.sections.push_back(
      {"What was measured",
       report::Paragraph(
           "The relative effective context length (section 4.5 and appendix C of the paper): from "
           "the shortest context on, one step more as long as its relative gain is not below the "
           "threshold.") +
           report::Preformatted(Resolve(s))});
  page.footer = Html("The models and how they were trained: ") +
                report::Link("report.html", "report.html") + ". Made from " +
                report::Link("effective_context.jsonl", "effective_context.jsonl") + ".";
  return report::Render(page);
}

std::string EffectiveContextText(const RelativeEffectiveContextResults& results) {
  size_t widest = 0;
  for (const std::string& label : results.labels) widest = std::max(widest, label.size());
  std::string text = absl::StrFormat("%-*s", static_cast<int>(widest), "effective context");
  for (const double share : results.settings.hardest())
    absl::StrAppendFormat(&text, "  r = %4.2f", share);
  absl::StrAppend(&text, "  loss at ", TokensOf(results, 0), " / ", results.settings.longest(),
                  "\n");
  for (size_t arm = 0; arm < results.labels.size(); ++arm) {
    absl::StrAppendFormat(&text, "%-*s", static_cast<int>(std::max<size_t>(widest, 17)),
                          results.labels[arm]);
    for (const double share : results.settings.hardest()) {
      const EffectiveContext length = EffectiveContextOf(results, arm, share);
      absl::StrAppendFormat(&text, "  %8s",
                            absl::StrFormat("%s%.0f", length.open ? ">=" : "", length.tokens));
    }
    const auto loss = [&](size_t k) {
      return OverSeeds(results, [&](const GroupLosses& losses) { return Mean(losses[arm][k]); });
    };
    absl::StrAppendFormat(&text, "  %.3f / %.3f\n", loss(0), loss(Contexts(results) - 1));
  }
  return text;
}

}  // namespace longrange
