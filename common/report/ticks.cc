// Ticks are written as integer × power of ten and divided, not multiplied, by powers below one, so
// that 0.3 is 0.3.

#include "common/report/ticks.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>

#include "common/report/number.h"

namespace longrange {
namespace report {
namespace {

// A short logarithmic axis with fewer ticks than these has those of a linear one, if there are
// more.
constexpr int kFewestPowersOfTwo = 2;
constexpr int kFewestDecadeTicks = 4;
constexpr double kShortRange = 30;  // Beyond this ratio linear ticks would crowd at the upper end.
constexpr double kSlack = 1e-9;  // Of a step: a limit that misses a tick by rounding still has it.

double TimesPowerOfTen(double value, int exponent) {
  return exponent < 0 ? value / std::pow(10.0, -exponent) : value * std::pow(10.0, exponent);
}

std::vector<double> LinearTicks(double low, double high, int wanted) {
  const double raw = high / wanted - low / wanted;
  const double magnitude = std::max(std::fabs(low), std::fabs(high));
  // Below this, neighbouring ticks would be the same double.
  if (!(raw > magnitude * 1e-13) || !(raw > 1e-290)) return {low, high};
  int exponent = static_cast<int>(std::floor(std::log10(raw)));
  int base = 1;
  for (int candidate : {1, 2, 5, 10}) {
    base = candidate;
    if (TimesPowerOfTen(candidate, exponent) >= 0.7 * raw) break;
  }
  const double step = TimesPowerOfTen(base, exponent);
  std::vector<double> ticks;
  const double last = std::floor(high / step + kSlack);
  for (double i = std::ceil(low / step - kSlack); i <= last; ++i) {
    ticks.push_back(i == 0 ? 0 : TimesPowerOfTen(i * base, exponent));
  }
  return ticks;
}

std::vector<double> PowersOfTwo(double low, double high, int wanted) {
  const int first = static_cast<int>(std::ceil(std::log2(low) - kSlack));
  const int last = static_cast<int>(std::floor(std::log2(high) + kSlack));
  int stride = 1;
  while (2 * ((last - first) / stride + 1) > 3 * wanted) stride *= 2;
  std::vector<double> ticks;
  for (int e = first; e <= last; e += stride) ticks.push_back(std::ldexp(1.0, e));
  return ticks;
}

std::vector<double> DecadeTicks(double low, double high, std::initializer_list<double> mantissas,
                                int decade_stride) {
  std::vector<double> ticks;
  const int first = static_cast<int>(std::floor(std::log10(low) - kSlack));
  const int last = static_cast<int>(std::floor(std::log10(high) + kSlack));
  for (int e = first; e <= last; ++e) {
    if (e % decade_stride != 0) continue;
    for (double mantissa : mantissas) {
      const double tick = TimesPowerOfTen(mantissa, e);
      if (tick >= low * (1 - kSlack) && tick <= high * (1 + kSlack)) ticks.push_back(tick);
    }
  }
  return ticks;
}

std::vector<double> LogTicks(double low, double high, int wanted) {
  const double decades = std::log10(high) - std::log10(low);
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / (1.5 * wanted))));
  std::vector<double> best;
  for (const auto& mantissas :
       {std::initializer_list<double>{1}, std::initializer_list<double>{1, 2, 5},
        std::initializer_list<double>{1, 1.5, 2, 3, 4, 5, 7}}) {
    const std::vector<double> ticks =
        DecadeTicks(low, high, mantissas, mantissas.size() == 1 ? stride : 1);
    if (static_cast<int>(ticks.size()) > 2 * wanted) break;
    best = ticks;
    if (static_cast<int>(best.size()) >= kFewestDecadeTicks) break;
  }
  return best;
}

}  // namespace

std::vector<double> Ticks(Scale scale, double low, double high, int wanted) {
  wanted = std::max(wanted, 2);
  if (!std::isfinite(low) || !std::isfinite(high) || !(low < high)) return {};
  std::vector<double> ticks;
  if (scale != Scale::kLinear && low > 0) {
    ticks = scale == Scale::kLog2 ? PowersOfTwo(low, high, wanted) : LogTicks(low, high, wanted);
    const int enough = scale == Scale::kLog2 ? kFewestPowersOfTwo : kFewestDecadeTicks;
    if (static_cast<int>(ticks.size()) >= enough || high > kShortRange * low) return ticks;
  }
  const std::vector<double> linear = LinearTicks(low, high, wanted);
  return linear.size() > ticks.size() ? linear : ticks;
}

std::vector<std::string> TickLabels(Scale scale, const std::vector<double>& ticks) {
  // Twelve digits hide the rounding of 0.30000000000000004 and keep what any sensible tick needs.
  const auto decimals = [](double value) {
    const std::string all = FormatFixed(value, 12);
    const size_t last = all.find_last_not_of('0');
    return std::max(0, static_cast<int>(last) - static_cast<int>(all.find('.')));
  };
  double largest = 0;
  double smallest = HUGE_VAL;
  int most_decimals = 0;
  for (double tick : ticks) {
    if (!std::isfinite(tick)) continue;
    largest = std::max(largest, std::fabs(tick));
    if (tick != 0) smallest = std::min(smallest, std::fabs(tick));
    if (std::fabs(tick) < 1e15) most_decimals = std::max(most_decimals, decimals(tick));
  }
  const bool uniform = scale == Scale::kLinear || largest < 10 * smallest;
  const bool scientific = largest >= 1e7 || (uniform ? largest < 1e-3 : smallest < 1e-4);
  std::vector<std::string> labels;
  for (double tick : ticks) {
    if (scientific && scale != Scale::kLog2) {
      labels.push_back(FormatScientific(tick, 6));
    } else {
      labels.push_back(FormatFixed(tick, uniform ? most_decimals : decimals(tick)));
    }
  }
  return labels;
}

}  // namespace report
}  // namespace longrange
