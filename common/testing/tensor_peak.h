// How much memory tensors take, for tests and for the numbers behind claims.

#ifndef LONGRANGE_COMMON_TESTING_TENSOR_PEAK_H_
#define LONGRANGE_COMMON_TESTING_TENSOR_PEAK_H_

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "common/base/thread_pool.h"
#include "common/tensor/allocator.h"

namespace longrange {

// Bytes by which the tensors on `device` grow at most while `run` runs, beside those that were
// there before. Kernels have some memory for each thread, so two threads run: the number is the
// same on every machine.
inline int64_t PeakTensorBytes(absl::FunctionRef<void()> run, Device device = Device::kCpu) {
  const int64_t before = GetMemoryStats(device).live_bytes;
  ResetPeak(device);
  const int threads = NumThreads();
  SetNumThreads(2);
  run();
  SetNumThreads(threads);
  return GetMemoryStats(device).peak_bytes - before;
}

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TESTING_TENSOR_PEAK_H_
