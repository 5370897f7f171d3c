// float32: sgemm.h on tiles cut by shape, in parallel. float64: Eigen, one thread a matrix.

#include <Eigen/Core>
#include <algorithm>

#include "common/base/thread_pool.h"
#include "common/tensor/cost.h"
#include "kernels/gemm/gemm.h"
#include "kernels/gemm/sgemm.h"

namespace longrange {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows up to which every task packs its own columns of b: for more rows b is packed once for all
// tasks.
constexpr int64_t kFewRows = 168;

// c (+)= a b for few rows: tasks are ranges of columns.
void FewRows(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
             bool accumulate, float* c) {
  constexpr int64_t kSerialWork =
      1 << 16;  // multiply-adds, some microseconds: less than waking a thread costs
  if (m * n * k <= kSerialWork) return Sgemm(m, n, k, a, b, accumulate, c, n);
  // Wide enough that packing a again in every task costs little, for a handful of tasks at least.
  const int64_t width = n > 8 * 96 || m == 1 ? 128 : n > 128 ? 96 : 64;
  ParallelForRange(n, width, [&](int64_t begin, int64_t end) {
    Sgemm(m, end - begin, k, a, b.At(0, begin), accumulate, c + begin, n);
  });
}

// c (+)= a b for many rows: parts of b are packed by all tasks together, then every task takes a
// tile of c.
void ManyRows(int64_t m, int64_t n, int64_t k, const MatrixF32& a, const MatrixF32& b,
              bool accumulate, float* c) {
  constexpr int64_t kDepth =
      8 * kSgemmChunk;  // of a part; whole chunks, so that the order of additions stays
  constexpr int64_t kFloats = int64_t{1}
                              << 22;  // of a packed part, 16 MiB: within the last-level cache
  const int64_t depth = std::min(k, kDepth);
  const int64_t part = std::max<int64_t>(kFloats / std::max<int64_t>(depth, 1) / 512 * 512, 512);
  Tensor scratch = Tensor::Empty({PackedSize(depth, std::min(n, part))});
  float* packed = scratch.mutable_data<float>();
  for (int64_t n0 = 0; n0 < n; n0 += part) {
    const int64_t columns = std::min(part, n - n0);
    const int64_t tile_n = std::min<int64_t>(columns, 512), num_n = CeilDiv(columns, tile_n);
    const int64_t tile_m = CeilDiv(m, 112) * num_n >= 32  ? 112
                           : CeilDiv(m, 56) * num_n >= 32 ? 56
                                                          : 28;
    for (int64_t k0 = 0; k0 < k || k0 == 0; k0 += kDepth) {
      const int64_t slice = std::min(kDepth, k - k0);
      const int64_t grain =
          CeilDiv(std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(slice, 1)), kSgemmPanel) *
          kSgemmPanel;
      ParallelForRange(columns, grain, [&](int64_t begin, int64_t end) {
        PackB(slice, end - begin, b.At(k0, n0 + begin), packed + begin * slice);
      });
      ParallelFor(CeilDiv(m, tile_m) * num_n, [&](int64_t task) {
        const int64_t i = task / num_n * tile_m, j = task % num_n * tile_n;
        SgemmPacked(std::min(tile_m, m - i), std::min(tile_n, columns - j), slice, a.At(i, k0),
                    packed + j * slice, accumulate || k0 > 0, c + i * n + n0 + j, n);
      });
    }
  }
}

void Product(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c,
             const GemmOptions& o) {
  const MatrixF32 left{a, o.transpose_a ? m : k, o.transpose_a};
  const MatrixF32 right{b, o.transpose_b ? k : n, o.transpose_b};
  (m <= kFewRows ? FewRows : ManyRows)(m, n, k, left, right, o.accumulate, c);
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
  RecordCost(2.0 * g * m * n * k, a.bytes() + b.bytes() + c.bytes());
  if (c.is_meta() || c.numel() == 0) return;
  if (c.dtype() == DType::kFloat64) {
    Batched(g, m, n, k, a.data<double>(), b.data<double>(), c.mutable_data<double>(), options);
  } else {
    Batched(g, m, n, k, a.data<float>(), b.data<float>(), c.mutable_data<float>(), options);
  }
}

}  // namespace longrange
