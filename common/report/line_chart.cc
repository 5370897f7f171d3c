// Layout, from the top: title, y label and labels of vertical lines, values off the scale, plot,
// values off the scale or without a place, x ticks, x label, legend, note. Everything is measured
// before anything is drawn, so nothing overlaps.

#include "common/report/line_chart.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "common/report/number.h"
#include "common/report/svg.h"

namespace longrange {
namespace report {
namespace {

constexpr double kTitleSize = 15;
constexpr double kLabelSize = 13;
constexpr double kTickSize = 12;
constexpr double kLabelRow = 18;  // Height of a row of labels.
constexpr double kValueRow = 16;  // Height of a row of values off the scale.
constexpr double kLegendRow = 18;
constexpr double kMarkerRadius = 4;
constexpr double kInset = 18;     // Between the axes' ends and the first and last point.
constexpr double kKeyWidth = 26;  // A piece of line with its marker, beside a name.
constexpr size_t kMostValueRows = 6;

struct Pixel {
  double x;
  double y;
};

// A closed range of one axis and the pixels it goes to.
struct Axis {
  Scale scale = Scale::kLinear;
  double low = 0;
  double high = 1;
  double pixel_low = 0;
  double pixel_high = 1;

  double Transformed(double value) const {
    return scale == Scale::kLinear ? value : std::log2(value);
  }
  bool HasPlaceFor(double value) const {
    return std::isfinite(value) && (scale == Scale::kLinear || value > 0);
  }
  double At(double value) const {
    const double a = Transformed(low);
    const double b = Transformed(high);
    // Divided first: b - a can overflow.
    const double fraction = (Transformed(value) / 2 - a / 2) / (b / 2 - a / 2);
    return pixel_low + fraction * (pixel_high - pixel_low);
  }
};

bool UsableLimit(const std::optional<double>& limit, Scale scale) {
  return limit.has_value() && std::isfinite(*limit) && std::fabs(*limit) < 1e300 &&
         (scale == Scale::kLinear || *limit > 0);
}

// The range of `values` (all have a place), widened by `margin` of itself at the ends that have no
// limit given.
void SetRange(const std::vector<double>& values, std::optional<double> low,
              std::optional<double> high, double margin, Axis* axis) {
  const bool is_log = axis->scale != Scale::kLinear;
  if (!UsableLimit(low, axis->scale)) low.reset();
  if (!UsableLimit(high, axis->scale)) high.reset();
  if (low && high && *low > *high) std::swap(*low, *high);
  double least = is_log ? 1 : 0;
  double most = is_log ? 10 : 1;
  if (!values.empty()) {
    const auto [min, max] = std::minmax_element(values.begin(), values.end());
    least = std::clamp(*min, -1e300, 1e300);
    most = std::clamp(*max, -1e300, 1e300);
    if (is_log) least = std::max(least, 1e-300), most = std::max(most, 1e-300);
  }
  if (low) least = *low, most = std::max(most, least);
  if (high) most = *high, least = std::min(least, most);
  // A span that doubles can hardly tell from nothing is a single value: it gets room on both sides.
  if (most - least <= 1e-9 * std::max(std::fabs(least), std::fabs(most))) {
    const double room = least == 0 ? 1 : std::fabs(least) / 4;
    if (!low || high) least = is_log ? least / 1.5 : least - room;
    if (!high || low) most = is_log ? most * 1.5 : most + room;
  } else if (is_log) {
    const double factor = std::exp2(margin * (std::log2(most) - std::log2(least)));
    if (!low) least /= factor;
    if (!high) most *= factor;
  } else {
    const double room = margin * (most - least);
    if (!low) least = least >= 0 && least - room < 0 ? 0 : least - room;
    if (!high) most += room;
  }
  axis->low = least;
  axis->high = most;
}

struct Look {
  std::string css;  // Colour class.
  std::string dash;
  bool joined;
  Marker marker;
  bool hollow;
};

Look LookOf(const Series& series, size_t index) {
  static constexpr Marker kMarkers[kSeriesColors] = {
      Marker::kCircle,       Marker::kSquare, Marker::kTriangle, Marker::kDiamond,
      Marker::kDownTriangle, Marker::kPlus,   Marker::kCross};
  static constexpr Dash kDashes[] = {Dash::kSolid, Dash::kDashed, Dash::kDashDot, Dash::kDotted};
  const size_t dealt = series.color < 0 ? index : static_cast<size_t>(series.color);
  const size_t color = dealt % kSeriesColors;
  Dash dash = series.dash;
  if (dash == Dash::kAuto) {
    if (series.hollow) {
      dash = Dash::kDashed;
    } else if (series.color >= 0) {
      dash = Dash::kSolid;
    } else {
      // The step of a round keeps what shares a colour apart.
      dash = kDashes[(index % kSeriesColors + index / kSeriesColors) % 4];
    }
  }
  Look look;
  look.css = "c" + std::to_string(color);
  look.dash = dash == Dash::kDashed    ? "7 4"
              : dash == Dash::kDotted  ? "2 3"
              : dash == Dash::kDashDot ? "9 3 2 3"
                                       : "";
  look.joined = dash != Dash::kNone;
  look.marker = series.marker == Marker::kAuto ? kMarkers[color] : series.marker;
  look.hollow = series.hollow;
  return look;
}

void DrawMarker(const Look& look, double x, double y, Svg* svg) {
  constexpr double r = kMarkerRadius;
  const std::string area = "mark " + look.css + (look.hollow ? " hollow" : "");
  switch (look.marker) {
    case Marker::kAuto:
    case Marker::kCircle:
      svg->Circle(x, y, r, area);
      break;
    case Marker::kSquare:
      svg->Rect(x - 0.88 * r, y - 0.88 * r, 1.76 * r, 1.76 * r, area);
      break;
    case Marker::kTriangle:
      svg->Path({{x, y - 1.2 * r}, {x + 1.1 * r, y + 0.8 * r}, {x - 1.1 * r, y + 0.8 * r}}, true,
                area);
      break;
    case Marker::kDownTriangle:
      svg->Path({{x, y + 1.2 * r}, {x + 1.1 * r, y - 0.8 * r}, {x - 1.1 * r, y - 0.8 * r}}, true,
                area);
      break;
    case Marker::kDiamond:
      svg->Path({{x, y - 1.3 * r}, {x + 1.15 * r, y}, {x, y + 1.3 * r}, {x - 1.15 * r, y}}, true,
                area);
      break;
    case Marker::kPlus:
      svg->Line(x - 1.1 * r, y, x + 1.1 * r, y, "line " + look.css);
      svg->Line(x, y - 1.1 * r, x, y + 1.1 * r, "line " + look.css);
      break;
    case Marker::kCross:
      svg->Line(x - 0.9 * r, y - 0.9 * r, x + 0.9 * r, y + 0.9 * r, "line " + look.css);
      svg->Line(x - 0.9 * r, y + 0.9 * r, x + 0.9 * r, y - 0.9 * r, "line " + look.css);
      break;
    case Marker::kNone:
      break;
  }
}

void DrawKey(const Look& look, double x, double y, Svg* svg) {
  if (look.joined) svg->Line(x, y, x + kKeyWidth - 4, y, "line " + look.css, look.dash);
  DrawMarker(look, x + (kKeyWidth - 4) / 2, y, svg);
}

enum class Side { kInside, kAbove, kBelow, kNowhere };

// Where the value of `point` belongs; kNowhere has a gap in the line and is written below the plot,
// except +∞, above it.
Side SideOf(const Point& point, const Axis& y) {
  if (std::isinf(point.y)) return point.y > 0 ? Side::kAbove : Side::kBelow;
  if (!y.HasPlaceFor(point.y)) return Side::kNowhere;
  if (point.y > y.high) return Side::kAbove;
  return point.y < y.low ? Side::kBelow : Side::kInside;
}

std::string Describe(const Series& series, const Point& point) {
  std::string text =
      series.name + ": " + FormatShort(point.x, 6) + " → " + FormatSignificant(point.y, 4);
  if (std::isfinite(point.error) && point.error > 0) {
    text += " ± " + FormatSignificant(point.error, 2);
  }
  return text;
}

// A value that is written at the edge of the plot, for want of a place inside.
struct EdgeValue {
  size_t series;
  const Point* point;
  std::string text;
  double x;      // Of its middle.
  double width;  // Marker and text.
  size_t row = 0;
};

constexpr double kEdgeMarkerWidth = 2 * kMarkerRadius + 4;

// Gives each of `values` a row; returns the number of rows.
size_t StackEdgeValues(double low, double high, std::vector<EdgeValue>* values) {
  std::vector<Interval> intervals;
  for (EdgeValue& value : *values) {
    value.width = kEdgeMarkerWidth + TextWidth(value.text, kTickSize);
    const double half = value.width / 2;
    value.x = std::max(low + half, std::min(value.x, high - half));
    intervals.push_back({value.x - half, value.x + half});
  }
  const std::vector<int> rows = StackIntoRows(intervals, 6);
  size_t count = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    (*values)[i].row = static_cast<size_t>(rows[i]);
    count = std::max(count, (*values)[i].row + 1);
  }
  return std::min(count, kMostValueRows);
}

// The part of a→b between the lines y = top and y = bottom, or nothing.
std::optional<std::pair<Pixel, Pixel>> ClipToBand(Pixel a, Pixel b, double top, double bottom) {
  double t0 = 0;
  double t1 = 1;
  const double dy = b.y - a.y;
  for (const auto& [from, edge] : {std::pair(a.y - top, -dy), std::pair(bottom - a.y, dy)}) {
    if (edge == 0) {
      if (from < 0) return std::nullopt;
    } else if (edge < 0) {
      t0 = std::max(t0, from / edge);
    } else {
      t1 = std::min(t1, from / edge);
    }
  }
  if (!(t0 <= t1)) return std::nullopt;
  const auto at = [&](double t) { return Pixel{a.x + t * (b.x - a.x), a.y + t * dy}; };
  return std::pair(t0 == 0 ? a : at(t0), t1 == 1 ? b : at(t1));
}

class Drawing {
 public:
  explicit Drawing(const LineChart& chart) : chart_(chart) {
    for (size_t i = 0; i < chart.series.size(); ++i) looks_.push_back(LookOf(chart.series[i], i));
    ChooseRanges();
    LayOut();
  }

  Html Render() {
    Svg svg(chart_.width, height_, "line-chart", ScreenReaderLabel());
    DrawText(&svg);
    DrawAxes(&svg);
    DrawVerticalLines(&svg);
    if (chart_.errors == ErrorStyle::kBand) {
      for (size_t i = 0; i < chart_.series.size(); ++i) DrawBand(i, &svg);
    }
    if (line_ends_) DrawNames(&svg);
    for (size_t i = 0; i < chart_.series.size(); ++i) DrawSeries(i, &svg);
    DrawEdgeValues(above_, true, &svg);
    DrawEdgeValues(below_, false, &svg);
    DrawLegendBelow(&svg);
    return svg.Finish();
  }

 private:
  std::string ScreenReaderLabel() const {
    std::string label = chart_.title.empty() ? chart_.y_label : chart_.title;
    label += " (line chart:";
    for (const Series& series : chart_.series) label += " " + series.name + ";";
    return label + ")";
  }

  void ChooseRanges() {
    x_.scale = chart_.x_scale;
    y_.scale = chart_.y_scale;
    std::vector<double> xs;
    std::vector<double> ys;
    for (const Series& series : chart_.series) {
      for (const Point& point : series.points) {
        if (!x_.HasPlaceFor(point.x)) {
          ++points_without_x_;
          continue;
        }
        xs.push_back(point.x);
        if (!y_.HasPlaceFor(point.y)) continue;
        for (double sign : {-1.0, 0.0, 1.0}) {
          const double end = point.y + sign * point.error;
          if (y_.HasPlaceFor(end)) ys.push_back(end);
        }
      }
    }
    has_data_ = !xs.empty();
    for (const VerticalLine& line : chart_.vertical_lines) {
      if (x_.HasPlaceFor(line.x)) xs.push_back(line.x);
    }
    SetRange(xs, chart_.x_min, chart_.x_max, 0, &x_);
    SetRange(ys, chart_.y_min, chart_.y_max, 0.05, &y_);
  }

  bool InRangeOfX(double x) const { return x_.HasPlaceFor(x) && x >= x_.low && x <= x_.high; }

  void LayOut() {
    // Names at the right, unless they would take more than two fifths of the width.
    double widest_name = 0;
    for (const Series& series : chart_.series) {
      widest_name = std::max(widest_name, TextWidth(series.name, kLabelSize));
    }
    const double room_for_names = 14 + kKeyWidth + widest_name + 4;
    line_ends_ = !chart_.series.empty() &&
                 (chart_.legend == Legend::kLineEnds ||
                  (chart_.legend == Legend::kAuto && room_for_names <= 0.4 * chart_.width));
    legend_below_ = !chart_.series.empty() && !line_ends_ && chart_.legend != Legend::kNone;
    // Names that are asked for at the line ends and too long for it are cut; the tooltip has the
    // whole.
    name_width_ = std::min(widest_name, 0.5 * chart_.width - 14 - kKeyWidth - 4);
    plot_height_ = chart_.plot_height;
    if (line_ends_) {
      plot_height_ = std::max(plot_height_, kLegendRow * static_cast<double>(looks_.size()));
    }

    y_ticks_ = Ticks(y_.scale, y_.low, y_.high, std::max(3, static_cast<int>(plot_height_ / 55)));
    y_tick_labels_ = TickLabels(y_.scale, y_ticks_);
    left_ = 8;
    for (const std::string& label : y_tick_labels_) {
      left_ = std::max(left_, TextWidth(label, kTickSize));
    }
    const bool edges = CollectEdgeValues();
    if (edges) left_ = std::max(left_, TextWidth("no value", kTickSize));
    left_ += 14;
    right_ =
        chart_.width - (line_ends_ ? 14 + kKeyWidth + name_width_ + 4 : std::max(12.0, kInset));
    x_.pixel_low = left_ + kInset;
    x_.pixel_high = right_ - kInset;
    CollectEdgeValues();  // Again, now that x has its pixels.
    const size_t rows_above = StackEdgeValues(left_ + 2, right_ - 2, &above_);
    const size_t rows_below = StackEdgeValues(left_ + 2, right_ - 2, &below_);

    double y = 4;
    title_lines_ = WrapText(chart_.title, kTitleSize, chart_.width - 8, true);
    title_y_ = y;
    if (!title_lines_.empty()) y += 20 * static_cast<double>(title_lines_.size()) + 6;
    y_label_lines_ = WrapText(chart_.y_label, kLabelSize, chart_.width - 8);
    labels_y_ = y;
    LayOutVerticalLabels();
    y += kLabelRow * static_cast<double>(std::max(y_label_lines_.size(), vertical_rows_)) + 6;
    edge_above_y_ = y;
    if (rows_above > 0) y += kValueRow * static_cast<double>(rows_above) + 6;
    top_ = y;
    bottom_ = top_ + plot_height_;
    y_.pixel_low = bottom_;
    y_.pixel_high = top_;
    y = bottom_ + 5;
    edge_below_y_ = y;
    if (rows_below > 0) y += kValueRow * static_cast<double>(rows_below) + 3;
    x_ticks_y_ = y;
    y += kTickSize + 8;
    x_label_lines_ = WrapText(chart_.x_label, kLabelSize, chart_.width - 8);
    x_label_y_ = y;
    y += kLabelRow * static_cast<double>(x_label_lines_.size());
    legend_y_ = y + 10;
    if (legend_below_) y = LayOutLegendBelow();
    if (points_without_x_ > 0) y += kLabelRow + 4;
    height_ = y + 6;
  }

  // Fills above_ and below_; true if there is any.
  bool CollectEdgeValues() {
    above_.clear();
    below_.clear();
    for (size_t i = 0; i < chart_.series.size(); ++i) {
      for (const Point& point : chart_.series[i].points) {
        if (!InRangeOfX(point.x)) continue;
        const Side side = SideOf(point, y_);
        if (side == Side::kInside) continue;
        EdgeValue value{i, &point, FormatSignificant(point.y, 3), x_.At(point.x), 0};
        (side == Side::kAbove ? above_ : below_).push_back(value);
      }
    }
    // Rows are given out in order: the highest value stands at the top.
    for (std::vector<EdgeValue>* values : {&above_, &below_}) {
      std::stable_sort(values->begin(), values->end(), [](const EdgeValue& a, const EdgeValue& b) {
        const double va = std::isnan(a.point->y) ? -HUGE_VAL : a.point->y;
        const double vb = std::isnan(b.point->y) ? -HUGE_VAL : b.point->y;
        return va > vb;
      });
    }
    return !above_.empty() || !below_.empty();
  }

  // Labels of vertical lines stand beside the y label, in as many rows as they need.
  void LayOutVerticalLabels() {
    std::vector<Interval> taken;
    for (const std::string& line : y_label_lines_) {
      taken.push_back({0, 4 + TextWidth(line, kLabelSize) + 8});
    }
    // The lines of the y label fill rows 0, 1, ... in turn, for each begins at 0.
    const size_t label_lines = taken.size();
    for (const VerticalLine& line : chart_.vertical_lines) {
      if (!InRangeOfX(line.x) || line.label.empty()) continue;
      const double half = TextWidth(line.label, kTickSize) / 2;
      const double x = std::max(2 + half, std::min(x_.At(line.x), chart_.width - 2 - half));
      taken.push_back({x - half, x + half});
    }
    const std::vector<int> rows = StackIntoRows(taken, 8);
    vertical_rows_ = 0;
    for (size_t i = label_lines; i < taken.size(); ++i) {
      vertical_labels_.push_back(
          {(taken[i].low + taken[i].high) / 2, static_cast<double>(rows[i])});
      vertical_rows_ = std::max(vertical_rows_, static_cast<size_t>(rows[i]) + 1);
    }
  }

  // Returns where the legend ends.
  double LayOutLegendBelow() {
    double x = left_;
    double y = legend_y_;
    for (const Series& series : chart_.series) {
      const std::string name =
          TruncateText(series.name, kLabelSize, chart_.width - left_ - kKeyWidth - 4);
      const double width = kKeyWidth + TextWidth(name, kLabelSize);
      if (x > left_ && x + width > chart_.width - 4) x = left_, y += kLegendRow + 2;
      legend_places_.push_back({x, y});
      x += width + 22;
    }
    return y + kLegendRow;
  }

  void DrawText(Svg* svg) const {
    double y = title_y_ + kTitleSize;
    for (const std::string& line : title_lines_) {
      svg->Text(4, y, line, "title");
      y += 20;
    }
    y = labels_y_ + kLabelSize;
    for (const std::string& line : y_label_lines_) {
      svg->Text(4, y, line, "label");
      y += kLabelRow;
    }
    y = x_label_y_ + kLabelSize;
    for (const std::string& line : x_label_lines_) {
      const double half = TextWidth(line, kLabelSize) / 2;
      const double x = std::min(std::max((left_ + right_) / 2, 4 + half), chart_.width - 4 - half);
      svg->Text(x, y, line, "label", Anchor::kMiddle);
      y += kLabelRow;
    }
    if (!has_data_) {
      svg->Text((left_ + right_) / 2, (top_ + bottom_) / 2, "no data", "label", Anchor::kMiddle);
    }
    if (points_without_x_ > 0) {
      svg->Text(4, height_ - 10,
                std::to_string(points_without_x_) +
                    (points_without_x_ == 1 ? " point has" : " points have") +
                    " no place on the x axis",
                "note");
    }
  }

  void DrawAxes(Svg* svg) const {
    for (size_t i = 0; i < y_ticks_.size(); ++i) {
      const double y = y_.At(y_ticks_[i]);
      svg->Line(left_, y, right_, y, "grid");
      svg->Text(left_ - 8, y + 0.35 * kTickSize, y_tick_labels_[i], "tick", Anchor::kEnd);
    }
    std::vector<double> ticks;
    for (double tick : chart_.x_ticks) {
      if (InRangeOfX(tick)) ticks.push_back(tick);
    }
    if (ticks.empty()) {
      const double room = (x_.pixel_high - x_.pixel_low) / 70;
      ticks = Ticks(x_.scale, x_.low, x_.high, std::max(2, static_cast<int>(room)));
    }
    const std::vector<std::string> labels = TickLabels(x_.scale, ticks);
    double free_from = -1e9;
    for (size_t i = 0; i < ticks.size(); ++i) {
      const double x = x_.At(ticks[i]);
      const double half = TextWidth(labels[i], kTickSize) / 2;
      const double text_x = std::max(half, std::min(x, chart_.width - half));
      svg->Line(x, bottom_, x, bottom_ + 4, "axis");
      if (text_x - half < free_from) continue;  // The tick stays; its label would touch the last.
      svg->Text(text_x, x_ticks_y_ + kTickSize, labels[i], "tick", Anchor::kMiddle);
      free_from = text_x + half + 8;
    }
    svg->Line(left_, bottom_, right_, bottom_, "axis");
  }

  void DrawVerticalLines(Svg* svg) const {
    size_t label = 0;
    for (const VerticalLine& line : chart_.vertical_lines) {
      if (!InRangeOfX(line.x)) continue;
      const double x = x_.At(line.x);
      double from = edge_above_y_;
      if (!line.label.empty()) {
        const auto [text_x, row] = vertical_labels_[label++];
        const double y = labels_y_ + kLabelRow * row + kLabelSize;
        svg->Text(text_x, y, line.label, "tick", Anchor::kMiddle);
        from = y + 5;
      }
      svg->Line(x, from, x, bottom_, "vertical");
    }
  }

  void DrawBand(size_t index, Svg* svg) const {
    const Series& series = chart_.series[index];
    std::vector<Pixel> run;
    std::vector<Pixel> run_low;
    const auto flush = [&] {
      std::vector<std::pair<double, double>> outline;
      for (const Pixel& p : run) outline.push_back({p.x, p.y});
      for (auto p = run_low.rbegin(); p != run_low.rend(); ++p) outline.push_back({p->x, p->y});
      if (run.size() > 1) svg->Path(outline, true, "band " + looks_[index].css);
      run.clear();
      run_low.clear();
    };
    const auto clamped = [&](double value) {
      return std::max(top_, std::min(y_.HasPlaceFor(value) ? y_.At(value) : bottom_, bottom_));
    };
    for (const Point& point : series.points) {
      const double error = std::isfinite(point.error) ? point.error : 0;
      if (!InRangeOfX(point.x) || !y_.HasPlaceFor(point.y)) {
        flush();
        continue;
      }
      const double x = x_.At(point.x);
      run.push_back({x, clamped(point.y + error)});
      run_low.push_back({x, clamped(point.y - error)});
    }
    flush();
  }

  void DrawSeries(size_t index, Svg* svg) const {
    const Series& series = chart_.series[index];
    const Look& look = looks_[index];
    svg->BeginGroup("", series.name);
    const Point* previous = nullptr;
    std::vector<std::pair<double, double>> run;
    const auto flush = [&] {
      if (run.size() > 1 && look.joined) svg->Path(run, false, "line " + look.css, look.dash);
      run.clear();
    };
    for (const Point& point : series.points) {
      if (!InRangeOfX(point.x) || !y_.HasPlaceFor(point.y)) {
        previous = nullptr;
        flush();
        continue;
      }
      if (previous != nullptr) {
        const auto part = ClipToBand(At(*previous), At(point), top_, bottom_);
        if (part.has_value()) {
          if (run.empty()) run.push_back({part->first.x, part->first.y});
          run.push_back({part->second.x, part->second.y});
        }
        if (SideOf(point, y_) != Side::kInside) flush();
      }
      previous = &point;
    }
    flush();
    DrawArrows(series, look, svg);
    for (const Point& point : series.points) {
      if (!InRangeOfX(point.x) || SideOf(point, y_) != Side::kInside) continue;
      svg->BeginGroup("", Describe(series, point));
      const Pixel at = At(point);
      if (chart_.errors == ErrorStyle::kBars && std::isfinite(point.error) && point.error > 0) {
        DrawErrorBar(point, at, look, svg);
      }
      DrawMarker(look, at.x, at.y, svg);
      svg->Circle(at.x, at.y, 9, "hit");
      svg->EndGroup();
    }
    svg->EndGroup();
  }

  void DrawErrorBar(const Point& point, Pixel at, const Look& look, Svg* svg) const {
    const double above = std::max(top_, y_.At(point.y + point.error));
    const double least = point.y - point.error;
    const double below = y_.HasPlaceFor(least) ? std::min(bottom_, y_.At(least)) : bottom_;
    const std::string css = "error " + look.css;
    svg->Line(at.x, above, at.x, below, css);
    svg->Line(at.x - 4, above, at.x + 4, above, css);
    svg->Line(at.x - 4, below, at.x + 4, below, css);
  }

  // An arrow wherever the line leaves the plot or comes back.
  void DrawArrows(const Series& series, const Look& look, Svg* svg) const {
    for (size_t i = 1; i < series.points.size(); ++i) {
      const Point* ends[] = {&series.points[i - 1], &series.points[i]};
      bool drawable = true;
      for (const Point* end : ends) {
        drawable = drawable && InRangeOfX(end->x) && y_.HasPlaceFor(end->y);
      }
      if (!drawable) continue;
      const auto part = ClipToBand(At(*ends[0]), At(*ends[1]), top_, bottom_);
      if (!part.has_value()) continue;
      const Pixel cut[] = {part->first, part->second};
      for (int end : {0, 1}) {
        const Side side = SideOf(*ends[end], y_);
        if (side == Side::kInside) continue;
        const double tip = side == Side::kAbove ? -1 : 1;
        const double x = cut[end].x;
        const double y = cut[end].y;
        svg->Path({{x, y + tip * 4}, {x + 4.5, y - tip * 5}, {x - 4.5, y - tip * 5}}, true,
                  "mark " + look.css, "", Describe(series, *ends[end]));
      }
    }
  }

  void DrawEdgeValues(const std::vector<EdgeValue>& values, bool above, Svg* svg) const {
    if (values.empty()) return;
    bool any_finite = false;
    for (const EdgeValue& value : values) any_finite |= std::isfinite(value.point->y);
    const double first = (above ? edge_above_y_ : edge_below_y_) + kTickSize;
    svg->Text(left_ - 8, first,
              above        ? "off scale"
              : any_finite ? "off scale"
                           : "no value",
              "note", Anchor::kEnd);
    for (const EdgeValue& value : values) {
      if (value.row >= kMostValueRows) continue;  // Hundreds of them: the arrows have to do.
      const Look& look = looks_[value.series];
      const double y = first + kValueRow * static_cast<double>(value.row);
      const double x = value.x - value.width / 2;
      svg->BeginGroup("", Describe(chart_.series[value.series], *value.point));
      DrawMarker(look, x + kMarkerRadius, y - 0.35 * kTickSize, svg);
      svg->Text(x + kEdgeMarkerWidth, y, value.text, "edge");
      svg->EndGroup();
    }
  }

  struct LineEnd {
    Pixel at;
    bool visible;  // There is a marker at this place.
  };

  // Where the last value of a series stands; at the edge of the plot for one off the scale or
  // without a place.
  LineEnd EndOf(const Series& series) const {
    LineEnd end{{right_, bottom_}, false};
    for (const Point& point : series.points) {
      if (!InRangeOfX(point.x)) continue;
      const Side side = SideOf(point, y_);
      if (side == Side::kInside) {
        end = {At(point), true};
      } else if (side != Side::kNowhere) {
        end = {{right_, side == Side::kAbove ? top_ : bottom_}, false};
      }
    }
    return end;
  }

  void DrawNames(Svg* svg) const {
    const size_t n = chart_.series.size();
    std::vector<LineEnd> ends;
    for (const Series& series : chart_.series) ends.push_back(EndOf(series));
    std::vector<size_t> order(n);
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return ends[a].at.y < ends[b].at.y; });
    std::vector<double> targets;
    for (size_t i : order) targets.push_back(ends[i].at.y);
    const std::vector<double> placed =
        SpreadApart(targets, kLegendRow, top_ + kLegendRow / 2, bottom_ - kLegendRow / 2);
    const double x = right_ + 10;
    for (size_t k = 0; k < n; ++k) {
      const size_t i = order[k];
      const Series& series = chart_.series[i];
      if (ends[i].visible) {
        const Pixel end = ends[i].at;
        svg->Path({{end.x + 6, end.y}, {right_ - 4, end.y}, {x, placed[k]}}, false,
                  "leader " + looks_[i].css, end.x + 2 * kInset < right_ ? "1 4" : "");
      }
      DrawKey(looks_[i], x, placed[k], svg);
      svg->Text(x + kKeyWidth, placed[k] + 0.35 * kLabelSize,
                TruncateText(series.name, kLabelSize, name_width_ + 0.5), "name", Anchor::kStart,
                false, series.name);
    }
  }

  void DrawLegendBelow(Svg* svg) const {
    for (size_t i = 0; i < legend_places_.size(); ++i) {
      const Pixel place = legend_places_[i];
      const std::string& name = chart_.series[i].name;
      DrawKey(looks_[i], place.x, place.y + kLegendRow / 2, svg);
      svg->Text(place.x + kKeyWidth, place.y + kLegendRow / 2 + 0.35 * kLabelSize,
                TruncateText(name, kLabelSize, chart_.width - left_ - kKeyWidth - 4), "name",
                Anchor::kStart, false, name);
    }
  }

  Pixel At(const Point& point) const { return {x_.At(point.x), y_.At(point.y)}; }

  const LineChart& chart_;
  std::vector<Look> looks_;
  Axis x_, y_;
  bool has_data_ = false;
  int points_without_x_ = 0;

  bool line_ends_ = false;
  bool legend_below_ = false;
  double name_width_ = 0;
  double plot_height_ = 0;
  double left_ = 0, right_ = 0, top_ = 0, bottom_ = 0, height_ = 0;
  double title_y_ = 0, labels_y_ = 0, edge_above_y_ = 0, edge_below_y_ = 0;
  double x_ticks_y_ = 0, x_label_y_ = 0, legend_y_ = 0;
  std::vector<std::string> title_lines_, x_label_lines_, y_label_lines_;
  std::vector<double> y_ticks_;
  std::vector<std::string> y_tick_labels_;
  size_t vertical_rows_ = 0;
  std::vector<std::pair<double, double>> vertical_labels_;  // x and row of each label.
  std::vector<EdgeValue> above_, below_;
  std::vector<Pixel> legend_places_;
};

}  // namespace

Html Render(const LineChart& chart) { return Drawing(chart).Render(); }

}  // namespace report
}  // namespace longrange
