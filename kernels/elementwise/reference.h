// Element-wise kernels in the obvious form, in double: for tests.

#ifndef LONGRANGE_KERNELS_ELEMENTWISE_REFERENCE_H_
#define LONGRANGE_KERNELS_ELEMENTWISE_REFERENCE_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "common/tensor/tensor.h"

namespace longrange::kernels::reference {

// Calls fn(index) for every index of `shape`, in row-major order.
inline void ForEachIndex(const Shape& shape,
                         const std::function<void(const std::vector<int64_t>&)>& fn) {
  std::vector<int64_t> index(shape.rank(), 0);
  for (int64_t n = 0; n < shape.numel(); ++n) {
    fn(index);
    for (int d = shape.rank() - 1; d >= 0; --d) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
}

// Place in memory of `index` in a tensor of `shape`, whose dimensions are aligned with the last
// ones of the index and stretch where their size is 1.
inline int64_t Offset(const Shape& shape, const std::vector<int64_t>& index) {
  int64_t offset = 0;
  const int shift = static_cast<int>(index.size()) - shape.rank();
  for (int d = 0; d < shape.rank(); ++d)
    offset = offset * shape[d] + (shape[d] == 1 ? 0 : index[d + shift]);
  return offset;
}

inline Tensor Binary(const Shape& out_shape, const Tensor& a, const Tensor& b,
                     const std::function<double(double, double)>& op) {
  const std::vector<double> va = a.ToDoubles(), vb = b.ToDoubles();
  std::vector<double> out;
  ForEachIndex(out_shape, [&](const std::vector<int64_t>& i) {
    out.push_back(op(va[Offset(a.shape(), i)], vb[Offset(b.shape(), i)]));
  });
  return Tensor::FromVector<double>(out_shape, out);
}

inline Tensor SumTo(const Tensor& x, const Shape& shape) {
  const std::vector<double> v = x.ToDoubles();
  std::vector<double> out(shape.numel(), 0.0);
  ForEachIndex(x.shape(), [&](const std::vector<int64_t>& i) {
    out[Offset(shape, i)] += v[Offset(x.shape(), i)];
  });
  return Tensor::FromVector<double>(shape, out);
}

inline Tensor Permute(const Tensor& x, const std::vector<int>& order) {
  const std::vector<double> v = x.ToDoubles();
  Shape shape;
  for (const int d : order) shape.Append(x.dim(d));
  std::vector<double> out;
  ForEachIndex(shape, [&](const std::vector<int64_t>& i) {
    std::vector<int64_t> from(i.size());
    for (size_t d = 0; d < order.size(); ++d) from[order[d]] = i[d];
    out.push_back(v[Offset(x.shape(), from)]);
  });
  return Tensor::FromVector<double>(shape, out);
}

}  // namespace longrange::kernels::reference

#endif  // LONGRANGE_KERNELS_ELEMENTWISE_REFERENCE_H_
