#include "papers/retnet/score_scale.h"

#include <algorithm>
#include <cmath>

#include "common/base/thread_pool.h"

namespace longrange::retnet {
namespace {

// One head of [B, T, H, width] in double, row by row.
class HeadRows {
 public:
  explicit HeadRows(const Tensor& x_bthd)
      : values_(x_bthd.is_meta() ? std::vector<double>() : x_bthd.ToDoubles()),
        rows_(x_bthd.dim(1)),
        heads_(x_bthd.dim(2)),
        width_(x_bthd.dim(3)) {}
  const double* At(int64_t bh, int64_t t) const {
    return values_.data() + ((bh / heads_ * rows_ + t) * heads_ + bh % heads_) * width_;
  }

 private:
  std::vector<double> values_;
  int64_t rows_, heads_, width_;
};

// [B, T, H, 1] of the type of q, from factor(bh, factors of the rows).
template <typename FactorsFn>
Tensor Factors(const Tensor& q_bthd, FactorsFn factors) {
  const int64_t rows = q_bthd.dim(1), heads = q_bthd.dim(2), batch = q_bthd.dim(0);
  if (q_bthd.is_meta())
    return Tensor::Empty({batch, rows, heads, 1}, q_bthd.dtype(), Device::kMeta);
  const Tensor made = Tensor::Empty({batch, rows, heads, 1}, DType::kFloat64);
  ParallelFor(batch * heads, [&](int64_t bh) {
    std::vector<double> of_rows(rows);
    factors(bh, &of_rows);
    for (int64_t t = 0; t < rows; ++t)
      made.mutable_data<double>()[(bh / heads * rows + t) * heads + bh % heads] = of_rows[t];
  });
  return made.To(q_bthd.dtype());
}

// The absolute sum over rows first .. t of q[t] . k[m] gamma^(t - m) / root.
double AbsoluteSum(const HeadRows& q, const HeadRows& k, int64_t width, int64_t bh, int64_t first,
                   int64_t t, double log_decay, double root) {
  double sum = 0;
  for (int64_t m = first; m <= t; ++m) {
    double score = 0;
    for (int64_t i = 0; i < width; ++i) score += q.At(bh, t)[i] * k.At(bh, m)[i];
    sum += std::abs(score) * std::exp(static_cast<double>(t - m) * log_decay) / root;
  }
  return sum;
}

}  // namespace

std::vector<double> DecaySums(double log_decay, int64_t rows) {
  std::vector<double> sums;
  double sum = 0;
  for (int64_t n = 0; n < rows; ++n)
    sums.push_back(sum += std::exp(static_cast<double>(n) * log_decay));
  return sums;
}

Tensor ParallelScale(const Tensor& q_bthd, const Tensor& k_bthd,
                     const std::vector<double>& log_decay_h) {
  const HeadRows q(q_bthd), k(k_bthd);
  return Factors(q_bthd, [&](int64_t bh, std::vector<double>* factors) {
    const double log_decay = log_decay_h[bh % q_bthd.dim(2)];
    const std::vector<double> sums = DecaySums(log_decay, q_bthd.dim(1));
    for (int64_t t = 0; t < q_bthd.dim(1); ++t) {
      const double root = std::sqrt(sums[t]);
      (*factors)[t] =
          root * std::clamp(AbsoluteSum(q, k, q_bthd.dim(3), bh, 0, t, log_decay, root), 1.0, 5e4);
    }
  });
}

Tensor RecurrentScale(const Tensor& q_bthd, const std::vector<double>& log_decay_h) {
  return Factors(q_bthd, [&](int64_t bh, std::vector<double>* factors) {
    *factors = DecaySums(log_decay_h[bh % q_bthd.dim(2)], q_bthd.dim(1));
    for (double& factor : *factors) factor = std::sqrt(factor);
  });
}

Tensor ChunkScale(const Tensor& q_bthd, const Tensor& k_bthd, const Tensor& v_bthe,
                  const std::vector<double>& log_decay_h, int64_t chunk) {
  const HeadRows q(q_bthd), k(k_bthd), v(v_bthe);
  const int64_t rows = q_bthd.dim(1), width = q_bthd.dim(3), value_width = v_bthe.dim(3);
  return Factors(q_bthd, [&](int64_t bh, std::vector<double>* factors) {
    const double log_decay = log_decay_h[bh % q_bthd.dim(2)];
    const std::vector<double> sums = DecaySums(log_decay, chunk);
    // The reference keeps S divided by the decay sum of a whole chunk.
    std::vector<double> memory(width * value_width, 0.0);
    double of_memory = 1;
    for (int64_t first = 0; first < rows; first += chunk) {
      const int64_t end = std::min(first + chunk, rows);
      for (int64_t t = first; t < end; ++t) {
        const double root = std::sqrt(sums[t - first]);
        const double inside = AbsoluteSum(q, k, width, bh, first, t, log_decay, root);
        (*factors)[t] = root * std::max({inside, of_memory, 1.0});
      }
      for (double& m : memory) m *= std::exp(static_cast<double>(chunk) * log_decay);
      for (int64_t t = first; t < end; ++t) {
        const double weight =
            std::exp(static_cast<double>(first + chunk - 1 - t) * log_decay) / sums.back();
        for (int64_t i = 0; i < width * value_width; ++i)
          memory[i] += weight * k.At(bh, t)[i / value_width] * v.At(bh, t)[i % value_width];
      }
      of_memory = 1;
      for (int64_t j = 0; j < value_width; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < width; ++i) sum += std::abs(memory[i * value_width + j]);
        of_memory = std::max(of_memory, sum);
      }
    }
  });
}

}  // namespace longrange::retnet
