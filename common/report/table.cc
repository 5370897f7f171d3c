// CSS has no alignment on a character, so a number is set as three boxes of fixed width: before the
// point, from the point on, and spread. Widths count in ch, the width of a digit where figures are
// tabular.

#include "common/report/table.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstddef>
#include <optional>

#include "common/report/number.h"
#include "common/report/svg.h"

namespace longrange {
namespace report {
namespace {

struct NumberParts {
  std::string whole;
  std::string fraction;  // With its point.
  std::string spread;    // With its ±.
};

// In ch. A minus sign is wider than a digit, a point narrower; the ratios hardly differ between
// fonts.
double Length(const std::string& text) { return TextWidth(text, 1) / TextWidth("0", 1); }

NumberParts Split(const Cell& cell, int digits) {
  if (cell.kind == Cell::Kind::kCount) return {FormatCount(cell.count), "", ""};
  NumberParts parts;
  const std::string text = FormatFixed(cell.value, digits);
  const bool scientific = text.find("×") != std::string::npos;
  const size_t point = scientific ? std::string::npos : text.find('.');
  parts.whole = text.substr(0, point);
  if (point != std::string::npos) parts.fraction = text.substr(point);
  if (!std::isnan(cell.spread)) parts.spread = "± " + FormatFixed(cell.spread, digits);
  return parts;
}

bool IsNumber(const Cell& cell) {
  return cell.kind == Cell::Kind::kNumber || cell.kind == Cell::Kind::kCount;
}

double ValueOf(const Cell& cell) {
  return cell.kind == Cell::Kind::kCount ? static_cast<double>(cell.count) : cell.value;
}

struct Layout {
  double whole = 0;
  double fraction = 0;
  double spread = 0;
  bool has_numbers = false;
  std::string best;  // The best number as it reads; empty if none is to be set in bold.
};

Layout LayOut(const Table& table, size_t column) {
  Layout layout;
  std::optional<double> best;
  const Column& spec = table.columns[column];
  for (const Row& row : table.rows) {
    if (column >= row.cells.size() || !IsNumber(row.cells[column])) continue;
    const Cell& cell = row.cells[column];
    const NumberParts parts = Split(cell, spec.digits);
    layout.has_numbers = true;
    layout.whole = std::max(layout.whole, Length(parts.whole));
    layout.fraction = std::max(layout.fraction, Length(parts.fraction));
    layout.spread = std::max(layout.spread, Length(parts.spread));
    const double value = ValueOf(cell);
    if (spec.best == Best::kNone || std::isnan(value)) continue;
    if (!best || (spec.best == Best::kLowest ? value < *best : value > *best)) {
      best = value;
      layout.best = parts.whole + parts.fraction;
    }
  }
  return layout;
}

Html Box(absl::string_view css_class, double width, const std::string& text) {
  if (width == 0) return Html();
  return Element(
      "span", {{"class", std::string(css_class)}, {"style", "width:" + FormatPixels(width) + "ch"}},
      text);
}

Html CellMarkup(const Cell& cell, const Column& column, const Layout& layout,
                absl::string_view tag) {
  std::string css;
  switch (cell.kind) {
    case Cell::Kind::kNumber:
    case Cell::Kind::kCount: {
      const NumberParts parts = Split(cell, column.digits);
      css = "n";
      if (!layout.best.empty() && parts.whole + parts.fraction == layout.best) css += " best";
      return Element(tag, {{"class", css}},
                     Box("w", layout.whole, parts.whole) +
                         Box("f", layout.fraction, parts.fraction) +
                         Box("s", layout.spread, parts.spread));
    }
    case Cell::Kind::kMissing:
      return Element(tag, {{"class", layout.has_numbers ? "n none" : "none"}}, "–");
    case Cell::Kind::kHtml:
      if (column.align == Align::kRight) css = "right";
      if (column.align == Align::kCenter || (column.align == Align::kAuto && layout.has_numbers)) {
        css = "center";
      }
      if (column.wrap) css += css.empty() ? "wrap" : " wrap";
      return Element(tag, {{"class", css}}, cell.html);
  }
  return Html();
}

std::string HeaderClass(const Column& column, const Layout& layout) {
  if (layout.has_numbers || column.align == Align::kCenter) return "center";
  return column.align == Align::kRight ? "right" : "";
}

Html Head(const Table& table, const std::vector<Layout>& layouts) {
  const bool grouped = std::any_of(table.columns.begin(), table.columns.end(),
                                   [](const Column& column) { return !column.group.empty(); });
  Html out;
  if (grouped) {
    Html groups;
    for (size_t first = 0; first < table.columns.size();) {
      const std::string& group = table.columns[first].group;
      size_t end = first + 1;
      while (end < table.columns.size() && table.columns[end].group == group) ++end;
      const std::string span = end - first > 1 ? std::to_string(end - first) : "";
      groups += group.empty()
                    ? Element("td", {{"colspan", span}}, "")
                    : Element("th", {{"scope", "colgroup"}, {"class", "group"}, {"colspan", span}},
                              Element("span", {}, group));
      first = end;
    }
    out += Element("tr", {}, groups);
  }
  Html headers;
  for (size_t c = 0; c < table.columns.size(); ++c) {
    headers +=
        Element("th", {{"scope", "col"}, {"class", HeaderClass(table.columns[c], layouts[c])}},
                table.columns[c].header);
  }
  return out + Element("tr", {}, headers);
}

}  // namespace

Cell Number(double value) {
  Cell cell;
  cell.kind = Cell::Kind::kNumber;
  cell.value = value;
  return cell;
}

Cell Number(double value, double spread) {
  Cell cell = Number(value);
  cell.spread = spread;
  return cell;
}

Cell Count(int64_t value) {
  Cell cell;
  cell.kind = Cell::Kind::kCount;
  cell.count = value;
  return cell;
}

Cell Missing() { return Cell(); }

Html Render(const Table& table) {
  std::vector<Layout> layouts;
  for (size_t c = 0; c < table.columns.size(); ++c) layouts.push_back(LayOut(table, c));
  Html body;
  for (const Row& row : table.rows) {
    CHECK_LE(row.cells.size(), table.columns.size())
        << "a row of the table '" << table.caption.markup() << "' has too many cells";
    if (!row.heading.empty()) {
      body += Element(
          "tr", {{"class", "heading"}},
          Element("th", {{"scope", "rowgroup"}, {"colspan", std::to_string(table.columns.size())}},
                  Element("span", {}, row.heading)));
    }
    Html cells;
    for (size_t c = 0; c < table.columns.size(); ++c) {
      cells += CellMarkup(c < row.cells.size() ? row.cells[c] : Missing(), table.columns[c],
                          layouts[c], c == 0 ? "th" : "td");
    }
    body += Element("tr", {}, cells) + Html::Trusted("\n");
  }
  Html out;
  if (!table.caption.empty()) out += Element("figcaption", {}, table.caption);
  out += Element("div", {{"class", "scroll"}, {"tabindex", "0"}},
                 Element("table", {},
                         Element("thead", {}, Head(table, layouts)) + Element("tbody", {}, body)));
  Html notes;
  for (const Html& note : table.footnotes) notes += Element("p", {}, note);
  if (!notes.empty()) out += Element("div", {{"class", "notes"}}, notes);
  return Element("figure", {{"class", "table"}, {"id", table.id}}, out) + Html::Trusted("\n");
}

}  // namespace report
}  // namespace longrange
