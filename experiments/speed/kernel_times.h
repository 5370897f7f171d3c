// The kernels' benchmarks (//kernels:benchmarks) run one by one, as often as it takes.

#ifndef LONGRANGE_EXPERIMENTS_SPEED_KERNEL_TIMES_H_
#define LONGRANGE_EXPERIMENTS_SPEED_KERNEL_TIMES_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace longrange {

// One run of some work.
struct WorkTime {
  double seconds = 0;
  double flops = 0;  // operations
  double bytes = 0;  // that must move at least
};

// Names of the benchmarks that are linked in and that the extended regular expression finds, in the
// order in which they are registered. InvalidArgument: it is none.
absl::StatusOr<std::vector<std::string>> KernelNames(const std::string& expression);

// Runs a benchmark for about so long; the mean time of a run. NotFound: no benchmark has this name.
// Internal: it finds its own results wrong.
absl::StatusOr<WorkTime> TimeKernel(const std::string& name, double seconds);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_SPEED_KERNEL_TIMES_H_
