#include "experiments/speed/machine.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/tensor/tensor.h"
#include "kernels/simd/simd.h"

namespace longrange {
namespace {

namespace simd = kernels::simd;

// More sums than an FMA unit has stages; they stay in registers.
constexpr int kSums = 12;

// Returns a value that depends on all of the work.
float MultiplyAdds(int64_t rounds) {
  simd::VecF sum[kSums];
  for (int s = 0; s < kSums; ++s) sum[s] = simd::Splat(static_cast<float>(s));
  const simd::VecF factor = simd::Splat(0.999f), term = simd::Splat(0.001f);
  for (int64_t i = 0; i < rounds; ++i) {
    for (simd::VecF& s : sum) s = simd::Fma(s, factor, term);
  }
  simd::VecF total = sum[0];
  for (int s = 1; s < kSums; ++s) total = total + sum[s];
  return simd::HorizontalSum(total);
}

// The most work a second that one of several runs of fn() shows.
template <typename Fn>
double FastestRate(double seconds, double work, Fn&& fn) {
  fn();  // fresh memory, and a processor that wakes up
  double best = 0, spent = 0;
  do {
    const auto start = std::chrono::steady_clock::now();
    fn();
    const double taken =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    best = std::max(best, work / taken);
    spent += taken;
  } while (spent < seconds);
  return best;
}

}  // namespace

Peak MeasurePeak(double seconds) {
  const int threads = NumThreads();
  Peak peak;
  constexpr int64_t kRounds = 1 << 20;
  std::vector<float> results(static_cast<size_t>(threads));
  peak.flops = FastestRate(
      seconds, 2.0 * kRounds * kSums * simd::kLanes * static_cast<double>(threads), [&] {
        ParallelFor(threads,
                    [&](int64_t t) { results[static_cast<size_t>(t)] = MultiplyAdds(kRounds); });
      });

  // Far more than the caches hold.
  const int64_t n = int64_t{1} << 25;
  const Tensor a = Tensor::Zeros({n}), b = Tensor::Full({n}, 1), c = Tensor::Full({n}, 2);
  constexpr int64_t kGrain = 1 << 16;
  peak.bytes = FastestRate(seconds, 3.0 * static_cast<double>(a.bytes()), [&] {
    float* to = a.mutable_data<float>();
    const float *x = b.data<float>(), *y = c.data<float>();
    ParallelForRange(n, kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) to[i] = x[i] + 3.0f * y[i];
    });
  });
  // A result that nobody looks at would let the compiler leave the work out.
  for (const float r : results) peak.flops += r == 12345.0f ? 1e-9 : 0;
  return peak;
}

}  // namespace longrange
