// Tables for results: numbers aligned on their decimal points, spreads, the best of a column in
// bold, groups of columns and of rows.

#ifndef LONGRANGE_COMMON_REPORT_TABLE_H_
#define LONGRANGE_COMMON_REPORT_TABLE_H_

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/report/markup.h"

namespace longrange {
namespace report {

// A number with its spread, a text (or any markup, such as a Badge), or nothing. Text and Html
// convert to it.
struct Cell {
  enum class Kind { kMissing, kNumber, kCount, kHtml };

  Cell() = default;
  // NOLINTBEGIN(google-explicit-constructor): cells are written as lists of texts and numbers.
  Cell(Html html) : kind(Kind::kHtml), html(std::move(html)) {}
  Cell(const char* text) : Cell(Html(text)) {}
  Cell(const std::string& text) : Cell(Html(text)) {}
  Cell(absl::string_view text) : Cell(Html(text)) {}
  // NOLINTEND(google-explicit-constructor)

  Kind kind = Kind::kMissing;
  double value = 0;
  double spread = NAN;  // NaN: none known.
  int64_t count = 0;
  Html html;
};

Cell Number(double value);
Cell Number(double value, double spread);
Cell Count(int64_t value);  // Written whole, thousands apart.
Cell Missing();             // Written as a dash.

enum class Align {
  kAuto,
  kLeft,
  kCenter,
  kRight
};  // kAuto: text at the left; numbers stand on their points in any case.
enum class Best { kNone, kLowest, kHighest };

struct Column {
  Html header;
  std::string group;        // Neighbours of the same group share a header above their own.
  int digits = 2;           // Decimals of numbers and spreads.
  Best best = Best::kNone;  // Which number is set in bold; those that read the same as it are, too.
  Align align = Align::kAuto;
  bool wrap = false;  // Long text may take several lines.
};

// Fewer cells than columns: the rest is missing. More is a broken invariant.
struct Row {
  std::vector<Cell> cells;
  Html heading;  // If not empty, a line of its own above this row, beginning a group of rows.
};

// Columns of numbers with a spread in any row keep room for it in all. Wide tables scroll sideways
// with the first column standing still.
struct Table {
  Html caption;
  std::string id;  // For links to it; may be empty.
  std::vector<Column> columns;
  std::vector<Row> rows;
  std::vector<Html> footnotes;
};

Html Render(const Table& table);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_TABLE_H_
