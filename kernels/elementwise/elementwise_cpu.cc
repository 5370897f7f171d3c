#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/elementwise/elementwise.h"

namespace longrange::kernels {
namespace {

constexpr int64_t kGrain = 16384;  // elements a task

template <typename Fn>
void VisitFloat(DType dtype, Fn&& fn) {
  if (dtype == DType::kFloat32) return fn(static_cast<float*>(nullptr));
  CHECK(dtype == DType::kFloat64) << "arithmetic on " << Name(dtype);
  return fn(static_cast<double*>(nullptr));
}

void CheckSame(const Tensor& a, const Tensor& b) {
  CHECK(a.dtype() == b.dtype()) << Name(a.dtype()) << " with " << Name(b.dtype());
  CHECK(a.device() == b.device()) << Name(a.device()) << " with " << Name(b.device());
}

std::vector<int64_t> Strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i) strides[i] = strides[i + 1] * shape[i + 1];
  return strides;
}

// Strides of `shape` seen as `full` (broadcast): 0 where stretched.
std::vector<int64_t> BroadcastStrides(const Shape& shape, const Shape& full) {
  const std::vector<int64_t> own = Strides(shape);
  std::vector<int64_t> strides(full.rank(), 0);
  const int shift = full.rank() - shape.rank();
  CHECK_GE(shift, 0) << shape << " does not broadcast to " << full;
  for (int i = 0; i < shape.rank(); ++i) {
    CHECK(shape[i] == full[i + shift] || shape[i] == 1)
        << shape << " does not broadcast to " << full;
    if (shape[i] != 1) strides[i + shift] = own[i];
  }
  return strides;
}

// Calls row(first_out, first_a, first_b) for every row along the last dimension of `full`, in
// parallel.
template <typename RowFn>
void ForRows(const Shape& full, const std::vector<int64_t>& a, const std::vector<int64_t>& b,
             RowFn&& row) {
  const int rank = full.rank();
  const int64_t width = rank == 0 ? 1 : full[-1];
  const int64_t rows = width == 0 ? 0 : full.numel() / width;
  ParallelForRange(rows, std::max<int64_t>(1, kGrain / std::max<int64_t>(width, 1)),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t r = begin; r < end; ++r) {
                       int64_t at_a = 0, at_b = 0, rest = r;
                       for (int d = rank - 2; d >= 0; --d) {
                         const int64_t i = rest % full[d];
                         rest /= full[d];
                         at_a += i * a[d];
                         at_b += i * b[d];
                       }
                       row(r * width, at_a, at_b);
                     }
                   });
}

template <typename T, typename Fn>
void BinaryLoop(const Tensor& a, const Tensor& b, const Tensor& out, Fn fn) {
  const T* pa = a.data<T>();
  const T* pb = b.data<T>();
  T* po = out.mutable_data<T>();
  if (a.shape() == b.shape()) {
    ParallelForRange(out.numel(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) po[i] = fn(pa[i], pb[i]);
    });
    return;
  }
  const Shape& full = out.shape();
  const std::vector<int64_t> sa = BroadcastStrides(a.shape(), full),
                             sb = BroadcastStrides(b.shape(), full);
  const int64_t width = full.rank() == 0 ? 1 : full[-1];
  const bool stretch_a = full.rank() > 0 && sa.back() == 0,
             stretch_b = full.rank() > 0 && sb.back() == 0;
  ForRows(full, sa, sb, [&](int64_t o, int64_t ia, int64_t ib) {
    if (stretch_b) {
      const T vb = pb[ib];
      if (stretch_a) {
        std::fill(po + o, po + o + width, fn(pa[ia], vb));
      } else {
        for (int64_t i = 0; i < width; ++i) po[o + i] = fn(pa[ia + i], vb);
      }
    } else if (stretch_a) {
      const T va = pa[ia];
      for (int64_t i = 0; i < width; ++i) po[o + i] = fn(va, pb[ib + i]);
    } else {
      for (int64_t i = 0; i < width; ++i) po[o + i] = fn(pa[ia + i], pb[ib + i]);
    }
  });
}

template <typename T, typename Fn>
void UnaryLoop(const Tensor& x, const Tensor& out, Fn fn) {
  const T* px = x.data<T>();
  T* po = out.mutable_data<T>();
  ParallelForRange(out.numel(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) po[i] = fn(px[i]);
  });
}

void Count(const Tensor& out, double flops_each, int inputs) {
  const double n = static_cast<double>(out.numel());
  RecordCost(flops_each * n, static_cast<double>(SizeOf(out.dtype())) * n * (inputs + 1));
}

int Axis(const Tensor& x, int dim) {
  const int at = dim < 0 ? dim + x.rank() : dim;
  CHECK(at >= 0 && at < x.rank()) << "dimension " << dim << " of " << x.shape();
  return at;
}

// Bytes before / of / after one dimension: outer blocks, and bytes of one entry of dimension `dim`.
struct Blocks {
  int64_t outer = 1, inner_bytes = 0;
};
Blocks BlocksOf(const Shape& shape, DType dtype, int dim) {
  Blocks blocks;
  blocks.inner_bytes = SizeOf(dtype);
  for (int i = 0; i < dim; ++i) blocks.outer *= shape[i];
  for (int i = dim + 1; i < shape.rank(); ++i) blocks.inner_bytes *= shape[i];
  return blocks;
}

}  // namespace

Shape BroadcastShape(const Shape& a, const Shape& b) {
  const Shape& longer = a.rank() >= b.rank() ? a : b;
  const Shape& shorter = a.rank() >= b.rank() ? b : a;
  Shape out = longer;
  for (int i = 1; i <= shorter.rank(); ++i) {
    if (longer[-i] == 1) {
      out.set(-i, shorter[-i]);
    } else {
      CHECK(shorter[-i] == 1 || shorter[-i] == longer[-i])
          << "shapes " << a << " and " << b << " do not broadcast";
    }
  }
  return out;
}

Tensor Binary(BinaryOp op, const Tensor& a, const Tensor& b) {
  CheckSame(a, b);
  const Tensor out = Tensor::Empty(BroadcastShape(a.shape(), b.shape()), a.dtype(), a.device());
  const TraceSpan span("Binary");
  Count(out, 1, 2);
  if (out.is_meta()) return out;
  VisitFloat(a.dtype(), [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    switch (op) {
      case BinaryOp::kAdd:
        return BinaryLoop<T>(a, b, out, [](T x, T y) { return x + y; });
      case BinaryOp::kSub:
        return BinaryLoop<T>(a, b, out, [](T x, T y) { return x - y; });
      case BinaryOp::kMul:
        return BinaryLoop<T>(a, b, out, [](T x, T y) { return x * y; });
      case BinaryOp::kDiv:
        return BinaryLoop<T>(a, b, out, [](T x, T y) { return x / y; });
      case BinaryOp::kMax:
        return BinaryLoop<T>(a, b, out, [](T x, T y) { return x > y ? x : y; });
    }
  });
  return out;
}

Tensor Unary(UnaryOp op, const Tensor& x) {
  const Tensor out = Tensor::EmptyLike(x);
  const TraceSpan span("Unary");
  Count(out, 1, 1);
  if (out.is_meta()) return out;
  VisitFloat(x.dtype(), [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    switch (op) {
      case UnaryOp::kNeg:
        return UnaryLoop<T>(x, out, [](T v) { return -v; });
      case UnaryOp::kExp:
        return UnaryLoop<T>(x, out, [](T v) { return std::exp(v); });
      case UnaryOp::kLog:
        return UnaryLoop<T>(x, out, [](T v) { return std::log(v); });
      case UnaryOp::kSqrt:
        return UnaryLoop<T>(x, out, [](T v) { return std::sqrt(v); });
      case UnaryOp::kSquare:
        return UnaryLoop<T>(x, out, [](T v) { return v * v; });
      case UnaryOp::kTanh:
        return UnaryLoop<T>(x, out, [](T v) { return std::tanh(v); });
      case UnaryOp::kSigmoid:
        return UnaryLoop<T>(x, out, [](T v) { return T(1) / (T(1) + std::exp(-v)); });
      case UnaryOp::kRelu:
        return UnaryLoop<T>(x, out, [](T v) { return v > 0 ? v : T(0); });
      case UnaryOp::kReciprocal:
        return UnaryLoop<T>(x, out, [](T v) { return T(1) / v; });
      case UnaryOp::kStep:
        return UnaryLoop<T>(x, out, [](T v) { return v > 0 ? T(1) : T(0); });
    }
  });
  return out;
}

Tensor Affine(const Tensor& x, double scale, double offset) {
  const Tensor out = Tensor::EmptyLike(x);
  const TraceSpan span("Affine");
  Count(out, 2, 1);
  if (out.is_meta()) return out;
  VisitFloat(x.dtype(), [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    const T s = static_cast<T>(scale), o = static_cast<T>(offset);
    UnaryLoop<T>(x, out, [s, o](T v) { return s * v + o; });
  });
  return out;
}

void AddScaled(const Tensor& x, double scale, const Tensor& y) {
  CheckSame(x, y);
  CHECK(x.shape() == y.shape()) << x.shape() << " added to " << y.shape();
  const TraceSpan span("AddScaled");
  Count(y, 2, 2);
  if (y.is_meta()) return;
  VisitFloat(x.dtype(), [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    const T s = static_cast<T>(scale);
    const T* px = x.data<T>();
    T* py = y.mutable_data<T>();
    ParallelForRange(x.numel(), kGrain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) py[i] += s * px[i];
    });
  });
}

Tensor SumTo(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x.Detach();
  const Tensor out = Tensor::Zeros(shape, x.dtype(), x.device());
  const TraceSpan span("SumTo");
  Count(x, 1, 1);
  if (x.is_meta() || x.numel() == 0) return out;
  const Shape& full = x.shape();
  const std::vector<int64_t> so = BroadcastStrides(shape, full);
  VisitFloat(x.dtype(), [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    const T* px = x.data<T>();
    T* po = out.mutable_data<T>();
    const int64_t width = full.rank() == 0 ? 1 : full[-1];
    const bool keep_last = full.rank() > 0 && so.back() != 0;
    // The leading dimensions that are kept separate the result into independent parts: one task
    // each. The rest is summed in the order of memory, in double along a row.
    int lead = 0;
    int64_t parts = 1;
    while (lead < full.rank() - 1 && (so[lead] != 0 || full[lead] == 1)) parts *= full[lead++];
    const int64_t rows_each = full.numel() / (width * parts);
    ParallelFor(parts, [&](int64_t part) {
      for (int64_t r = part * rows_each; r < (part + 1) * rows_each; ++r) {
        int64_t at = 0, rest = r;
        for (int d = full.rank() - 2; d >= 0; --d) {
          at += rest % full[d] * so[d];
          rest /= full[d];
        }
        const T* row = px + r * width;
        if (keep_last) {
          for (int64_t i = 0; i < width; ++i) po[at + i] += row[i];
        } else {
          double sum = 0;
          for (int64_t i = 0; i < width; ++i) sum += static_cast<double>(row[i]);
          po[at] += static_cast<T>(sum);
        }
      }
    });
  });
  return out;
}

Tensor BroadcastTo(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x.Detach();
  return Binary(BinaryOp::kAdd, Tensor::Zeros(shape, x.dtype(), x.device()), x);
}

Tensor Permute(const Tensor& x, absl::Span<const int> order) {
  const int rank = x.rank();
  CHECK_EQ(static_cast<int>(order.size()), rank) << "order for " << x.shape();
  const std::vector<int64_t> in_strides = Strides(x.shape());
  Shape shape;
  std::vector<int64_t> strides;
  std::vector<bool> used(rank, false);
  for (const int from : order) {
    CHECK(from >= 0 && from < rank && !used[from]) << "order is no permutation of " << x.shape();
    used[from] = true;
    shape.Append(x.dim(from));
    strides.push_back(in_strides[from]);
  }
  const Tensor out = Tensor::Empty(shape, x.dtype(), x.device());
  const TraceSpan span("Permute");
  Count(out, 0, 1);
  if (out.is_meta() || out.numel() == 0) return out;
  const int64_t size = SizeOf(x.dtype());
  const char* from = static_cast<const char*>(x.raw_data());
  char* to = static_cast<char*>(out.mutable_raw_data());
  // Trailing dimensions that stay in place are copied as one block.
  int kept = rank;
  while (kept > 0 && order[kept - 1] == kept - 1) --kept;
  int64_t block = size;
  for (int d = kept; d < rank; ++d) block *= shape[d];
  const int64_t blocks = out.bytes() / block;
  ParallelForRange(blocks, std::max<int64_t>(1, kGrain * 4 / block),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t b = begin; b < end; ++b) {
                       int64_t at = 0, rest = b;
                       for (int d = kept - 1; d >= 0; --d) {
                         at += rest % shape[d] * strides[d];
                         rest /= shape[d];
                       }
                       std::memcpy(to + b * block, from + at * size, static_cast<size_t>(block));
                     }
                   });
  return out;
}

Tensor Narrow(const Tensor& x, int dim, int64_t begin, int64_t size) {
  dim = Axis(x, dim);
  CHECK(begin >= 0 && size >= 0 && begin + size <= x.dim(dim))
      << "entries [" << begin << ", " << begin + size << ") of dimension " << dim << " of "
      << x.shape();
  Shape shape = x.shape();
  shape.set(dim, size);
  const Tensor out = Tensor::Empty(shape, x.dtype(), x.device());
  const TraceSpan span("Narrow");
  Count(out, 0, 1);
  if (out.is_meta() || out.numel() == 0) return out;
  const Blocks blocks = BlocksOf(x.shape(), x.dtype(), dim);
  const char* from = static_cast<const char*>(x.raw_data()) + begin * blocks.inner_bytes;
  char* to = static_cast<char*>(out.mutable_raw_data());
  const int64_t from_step = x.dim(dim) * blocks.inner_bytes, to_step = size * blocks.inner_bytes;
  for (int64_t i = 0; i < blocks.outer; ++i)
    std::memcpy(to + i * to_step, from + i * from_step, to_step);
  return out;
}

Tensor Widen(const Tensor& x, const Shape& shape, int dim, int64_t begin) {
  dim = Axis(x, dim);
  const Tensor out = Tensor::Zeros(shape, x.dtype(), x.device());
  const TraceSpan span("Widen");
  Count(out, 0, 1);
  if (out.is_meta() || x.numel() == 0) return out;
  const Blocks blocks = BlocksOf(shape, x.dtype(), dim);
  const char* from = static_cast<const char*>(x.raw_data());
  char* to = static_cast<char*>(out.mutable_raw_data()) + begin * blocks.inner_bytes;
  const int64_t to_step = shape[dim] * blocks.inner_bytes,
                from_step = x.dim(dim) * blocks.inner_bytes;
  for (int64_t i = 0; i < blocks.outer; ++i)
    std::memcpy(to + i * to_step, from + i * from_step, from_step);
  return out;
}

Tensor Concat(absl::Span<const Tensor> parts, int dim) {
  CHECK(!parts.empty()) << "nothing to join";
  dim = Axis(parts[0], dim);
  Shape shape = parts[0].shape();
  int64_t total = 0;
  for (const Tensor& part : parts) {
    CheckSame(part, parts[0]);
    Shape same = part.shape();
    CHECK_EQ(same.rank(), shape.rank());
    same.set(dim, shape[dim]);
    CHECK(same == shape) << "joining " << part.shape() << " to " << parts[0].shape() << " along "
                         << dim;
    total += part.dim(dim);
  }
  shape.set(dim, total);
  const Tensor out = Tensor::Empty(shape, parts[0].dtype(), parts[0].device());
  const TraceSpan span("Concat");
  Count(out, 0, 1);
  if (out.is_meta()) return out;
  const Blocks blocks = BlocksOf(shape, out.dtype(), dim);
  char* to = static_cast<char*>(out.mutable_raw_data());
  const int64_t to_step = total * blocks.inner_bytes;
  for (const Tensor& part : parts) {
    const int64_t step = part.dim(dim) * blocks.inner_bytes;
    const char* from = static_cast<const char*>(part.raw_data());
    for (int64_t i = 0; i < blocks.outer; ++i) std::memcpy(to + i * to_step, from + i * step, step);
    to += step;
  }
  return out;
}

Tensor MaskedFill(const Tensor& x, const Tensor& mask, double value) {
  CHECK(mask.dtype() == DType::kUInt8) << "a mask is uint8, not " << Name(mask.dtype());
  const Tensor out = Tensor::EmptyLike(x);
  const TraceSpan span("MaskedFill");
  Count(out, 0, 2);
  const std::vector<int64_t> sx = Strides(x.shape()),
                             sm = BroadcastStrides(mask.shape(), x.shape());
  if (out.is_meta()) return out;
  VisitFloat(x.dtype(), [&](auto* p) {
    using T = std::remove_pointer_t<decltype(p)>;
    const T* px = x.data<T>();
    const uint8_t* pm = mask.data<uint8_t>();
    T* po = out.mutable_data<T>();
    const int64_t width = x.rank() == 0 ? 1 : x.dim(-1);
    const int64_t step = x.rank() == 0 ? 0 : sm.back();
    ForRows(x.shape(), sx, sm, [&](int64_t o, int64_t, int64_t im) {
      for (int64_t i = 0; i < width; ++i)
        po[o + i] = pm[im + i * step] ? static_cast<T>(value) : px[o + i];
    });
  });
  return out;
}

}  // namespace longrange::kernels
