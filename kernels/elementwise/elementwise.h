// Element-wise arithmetic, reductions and data movement on tensors of float32 or float64; meta
// tensors cost only.
//
// Every result is new memory, but for SumTo and BroadcastTo to the shape that x has already. Shapes
// broadcast as in NumPy: aligned at the last dimension, size 1 stretches. Bits do not depend on the
// number of threads.

#ifndef LONGRANGE_KERNELS_ELEMENTWISE_ELEMENTWISE_H_
#define LONGRANGE_KERNELS_ELEMENTWISE_ELEMENTWISE_H_

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "common/tensor/tensor.h"

namespace longrange::kernels {

enum class BinaryOp { kAdd, kSub, kMul, kDiv, kMax };
enum class UnaryOp { kNeg, kExp, kLog, kSqrt, kSquare, kTanh, kSigmoid, kRelu, kReciprocal, kStep };

Shape BroadcastShape(const Shape& a, const Shape& b);
Tensor Binary(BinaryOp op, const Tensor& a, const Tensor& b);
Tensor Unary(UnaryOp op, const Tensor& x);
// scale * x + offset
Tensor Affine(const Tensor& x, double scale, double offset);
// y += scale * x, in place; same shapes.
void AddScaled(const Tensor& x, double scale, const Tensor& y);

// Sums x over the dimensions in which `shape` is 1 or missing: the adjoint of broadcasting `shape`
// to x's shape.
Tensor SumTo(const Tensor& x, const Shape& shape);
// x stretched to `shape`.
Tensor BroadcastTo(const Tensor& x, const Shape& shape);

// out[i_0, ..] = x[..]: dimension d of the result is dimension order[d] of x. Any element type.
Tensor Permute(const Tensor& x, absl::Span<const int> order);
// Entries [begin, begin + size) of one dimension. Any element type.
Tensor Narrow(const Tensor& x, int dim, int64_t begin, int64_t size);
// The adjoint of Narrow: zeros of `shape` with x placed at `begin`.
Tensor Widen(const Tensor& x, const Shape& shape, int dim, int64_t begin);
// Joins along one dimension. Any element type.
Tensor Concat(absl::Span<const Tensor> parts, int dim);
// mask != 0 ? value : x; mask uint8, broadcast to x's shape.
Tensor MaskedFill(const Tensor& x, const Tensor& mask, double value);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_ELEMENTWISE_ELEMENTWISE_H_
