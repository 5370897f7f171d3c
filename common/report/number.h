// Numbers as text, the same under every locale.

#ifndef LONGRANGE_COMMON_REPORT_NUMBER_H_
#define LONGRANGE_COMMON_REPORT_NUMBER_H_

#include <cstdint>
#include <string>

namespace longrange {
namespace report {

// `value` with `digits` decimals, for readers: a true minus sign, never "-0", "∞", "NaN"; beyond
// 1e15 as in FormatScientific.
std::string FormatFixed(double value, int digits);

// `value` rounded to `significant` digits, for readers; as in FormatScientific below 1e-4 and from
// 1e7 on.
std::string FormatSignificant(double value, int significant);

// The same without trailing zeros: 512, 0.5.
std::string FormatShort(double value, int significant);

// m×10ᵉ with at most `significant` digits in m; 10ᵉ alone where m is 1, m alone where e is 0.
std::string FormatScientific(double value, int significant);

// A count with its thousands set apart by narrow spaces: 107 456.
std::string FormatCount(int64_t value);

// A count in its largest unit, three significant digits: 107 k, 4.19 M, 1.2 G, 3.4 T, 5.6 P. The
// space is a no-break one.
std::string FormatWithUnit(double value);

// A coordinate in pixels for SVG attributes: at most two decimals, no trailing zeros, ASCII; 0 for
// what is not finite.
std::string FormatPixels(double value);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_NUMBER_H_
