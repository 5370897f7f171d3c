#include "common/nn/padding.h"

#include <algorithm>

#include "common/autograd/ops.h"
#include "glog/logging.h"

namespace longrange::nn {

Tensor PaddingOf(const Rows& rows, const Tensor& x) {
  if (!rows.begin_b.defined() && !rows.end_b.defined()) return Tensor();
  const int64_t batch = x.dim(0), count = x.dim(1);
  const Tensor padding = Tensor::Zeros({batch, count, 1}, DType::kUInt8);
  for (int64_t b = 0; !x.is_meta() && b < batch; ++b) {
    const int64_t begin = rows.begin_b.defined() ? rows.begin_b.data<int64_t>()[b] : 0,
                  end = rows.end_b.defined() ? rows.end_b.data<int64_t>()[b] : count;
    CHECK_LE(begin, count) << "padding in front ends within the rows of a call";
    uint8_t* at = padding.mutable_data<uint8_t>() + b * count;
    std::fill(at, at + std::max<int64_t>(begin, 0), 1);
    std::fill(at + std::clamp<int64_t>(end, 0, count), at + count, 1);
  }
  return padding.To(x.device());
}

Tensor WithoutPadding(const Tensor& x, const Rows& rows) {
  const Tensor padding = PaddingOf(rows, x);
  if (!padding.defined()) return x;
  Shape shape = {x.dim(0), x.dim(1)};
  while (shape.rank() < x.shape().rank()) shape.Append(1);
  return MaskedFill(x, padding.View(shape), 0);
}

}  // namespace longrange::nn
