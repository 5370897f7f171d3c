// Where an axis has its ticks, and what they say.

#ifndef LONGRANGE_COMMON_REPORT_TICKS_H_
#define LONGRANGE_COMMON_REPORT_TICKS_H_

#include <string>
#include <vector>

namespace longrange {
namespace report {

enum class Scale { kLinear, kLog2, kLog10 };

// Ticks within [low, high], ascending, at most about twice `wanted` of them; low < high, and 0 <
// low on a logarithmic scale. kLinear: multiples of 1, 2 or 5 times a power of ten. kLog2:   powers
// of two, every k-th of them where there are many. kLog10:  powers of ten; with 2 and 5 between
// them, or 1.5, 2, 3, 4, 5, 7, where the range is short. A logarithmic axis too short for that (one
// power of two, fewer than four ticks of kLog10) has those of a linear one.
std::vector<double> Ticks(Scale scale, double low, double high, int wanted);

// A label for each of `ticks`; within a decade, and on a linear axis, all have the same number of
// decimals.
std::vector<std::string> TickLabels(Scale scale, const std::vector<double>& ticks);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_TICKS_H_
