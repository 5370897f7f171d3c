// Elements of SVG with their numbers written by FormatPixels.

#include "common/report/svg.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstddef>

#include "common/report/number.h"

namespace longrange {
namespace report {
namespace {

// Advance widths of DejaVu Sans in thousandths of the font size, U+0020 to U+007E.
constexpr int kAsciiWidths[] = {
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361,  318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635,  611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352,  635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592,  525, 636, 337, 636, 838};
static_assert(std::size(kAsciiWidths) == 0x7F - 0x20, "one width a printable character");
constexpr double kBoldFactor = 1.12;

// A drawing that is stretched to the page grows no further than this, lest its type outgrow the
// text's.
constexpr double kLargestMagnification = 1.15;

double CodePointWidth(char32_t c) {
  if (c >= 0x20 && c < 0x7F) return kAsciiWidths[c - 0x20] / 1000.0;
  if (c >= 0x300 && c < 0x370) return 0;                    // Combining marks.
  if (c == 0x2009 || c == 0x202F) return 0.2;               // Thin and narrow spaces.
  if (c == 0xB1 || c == 0xD7 || c == 0x2212) return 0.838;  // ± × −
  if (c == 0xA0) return 0.318;
  if (c >= 0x1100)
    return c >= 0x2E80 || c < 0x1200 ? 1.05 : 0.84;  // CJK, Hangul and emoji are square.
  return 0.7;
}

double Sum(const std::vector<char32_t>& code_points, double font_size, bool bold) {
  double sum = 0;
  for (char32_t c : code_points) sum += CodePointWidth(c);
  return sum * font_size * (bold ? kBoldFactor : 1.0);
}

Html Title(absl::string_view tooltip) {
  return tooltip.empty() ? Html() : Element("title", {}, tooltip);
}

Html Shape(absl::string_view tag, std::initializer_list<Attribute> attributes,
           absl::string_view tooltip) {
  return tooltip.empty() ? EmptyElement(tag, attributes) : Element(tag, attributes, Title(tooltip));
}

}  // namespace

double TextWidth(absl::string_view text, double font_size, bool bold) {
  return Sum(DecodeUtf8(text), font_size, bold);
}

std::vector<std::string> WrapText(absl::string_view text, double font_size, double width,
                                  bool bold) {
  std::vector<std::string> lines;
  size_t position = 0;
  while (position < text.size()) {
    const size_t end = std::min(text.find(' ', position), text.size());
    const std::string word(text.substr(position, end - position));
    position = end + 1;
    if (word.empty()) continue;
    const std::string longer = lines.empty() ? word : lines.back() + " " + word;
    if (lines.empty() || TextWidth(longer, font_size, bold) > width) {
      lines.push_back(word);
    } else {
      lines.back() = longer;
    }
  }
  return lines;
}

std::string TruncateText(absl::string_view text, double font_size, double width) {
  std::vector<char32_t> kept = DecodeUtf8(text);
  if (Sum(kept, font_size, false) <= width) return std::string(text);
  const double room = width - CodePointWidth(0x2026) * font_size;
  while (!kept.empty() && Sum(kept, font_size, false) > room) kept.pop_back();
  std::string out;
  for (char32_t c : kept) AppendUtf8(c, &out);
  return out + "…";
}

std::vector<int> StackIntoRows(const std::vector<Interval>& intervals, double gap) {
  std::vector<std::vector<Interval>> rows;
  std::vector<int> row_of;
  for (const Interval& interval : intervals) {
    size_t row = 0;
    for (; row < rows.size(); ++row) {
      const bool free = std::all_of(rows[row].begin(), rows[row].end(), [&](const Interval& taken) {
        return interval.low >= taken.high + gap || interval.high + gap <= taken.low;
      });
      if (free) break;
    }
    if (row == rows.size()) rows.emplace_back();
    rows[row].push_back(interval);
    row_of.push_back(static_cast<int>(row));
  }
  return row_of;
}

std::vector<double> SpreadApart(const std::vector<double>& targets, double distance, double low,
                                double high) {
  const size_t n = targets.size();
  if (n == 0) return {};
  if (n > 1) distance = std::min(distance, (high - low) / static_cast<double>(n - 1));
  // z_i = y_i - i distance must not fall: isotonic regression by pooling neighbours. Clamping an
  // isotonic optimum to an interval keeps it one.
  struct Pool {
    double sum;
    size_t count;
    double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Pool> pools;
  for (size_t i = 0; i < n; ++i) {
    pools.push_back({targets[i] - static_cast<double>(i) * distance, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() > pools.back().mean()) {
      const Pool last = pools.back();
      pools.pop_back();
      pools.back().sum += last.sum;
      pools.back().count += last.count;
    }
  }
  const double z_high = std::max(low, high - static_cast<double>(n - 1) * distance);
  std::vector<double> placed;
  for (const Pool& pool : pools) {
    for (size_t i = 0; i < pool.count; ++i) {
      const double offset = static_cast<double>(placed.size()) * distance;
      placed.push_back(std::clamp(pool.mean(), low, z_high) + offset);
    }
  }
  return placed;
}

Svg::Svg(double width, double height, absl::string_view css_class, absl::string_view label)
    : width_(width), height_(height), css_class_(css_class), label_(label) {}

void Svg::Line(double x1, double y1, double x2, double y2, absl::string_view css_class,
               absl::string_view dash) {
  Add(EmptyElement("line", {{"class", std::string(css_class)},
                            {"x1", FormatPixels(x1)},
                            {"y1", FormatPixels(y1)},
                            {"x2", FormatPixels(x2)},
                            {"y2", FormatPixels(y2)},
                            {"stroke-dasharray", std::string(dash)}}));
}

void Svg::Rect(double x, double y, double width, double height, absl::string_view css_class,
               absl::string_view fill, absl::string_view tooltip) {
  Add(Shape("rect",
            {{"class", std::string(css_class)},
             {"x", FormatPixels(x)},
             {"y", FormatPixels(y)},
             {"width", FormatPixels(width)},
             {"height", FormatPixels(height)},
             {"fill", std::string(fill)}},
            tooltip));
}

void Svg::Circle(double x, double y, double radius, absl::string_view css_class,
                 absl::string_view tooltip) {
  Add(Shape("circle",
            {{"class", std::string(css_class)},
             {"cx", FormatPixels(x)},
             {"cy", FormatPixels(y)},
             {"r", FormatPixels(radius)}},
            tooltip));
}

void Svg::Path(const std::vector<std::pair<double, double>>& points, bool closed,
               absl::string_view css_class, absl::string_view dash, absl::string_view tooltip) {
  if (points.empty()) return;
  std::string d;
  for (const auto& [x, y] : points) {
    d += (d.empty() ? "M" : "L") + FormatPixels(x) + " " + FormatPixels(y);
  }
  if (closed) d += "Z";
  Add(Shape("path",
            {{"class", std::string(css_class)}, {"d", d}, {"stroke-dasharray", std::string(dash)}},
            tooltip));
}

void Svg::Text(double x, double y, absl::string_view text, absl::string_view css_class,
               Anchor anchor, bool turned, absl::string_view tooltip) {
  const std::string place = FormatPixels(x) + " " + FormatPixels(y);
  Add(Element("text",
              {{"class", std::string(css_class)},
               {"x", FormatPixels(x)},
               {"y", FormatPixels(y)},
               {"text-anchor", anchor == Anchor::kMiddle ? "middle"
                               : anchor == Anchor::kEnd  ? "end"
                                                         : ""},
               {"transform", turned ? "rotate(-90 " + place + ")" : ""}},
              Title(tooltip) + text));
}

void Svg::BeginGroup(absl::string_view css_class, absl::string_view tooltip) {
  body_ += "<g";
  if (!css_class.empty()) body_ += " class=\"" + EscapeText(css_class) + "\"";
  body_ += ">" + Title(tooltip).markup() + "\n";
  ++open_groups_;
}

void Svg::EndGroup() {
  CHECK_GT(open_groups_, 0) << "EndGroup without BeginGroup";
  --open_groups_;
  body_ += "</g>\n";
}

Html Svg::Finish() const {
  CHECK_EQ(open_groups_, 0) << "a group of the drawing '" << label_ << "' is not ended";
  const std::string width = FormatPixels(width_);
  const std::string height = FormatPixels(height_);
  return Element("svg",
                 {{"xmlns", "http://www.w3.org/2000/svg"},
                  {"class", css_class_},
                  {"role", "img"},
                  {"aria-label", label_},
                  {"viewBox", "0 0 " + width + " " + height},
                  {"width", width},
                  {"height", height},
                  {"style", "max-width:" + FormatPixels(kLargestMagnification * width_) + "px"}},
                 Html::Trusted("\n" + body_)) +
         Html::Trusted("\n");
}

}  // namespace report
}  // namespace longrange
