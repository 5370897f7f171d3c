// Steps of training by length, as in the paper's Table 2: byte text, every mixer by turns.

#ifndef LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_SPEED_H_
#define LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_SPEED_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/long_range_arena/arena.h"

namespace longrange {

struct SpeedRow {
  std::string mixer;
  int64_t length = 0;
  double seconds = 0;      // of a step: the median over the rounds
  double least = 0;        // the fastest one
  int64_t peak_bytes = 0;  // of a step: parameters, moments, gradients and what is held between
  double flops = 0;        // of a step, as the kernels count them
};

// What is measured, as text: rows of another one are not these.
std::string SpeedIdentity(const Arena& arena, const NamedTask& text, const ArenaOptions& options);

// At each length: one step of each mixer to warm up, then rounds in which each makes one, so that
// whatever else the machine does falls on all alike. A mixer that cannot be trained at a length has
// no row there. `on_row` is told what is done; false stops: Cancelled.
absl::StatusOr<std::vector<SpeedRow>> MeasureSpeed(
    const Arena& arena, const NamedTask& text, const ArenaOptions& options,
    const std::function<bool(const std::string& what)>& on_row);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_SPEED_H_
