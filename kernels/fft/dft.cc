#include "kernels/fft/dft.h"

#include <glog/logging.h>

#include <cmath>
#include <map>
#include <memory>
#include <mutex>

namespace longrange::kernels {
namespace fft {
namespace {

constexpr double kPi = 3.14159265358979323846;

// The plan of type P for n, made once.
template <typename P, typename Make>
const P& Memoised(int64_t n, const Make& make) {
  CHECK_GE(n, 1);
  static std::mutex mutex;
  static auto& plans = *new std::map<int64_t, std::unique_ptr<const P>>;
  const std::lock_guard<std::mutex> lock(mutex);
  std::unique_ptr<const P>& plan = plans[n];
  if (plan == nullptr) plan.reset(make());
  return *plan;
}

}  // namespace

template <typename T>
const Dft<T>& Dft<T>::Of(int64_t n) {
  return Memoised<Dft>(n, [n] { return new Dft(n); });
}

template <typename T>
const RealDft<T>& RealDft<T>::Of(int64_t n) {
  return Memoised<RealDft>(n, [n] { return new RealDft(n); });
}

template <typename T>
Dft<T>::Dft(int64_t n)
    : n_(n), plan_(RingPlan<T>::Of(GoodSize(GoodSize(n) == n ? n : 2 * n - 1), false)) {
  if (GoodSize(n) == n) {
    index_.resize(n);
    for (int64_t i = 0; i < n; ++i) {
      index_[i] = std::llround(plan_.turns(i) * static_cast<double>(n)) % n;
    }
    return;
  }
  std::vector<double> chirp(2 * n);
  for (int64_t t = 0; t < n; ++t) {
    const double angle = kPi * static_cast<double>(t * t % (2 * n)) / static_cast<double>(n);
    chirp[2 * t] = std::cos(angle);
    chirp[2 * t + 1] = std::sin(angle);
  }
  chirp_.assign(chirp.begin(), chirp.end());
  // The conjugate chirp at all distances, on the ring, divided by its size for the way back.
  const RingPlan<double>& plan = RingPlan<double>::Of(plan_.size(), false);
  std::vector<double> memory(plan.work_elements() + plan.scratch_elements());
  const int64_t size = plan.size();
  SplitColumns<false>(
      plan,
      [&](int64_t t) {
        const int64_t distance = std::min(t, size - t);
        if (distance >= n) return FromReal<double>(simd::Wide<double>{});
        const double scale = 1.0 / static_cast<double>(size);
        return Complex<double>{simd::SplatWide(scale * chirp[2 * distance]),
                               simd::SplatWide(-scale * chirp[2 * distance + 1])};
      },
      memory.data(), memory.data() + plan.work_elements());
  for (int64_t block = 0; block < plan.blocks(); ++block) {
    SplitBlock(plan, block, memory.data());
    for (int64_t i = 0; i < plan.block(); ++i) {
      const Complex<double> v = LoadRow(plan.Block(memory.data(), block) + i * plan.kRow);
      chirp_values_.push_back(static_cast<T>(v.re[0]));
      chirp_values_.push_back(static_cast<T>(v.im[0]));
    }
  }
}

template <typename T>
void RealDft<T>::MakeTurns() {
  if (!even()) return;
  for (int64_t k = 0; k <= n_ / 2; ++k) {
    const double angle = 2 * kPi * static_cast<double>(k) / static_cast<double>(n_);
    turns_.push_back(static_cast<T>(std::cos(angle)));
    turns_.push_back(static_cast<T>(std::sin(angle)));
  }
}

template class Dft<float>;
template class Dft<double>;
template class RealDft<float>;
template class RealDft<double>;

}  // namespace fft
}  // namespace longrange::kernels
