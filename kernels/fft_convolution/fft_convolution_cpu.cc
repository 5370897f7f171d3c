#include <algorithm>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/fft/ring_transform.h"
#include "kernels/fft_convolution/fft_convolution.h"

namespace longrange::kernels {
namespace {

// Taps lie on a ring of 2 N >= 2 T steps: tap s of the filter at s, that of the future filter,
// which meets x[t + 1 + j], at -1 - j = 2 N - 1 - j with its sign changed
// (kernels/fft/ring_transform.h). Results for the T tokens do not wrap around. One task has the
// vector of channels of one group.

using fft::Complex;
using fft::RingPlan;
using simd::kWideLanes;
using simd::LoadWide;
using simd::Wide;

struct Dims {
  int64_t b, t, d;
  int64_t past, future;  // taps within reach of a token
};

Dims CheckShapes(const FftConvolutionInputs& in) {
  const Tensor& x = in.x_btd;
  CHECK_EQ(x.rank(), 3) << "x is [B, T, D], got " << x.shape();
  Dims s{x.dim(0), x.dim(1), x.dim(2), 0, 0};
  const auto check = [&](const Tensor& t, const Shape& shape, const char* name) {
    CHECK(t.shape() == shape) << name << " " << t.shape() << ", expected " << shape << " for x "
                              << x.shape();
    CHECK(t.dtype() == x.dtype()) << name << " is " << Name(t.dtype()) << ", x " << Name(x.dtype());
  };
  CHECK_EQ(in.filter_ld.rank(), 2) << "a filter is [L, D], got " << in.filter_ld.shape();
  check(in.filter_ld, {in.filter_ld.dim(0), s.d}, "filter");
  s.past = std::min(in.filter_ld.dim(0), s.t);
  if (in.future_ld.defined()) {
    CHECK_EQ(in.future_ld.rank(), 2) << "a filter is [L, D], got " << in.future_ld.shape();
    check(in.future_ld, {in.future_ld.dim(0), s.d}, "future filter");
    s.future = std::min(in.future_ld.dim(0), std::max<int64_t>(s.t - 1, 0));
  }
  if (in.skip_d.defined()) check(in.skip_d, {s.d}, "skip");
  if (in.gate_btd.defined()) check(in.gate_btd, x.shape(), "gate");
  return s;
}

// Filters of at most so many taps are summed as they stand: measured, 4096 tokens then take half as
// long as by transforms.
constexpr int64_t kShortTaps = 64;

bool IsShort(const Dims& s) { return s.past <= kShortTaps && s.future <= kShortTaps; }

void RecordConvolutionCost(const Dims& s, int64_t transforms_a_sample, int64_t transforms,
                           int64_t products, double bytes) {
  if (IsShort(s)) {
    RecordCost(2.0 * static_cast<double>(products * s.b * s.t * s.d * (s.past + s.future)), bytes);
    return;
  }
  const int64_t size = fft::GoodSize(s.t);
  double levels = 0;
  for (int64_t n = size; n > 1; n /= 2) ++levels;
  RecordCost(static_cast<double>(size * s.d) *
                 (5 * levels * static_cast<double>(transforms_a_sample * s.b + transforms) +
                  8 * static_cast<double>(products * s.b)),
             bytes);
}

// One group of channels of [.., D] rows: row i of the group is at data + i * stride.
template <typename T>
struct Rows {
  T* data = nullptr;
  int64_t stride = 0;  // D
  int lanes = 0;

  LR_SIMD_INLINE Wide<T> Load(int64_t i) const {
    const T* p = data + i * stride;
    return lanes == kWideLanes<T> ? LoadWide(p) : simd::LoadWidePartial(p, lanes);
  }
  LR_SIMD_INLINE void Store(int64_t i, Wide<T> v) const {
    T* p = data + i * stride;
    if (lanes == kWideLanes<T>) {
      simd::StoreWide(p, v);
    } else {
      simd::StoreWidePartial(p, lanes, v);
    }
  }
  // The columns of a transform go over neighbouring rows one by one, each with rows far apart.
  LR_SIMD_INLINE void Prefetch(int64_t i) const { __builtin_prefetch(data + i * stride); }
  explicit operator bool() const { return data != nullptr; }
};

// Group `group` of the channels of t, from its row `row` on; no rows of an undefined tensor.
template <typename T>
Rows<T> GroupOf(const Tensor& t, int64_t row, int64_t group) {
  if (!t.defined()) return {};
  const int64_t d = t.dim(-1), channel = group * kWideLanes<T>;
  return {t.mutable_data<T>() + row * d + channel, d,
          static_cast<int>(std::min<int64_t>(kWideLanes<T>, d - channel))};
}

// Rows of a transform's input from time steps: x, or x times gate; 0 from T on.
template <typename T>
struct TimeSteps {
  Rows<T> x, gate;
  int64_t t;

  LR_SIMD_INLINE Complex<T> operator()(int64_t n) const {
    if (n >= t) return fft::FromReal<T>(Wide<T>{});
    x.Prefetch(n + 2);
    if (!gate) return fft::FromReal<T>(x.Load(n));
    gate.Prefetch(n + 2);
    return fft::FromReal<T>(x.Load(n) * gate.Load(n));
  }
};

// Rows of the filters on the ring, times 1 / N.
template <typename T>
struct Taps {
  Rows<T> past, future;
  int64_t num_past, num_future, size;
  T scale;

  LR_SIMD_INLINE Complex<T> operator()(int64_t n) const {
    Complex<T> v = {};
    if (n < num_past) v.re = scale * past.Load(n);
    if (size - 1 - n < num_future) v.im = -scale * future.Load(size - 1 - n);
    return v;
  }
};

template <typename T>
int64_t Groups(const Dims& s) {
  return (s.d + kWideLanes<T> - 1) / kWideLanes<T>;
}

template <typename T>
Tensor Memory(int64_t elements) {
  return Tensor::Empty({elements}, DTypeOf<T>::value);
}

// The filters of all groups as transforms.
template <typename T>
Tensor Spectra(const Dims& s, const RingPlan<T>& plan, const FftConvolutionInputs& in) {
  const int64_t groups = Groups<T>(s);
  const Tensor spectra = Memory<T>(groups * plan.work_elements());
  ParallelFor(groups, [&](int64_t group) {
    const Tensor scratch = Memory<T>(plan.scratch_elements());
    T* work = spectra.mutable_data<T>() + group * plan.work_elements();
    const Taps<T> taps{GroupOf<T>(in.filter_ld, 0, group),
                       GroupOf<T>(in.future_ld, 0, group),
                       s.past,
                       s.future,
                       plan.size(),
                       static_cast<T>(1.0 / static_cast<double>(plan.size()))};
    s.future > 0 ? fft::SplitColumns<false>(plan, taps, work, scratch.mutable_data<T>())
                 : fft::SplitColumns<true>(plan, taps, work, scratch.mutable_data<T>());
    for (int64_t block = 0; block < plan.blocks(); ++block) fft::SplitBlock(plan, block, work);
  });
  return spectra;
}

// What one sample and group of channels is computed from.
template <typename T>
struct Sample {
  Sample(const Dims& s, const FftConvolutionInputs& in, int64_t b, int64_t group)
      : x(GroupOf<T>(in.x_btd, b * s.t, group)),
        gate(GroupOf<T>(in.gate_btd, b * s.t, group)),
        has_skip(in.skip_d.defined()) {
    if (has_skip) skip = GroupOf<T>(in.skip_d, 0, group).Load(0);
  }

  Rows<T> x, gate;
  bool has_skip;
  Wide<T> skip = {};
};

// Results of at least so many bytes go past the caches. Rows are written far apart, so each would
// have to wait for its line to be read; measured, that is a third of the time of a forward pass.
constexpr int64_t kStreamedBytes = 1 << 20;

// Takes the sum of token n and writes out[n] = factor[n] (sum + skip passed[n]).
template <typename T>
struct Result {
  Result(const Tensor& out_btd, int64_t b, int64_t group, const TimeSteps<T>& passed_steps,
         const Sample<T>& of, const Rows<T>& factor_rows)
      : out(GroupOf<T>(out_btd, b * passed_steps.t, group)),
        passed(passed_steps),
        sample(of),
        factor(factor_rows),
        streamed(out_btd.bytes() >= kStreamedBytes && out.lanes == kWideLanes<T> &&
                 out.stride % kWideLanes<T> == 0 &&
                 reinterpret_cast<uintptr_t>(out.data) % sizeof(Wide<T>) == 0) {}
  ~Result() {
    if (streamed) simd::StreamFence();
  }

  LR_SIMD_INLINE void operator()(int64_t n, Complex<T> v) const {
    if (n >= passed.t) return;
    Wide<T> sum = v.re;
    if (sample.has_skip) sum += sample.skip * passed(n).re;
    if (factor) sum *= factor.Load(n);
    if (streamed) {
      simd::StreamWide(out.data + n * out.stride, sum);
    } else {
      out.Store(n, sum);
    }
  }

  const Rows<T> out;
  const TimeSteps<T> passed;
  const Sample<T>& sample;
  const Rows<T> factor;  // no rows: 1
  const bool streamed;
};

// v times a row of the filters' transform.
template <typename T>
struct TimesFilter {
  const T* filter;

  LR_SIMD_INLINE Complex<T> operator()(int64_t i, Complex<T> v) const {
    return fft::Multiply(fft::LoadRow(filter + i * RingPlan<T>::kRow), v);
  }
};

// On the transform of dy: gives that of dx and, where kTaps is set, adds that of the taps'
// gradient.
template <typename T, bool kTaps>
struct Correlate {
  const T *filter, *x;
  T* taps;

  LR_SIMD_INLINE Complex<T> operator()(int64_t i, Complex<T> v) const {
    const int64_t at = i * RingPlan<T>::kRow;
    if constexpr (kTaps) {
      const Complex<T> product = fft::MultiplyConjugate(fft::LoadRow(x + at), v);
      const Complex<T> sum = fft::LoadRow(taps + at);
      fft::StoreRow(taps + at, Complex<T>{sum.re + product.re, sum.im + product.im});
    }
    return fft::MultiplyConjugate(fft::LoadRow(filter + at), v);
  }
};

// Where the gradient of the taps goes; any may be missing.
template <typename T>
struct TapGradients {
  Rows<T> past, future, skip;
  int64_t num_past, num_future, size;
  T scale;

  LR_SIMD_INLINE void operator()(int64_t n, Complex<T> v) const {
    if (n == 0 && skip) skip.Store(0, scale * v.re);
    if (n < num_past && past) past.Store(n, scale * v.re);
    if (size - 1 - n < num_future && future) future.Store(size - 1 - n, -scale * v.im);
  }
};

template <typename T>
void ForwardByTransform(const Dims& s, const FftConvolutionInputs& in, const Tensor& y_btd) {
  const RingPlan<T>& plan = RingPlan<T>::Of(fft::GoodSize(s.t), true);
  const Tensor spectra = Spectra(s, plan, in);
  ParallelFor(Groups<T>(s) * s.b, [&](int64_t task) {
    const int64_t group = task / s.b, b = task % s.b;
    const Tensor memory = Memory<T>(plan.work_elements() + plan.scratch_elements());
    T* work = memory.mutable_data<T>();
    T* scratch = work + plan.work_elements();
    T* spectrum = spectra.mutable_data<T>() + group * plan.work_elements();
    const Sample<T> sample(s, in, b, group);
    const TimeSteps<T> steps{sample.x, {}, s.t};
    const Result<T> result(y_btd, b, group, steps, sample, sample.gate);
    fft::SplitColumns<true>(plan, steps, work, scratch);
    for (int64_t block = 0; block < plan.blocks(); ++block) {
      fft::ApplyInBlock(plan, block, work, TimesFilter<T>{plan.Block(spectrum, block)});
    }
    fft::MergeColumns<true>(plan, work, result, scratch);
  });
}

// Gradients of the taps of several parts of the batch: each part has its own, added up in order.
class Parts {
 public:
  // Those of `parts` parts of `out`, which may be undefined; rows behind `reached` are 0.
  Parts(const Tensor& out, int64_t parts, int64_t reached) : out_(out), reached_(reached) {
    if (!out.defined()) return;
    rows_ = out.rank() == 2 ? out.dim(0) : 1;
    all_ = parts == 1 ? out : Tensor::Empty({parts, rows_, out.dim(-1)}, out.dtype());
    parts_ = parts;
  }

  template <typename T>
  Rows<T> Of(int64_t part, int64_t group) const {
    return GroupOf<T>(all_, part * rows_, group);
  }

  template <typename T>
  void Add() const {
    if (!out_.defined()) return;
    const int64_t d = out_.dim(-1), reached = reached_ * d, size = rows_ * d;
    T* out = out_.mutable_data<T>();
    std::fill(out + reached, out + size, T{0});
    if (parts_ == 1) return;
    ParallelForRange(reached, 16384, [&](int64_t begin, int64_t end) {
      const T* part = all_.data<T>();
      std::copy(part + begin, part + end, out + begin);
      for (int64_t p = 1; p < parts_; ++p) {
        for (int64_t i = begin; i < end; ++i) out[i] += part[p * size + i];
      }
    });
  }

 private:
  Tensor out_, all_;
  int64_t rows_ = 0, reached_, parts_ = 0;
};

// So many tasks are enough work for a few threads; a part more costs a transform more.
constexpr int64_t kBackwardTasks = 8;

template <typename T>
void BackwardByTransform(const Dims& s, const FftConvolutionInputs& in, const Tensor& dy_btd,
                         const FftConvolutionGradients& out) {
  const RingPlan<T>& plan = RingPlan<T>::Of(fft::GoodSize(s.t), true);
  const int64_t groups = Groups<T>(s);
  const bool want_taps =
      out.dfilter_ld.defined() || out.dfuture_ld.defined() || out.dskip_d.defined();
  const bool want_gate = out.dgate_btd.defined();
  const int64_t parts = want_taps ? std::min(s.b, (kBackwardTasks + groups - 1) / groups) : s.b;
  const Parts past(out.dfilter_ld, parts, s.past), future(out.dfuture_ld, parts, s.future),
      skip(out.dskip_d, parts, 1);
  const Tensor spectra = Spectra(s, plan, in);
  ParallelFor(groups * parts, [&](int64_t task) {
    const int64_t group = task / parts, part = task % parts;
    const Tensor memory = Memory<T>(3 * plan.work_elements() + plan.scratch_elements());
    T* dy_work = memory.mutable_data<T>();
    T* x_work = dy_work + plan.work_elements();
    T* taps = x_work + plan.work_elements();
    T* scratch = taps + plan.work_elements();
    T* spectrum = spectra.mutable_data<T>() + group * plan.work_elements();
    if (want_taps) std::fill(taps, scratch, T{0});
    for (int64_t b = part * s.b / parts; b < (part + 1) * s.b / parts; ++b) {
      const Sample<T> sample(s, in, b, group);
      const Rows<T> dy = GroupOf<T>(dy_btd, b * s.t, group);
      const TimeSteps<T> gated{dy, sample.gate, s.t}, steps{sample.x, {}, s.t};
      fft::SplitColumns<true>(plan, gated, dy_work, scratch);
      if (want_taps || want_gate) fft::SplitColumns<true>(plan, steps, x_work, scratch);
      for (int64_t block = 0; block < plan.blocks(); ++block) {
        const T* filter = plan.Block(spectrum, block);
        T* x = plan.Block(x_work, block);
        if (want_taps) {
          fft::SplitBlock(plan, block, x_work);
          fft::ApplyInBlock(plan, block, dy_work,
                            Correlate<T, true>{filter, x, plan.Block(taps, block)});
        } else {
          fft::ApplyInBlock(plan, block, dy_work, Correlate<T, false>{filter, nullptr, nullptr});
        }
        if (!want_gate) continue;
        if (!want_taps) fft::SplitBlock(plan, block, x_work);
        for (int64_t i = 0; i < plan.block(); ++i) {
          T* row = x + i * plan.kRow;
          fft::StoreRow(row, TimesFilter<T>{filter}(i, fft::LoadRow(row)));
        }
        fft::MergeBlock(plan, block, x_work);
      }
      if (out.dx_btd.defined()) {
        const Result<T> dx(out.dx_btd, b, group, gated, sample, {});
        fft::MergeColumns<true>(plan, dy_work, dx, scratch);
      }
      if (want_gate) {
        const Result<T> dgate(out.dgate_btd, b, group, steps, sample, dy);
        fft::MergeColumns<true>(plan, x_work, dgate, scratch);
      }
    }
    if (!want_taps) return;
    for (int64_t block = 0; block < plan.blocks(); ++block) fft::MergeBlock(plan, block, taps);
    const TapGradients<T> gradients{past.Of<T>(part, group),
                                    future.Of<T>(part, group),
                                    skip.Of<T>(part, group),
                                    s.past,
                                    s.future,
                                    plan.size(),
                                    static_cast<T>(1.0 / static_cast<double>(plan.size()))};
    fft::MergeColumns<false>(plan, taps, gradients, scratch);
  });
  past.Add<T>();
  future.Add<T>();
  skip.Add<T>();
}

// Short filters: the sum as it stands, tile by tile of tokens. With the taps in order of what they
// meet, y[t] = sum_i taps[i] x[t - before + i], `before` = past - 1.
constexpr int64_t kTile = 128;  // tokens
constexpr int64_t kSideBySide = 8;

// Tokens [begin, begin + count) as vectors; 0 outside of [0, T).
template <typename T>
void Gather(const TimeSteps<T>& steps, int64_t begin, int64_t count, T* out) {
  for (int64_t i = 0; i < count; ++i) {
    simd::StoreWide(out + i * kWideLanes<T>, begin + i < 0 ? Wide<T>{} : steps(begin + i).re);
  }
}

// out(i, sum over j < taps of taps[j] x[i + j]) for i < count, rounded up to whole kSideBySide.
template <typename T, typename Out>
void SumOfProducts(int64_t num_taps, const T* taps, const T* x, int64_t count, const Out& out) {
  constexpr int64_t kW = kWideLanes<T>;
  for (int64_t i = 0; i < count; i += kSideBySide) {
    Wide<T> sum[kSideBySide] = {};
    for (int64_t j = 0; j < num_taps; ++j) {
      const Wide<T> tap = LoadWide(taps + j * kW);
#pragma GCC unroll 8
      for (int64_t u = 0; u < kSideBySide; ++u) sum[u] += tap * LoadWide(x + (i + j + u) * kW);
    }
    for (int64_t u = 0; u < std::min(kSideBySide, count - i); ++u) out(i + u, sum[u]);
  }
}

// The taps of one group in both orders.
template <typename T>
struct ShortTaps {
  ShortTaps(const Dims& s, const FftConvolutionInputs& in, int64_t group) {
    const Rows<T> past = GroupOf<T>(in.filter_ld, 0, group);
    const Rows<T> future = GroupOf<T>(in.future_ld, 0, group);
    for (int64_t j = 0; j < s.past; ++j) {
      simd::StoreWide(forward + (s.past - 1 - j) * kWideLanes<T>, past.Load(j));
      simd::StoreWide(backward + (s.future + j) * kWideLanes<T>, past.Load(j));
    }
    for (int64_t j = 0; j < s.future; ++j) {
      simd::StoreWide(forward + (s.past + j) * kWideLanes<T>, future.Load(j));
      simd::StoreWide(backward + (s.future - 1 - j) * kWideLanes<T>, future.Load(j));
    }
  }
  T forward[2 * kShortTaps * kWideLanes<T>];   // as they meet x
  T backward[2 * kShortTaps * kWideLanes<T>];  // as they meet dy
};

template <typename T>
struct ShortTile {
  // Rows behind a tile that SumOfProducts may read.
  T rows[(kTile + 2 * kShortTaps + kSideBySide) * kWideLanes<T>] = {};
};

template <typename T>
void ForwardByTaps(const Dims& s, const FftConvolutionInputs& in, const Tensor& y_btd) {
  ParallelFor(Groups<T>(s) * s.b, [&](int64_t task) {
    const int64_t group = task / s.b, b = task % s.b;
    const ShortTaps<T> taps(s, in, group);
    const Sample<T> sample(s, in, b, group);
    const TimeSteps<T> steps{sample.x, {}, s.t};
    const Result<T> result(y_btd, b, group, steps, sample, sample.gate);
    ShortTile<T> x;
    for (int64_t begin = 0; begin < s.t; begin += kTile) {
      const int64_t count = std::min(kTile, s.t - begin);
      Gather(steps, begin - s.past + 1, count + s.past + s.future, x.rows);
      SumOfProducts(s.past + s.future, taps.forward, x.rows, count,
                    [&](int64_t i, Wide<T> sum) { result(begin + i, fft::FromReal<T>(sum)); });
    }
  });
}

template <typename T>
void BackwardByTaps(const Dims& s, const FftConvolutionInputs& in, const Tensor& dy_btd,
                    const FftConvolutionGradients& out) {
  constexpr int64_t kW = kWideLanes<T>;
  const int64_t groups = Groups<T>(s), num_taps = s.past + s.future;
  const int64_t parts = std::min(s.b, (kBackwardTasks + groups - 1) / groups);
  const Parts past(out.dfilter_ld, parts, s.past), future(out.dfuture_ld, parts, s.future),
      skip(out.dskip_d, parts, 1);
  ParallelFor(groups * parts, [&](int64_t task) {
    const int64_t group = task / parts, part = task % parts;
    const ShortTaps<T> taps(s, in, group);
    ShortTile<T> x, g, dy_reach;
    T sums[(2 * kShortTaps + kSideBySide) * kW] = {};
    Wide<T> dskip = {};
    for (int64_t b = part * s.b / parts; b < (part + 1) * s.b / parts; ++b) {
      const Sample<T> sample(s, in, b, group);
      const Rows<T> dy = GroupOf<T>(dy_btd, b * s.t, group);
      const TimeSteps<T> gated{dy, sample.gate, s.t}, steps{sample.x, {}, s.t};
      for (int64_t begin = 0; begin < s.t; begin += kTile) {
        const int64_t count = std::min(kTile, s.t - begin);
        Gather(steps, begin - s.past + 1, kTile + num_taps, x.rows);
        Gather(gated, begin, count, g.rows);
        for (int64_t j = 0; j < num_taps; j += kSideBySide) {
          Wide<T> sum[kSideBySide] = {};
          for (int64_t i = 0; i < count; ++i) {
            const Wide<T> grad = LoadWide(g.rows + i * kW);
#pragma GCC unroll 8
            for (int64_t u = 0; u < kSideBySide; ++u) {
              sum[u] += grad * LoadWide(x.rows + (i + j + u) * kW);
            }
          }
          for (int64_t u = 0; u < kSideBySide; ++u) {
            T* at = sums + (j + u) * kW;
            simd::StoreWide(at, LoadWide(at) + sum[u]);
          }
        }
        Wide<T> skip_sum = {};
        for (int64_t i = 0; i < count; ++i) {
          skip_sum += LoadWide(g.rows + i * kW) * sample.x.Load(begin + i);
        }
        dskip += skip_sum;
        if (out.dx_btd.defined()) {
          const Result<T> dx(out.dx_btd, b, group, gated, sample, {});
          Gather(gated, begin - s.future, count + num_taps, dy_reach.rows);
          SumOfProducts(num_taps, taps.backward, dy_reach.rows, count,
                        [&](int64_t i, Wide<T> sum) { dx(begin + i, fft::FromReal<T>(sum)); });
        }
        if (out.dgate_btd.defined()) {
          const Result<T> dgate(out.dgate_btd, b, group, steps, sample, dy);
          SumOfProducts(num_taps, taps.forward, x.rows, count,
                        [&](int64_t i, Wide<T> sum) { dgate(begin + i, fft::FromReal<T>(sum)); });
        }
      }
    }
    const Rows<T> dpast = past.Of<T>(part, group), dfuture = future.Of<T>(part, group),
                  dskip_row = skip.Of<T>(part, group);
    for (int64_t j = 0; j < s.past && dpast; ++j) {
      dpast.Store(j, LoadWide(sums + (s.past - 1 - j) * kW));
    }
    for (int64_t j = 0; j < s.future && dfuture; ++j) {
      dfuture.Store(j, LoadWide(sums + (s.past + j) * kW));
    }
    if (dskip_row) dskip_row.Store(0, dskip);
  });
  past.Add<T>();
  future.Add<T>();
  skip.Add<T>();
}

double Bytes(const FftConvolutionInputs& in) {
  double bytes = 0;
  for (const Tensor* t : {&in.x_btd, &in.filter_ld, &in.future_ld, &in.skip_d, &in.gate_btd}) {
    if (t->defined()) bytes += static_cast<double>(t->bytes());
  }
  return bytes;
}

}  // namespace

Tensor FftConvolutionForward(const FftConvolutionInputs& in) {
  const Dims s = CheckShapes(in);
  const TraceSpan span("FftConvolutionForward");
  RecordConvolutionCost(s, 2, 1, 1, Bytes(in) + static_cast<double>(in.x_btd.bytes()));
  const Tensor y = Tensor::EmptyLike(in.x_btd);
  if (y.is_meta() || y.numel() == 0) return y;
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    IsShort(s) ? ForwardByTaps<T>(s, in, y) : ForwardByTransform<T>(s, in, y);
  };
  y.dtype() == DType::kFloat64 ? run(double{}) : run(float{});
  return y;
}

void FftConvolutionBackward(const FftConvolutionInputs& in, const Tensor& dy_btd,
                            const FftConvolutionGradients& gradients) {
  const Dims s = CheckShapes(in);
  const auto check = [](const Tensor& gradient, const Tensor& of) {
    if (!gradient.defined()) return;
    CHECK(of.defined()) << "a gradient " << gradient.shape() << " of an input that is not there";
    CHECK(gradient.shape() == of.shape() && gradient.dtype() == of.dtype())
        << "a gradient " << gradient.shape() << " of " << of.shape();
  };
  CHECK(dy_btd.shape() == in.x_btd.shape() && dy_btd.dtype() == in.x_btd.dtype())
      << "dy " << dy_btd.shape() << " for x " << in.x_btd.shape();
  check(gradients.dx_btd, in.x_btd);
  check(gradients.dfilter_ld, in.filter_ld);
  check(gradients.dfuture_ld, in.future_ld);
  check(gradients.dskip_d, in.skip_d);
  check(gradients.dgate_btd, in.gate_btd);
  const TraceSpan span("FftConvolutionBackward");
  const int64_t with_gate = in.gate_btd.defined() ? 1 : 0;
  RecordConvolutionCost(s, 3 + with_gate, 2, 2 + with_gate,
                        2 * Bytes(in) + static_cast<double>(in.x_btd.bytes()));
  if (dy_btd.is_meta()) return;
  if (dy_btd.numel() == 0) {
    for (const Tensor& t : {gradients.dfilter_ld, gradients.dfuture_ld, gradients.dskip_d}) {
      if (t.defined()) t.Fill(0);
    }
    return;
  }
  const auto run = [&](auto zero) {
    using T = decltype(zero);
    IsShort(s) ? BackwardByTaps<T>(s, in, dy_btd, gradients)
               : BackwardByTransform<T>(s, in, dy_btd, gradients);
  };
  dy_btd.dtype() == DType::kFloat64 ? run(double{}) : run(float{});
}

}  // namespace longrange::kernels
