// float32 by sgemm.h, float64 by Eigen, one thread a matrix.

#include <Eigen/Core>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/sgemm.h"

namespace longrange::kernels {
namespace {

void Product(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             const GemmOptions& o) {
  const MatrixF32 left{a, o.transpose_a ? m : k, o.transpose_a};
  const MatrixF32 right{b, o.transpose_b ? k : n, o.transpose_b};
  ParallelSgemm(m, n, k, left, right, o.accumulate, c);
}

void Product(int64_t m, int64_t n, int64_t k, const double* a, const double* b, double* c,
             const GemmOptions& o) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const Matrix> left(a, o.transpose_a ? k : m, o.transpose_a ? m : k);
  const Eigen::Map<const Matrix> right(b, o.transpose_b ? n : k, o.transpose_b ? k : n);
  Eigen::Map<Matrix> out(c, m, n);
  if (!o.accumulate) out.setZero();
  if (o.transpose_a && o.transpose_b) {
    out.noalias() += left.transpose() * right.transpose();
  } else if (o.transpose_a) {
    out.noalias() += left.transpose() * right;
  } else if (o.transpose_b) {
    out.noalias() += left * right.transpose();
  } else {
    out.noalias() += left * right;
  }
}

template <typename T>
void Batched(int64_t g, int64_t m, int64_t n, int64_t k, const T* a, const T* b, T* c,
             const GemmOptions& o) {
  const auto one = [&](int64_t i) {
    Product(m, n, k, a + i * m * k, b + i * k * n, c + i * m * n, o);
  };
  // Large matrices are cut into tasks themselves; many small ones are the tasks.
  constexpr int64_t kSmallWork = 1 << 22;
  if (g >= 32 || m * n * k <= kSmallWork) {
    ParallelFor(g, one);
  } else {
    for (int64_t i = 0; i < g; ++i) one(i);
  }
}

}  // namespace

void Gemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options) {
  CHECK(a.rank() == 2 && b.rank() == 2 && c.rank() == 2)
      << a.shape() << " by " << b.shape() << " into " << c.shape();
  BatchedGemm(a.View({1, a.dim(0), a.dim(1)}), b.View({1, b.dim(0), b.dim(1)}),
              c.View({1, c.dim(0), c.dim(1)}), options);
}

void BatchedGemm(const Tensor& a, const Tensor& b, const Tensor& c, const GemmOptions& options) {
  CHECK(a.rank() == 3 && b.rank() == 3 && c.rank() == 3)
      << a.shape() << " by " << b.shape() << " into " << c.shape();
  const int64_t g = c.dim(0), m = c.dim(1), n = c.dim(2);
  const int64_t k = options.transpose_a ? a.dim(1) : a.dim(2);
  CHECK(a.shape() == (options.transpose_a ? Shape{g, k, m} : Shape{g, m, k}) &&
        b.shape() == (options.transpose_b ? Shape{g, n, k} : Shape{g, k, n}))
      << a.shape() << (options.transpose_a ? "ᵀ" : "") << " by " << b.shape()
      << (options.transpose_b ? "ᵀ" : "") << " into " << c.shape();
  CHECK(a.dtype() == b.dtype() && a.dtype() == c.dtype())
      << Name(a.dtype()) << " by " << Name(b.dtype()) << " into " << Name(c.dtype());
  const TraceSpan span("BatchedGemm");
  RecordCost(2.0 * g * m * n * k, a.bytes() + b.bytes() + c.bytes());
  if (c.is_meta() || c.numel() == 0) return;
  if (c.dtype() == DType::kFloat64) {
    Batched(g, m, n, k, a.data<double>(), b.data<double>(), c.mutable_data<double>(), options);
  } else {
    Batched(g, m, n, k, a.data<float>(), b.data<float>(), c.mutable_data<float>(), options);
  }
}

}  // namespace longrange::kernels
