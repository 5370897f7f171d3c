// The results of the speed report for readers.

#ifndef LONGRANGE_EXPERIMENTS_SPEED_PAGE_H_
#define LONGRANGE_EXPERIMENTS_SPEED_PAGE_H_

#include <string>
#include <vector>

#include "common/io/rows.h"
#include "experiments/speed/measure.h"

namespace longrange {

// One self-contained HTML page.
std::string SpeedPage(const SpeedResults& results);

// A line a workload: time, rates, share of what the machine can do, ratio; then the crossovers.
std::string SpeedText(const SpeedResults& results);

// "overtakes at 1 200 rows", "does not overtake up to 16 384 rows".
std::string Describe(const Crossover& crossover);

// What is the same on every machine, and the times.
std::vector<Row> DeterministicRows(const SpeedResults& results);
std::vector<Row> TimeRows(const SpeedResults& results);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_SPEED_PAGE_H_
