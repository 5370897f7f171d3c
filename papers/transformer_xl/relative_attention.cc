#include "papers/transformer_xl/relative_attention.h"

#include <cmath>

#include "common/autograd/ops.h"
#include "common/autograd/relative_softmax.h"

namespace longrange::transformer_xl {

Tensor DistanceRows(int64_t count, int64_t width, DType dtype, Device device) {
  CHECK_EQ(width % 2, 0);
  const int64_t pairs = width / 2;
  Tensor rows = Tensor::Empty({count, width}, DType::kFloat64);
  for (int64_t row = 0; row < count; ++row) {
    const auto distance = static_cast<double>(count - 1 - row);
    for (int64_t i = 0; i < pairs; ++i) {
      const double angle =
          distance * std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(width));
      rows.mutable_data<double>()[row * width + i] = std::sin(angle);
      rows.mutable_data<double>()[row * width + pairs + i] = std::cos(angle);
    }
  }
  return rows.To(dtype).To(device);
}

Tensor ByHead(const Tensor& x, int64_t heads) {
  const int64_t channels = x.dim(-1) / heads;
  if (x.rank() == 2) return Permute(Reshape(x, {x.dim(0), heads, channels}), {1, 0, 2});
  return Permute(Reshape(x, {x.dim(0), x.dim(1), heads, channels}), {2, 0, 1, 3});
}

Tensor RelativeProbabilities(const RelativeAttentionInputs& in) {
  const int64_t heads = in.q_hbtp.dim(0), batch = in.q_hbtp.dim(1), queries = in.q_hbtp.dim(2),
                channels = in.q_hbtp.dim(3), keys = in.k_hbsp.dim(2), distances = in.r_hrp.dim(1);
  const auto towards = [&](const Tensor& bias_hp) {
    return Add(in.q_hbtp, Reshape(bias_hp, {heads, 1, 1, channels}));
  };
  const Tensor content =
      MatMul(Reshape(towards(in.u_hp), {heads * batch, queries, channels}),
             Reshape(in.k_hbsp, {heads * batch, keys, channels}), false, /*transpose_b=*/true);
  const Tensor position = MatMul(Reshape(towards(in.v_hp), {heads, batch * queries, channels}),
                                 in.r_hrp, false, /*transpose_b=*/true);
  const Tensor p =
      RelativeSoftmax(content, Reshape(position, {heads * batch, queries, distances}),
                      {in.offset, in.window, 1 / std::sqrt(static_cast<double>(channels))});
  return Reshape(p, {heads, batch, queries, keys});
}

Tensor MixValues(const Tensor& p_hbts, const Tensor& v_hbsp) {
  const int64_t heads = p_hbts.dim(0), batch = p_hbts.dim(1), queries = p_hbts.dim(2),
                keys = p_hbts.dim(3), channels = v_hbsp.dim(3);
  const Tensor mixed = MatMul(Reshape(p_hbts, {heads * batch, queries, keys}),
                              Reshape(v_hbsp, {heads * batch, keys, channels}));
  return Reshape(Permute(Reshape(mixed, {heads, batch, queries, channels}), {1, 2, 0, 3}),
                 {batch, queries, heads * channels});
}

}  // namespace longrange::transformer_xl
