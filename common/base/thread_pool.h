// One pool of threads for the whole process, and the one way to use it: ParallelFor.
//
// Determinism: a caller cuts its work into tasks by shape alone, never by the number of threads.
// Which thread runs a task is not fixed, so a task writes only its own part of the output; sums
// over tasks go through per-task partial results that are added in task order. Then bits do not
// depend on the thread count.

#ifndef LONGRANGE_COMMON_BASE_THREAD_POOL_H_
#define LONGRANGE_COMMON_BASE_THREAD_POOL_H_

#include <cstdint>

#include "absl/functional/function_ref.h"

namespace longrange {

// Number of processors this process may run on (affinity mask), at least 1.
int NumProcessors();

// Sets the number of threads that later ParallelFor calls use, the calling thread included; 0:
// NumProcessors(). Not to be called while a ParallelFor runs.
void SetNumThreads(int num_threads);
int NumThreads();

// Runs fn(0) .. fn(num_tasks - 1), each exactly once, on the pool and the calling thread; returns
// when all are done. A ParallelFor inside a task runs its tasks in order on that thread. Calls from
// several threads take turns.
void ParallelFor(int64_t num_tasks, absl::FunctionRef<void(int64_t task)> fn);

// Cuts [0, size) into ranges of `grain` (the last one shorter) and runs fn(begin, end) on each.
void ParallelForRange(int64_t size, int64_t grain,
                      absl::FunctionRef<void(int64_t begin, int64_t end)> fn);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_THREAD_POOL_H_
