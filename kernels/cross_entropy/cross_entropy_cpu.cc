#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/reference.h"
#include "kernels/gemm/gemm.h"

namespace longrange {
namespace {

// Targets as int64; fatal where one is >= v.
std::vector<int64_t> CheckedTargets(const Tensor& target_r, int64_t v) {
  std::vector<int64_t> checked = target_r.ToInts();
  for (const int64_t t : checked) CHECK_LT(t, v) << "target outside the vocabulary";
  return checked;
}

void CheckRows(const Tensor& x, const Tensor& target_r, const Tensor& a_r, const Tensor& b_r) {
  CHECK_EQ(x.rank(), 2) << x.shape();
  CHECK(target_r.dtype() == DType::kInt32 || target_r.dtype() == DType::kInt64)
      << "targets are int32 or int64, got " << Name(target_r.dtype());
  for (const Tensor* t : {&target_r, &a_r, &b_r}) CHECK_EQ(t->numel(), x.dim(0)) << t->shape();
  for (const Tensor* t : {&a_r, &b_r}) CHECK(t->dtype() == x.dtype()) << Name(t->dtype());
}

int64_t RowGrain(int64_t v) { return std::max<int64_t>(1, 32768 / std::max<int64_t>(v, 1)); }

}  // namespace

void CrossEntropyForward(const Tensor& logits_rv, const Tensor& target_r, const Tensor& nll_r,
                         const Tensor& lse_r) {
  CheckRows(logits_rv, target_r, nll_r, lse_r);
  const int64_t rows = logits_rv.dim(0), v = logits_rv.dim(1);
  RecordCost(4.0 * logits_rv.numel(), logits_rv.bytes());
  if (logits_rv.is_meta()) return;
  const std::vector<int64_t> target = CheckedTargets(target_r, v);
  if (logits_rv.dtype() == DType::kFloat64) {
    reference::CrossEntropyForward(rows, v, logits_rv.data<double>(), target.data(),
                                   nll_r.mutable_data<double>(), lse_r.mutable_data<double>());
    return;
  }
  const float* logits = logits_rv.data<float>();
  float* nll = nll_r.mutable_data<float>();
  float* lse = lse_r.mutable_data<float>();
  ParallelForRange(rows, RowGrain(v), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits + r * v;
      float max = -std::numeric_limits<float>::infinity();
      for (int64_t j = 0; j < v; ++j) max = std::max(max, x[j]);
      double sum = 0;
      for (int64_t j = 0; j < v; ++j) sum += std::exp(x[j] - max);
      lse[r] = max + std::log(sum);
      nll[r] = target[r] < 0 ? 0 : max - x[target[r]] + std::log(sum);
    }
  });
}

void CrossEntropyBackward(const Tensor& logits_rv, const Tensor& target_r, const Tensor& lse_r,
                          const Tensor& dnll_r, const Tensor& dlogits_rv) {
  CheckRows(logits_rv, target_r, lse_r, dnll_r);
  CHECK(logits_rv.shape() == dlogits_rv.shape()) << dlogits_rv.shape();
  const int64_t rows = logits_rv.dim(0), v = logits_rv.dim(1);
  RecordCost(3.0 * logits_rv.numel(), 2.0 * logits_rv.bytes());
  if (logits_rv.is_meta()) return;
  const std::vector<int64_t> target = CheckedTargets(target_r, v);
  if (logits_rv.dtype() == DType::kFloat64) {
    reference::CrossEntropyBackward(rows, v, logits_rv.data<double>(), target.data(),
                                    lse_r.data<double>(), dnll_r.data<double>(),
                                    dlogits_rv.mutable_data<double>());
    return;
  }
  const float* logits = logits_rv.data<float>();
  const float* lse = lse_r.data<float>();
  const float* dnll = dnll_r.data<float>();
  float* dlogits = dlogits_rv.mutable_data<float>();
  ParallelForRange(rows, RowGrain(v), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      const float* x = logits + r * v;
      float* dx = dlogits + r * v;
      if (target[r] < 0) {
        std::fill(dx, dx + v, 0.f);
        continue;
      }
      for (int64_t j = 0; j < v; ++j) dx[j] = dnll[r] * std::exp(x[j] - lse[r]);
      dx[target[r]] -= dnll[r];
    }
  });
}

void LinearCrossEntropyForward(const Tensor& x_rd, const Tensor& w_vd, const Tensor& target_r,
                               const Tensor& nll_r, const Tensor& lse_r, const Tensor& argmax_r) {
  CheckRows(x_rd, target_r, nll_r, lse_r);
  const int64_t rows = x_rd.dim(0), d = x_rd.dim(1), v = w_vd.dim(0);
  CHECK_EQ(w_vd.dim(1), d) << x_rd.shape() << " and " << w_vd.shape();
  RecordCost(2.0 * rows * v * d + 4.0 * rows * v, x_rd.bytes() + w_vd.bytes());
  if (x_rd.is_meta()) return;
  const std::vector<int64_t> target = CheckedTargets(target_r, v);
  int32_t* argmax = argmax_r.defined() ? argmax_r.mutable_data<int32_t>() : nullptr;
  if (x_rd.dtype() == DType::kFloat64) {
    reference::LinearCrossEntropyForward(rows, v, d, x_rd.data<double>(), w_vd.data<double>(),
                                         target.data(), nll_r.mutable_data<double>(),
                                         lse_r.mutable_data<double>(), argmax);
    return;
  }
  Tensor logits = Tensor::Empty({rows, v});
  Gemm(x_rd, w_vd, logits, {false, true, false});
  CrossEntropyForward(logits, target_r, nll_r, lse_r);
  for (int64_t r = 0; r < rows && argmax != nullptr; ++r) {
    const float* row = logits.data<float>() + r * v;
    argmax[r] = std::max_element(row, row + v) - row;
  }
}

void LinearCrossEntropyBackward(const Tensor& x_rd, const Tensor& w_vd, const Tensor& target_r,
                                const Tensor& lse_r, const Tensor& dnll_r, const Tensor& dx_rd,
                                const Tensor& dw_vd) {
  CheckRows(x_rd, target_r, lse_r, dnll_r);
  const int64_t rows = x_rd.dim(0), d = x_rd.dim(1), v = w_vd.dim(0);
  CHECK_EQ(w_vd.dim(1), d) << x_rd.shape() << " and " << w_vd.shape();
  RecordCost(6.0 * rows * v * d + 3.0 * rows * v, 2.0 * x_rd.bytes() + 2.0 * w_vd.bytes());
  if (x_rd.is_meta()) return;
  const std::vector<int64_t> target = CheckedTargets(target_r, v);
  if (x_rd.dtype() == DType::kFloat64) {
    reference::LinearCrossEntropyBackward(
        rows, v, d, x_rd.data<double>(), w_vd.data<double>(), target.data(), lse_r.data<double>(),
        dnll_r.data<double>(), dx_rd.mutable_data<double>(), dw_vd.mutable_data<double>());
    return;
  }
  Tensor logits = Tensor::Empty({rows, v});
  Gemm(x_rd, w_vd, logits, {false, true, false});
  CrossEntropyBackward(logits, target_r, lse_r, dnll_r, logits);
  Gemm(logits, w_vd, dx_rd);
  Gemm(logits, x_rd, dw_vd, {true, false, false});
}

}  // namespace longrange
