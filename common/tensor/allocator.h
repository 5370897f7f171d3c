// Memory of tensors: a caching allocator for the CPU (fresh pages cost more than the arithmetic on
// them) and byte counts for every device. Meta allocations are counted and have no memory, which
// gives the forecast of a dry run.

#ifndef LONGRANGE_COMMON_TENSOR_ALLOCATOR_H_
#define LONGRANGE_COMMON_TENSOR_ALLOCATOR_H_

#include <cstdint>
#include <memory>

#include "common/tensor/dtype.h"

namespace longrange {

struct MemoryStats {
  int64_t live_bytes = 0;    // held by tensors now
  int64_t peak_bytes = 0;    // the most ever held, since the last ResetPeak
  int64_t cached_bytes = 0;  // kept for reuse, beside live_bytes
};

// For tests: new CPU memory is filled with 0xFF (NaN, or -1 in integers), and writing past the end
// of a tensor is fatal when its memory is given back. On from the start where the environment has
// LONGRANGE_CHECK_MEMORY=1, as in all tests of this project (lr_cc_test).
void SetMemoryChecks(bool on);
bool MemoryChecks();

// A block of memory, 64-byte aligned (CPU), given back to the cache when the last handle goes.
class Storage {
 public:
  static std::shared_ptr<Storage> Allocate(int64_t bytes, Device device);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  void* data() const { return data_; }  // null on meta
  int64_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  Storage(void* data, int64_t bytes, int64_t counted, int64_t capacity, Device device, bool checked)
      : data_(data),
        bytes_(bytes),
        counted_(counted),
        capacity_(capacity),
        device_(device),
        checked_(checked) {}

  void* data_;
  int64_t bytes_;
  int64_t counted_;   // in MemoryStats: the same with and without memory checks
  int64_t capacity_;  // of the block
  Device device_;
  bool checked_;  // has a guard behind its bytes
};

MemoryStats GetMemoryStats(Device device);
void ResetPeak(Device device);
// Gives cached CPU blocks back to the system.
void ReleaseCached();

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TENSOR_ALLOCATOR_H_
