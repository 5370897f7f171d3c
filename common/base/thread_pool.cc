#include "common/base/thread_pool.h"

#include <glog/logging.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace longrange {
namespace {

thread_local bool inside_task = false;

// How often a worker looks for new work before it sleeps: long enough to bridge the gap between two
// kernels of one step (some microseconds), short enough to give the core away when the caller is
// busy elsewhere.
constexpr int kSpins = 2000;

inline void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

class Pool {
 public:
  explicit Pool(int num_threads) {
    for (int i = 1; i < num_threads; ++i) workers_.emplace_back([this] { Work(); });
  }

  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
      epoch_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  int num_threads() const { return static_cast<int>(workers_.size()) + 1; }

  void Run(int64_t num_tasks, absl::FunctionRef<void(int64_t)> fn) {
    std::lock_guard<std::mutex> turn(turn_);
    Job job{num_tasks, fn};
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      epoch_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load(std::memory_order_acquire) > 0) wake_.notify_all();
    Take(&job);
    // All tasks are claimed. Close the job to workers that have not joined it, then wait for those
    // that have.
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = nullptr;
    }
    for (int spin = 0; job.helpers.load(std::memory_order_acquire) != 0; ++spin) {
      if (spin < 20 * kSpins) {
        Pause();
      } else {
        std::this_thread::yield();  // a neighbour holds the worker's core
      }
    }
  }

 private:
  struct Job {
    const int64_t num_tasks;
    const absl::FunctionRef<void(int64_t)> fn;
    std::atomic<int64_t> next{0};
    std::atomic<int> helpers{
        0};  // workers inside Take; they join under mutex_ while job_ points here
    Job(int64_t n, absl::FunctionRef<void(int64_t)> f) : num_tasks(n), fn(f) {}
  };

  static void Take(Job* job) {
    inside_task = true;
    for (;;) {
      const int64_t task = job->next.fetch_add(1, std::memory_order_relaxed);
      if (task >= job->num_tasks) break;
      job->fn(task);
    }
    inside_task = false;
  }

  void Work() {
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpins && epoch_.load(std::memory_order_acquire) == seen; ++spin)
        Pause();
      Job* job = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1, std::memory_order_acq_rel);
        wake_.wait(lock, [&] { return epoch_.load(std::memory_order_relaxed) != seen; });
        sleeping_.fetch_sub(1, std::memory_order_acq_rel);
        seen = epoch_.load(std::memory_order_relaxed);
        if (stop_) return;
        job = job_;
        if (job != nullptr) job->helpers.fetch_add(1, std::memory_order_relaxed);
      }
      if (job == nullptr) continue;
      Take(job);
      job->helpers.fetch_sub(1, std::memory_order_release);
    }
  }

  std::mutex turn_;  // one Run at a time
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<uint64_t> epoch_{0};
  std::atomic<int> sleeping_{0};
  Job* job_ = nullptr;
  bool stop_ = false;
  std::vector<std::thread> workers_;
};

std::mutex& PoolMutex() {
  static auto* mutex = new std::mutex;
  return *mutex;
}

std::unique_ptr<Pool>& PoolSlot() {
  static auto* slot =
      new std::unique_ptr<Pool>;  // never destroyed: workers may outlive static destruction
  return *slot;
}

Pool& GetPool() {
  std::lock_guard<std::mutex> lock(PoolMutex());
  std::unique_ptr<Pool>& slot = PoolSlot();
  if (slot == nullptr) slot = std::make_unique<Pool>(NumProcessors());
  return *slot;
}

}  // namespace

int NumProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

void SetNumThreads(int num_threads) {
  CHECK_GE(num_threads, 0);
  const int wanted = num_threads == 0 ? NumProcessors() : num_threads;
  std::lock_guard<std::mutex> lock(PoolMutex());
  std::unique_ptr<Pool>& slot = PoolSlot();
  if (slot != nullptr && slot->num_threads() == wanted) return;
  slot.reset();
  slot = std::make_unique<Pool>(wanted);
}

int NumThreads() { return GetPool().num_threads(); }

void ParallelFor(int64_t num_tasks, absl::FunctionRef<void(int64_t)> fn) {
  if (num_tasks <= 0) return;
  if (num_tasks == 1 || inside_task) {
    for (int64_t task = 0; task < num_tasks; ++task) fn(task);
    return;
  }
  Pool& pool = GetPool();
  if (pool.num_threads() == 1) {
    for (int64_t task = 0; task < num_tasks; ++task) fn(task);
    return;
  }
  pool.Run(num_tasks, fn);
}

void ParallelForRange(int64_t size, int64_t grain, absl::FunctionRef<void(int64_t, int64_t)> fn) {
  CHECK_GT(grain, 0);
  ParallelFor((size + grain - 1) / grain,
              [&](int64_t task) { fn(task * grain, std::min(size, (task + 1) * grain)); });
}

}  // namespace longrange
