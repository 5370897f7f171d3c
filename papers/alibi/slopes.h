// The slopes of ALiBi (Press, Smith, Lewis; ICLR 2022, section 3).

#ifndef LONGRANGE_PAPERS_ALIBI_SLOPES_H_
#define LONGRANGE_PAPERS_ALIBI_SLOPES_H_

#include <cstdint>
#include <vector>

namespace longrange::alibi {

// One for each of n heads, n >= 1, in order. n a power of two: 2^(-bias_max h / n) for h = 1..n.
// Else, with p the largest power of two below n: the p slopes of p heads, then slopes number 1, 3,
// 5, .. of 2p heads (get_slopes of the authors' code; BLOOM's and MPT's formulas give the same).
std::vector<double> Slopes(int64_t heads, double bias_max);

}  // namespace longrange::alibi

#endif  // LONGRANGE_PAPERS_ALIBI_SLOPES_H_
