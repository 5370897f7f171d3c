// The lanes of a vector are neighbouring channels. A task has a chunk of rows; for one vector of
// channels after the other it brings the rows it needs, those before the chunk among them, into a
// tile, and works on that. Tail and x together are "the rows" below: row i + K - 1 is row i of x.

#include <algorithm>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/depthwise_convolution/depthwise_convolution.h"
#include "kernels/depthwise_convolution/reference.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using reference::DepthwiseConvolutionShape;
using simd::Fma;
using simd::kLanes;
using simd::Load;
using simd::Sigmoid;
using simd::Store;
using simd::VecF;

constexpr int64_t kChunk = 128;  // rows of a task

DepthwiseConvolutionShape CheckShapes(const DepthwiseConvolutionInputs& in) {
  const Tensor& x = in.x_btd;
  CHECK_EQ(x.rank(), 3) << "depthwise convolution: x is [B, T, D], got " << x.shape();
  const int64_t d = x.dim(2);
  CHECK(in.weight_dk.rank() == 2 && in.weight_dk.dim(0) == d && in.weight_dk.dim(1) >= 1)
      << "depthwise convolution: the weight is [D, K] with D = " << d << ", got "
      << in.weight_dk.shape();
  const int64_t k = in.weight_dk.dim(1);
  CHECK(!in.bias_d.defined() || in.bias_d.shape() == Shape({d}))
      << "depthwise convolution: bias " << in.bias_d.shape() << " for x " << x.shape();
  CHECK(!in.tail_bkd.defined() || in.tail_bkd.shape() == Shape({x.dim(0), k - 1, d}))
      << "depthwise convolution: tail " << in.tail_bkd.shape() << " for x " << x.shape() << " and "
      << k << " taps";
  for (const Tensor* t : {&in.weight_dk, &in.bias_d, &in.tail_bkd}) {
    if (!t->defined()) continue;
    CHECK(t->dtype() == x.dtype() && t->device() == x.device())
        << "depthwise convolution: x is " << Name(x.dtype()) << " on " << Name(x.device()) << ", "
        << t->shape() << " is " << Name(t->dtype()) << " on " << Name(t->device());
  }
  return {x.dim(0), x.dim(1), d, k, in.silu};
}

// Pointers of one call.
struct Operands {
  Operands(const DepthwiseConvolutionShape& shape, const DepthwiseConvolutionInputs& in)
      : s(shape),
        x(in.x_btd.data<float>()),
        weight(in.weight_dk.data<float>()),
        bias(in.bias_d.defined() ? in.bias_d.data<float>() : nullptr),
        tail(in.tail_bkd.defined() ? in.tail_bkd.data<float>() : nullptr) {}

  // Rows [begin, end) of sample b, channels from d on, one vector each.
  template <typename Lanes>
  LR_SIMD_INLINE void LoadRows(Lanes lanes, int64_t b, int64_t begin, int64_t end, int64_t d,
                               float* tile) const {
    const int64_t before = s.k - 1;
    int64_t i = begin;
    for (; i < std::min(end, before); ++i) {
      Store(tile + (i - begin) * kLanes,
            tail == nullptr ? simd::Zero() : lanes.Load(tail + (b * before + i) * s.d + d));
    }
    for (; i < end; ++i)
      Store(tile + (i - begin) * kLanes, lanes.Load(x + (b * s.t + i - before) * s.d + d));
  }
  // The taps of channels from d on, one vector each.
  void LoadWeight(int64_t d, float* taps) const {
    const int64_t width = std::min<int64_t>(kLanes, s.d - d);
    for (int64_t k = 0; k < s.k; ++k) {
      for (int64_t i = 0; i < kLanes; ++i)
        taps[k * kLanes + i] = i < width ? weight[(d + i) * s.k + k] : 0;
    }
  }
  template <typename Lanes>
  LR_SIMD_INLINE VecF Bias(Lanes lanes, int64_t d) const {
    return bias == nullptr ? simd::Zero() : lanes.Load(bias + d);
  }

  const DepthwiseConvolutionShape& s;
  const float *x, *weight, *bias, *tail;
};

// sum over k of taps_k rows_{t + k}; the number of taps is kTaps or, where that is 0, `count`.
template <int kTaps>
LR_SIMD_INLINE VecF Filtered(int64_t count, const float* taps, const float* rows, VecF bias) {
  const int64_t n = kTaps > 0 ? kTaps : count;
  VecF sum = bias;
  for (int64_t k = 0; k < n; ++k) sum = Fma(Load(taps + k * kLanes), Load(rows + k * kLanes), sum);
  return sum;
}

// fn(std::integral_constant) of the number of taps, or of 0 where that has no code of its own.
template <typename Fn>
void WithTaps(int64_t taps, Fn&& fn) {
  switch (taps) {
    case 2:
      return fn(std::integral_constant<int, 2>());
    case 3:
      return fn(std::integral_constant<int, 3>());
    case 4:
      return fn(std::integral_constant<int, 4>());
    default:
      return fn(std::integral_constant<int, 0>());
  }
}

int64_t Chunks(const DepthwiseConvolutionShape& s) { return (s.t + kChunk - 1) / kChunk; }

// Copies the last K - 1 rows.
void KeepTail(const Operands& o, float* tail) {
  const int64_t before = o.s.k - 1;
  for (int64_t b = 0; b < o.s.b; ++b) {
    simd::ForLanes(o.s.d, [&](auto lanes, int64_t d) {
      for (int64_t i = 0; i < before; ++i) {
        alignas(64) float row[kLanes];
        o.LoadRows(lanes, b, o.s.t + i, o.s.t + i + 1, d, row);
        lanes.Store(tail + (b * before + i) * o.s.d + d, Load(row));
      }
    });
  }
}

template <int kTaps>
void Forward(const Operands& o, float* y) {
  const DepthwiseConvolutionShape& s = o.s;
  const int64_t chunks = Chunks(s);
  ParallelFor(s.b * chunks, [&](int64_t task) {
    const int64_t b = task / chunks, begin = task % chunks * kChunk,
                  end = std::min(s.t, begin + kChunk);
    const Tensor scratch = Tensor::Empty({end - begin + 2 * s.k, kLanes});
    float* taps = scratch.mutable_data<float>();
    float* rows = taps + s.k * kLanes;
    simd::ForLanes(s.d, [&](auto lanes, int64_t d) {
      o.LoadWeight(d, taps);
      o.LoadRows(lanes, b, begin, end + s.k - 1, d, rows);
      const VecF bias = o.Bias(lanes, d);
      for (int64_t t = begin; t < end; ++t) {
        const VecF sum = Filtered<kTaps>(s.k, taps, rows + (t - begin) * kLanes, bias);
        lanes.Store(y + (b * s.t + t) * s.d + d, s.silu ? sum * Sigmoid(sum) : sum);
      }
    });
  });
}

// Where the gradients go; null where nobody asks.
struct Results {
  float *dx, *dtail;
  float* dweight;  // [tasks, K + 1, D]: of the taps and the bias, summed over the task's rows
};

template <int kTaps>
void Backward(const Operands& o, const float* dy, const float* dtail_out, const Results& out) {
  const DepthwiseConvolutionShape& s = o.s;
  const int64_t chunks = std::max<int64_t>(1, Chunks(s)), before = s.k - 1;
  ParallelFor(s.b * chunks, [&](int64_t task) {
    const int64_t b = task / chunks, begin = task % chunks * kChunk,
                  end = std::min(s.t, begin + kChunk);
    // The gradients by rows of the chunk come from results up to K - 1 rows further on.
    const int64_t reach = std::min(s.t, end + before);
    const Tensor scratch =
        Tensor::Empty({s.k + (reach - begin + before) + (end - begin + 2 * before), kLanes});
    float* taps = scratch.mutable_data<float>();
    float* rows = taps + s.k * kLanes;
    // By the filtered sums from row begin - (K - 1) on, 0 where there are none.
    float* dsum = rows + (reach - begin + before) * kLanes;
    simd::ForLanes(s.d, [&](auto lanes, int64_t d) {
      const int64_t n = kTaps > 0 ? kTaps : s.k;
      o.LoadWeight(d, taps);
      o.LoadRows(lanes, b, begin, reach + before, d, rows);
      const VecF bias = o.Bias(lanes, d);
      std::fill_n(dsum, before * kLanes, 0.f);
      float* own = dsum + before * kLanes;
      for (int64_t t = begin; t < end + before; ++t) {
        VecF gradient = simd::Zero();
        if (t < reach) {
          gradient = lanes.Load(dy + (b * s.t + t) * s.d + d);
          if (s.silu) {
            const VecF sum = Filtered<kTaps>(s.k, taps, rows + (t - begin) * kLanes, bias);
            const VecF sigmoid = Sigmoid(sum);
            gradient *= sigmoid * (1.0f + sum * (1.0f - sigmoid));
          }
        }
        Store(own + (t - begin) * kLanes, gradient);
      }
      float* dweight = out.dweight + task * (s.k + 1) * s.d + d;
      for (int64_t k = 0; k < n; ++k) {
        VecF sum = simd::Zero();
        for (int64_t t = 0; t < end - begin; ++t)
          sum = Fma(Load(own + t * kLanes), Load(rows + (t + k) * kLanes), sum);
        lanes.Store(dweight + k * s.d, sum);
      }
      VecF dbias = simd::Zero();
      for (int64_t t = 0; t < end - begin; ++t) dbias += Load(own + t * kLanes);
      lanes.Store(dweight + s.k * s.d, dbias);
      // By row i: sum over k of tap k times that by the sum at i - k; i of the tail, then of x.
      const auto by_row = [&](int64_t i) {
        VecF sum = simd::Zero();
        for (int64_t k = 0; k < n; ++k)
          sum = Fma(Load(taps + k * kLanes), Load(own + (i - k - begin) * kLanes), sum);
        if (i >= s.t && dtail_out != nullptr)
          sum += lanes.Load(dtail_out + (b * before + i - s.t) * s.d + d);
        return sum;
      };
      for (int64_t i = begin + before; i < end + before; ++i)
        lanes.Store(out.dx + (b * s.t + i - before) * s.d + d, by_row(i));
      for (int64_t i = 0; i < before && begin == 0 && out.dtail != nullptr; ++i)
        lanes.Store(out.dtail + (b * before + i) * s.d + d, by_row(i));
    });
  });
}

constexpr double kSiluFlops = 5, kSiluGradientFlops = 8;

}  // namespace

DepthwiseConvolutionOutputs DepthwiseConvolutionForward(const DepthwiseConvolutionInputs& in) {
  const DepthwiseConvolutionShape s = CheckShapes(in);
  const TraceSpan span("DepthwiseConvolutionForward");
  DepthwiseConvolutionOutputs out{
      Tensor::EmptyLike(in.x_btd),
      Tensor::Empty({s.b, s.k - 1, s.d}, in.x_btd.dtype(), in.x_btd.device())};
  RecordCost((2.0 * s.k + (s.silu ? kSiluFlops : 0)) * in.x_btd.numel(),
             2.0 * in.x_btd.bytes() + 2.0 * out.tail_bkd.bytes() + in.weight_dk.bytes());
  if (in.x_btd.is_meta()) return out;
  if (in.x_btd.dtype() == DType::kFloat64) {
    const auto doubles = [](const Tensor& t) { return t.defined() ? t.data<double>() : nullptr; };
    reference::DepthwiseConvolution(
        s, {doubles(in.x_btd), doubles(in.weight_dk), doubles(in.bias_d), doubles(in.tail_bkd)},
        out.y_btd.mutable_data<double>(), out.tail_bkd.mutable_data<double>());
    return out;
  }
  const Operands o(s, in);
  WithTaps(s.k, [&](auto taps) { Forward<taps()>(o, out.y_btd.mutable_data<float>()); });
  KeepTail(o, out.tail_bkd.mutable_data<float>());
  return out;
}

DepthwiseConvolutionGradients DepthwiseConvolutionBackward(const DepthwiseConvolutionInputs& in,
                                                           const Tensor& dy_btd,
                                                           const Tensor& dtail_bkd) {
  const DepthwiseConvolutionShape s = CheckShapes(in);
  CHECK(dy_btd.shape() == in.x_btd.shape() && dy_btd.dtype() == in.x_btd.dtype())
      << "depthwise convolution: dy is " << Name(dy_btd.dtype()) << " " << dy_btd.shape()
      << " for y " << in.x_btd.shape();
  CHECK(!dtail_bkd.defined() || dtail_bkd.shape() == Shape({s.b, s.k - 1, s.d}))
      << "depthwise convolution: dtail " << dtail_bkd.shape();
  const TraceSpan span("DepthwiseConvolutionBackward");
  const auto like = [](const Tensor& t) {
    if (!t.defined()) return t;
    return t.dtype() == DType::kFloat64 ? Tensor::ZerosLike(t) : Tensor::EmptyLike(t);
  };
  const DepthwiseConvolutionGradients out{like(in.x_btd), like(in.weight_dk), like(in.bias_d),
                                          like(in.tail_bkd)};
  RecordCost((4.0 * s.k + 1 + (s.silu ? 2.0 * s.k + kSiluGradientFlops : 0)) * in.x_btd.numel(),
             3.0 * in.x_btd.bytes() + 2.0 * in.weight_dk.bytes());
  if (in.x_btd.is_meta()) return out;
  if (in.x_btd.dtype() == DType::kFloat64) {
    const auto doubles = [](const Tensor& t) {
      return t.defined() ? t.mutable_data<double>() : nullptr;
    };
    reference::DepthwiseConvolutionBackward(
        s, {doubles(in.x_btd), doubles(in.weight_dk), doubles(in.bias_d), doubles(in.tail_bkd)},
        doubles(dy_btd), doubles(dtail_bkd), doubles(out.dx_btd), doubles(out.dweight_dk),
        doubles(out.dbias_d), doubles(out.dtail_bkd));
    return out;
  }
  const Operands o(s, in);
  const int64_t tasks = s.b * std::max<int64_t>(1, Chunks(s));
  const Tensor parts = Tensor::Empty({tasks, s.k + 1, s.d});
  const Results results{out.dx_btd.mutable_data<float>(),
                        out.dtail_bkd.defined() ? out.dtail_bkd.mutable_data<float>() : nullptr,
                        parts.mutable_data<float>()};
  const float* dtail = dtail_bkd.defined() ? dtail_bkd.data<float>() : nullptr;
  WithTaps(s.k, [&](auto taps) { Backward<taps()>(o, dy_btd.data<float>(), dtail, results); });
  // The tasks' sums, in their order.
  float* dweight = out.dweight_dk.mutable_data<float>();
  float* dbias = out.dbias_d.defined() ? out.dbias_d.mutable_data<float>() : nullptr;
  for (int64_t k = 0; k <= s.k; ++k) {
    if (k == s.k && dbias == nullptr) break;
    simd::ForLanes(s.d, [&](auto lanes, int64_t d) {
      VecF sum = simd::Zero();
      for (int64_t task = 0; task < tasks; ++task)
        sum += lanes.Load(results.dweight + (task * (s.k + 1) + k) * s.d + d);
      if (k == s.k) {
        lanes.Store(dbias + d, sum);
      } else {
        for (int64_t i = 0; i < std::min<int64_t>(kLanes, s.d - d); ++i)
          dweight[(d + i) * s.k + k] = sum[i];
      }
    });
  }
  return out;
}

}  // namespace longrange::kernels
