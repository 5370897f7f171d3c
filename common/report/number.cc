// All digits come from std::to_chars, which knows no locale and rounds exactly.

#include "common/report/number.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>

namespace longrange {
namespace report {
namespace {

constexpr char kMinus[] = "\u2212";
constexpr char kNarrowSpace[] = "\u202F";
constexpr char kNoBreakSpace[] = "\u00A0";

std::string ToChars(double value, std::chars_format format, int precision) {
  std::array<char, 400> buffer;  // The longest fixed number, 1e308 with decimals, takes less.
  const auto result = std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, format,
                                    std::clamp(precision, 0, 30));
  return std::string(buffer.data(), result.ptr);
}

void StripTrailingZeros(std::string* digits) {
  if (digits->find('.') == std::string::npos) return;
  digits->erase(digits->find_last_not_of('0') + 1);
  if (digits->back() == '.') digits->pop_back();
}

// ASCII digits, perhaps with a leading '-', as a reader should see them.
std::string Polished(const std::string& digits) {
  if (digits[0] != '-') return digits;
  const bool zero = digits.find_first_not_of("-0.") == std::string::npos;
  return (zero ? "" : kMinus) + digits.substr(1);
}

std::string NonFinite(double value) {
  if (std::isnan(value)) return "NaN";
  return value > 0 ? "∞" : std::string(kMinus) + "∞";
}

}  // namespace

std::string FormatFixed(double value, int digits) {
  if (!std::isfinite(value)) return NonFinite(value);
  if (std::fabs(value) >= 1e15) return FormatScientific(value, 3);
  return Polished(ToChars(value, std::chars_format::fixed, digits));
}

std::string FormatScientific(double value, int significant) {
  static constexpr const char* kSuperscripts[] = {"⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"};
  if (!std::isfinite(value)) return NonFinite(value);
  if (value == 0) return "0";
  const std::string all = ToChars(value, std::chars_format::scientific, significant - 1);
  const size_t e = all.find('e');
  std::string mantissa = all.substr(0, e);
  StripTrailingZeros(&mantissa);
  if (all.compare(e, std::string::npos, "e+00") == 0) return Polished(mantissa);
  std::string out = mantissa == "1"    ? std::string("10")
                    : mantissa == "-1" ? std::string(kMinus) + "10"
                                       : Polished(mantissa) + "×10";
  if (all[e + 1] == '-') out += "⁻";
  const size_t first = std::min(all.find_first_not_of("+-0", e + 1), all.size() - 1);
  for (size_t i = first; i < all.size(); ++i) out += kSuperscripts[all[i] - '0'];
  return out;
}

std::string FormatSignificant(double value, int significant) {
  if (!std::isfinite(value)) return NonFinite(value);
  if (value == 0) return "0";
  significant = std::max(significant, 1);
  if (std::fabs(value) < 1e-4 || std::fabs(value) >= 1e7) {
    return FormatScientific(value, significant);
  }
  // The exponent after rounding: 9.996 to three digits is 10.0.
  const std::string rounded = ToChars(value, std::chars_format::scientific, significant - 1);
  int exponent = 0;
  const char* first = rounded.data() + rounded.find('e') + 1;
  if (*first == '+') ++first;
  std::from_chars(first, rounded.data() + rounded.size(), exponent);
  return Polished(
      ToChars(value, std::chars_format::fixed, std::max(0, significant - 1 - exponent)));
}

std::string FormatShort(double value, int significant) {
  std::string digits = FormatSignificant(value, significant);
  if (digits.find("×") == std::string::npos) StripTrailingZeros(&digits);
  return digits;
}

std::string FormatCount(int64_t value) {
  const std::string digits = std::to_string(value);
  std::string out;
  for (size_t i = 0; i < digits.size(); ++i) {
    const size_t left = digits.size() - i;
    const bool after_digit = i > 0 && digits[i - 1] != '-';
    if (after_digit && left % 3 == 0 && digits.size() > 4) out += kNarrowSpace;
    if (digits[i] == '-') {
      out += kMinus;
    } else {
      out += digits[i];
    }
  }
  return out;
}

std::string FormatWithUnit(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T", "P", "E"};
  if (!std::isfinite(value)) return NonFinite(value);
  size_t unit = 0;
  while (unit + 1 < std::size(kUnits) && std::fabs(value) >= 999.5) value /= 1000, ++unit;
  const std::string digits = FormatShort(value, 3);
  return unit == 0 ? digits : digits + kNoBreakSpace + kUnits[unit];
}

std::string FormatPixels(double value) {
  if (!std::isfinite(value)) return "0";
  std::string digits = ToChars(std::clamp(value, -1e6, 1e6), std::chars_format::fixed, 2);
  StripTrailingZeros(&digits);
  return digits == "-0" ? "0" : digits;
}

}  // namespace report
}  // namespace longrange
