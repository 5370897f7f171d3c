#include "common/tensor/allocator.h"

#include <glog/logging.h>
#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <unordered_map>
#include <vector>

namespace longrange {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = int64_t{2} << 20;

// What stands behind a checked tensor's bytes.
constexpr int64_t kGuardBytes = 64;
constexpr unsigned char kGuard = 0xA5;

// Block sizes: multiples of 64 bytes up to 1 KiB, then eight steps an octave (at most 12.5 %
// unused).
int64_t Capacity(int64_t bytes) {
  int64_t step = kAlignment;
  while (bytes > 16 * step) step *= 2;
  return std::max<int64_t>((bytes + step - 1) / step * step, kAlignment);
}

struct Pool {
  std::mutex mutex;
  std::unordered_map<int64_t, std::vector<void*>>
      free_blocks;  // by capacity; last in, first out: still in cache
  MemoryStats stats[3];
};

Pool& GetPool() {
  static auto* pool = new Pool;  // never destroyed: tensors in statics may outlive it
  return *pool;
}

void* SystemAllocate(int64_t capacity) {
  const bool huge = capacity >= kHugePage;
  const int64_t alignment = huge ? kHugePage : kAlignment;
  void* data = std::aligned_alloc(alignment, (capacity + alignment - 1) / alignment * alignment);
  CHECK(data != nullptr) << "out of memory: a tensor of " << capacity << " bytes";
  if (huge) madvise(data, capacity, MADV_HUGEPAGE);
  return data;
}

std::atomic<bool>& Checks() {
  static std::atomic<bool> checks = [] {
    const char* value = std::getenv("LONGRANGE_CHECK_MEMORY");
    return value != nullptr && std::strcmp(value, "1") == 0;
  }();
  return checks;
}

}  // namespace

void SetMemoryChecks(bool on) { Checks().store(on, std::memory_order_relaxed); }
bool MemoryChecks() { return Checks().load(std::memory_order_relaxed); }

std::shared_ptr<Storage> Storage::Allocate(int64_t bytes, Device device) {
  CHECK_GE(bytes, 0);
  CHECK(device != Device::kCuda) << "this build has no CUDA tensors";
  Pool& pool = GetPool();
  const bool checked = device == Device::kCpu && MemoryChecks();
  const int64_t counted = Capacity(bytes);
  const int64_t capacity = checked ? Capacity(bytes + kGuardBytes) : counted;
  void* data = nullptr;
  {
    std::lock_guard<std::mutex> lock(pool.mutex);
    MemoryStats& stats = pool.stats[static_cast<int>(device)];
    stats.live_bytes += counted;
    stats.peak_bytes = std::max(stats.peak_bytes, stats.live_bytes);
    if (device == Device::kCpu) {
      std::vector<void*>& blocks = pool.free_blocks[capacity];
      if (!blocks.empty()) {
        data = blocks.back();
        blocks.pop_back();
        stats.cached_bytes -= capacity;
      }
    }
  }
  if (data == nullptr && device == Device::kCpu) data = SystemAllocate(capacity);
  if (checked) {
    std::memset(data, 0xFF, bytes);
    std::memset(static_cast<char*>(data) + bytes, kGuard, kGuardBytes);
  }
  return std::shared_ptr<Storage>(new Storage(data, bytes, counted, capacity, device, checked));
}

Storage::~Storage() {
  if (checked_) {
    const auto* guard = static_cast<const unsigned char*>(data_) + bytes_;
    CHECK(std::all_of(guard, guard + kGuardBytes, [](unsigned char c) { return c == kGuard; }))
        << "a tensor of " << bytes_ << " bytes was written past its end";
  }
  Pool& pool = GetPool();
  std::lock_guard<std::mutex> lock(pool.mutex);
  MemoryStats& stats = pool.stats[static_cast<int>(device_)];
  stats.live_bytes -= counted_;
  if (data_ != nullptr) {
    pool.free_blocks[capacity_].push_back(data_);
    stats.cached_bytes += capacity_;
  }
}

MemoryStats GetMemoryStats(Device device) {
  Pool& pool = GetPool();
  std::lock_guard<std::mutex> lock(pool.mutex);
  return pool.stats[static_cast<int>(device)];
}

void ResetPeak(Device device) {
  Pool& pool = GetPool();
  std::lock_guard<std::mutex> lock(pool.mutex);
  MemoryStats& stats = pool.stats[static_cast<int>(device)];
  stats.peak_bytes = stats.live_bytes;
}

void ReleaseCached() {
  Pool& pool = GetPool();
  std::lock_guard<std::mutex> lock(pool.mutex);
  for (auto& [capacity, blocks] : pool.free_blocks) {
    for (void* block : blocks) std::free(block);
    blocks.clear();
  }
  pool.stats[static_cast<int>(Device::kCpu)].cached_bytes = 0;
}

}  // namespace longrange
