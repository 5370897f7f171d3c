// The timed loop of a benchmark, with what the kernels in it say of their own work.

#ifndef LONGRANGE_KERNELS_TIMED_WORK_H_
#define LONGRANGE_KERNELS_TIMED_WORK_H_

#include <benchmark/benchmark.h>

#include <cstdint>

#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"

namespace longrange::kernels {

// Names of counters, for readers of benchmark results (experiments/speed).
inline constexpr char kFlopsCounter[] = "flop/s", kBytesCounter[] = "bytes/s",
                      kTokensCounter[] = "tokens/s";

// Runs `work` again and again under the benchmark's clock. Reports a second's operations and the
// least bytes that must move for them, as the kernels count them (common/tensor/cost.h), threads,
// and tokens where one run has some.
template <typename Work>
void TimeWork(benchmark::State& state, int64_t tokens, Work&& work) {
  const auto rate = [&](const char* name, double amount) {
    if (amount > 0) {
      state.counters[name] =
          benchmark::Counter(amount, benchmark::Counter::kIsIterationInvariantRate);
    }
  };
  {
    const CostScope scope;
    work();
    rate(kFlopsCounter, scope.cost().flops);
    rate(kBytesCounter, scope.cost().bytes);
  }
  for (auto _ : state) work();
  rate(kTokensCounter, static_cast<double>(tokens));
  state.counters["threads"] = NumThreads();
}

template <typename Work>
void TimeWork(benchmark::State& state, Work&& work) {
  TimeWork(state, 0, work);
}

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_TIMED_WORK_H_
