#include <algorithm>
#include <complex>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/fft/ring_transform.h"
#include "kernels/power_kernel/power_kernel.h"

namespace longrange::kernels {
namespace {

struct PowerShape {
  int64_t c, h, n, length;
};

PowerShape CheckShapes(const Tensor& c_chn2, const Tensor& log_a_hn2, int64_t length) {
  CHECK(c_chn2.rank() == 4 && c_chn2.dim(3) == 2) << "c is [C, H, N/2, 2], got " << c_chn2.shape();
  const PowerShape s{c_chn2.dim(0), c_chn2.dim(1), c_chn2.dim(2), length};
  CHECK(log_a_hn2.shape() == Shape({s.h, s.n, 2}))
      << "log a " << log_a_hn2.shape() << " for c " << c_chn2.shape();
  CHECK(log_a_hn2.dtype() == c_chn2.dtype())
      << Name(log_a_hn2.dtype()) << " and " << Name(c_chn2.dtype());
  CHECK_GE(length, 0);
  return s;
}

void RecordKernelCost(const PowerShape& s, double flops_a_power, const Tensor& c_chn2) {
  const double powers = static_cast<double>(s.c * s.h * s.n) * static_cast<double>(s.length);
  RecordCost(flops_a_power * powers,
             SizeOf(c_chn2.dtype()) *
                 static_cast<double>(2 * (s.c + 1) * s.h * s.n + s.c * s.length * s.h));
}

// a^l = (a^kInner)^i a^j, l = kInner i + j: with X_i = c a^(kInner i) and Y_j = a^j the kernel is a
// product of matrices over the modes, K[l] = 2 Re sum_n X_i Y_j. Powers come from a by
// multiplication in double, and anew from the logarithm every kSegment steps. A lane is a feature.

using fft::Complex;
using fft::LoadRow;
using fft::Multiply;
using fft::MultiplyConjugate;
using fft::StoreRow;
using simd::kWideLanes;
using simd::LoadWide;
using simd::SplatWide;
using simd::Wide;

constexpr int64_t kInner = 64;
constexpr int64_t kSegment = 64 * kInner;  // steps of a task
constexpr int64_t kTile = 4;               // X by Y held in registers

// The powers of the modes of one group of features over one segment.
template <typename T>
class Powers {
 public:
  static constexpr int64_t kRow = 2 * kWideLanes<T>;

  Powers(const PowerShape& s, const Tensor& log_a_hn2, int64_t h, int64_t begin)
      : lanes_(std::min<int64_t>(kWideLanes<T>, s.h - h)),
        outer_((std::min(s.length - begin, kSegment) + kInner - 1) / kInner),
        padded_((outer_ + kTile - 1) / kTile * kTile),
        memory_(Tensor::Empty({s.n * (padded_ + kInner) * kRow}, DTypeOf<T>::value)) {
    const T* log_a = log_a_hn2.data<T>() + 2 * h * s.n;
    for (int64_t n = 0; n < s.n; ++n) {
      Lane a = {}, start = {};
      for (int64_t i = 0; i < lanes_; ++i) {
        const std::complex<double> log(static_cast<double>(log_a[2 * (i * s.n + n)]),
                                       static_cast<double>(log_a[2 * (i * s.n + n) + 1]));
        a.Set(i, std::exp(log));
        start.Set(i, begin == 0 ? 1.0 : std::exp(static_cast<double>(begin) * log));
      }
      Lane power = {};
      for (int64_t i = 0; i < lanes_; ++i) power.Set(i, 1);
      for (int64_t j = 0; j < kInner; ++j) {
        power.Store(Inner(j / kTile, n) + j % kTile * kRow);
        power.Times(a);
      }
      for (int64_t i = 0; i < padded_; ++i) {  // `power` is a^kInner
        start.Store(Outer(i / kTile, n) + i % kTile * kRow);
        start.Times(power);
      }
    }
  }

  int64_t outer() const { return outer_; }
  // kTile rows, for one mode, of Y_j from j = kTile tile on; of a^(begin + kInner i) from i = kTile
  // tile on. Those of the next mode follow.
  T* Inner(int64_t tile, int64_t n) const { return At(padded_ / kTile + tile, n); }
  T* Outer(int64_t tile, int64_t n) const { return At(tile, n); }

 private:
  // Complex numbers in double, a lane a feature.
  struct Lane {
    double re[kWideLanes<T>], im[kWideLanes<T>];

    void Set(int64_t i, std::complex<double> v) {
      re[i] = v.real();
      im[i] = v.imag();
    }
    void Times(const Lane& other) {
      for (int i = 0; i < kWideLanes<T>; ++i) {
        const double r = re[i] * other.re[i] - im[i] * other.im[i];
        im[i] = re[i] * other.im[i] + im[i] * other.re[i];
        re[i] = r;
      }
    }
    void Store(T* row) const {
      for (int i = 0; i < kWideLanes<T>; ++i) row[i] = static_cast<T>(re[i]);
      for (int i = 0; i < kWideLanes<T>; ++i) row[kWideLanes<T> + i] = static_cast<T>(im[i]);
    }
  };

  T* At(int64_t tile, int64_t n) const {
    const int64_t modes = memory_.numel() / ((padded_ + kInner) * kRow);
    return memory_.mutable_data<T>() + (tile * modes + n) * kTile * kRow;
  }

  int64_t lanes_, outer_, padded_;
  Tensor memory_;
};

// Rows of pairs of one group of features: mode n of the group is at data + 2 n, a lane 2 N/2 apart.
template <typename T>
Complex<T> LoadPairs(const T* data, int64_t lane_stride, int64_t lanes) {
  Complex<T> v = {};
  for (int64_t i = 0; i < lanes; ++i) {
    v.re[i] = data[i * lane_stride];
    v.im[i] = data[i * lane_stride + 1];
  }
  return v;
}

template <typename T>
struct Group {
  Group(const PowerShape& s, int64_t task)
      : segments((s.length + kSegment - 1) / kSegment),
        h(task / segments * kWideLanes<T>),
        lanes(std::min<int64_t>(kWideLanes<T>, s.h - h)),
        begin(task % segments * kSegment) {}
  static int64_t Tasks(const PowerShape& s) {
    return (s.h + kWideLanes<T> - 1) / kWideLanes<T> * ((s.length + kSegment - 1) / kSegment);
  }

  int64_t segments, h, lanes, begin;
};

template <typename T>
void Forward(const PowerShape& s, const Tensor& c_chn2, const Tensor& log_a_hn2, T* kernel) {
  constexpr int64_t kRow = Powers<T>::kRow, kLanes = kWideLanes<T>;
  ParallelFor(Group<T>::Tasks(s), [&](int64_t task) {
    const Group<T> group(s, task);
    const Powers<T> powers(s, log_a_hn2, group.h, group.begin);
    const Tensor memory = Tensor::Empty({s.n * kTile * kRow}, DTypeOf<T>::value);
    T* x = memory.mutable_data<T>();
    for (int64_t channel = 0; channel < s.c; ++channel) {
      const T* c = c_chn2.data<T>() + 2 * (channel * s.h + group.h) * s.n;
      T* out = kernel + channel * s.length * s.h + group.h;
      for (int64_t outer = 0; outer < powers.outer(); outer += kTile) {
        for (int64_t n = 0; n < s.n; ++n) {
          Complex<T> twice = LoadPairs(c + 2 * n, 2 * s.n, group.lanes);
          twice = {twice.re + twice.re, twice.im + twice.im};
          const T* from = powers.Outer(outer / kTile, n);
          for (int64_t i = 0; i < kTile; ++i) {
            StoreRow(x + (n * kTile + i) * kRow, Multiply(twice, LoadRow(from + i * kRow)));
          }
        }
        for (int64_t inner = 0; inner < kInner; inner += kTile) {
          Wide<T> sum[kTile][kTile] = {};
          const T* y = powers.Inner(inner / kTile, 0);
          for (int64_t n = 0; n < s.n; ++n) {
            const T* x_n = x + n * kTile * kRow;
            const T* y_n = y + n * kTile * kRow;
#pragma GCC unroll 4
            for (int i = 0; i < kTile; ++i) {
              const Wide<T> re = LoadWide(x_n + i * kRow), im = LoadWide(x_n + i * kRow + kLanes);
#pragma GCC unroll 4
              for (int j = 0; j < kTile; ++j) {
                sum[i][j] += re * LoadWide(y_n + j * kRow);
                sum[i][j] -= im * LoadWide(y_n + j * kRow + kLanes);
              }
            }
          }
          for (int64_t i = 0; i < kTile; ++i) {
            for (int64_t j = 0; j < kTile; ++j) {
              const int64_t l = group.begin + (outer + i) * kInner + inner + j;
              if (l < s.length) simd::StoreWidePartial(out + l * s.h, group.lanes, sum[i][j]);
            }
          }
        }
      }
    }
  });
}

// With g = 2 dK: D_i = sum_j g Y_j*, E_i = sum_j j g Y_j*; dc = sum_i D_i (a^(kInner i))*, dlog a =
// sum_i X_i* (kInner i D_i + E_i). Segments have sums of their own, added up in order.
template <typename T>
void Backward(const PowerShape& s, const Tensor& c_chn2, const Tensor& log_a_hn2, const T* dkernel,
              const Tensor& dc_chn2, const Tensor& dlog_a_hn2) {
  constexpr int64_t kRow = Powers<T>::kRow, kLanes = kWideLanes<T>, kModes = 2, kOuter = 2;
  const int64_t segments = (s.length + kSegment - 1) / kSegment;
  const int64_t c_size = 2 * s.c * s.h * s.n, log_size = 2 * s.h * s.n;
  std::vector<double> parts(segments * (c_size + log_size));
  ParallelFor(Group<T>::Tasks(s), [&](int64_t task) {
    const Group<T> group(s, task);
    const Powers<T> powers(s, log_a_hn2, group.h, group.begin);
    const int64_t rows = (powers.outer() + kOuter - 1) / kOuter * kOuter * kInner;
    const Tensor memory = Tensor::Empty({rows * kLanes}, DTypeOf<T>::value);
    T* g = memory.mutable_data<T>();
    double* dc = parts.data() + group.begin / kSegment * (c_size + log_size);
    double* dlog = dc + c_size;
    for (int64_t channel = 0; channel < s.c; ++channel) {
      const T* from = dkernel + channel * s.length * s.h + group.h;
      for (int64_t i = 0; i < rows; ++i) {
        const int64_t l = group.begin + i;
        const Wide<T> v =
            l < s.length ? simd::LoadWidePartial(from + l * s.h, group.lanes) : Wide<T>{};
        simd::StoreWide(g + i * kLanes, v + v);
      }
      for (int64_t n = 0; n < s.n; n += kModes) {
        // The last mode stands in for one that is not there.
        const int64_t mode[kModes] = {n, std::min(n + 1, s.n - 1)};
        Complex<T> c[kModes], dc_sum[kModes] = {}, dlog_sum[kModes] = {};
        for (int m = 0; m < kModes; ++m) {
          c[m] = LoadPairs(c_chn2.data<T>() + 2 * ((channel * s.h + group.h) * s.n + mode[m]),
                           2 * s.n, group.lanes);
        }
        for (int64_t outer = 0; outer < powers.outer(); outer += kOuter) {
          Complex<T> d[kModes][kOuter] = {}, e[kModes][kOuter] = {};
          for (int64_t tile = 0; tile < kInner / kTile; ++tile) {
            const T* y[kModes] = {powers.Inner(tile, mode[0]), powers.Inner(tile, mode[1])};
#pragma GCC unroll 4
            for (int j = 0; j < kTile; ++j) {
              const T step = static_cast<T>(tile * kTile + j);
#pragma GCC unroll 2
              for (int o = 0; o < kOuter; ++o) {
                const Wide<T> v = LoadWide(g + ((outer + o) * kInner + tile * kTile + j) * kLanes);
                const Wide<T> v_step = step * v;
#pragma GCC unroll 2
                for (int m = 0; m < kModes; ++m) {
                  const Wide<T> re = LoadWide(y[m] + j * kRow),
                                im = LoadWide(y[m] + j * kRow + kLanes);
                  d[m][o].re += v * re;
                  d[m][o].im -= v * im;
                  e[m][o].re += v_step * re;
                  e[m][o].im -= v_step * im;
                }
              }
            }
          }
          for (int64_t o = 0; o < kOuter && outer + o < powers.outer(); ++o) {
            const T start = static_cast<T>(group.begin + (outer + o) * kInner);
            for (int m = 0; m < kModes; ++m) {
              const Complex<T> power =
                  LoadRow(powers.Outer((outer + o) / kTile, mode[m]) + (outer + o) % kTile * kRow);
              const Complex<T> dc_i = MultiplyConjugate(power, d[m][o]);
              dc_sum[m] = {dc_sum[m].re + dc_i.re, dc_sum[m].im + dc_i.im};
              const Complex<T> weighted = {start * d[m][o].re + e[m][o].re,
                                           start * d[m][o].im + e[m][o].im};
              const Complex<T> dlog_i = MultiplyConjugate(Multiply(c[m], power), weighted);
              dlog_sum[m] = {dlog_sum[m].re + dlog_i.re, dlog_sum[m].im + dlog_i.im};
            }
          }
        }
        for (int m = 0; m < std::min<int64_t>(kModes, s.n - n); ++m) {
          for (int64_t i = 0; i < group.lanes; ++i) {
            const int64_t at = 2 * ((group.h + i) * s.n + mode[m]);
            dc[channel * s.h * s.n * 2 + at] = static_cast<double>(dc_sum[m].re[i]);
            dc[channel * s.h * s.n * 2 + at + 1] = static_cast<double>(dc_sum[m].im[i]);
            dlog[at] += static_cast<double>(dlog_sum[m].re[i]);
            dlog[at + 1] += static_cast<double>(dlog_sum[m].im[i]);
          }
        }
      }
    }
  });
  const auto add_up = [&](int64_t size, int64_t offset, T* out) {
    for (int64_t i = 0; i < size; ++i) {
      double sum = 0;
      for (int64_t p = 0; p < segments; ++p) sum += parts[p * (c_size + log_size) + offset + i];
      out[i] = static_cast<T>(sum);
    }
  };
  add_up(c_size, 0, dc_chn2.mutable_data<T>());
  add_up(log_size, c_size, dlog_a_hn2.mutable_data<T>());
}

}  // namespace

Tensor PowerKernelForward(const Tensor& c_chn2, const Tensor& log_a_hn2, int64_t length) {
  const PowerShape s = CheckShapes(c_chn2, log_a_hn2, length);
  const TraceSpan span("PowerKernelForward");
  RecordKernelCost(s, 4, c_chn2);
  const Shape shape{s.c, length, s.h};
  if (c_chn2.is_meta()) return Tensor::Empty(shape, c_chn2.dtype(), Device::kMeta);
  const Tensor kernel = Tensor::Empty(shape, c_chn2.dtype());
  kernel.dtype() == DType::kFloat64 ? Forward(s, c_chn2, log_a_hn2, kernel.mutable_data<double>())
                                    : Forward(s, c_chn2, log_a_hn2, kernel.mutable_data<float>());
  return kernel;
}

PowerKernelGradients PowerKernelBackward(const Tensor& c_chn2, const Tensor& log_a_hn2,
                                         const Tensor& dkernel_clh) {
  CHECK_EQ(dkernel_clh.rank(), 3) << "a kernel is [C, L, H], got " << dkernel_clh.shape();
  const PowerShape s = CheckShapes(c_chn2, log_a_hn2, dkernel_clh.dim(1));
  CHECK(dkernel_clh.shape() == Shape({s.c, s.length, s.h}))
      << "dK " << dkernel_clh.shape() << " for c " << c_chn2.shape();
  CHECK(dkernel_clh.dtype() == c_chn2.dtype())
      << Name(dkernel_clh.dtype()) << " and " << Name(c_chn2.dtype());
  const TraceSpan span("PowerKernelBackward");
  RecordKernelCost(s, 16, c_chn2);
  const PowerKernelGradients g{Tensor::EmptyLike(c_chn2), Tensor::EmptyLike(log_a_hn2)};
  if (c_chn2.is_meta()) return g;
  dkernel_clh.dtype() == DType::kFloat64
      ? Backward(s, c_chn2, log_a_hn2, dkernel_clh.data<double>(), g.dc_chn2, g.dlog_a_hn2)
      : Backward(s, c_chn2, log_a_hn2, dkernel_clh.data<float>(), g.dc_chn2, g.dlog_a_hn2);
  return g;
}

}  // namespace longrange::kernels
