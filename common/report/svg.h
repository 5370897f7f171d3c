// A small builder of inline SVG, and how wide text will be.

#ifndef LONGRANGE_COMMON_REPORT_SVG_H_
#define LONGRANGE_COMMON_REPORT_SVG_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/report/markup.h"

namespace longrange {
namespace report {

// How wide `text` is at most, in pixels, in a sans-serif of `font_size` pixels: measured on DejaVu
// Sans, the widest of the fonts that the page's style sheet names.
double TextWidth(absl::string_view text, double font_size, bool bold = false);

// `text` broken at spaces into lines of at most `width` pixels; a longer word keeps a line of its
// own.
std::vector<std::string> WrapText(absl::string_view text, double font_size, double width,
                                  bool bold = false);

// `text` if it fits into `width` pixels, else as much as fits and an ellipsis.
std::string TruncateText(absl::string_view text, double font_size, double width);

// A span of pixels on a line of text.
struct Interval {
  double low;
  double high;
};

// The row for each interval, in the order given, such that no two of a row come nearer than `gap`:
// the first row that is free.
std::vector<int> StackIntoRows(const std::vector<Interval>& intervals, double gap);

// Positions nearest to `targets` (least squares) that keep their order, stand at least `distance`
// apart and lie within [low, high]; where they do not fit, the distance shrinks. Labels at line
// ends are placed by it.
std::vector<double> SpreadApart(const std::vector<double>& targets, double distance, double low,
                                double high);

enum class Anchor { kStart, kMiddle, kEnd };

// SVG in pixels, y downwards. Looks come from classes, which the page's style sheet defines
// (style.h), so that one drawing serves light, dark and print. `tooltip` is what a mouse held over
// the shape shows.
class Svg {
 public:
  // `label` says to screen readers what the drawing shows.
  Svg(double width, double height, absl::string_view css_class, absl::string_view label);

  void Line(double x1, double y1, double x2, double y2, absl::string_view css_class,
            absl::string_view dash = "");
  void Rect(double x, double y, double width, double height, absl::string_view css_class,
            absl::string_view fill = "", absl::string_view tooltip = "");
  void Circle(double x, double y, double radius, absl::string_view css_class,
              absl::string_view tooltip = "");
  // `points` joined by straight lines; closed makes it an area.
  void Path(const std::vector<std::pair<double, double>>& points, bool closed,
            absl::string_view css_class, absl::string_view dash = "",
            absl::string_view tooltip = "");
  // `y` is the base line. `turned` writes upwards, as beside a y axis.
  void Text(double x, double y, absl::string_view text, absl::string_view css_class,
            Anchor anchor = Anchor::kStart, bool turned = false, absl::string_view tooltip = "");

  // What is added until EndGroup() stands in a <g>.
  void BeginGroup(absl::string_view css_class, absl::string_view tooltip = "");
  void EndGroup();

  // The whole <svg>. Groups must be ended.
  Html Finish() const;

 private:
  void Add(const Html& element) { body_ += element.markup() + "\n"; }

  double width_;
  double height_;
  std::string css_class_;
  std::string label_;
  std::string body_;
  int open_groups_ = 0;
};

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_SVG_H_
