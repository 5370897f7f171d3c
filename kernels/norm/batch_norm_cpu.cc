#include <algorithm>
#include <cmath>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/norm/batch_norm.h"
#include "kernels/norm/reference.h"
#include "kernels/simd/lanes.h"

namespace longrange::kernels {
namespace {

using simd::VecF;

// Rows of a task: by shape alone, so that the sums are always the same.
constexpr int64_t kMaxTasks = 64;
int64_t RowGrain(int64_t rows) { return std::max<int64_t>(8, (rows + kMaxTasks - 1) / kMaxTasks); }

void CheckLike(const Tensor& t, const Shape& shape, const Tensor& x, const char* name) {
  CHECK(t.shape() == shape && t.dtype() == x.dtype())
      << name << " is " << Name(t.dtype()) << " " << t.shape() << " for x " << Name(x.dtype())
      << " " << x.shape();
}

// Which of the B * T rows are real, and how many.
struct RealRows {
  RealRows(const Tensor& x_btd, const Tensor& begin_b, const Tensor& end_b)
      : real(x_btd.dim(0) * x_btd.dim(1)) {
    const int64_t rows = x_btd.dim(1);
    for (const Tensor* border_b : {&begin_b, &end_b}) {
      CHECK(!border_b->defined() ||
            (border_b->shape() == Shape({x_btd.dim(0)}) && border_b->dtype() == DType::kInt64))
          << "batch norm: rows of a batch are int64 [B], got " << border_b->shape();
    }
    for (int64_t b = 0; b < x_btd.dim(0); ++b) {
      const int64_t begin = begin_b.defined() ? begin_b.data<int64_t>()[b] : 0,
                    end = end_b.defined() ? end_b.data<int64_t>()[b] : rows;
      for (int64_t t = std::max<int64_t>(begin, 0); t < std::min(end, rows); ++t) {
        real[b * rows + t] = 1;
        ++count;
      }
    }
    CHECK_GT(count, 0) << "batch norm of no rows, x " << x_btd.shape();
  }

  std::vector<uint8_t> real;
  int64_t count = 0;
};

// Adds up body(lanes, row, i, sums) over the real rows: kSums sums of each channel, one after the
// other.
template <int kSums, typename Body>
std::vector<double> SumOverRows(const RealRows& rows, int64_t d, Body body) {
  const int64_t num_rows = static_cast<int64_t>(rows.real.size()), grain = RowGrain(num_rows),
                num_tasks = (num_rows + grain - 1) / grain;
  std::vector<float> partial(num_tasks * kSums * d, 0.f);
  ParallelForRange(num_rows, grain, [&](int64_t begin, int64_t end) {
    float* const own = partial.data() + begin / grain * kSums * d;
    for (int64_t r = begin; r < end; ++r) {
      if (!rows.real[r]) continue;
      simd::ForLanes(d, [&](auto lanes, int64_t i) {
        VecF terms[kSums];
        body(lanes, r, i, terms);
        for (int s = 0; s < kSums; ++s)
          lanes.Store(own + s * d + i, lanes.Load(own + s * d + i) + terms[s]);
      });
    }
  });
  std::vector<double> total(kSums * d, 0.0);
  for (int64_t task = 0; task < num_tasks; ++task) {
    for (int64_t i = 0; i < kSums * d; ++i) total[i] += partial[task * kSums * d + i];
  }
  return total;
}

// to = scale x + offset in real rows, 0 in the others; by channel and row: body(lanes, row, i).
template <typename Body>
void ForRows(const RealRows& rows, int64_t d, float* to, Body body) {
  const int64_t num_rows = static_cast<int64_t>(rows.real.size());
  ParallelForRange(num_rows, RowGrain(num_rows), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      if (rows.real[r]) {
        simd::ForLanes(d, [&](auto lanes, int64_t i) {
          lanes.Store(to + r * d + i, body(lanes, r * d + i, i));
        });
      } else {
        std::fill_n(to + r * d, d, 0.f);
      }
    }
  });
}

std::vector<float> Rounded(const std::vector<double>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

void BatchNormForward(const Tensor& x_btd, const Tensor& begin_b, const Tensor& end_b,
                      const Tensor& weight_d, const Tensor& bias_d, double eps, const Tensor& y_btd,
                      const Tensor& mean_d, const Tensor& variance_d) {
  CHECK_EQ(x_btd.rank(), 3) << "x is [B, T, D], got " << x_btd.shape();
  const int64_t d = x_btd.dim(2), num_rows = x_btd.dim(0) * x_btd.dim(1);
  CheckLike(weight_d, {d}, x_btd, "weight");
  CheckLike(bias_d, {d}, x_btd, "bias");
  CheckLike(mean_d, {d}, x_btd, "mean");
  CheckLike(variance_d, {d}, x_btd, "variance");
  CheckLike(y_btd, x_btd.shape(), x_btd, "y");
  const TraceSpan span("BatchNormForward");
  RecordCost(6.0 * x_btd.numel(), 2.0 * x_btd.bytes());
  if (x_btd.is_meta()) return;
  const RealRows rows(x_btd, begin_b, end_b);
  if (x_btd.dtype() == DType::kFloat64) {
    reference::BatchNormForward(num_rows, d, rows.real.data(), x_btd.data<double>(),
                                weight_d.data<double>(), bias_d.data<double>(), eps,
                                y_btd.mutable_data<double>(), mean_d.mutable_data<double>(),
                                variance_d.mutable_data<double>());
    return;
  }
  const float *x = x_btd.data<float>(), *weight = weight_d.data<float>(),
              *bias = bias_d.data<float>();
  float *mean = mean_d.mutable_data<float>(), *variance = variance_d.mutable_data<float>();
  const auto count = static_cast<double>(rows.count);
  const std::vector<double> sums = SumOverRows<1>(
      rows, d,
      [&](auto lanes, int64_t r, int64_t i, VecF* terms) { terms[0] = lanes.Load(x + r * d + i); });
  for (int64_t i = 0; i < d; ++i) mean[i] = static_cast<float>(sums[i] / count);
  const std::vector<double> squares =
      SumOverRows<1>(rows, d, [&](auto lanes, int64_t r, int64_t i, VecF* terms) {
        const VecF off = lanes.Load(x + r * d + i) - lanes.Load(mean + i);
        terms[0] = off * off;
      });
  std::vector<float> scale(d);
  for (int64_t i = 0; i < d; ++i) {
    variance[i] = static_cast<float>(squares[i] / count);
    scale[i] = static_cast<float>(weight[i] / std::sqrt(variance[i] + eps));
  }
  ForRows(rows, d, y_btd.mutable_data<float>(), [&](auto lanes, int64_t at, int64_t i) {
    return simd::Fma(lanes.Load(x + at) - lanes.Load(mean + i), lanes.Load(scale.data() + i),
                     lanes.Load(bias + i));
  });
}

void BatchNormBackward(const Tensor& x_btd, const Tensor& begin_b, const Tensor& end_b,
                       const Tensor& weight_d, double eps, const Tensor& mean_d,
                       const Tensor& variance_d, const Tensor& dy_btd, const Tensor& dx_btd,
                       const Tensor& dweight_d, const Tensor& dbias_d) {
  const int64_t d = x_btd.dim(2), num_rows = x_btd.dim(0) * x_btd.dim(1);
  for (const Tensor* t : {&weight_d, &mean_d, &variance_d, &dweight_d, &dbias_d})
    CheckLike(*t, {d}, x_btd, "a vector");
  CheckLike(dy_btd, x_btd.shape(), x_btd, "dy");
  CheckLike(dx_btd, x_btd.shape(), x_btd, "dx");
  const TraceSpan span("BatchNormBackward");
  RecordCost(11.0 * x_btd.numel(), 3.0 * x_btd.bytes());
  if (x_btd.is_meta()) return;
  const RealRows rows(x_btd, begin_b, end_b);
  if (x_btd.dtype() == DType::kFloat64) {
    reference::BatchNormBackward(num_rows, d, rows.real.data(), x_btd.data<double>(),
                                 weight_d.data<double>(), eps, mean_d.data<double>(),
                                 variance_d.data<double>(), dy_btd.data<double>(),
                                 dx_btd.mutable_data<double>(), dweight_d.mutable_data<double>(),
                                 dbias_d.mutable_data<double>());
    return;
  }
  const float *x = x_btd.data<float>(), *dy = dy_btd.data<float>(), *mean = mean_d.data<float>();
  std::vector<float> rstd(d), scale(d);
  for (int64_t i = 0; i < d; ++i) {
    const double one = 1 / std::sqrt(variance_d.data<float>()[i] + eps);
    rstd[i] = static_cast<float>(one);
    scale[i] = static_cast<float>(one * weight_d.data<float>()[i]);
  }
  const std::vector<double> sums =
      SumOverRows<2>(rows, d, [&](auto lanes, int64_t r, int64_t i, VecF* terms) {
        const VecF g = lanes.Load(dy + r * d + i);
        terms[0] = g;
        terms[1] =
            g * (lanes.Load(x + r * d + i) - lanes.Load(mean + i)) * lanes.Load(rstd.data() + i);
      });
  // dx = scale (dy - mean of dy - x̂ · mean of dy x̂)
  std::vector<double> means(2 * d);
  for (int64_t i = 0; i < d; ++i) {
    dbias_d.mutable_data<float>()[i] = static_cast<float>(sums[i]);
    dweight_d.mutable_data<float>()[i] = static_cast<float>(sums[d + i]);
    means[i] = sums[i] / static_cast<double>(rows.count);
    means[d + i] = sums[d + i] / static_cast<double>(rows.count) * rstd[i];
  }
  const std::vector<float> mean_g = Rounded({means.begin(), means.begin() + d}),
                           mean_gx = Rounded({means.begin() + d, means.end()});
  ForRows(rows, d, dx_btd.mutable_data<float>(), [&](auto lanes, int64_t at, int64_t i) {
    const VecF off = lanes.Load(x + at) - lanes.Load(mean + i);
    return (lanes.Load(dy + at) - lanes.Load(mean_g.data() + i) -
            off * lanes.Load(mean_gx.data() + i)) *
           lanes.Load(scale.data() + i);
  });
}

}  // namespace longrange::kernels
