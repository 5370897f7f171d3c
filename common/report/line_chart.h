// Line charts: several named series over one axis, as inline SVG.

#ifndef LONGRANGE_COMMON_REPORT_LINE_CHART_H_
#define LONGRANGE_COMMON_REPORT_LINE_CHART_H_

#include <optional>
#include <string>
#include <vector>

#include "common/report/markup.h"
#include "common/report/ticks.h"

namespace longrange {
namespace report {

// `error` is one standard error of y; 0 or NaN draws none.
struct Point {
  double x = 0;
  double y = 0;
  double error = 0;
};

// kNone: points that are not joined, a line without points.
enum class Dash { kAuto, kSolid, kDashed, kDotted, kDashDot, kNone };
enum class Marker {
  kAuto,
  kCircle,
  kSquare,
  kTriangle,
  kDiamond,
  kDownTriangle,
  kPlus,
  kCross,
  kNone
};

// The number of colours that can be told apart, by colour-blind readers too; further ones repeat.
inline constexpr int kSeriesColors = 7;

// Points are joined in the order given. With `color` left at -1 colours, dashes and markers are
// dealt out in turn. To show pairs (frozen and tuned), give both the same `color`, which gives them
// the same marker, and make one of them `hollow`, which also dashes its line.
struct Series {
  std::string name;
  std::vector<Point> points;
  int color = -1;
  Dash dash = Dash::kAuto;
  Marker marker = Marker::kAuto;
  bool hollow = false;
};

// A vertical line at x, such as the trained length.
struct VerticalLine {
  double x = 0;
  std::string label;
};

enum class ErrorStyle { kBars, kBand };

// kAuto: names stand at the line ends, moved apart where they would overlap; below the chart where
// they are too long for that.
enum class Legend { kAuto, kLineEnds, kBelow, kNone };

// Every value is accounted for. One beyond y_min or y_max is cut off there: an arrow shows where
// its line leaves, and the value is written at that edge. One without a place (NaN; infinite; not
// positive on a logarithmic axis) leaves a gap in its line and is written at the edge. Points
// without a finite x are counted in a note under the chart.
struct LineChart {
  std::string title;
  std::string x_label;  // With its unit: "context length (tokens)".
  std::string y_label;
  Scale x_scale = Scale::kLinear;
  Scale y_scale = Scale::kLinear;
  // Limits of the axes; from the data where not given, or where no axis can have them (NaN; 0 on a
  // logarithmic axis).
  std::optional<double> x_min, x_max, y_min, y_max;
  std::vector<double> x_ticks;  // Chosen by Ticks() where empty.
  std::vector<Series> series;
  std::vector<VerticalLine> vertical_lines;
  ErrorStyle errors = ErrorStyle::kBars;
  Legend legend = Legend::kAuto;
  double width = 760;        // Of the whole drawing, in pixels.
  double plot_height = 300;  // Between the axes; more where the names at the line ends need it.
};

Html Render(const LineChart& chart);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_LINE_CHART_H_
