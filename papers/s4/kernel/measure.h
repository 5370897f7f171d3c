// What //papers/s4:kernel measures: kernels and convolutions in float32 against the plain
// recurrence in float64, and what each costs.

#ifndef LONGRANGE_PAPERS_S4_KERNEL_MEASURE_H_
#define LONGRANGE_PAPERS_S4_KERNEL_MEASURE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "papers/s4/kernel/kernel.pb.h"

namespace longrange {

// One arm at one length. Errors are against the recurrence in float64; `rms` is the ratio of
// 2-norms, `largest` the largest difference over the largest value.
struct S4KernelRow {
  std::string arm;
  int64_t length = 0;
  double kernel_rms = 0, kernel_largest = 0;  // K, float32
  double kernel_wide_rms = 0;                 // K, float64
  double output_rms = 0;                      // the convolution of noise with K, float32
  double recurrence_rms = 0;                  // the recurrence in float32, on the same noise
  double kernel_flops = 0, convolution_flops = 0, recurrence_flops = 0;

  // Seconds of the fastest run, float32.
  double kernel_seconds = 0;       // K
  double kernel_both_seconds = 0;  // and all its gradients
  double convolution_seconds = 0;
  double convolution_both_seconds = 0;
  double recurrence_seconds = 0;  // all rows
  double step_seconds = 0;        // one more row
};

struct S4KernelResults {
  S4KernelSettings settings;
  int threads = 0;
  std::vector<S4KernelRow> rows;
};

// InvalidArgument names the first field that has no meaning.
absl::Status CheckSettings(const S4KernelSettings& settings);

// Bytes that the longest length needs, about.
double MemoryOf(const S4KernelSettings& settings);

// Called after each row ("S4-LegS, 1024 rows"); false stops, which is Cancelled.
using OnS4KernelRow = std::function<bool(const std::string& what)>;
absl::StatusOr<S4KernelResults> MeasureS4Kernels(const S4KernelSettings& settings,
                                                 const OnS4KernelRow& on_row);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_S4_KERNEL_MEASURE_H_
