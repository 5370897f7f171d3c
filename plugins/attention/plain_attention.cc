#include "plugins/attention/plain_attention.h"

#include <cmath>

#include "common/autograd/ops.h"

namespace longrange {
namespace {

// [B, S, K, P] -> [B * H, S, P] with each key-value head repeated for its H / K query heads.
Tensor HeadsFirst(const Tensor& x_bskp, int64_t heads) {
  const int64_t batch = x_bskp.dim(0), rows = x_bskp.dim(1), kv_heads = x_bskp.dim(2),
                width = x_bskp.dim(3);
  const int64_t group = heads / kv_heads;
  Tensor x = Reshape(Permute(x_bskp, {0, 2, 1, 3}), {batch, kv_heads, 1, rows, width});
  if (group > 1) x = BroadcastTo(x, {batch, kv_heads, group, rows, width});
  return Reshape(x, {batch * heads, rows, width});
}

int64_t At(const Tensor& limit_b, int64_t b, int64_t otherwise) {
  return limit_b.defined() ? limit_b.data<int64_t>()[b] : otherwise;
}

}  // namespace

Tensor PlainAttention(const kernels::AttentionInputs& in,
                      const std::function<Tensor(const Tensor&)>& tap) {
  const int64_t batch = in.q_bthd.dim(0), queries = in.q_bthd.dim(1), heads = in.q_bthd.dim(2);
  const int64_t keys = in.k_bshd.dim(1), value_width = in.v_bshe.dim(3);
  const double scale =
      in.scale != 0 ? in.scale : 1 / std::sqrt(static_cast<double>(in.q_bthd.dim(3)));
  const int64_t offset = in.query_offset >= 0 ? in.query_offset : keys - queries;

  // 1 where the pair is hidden.
  Tensor hidden = Tensor::Full({batch, heads, queries, keys}, 1, DType::kUInt8);
  uint8_t* h = hidden.mutable_data<uint8_t>();
  Tensor bias = Tensor::Zeros({heads, queries, keys}, in.q_bthd.dtype());
  for (int64_t head = 0; head < heads; ++head) {
    const kernels::SpanPlan& plan = *in.plans[in.plans.size() == 1 ? 0 : head];
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t q = At(in.query_begin_b, b, 0); q < At(in.query_end_b, b, queries); ++q) {
        for (const kernels::KeySpan& span : plan.row(q)) {
          const int64_t end = std::min(span.end, At(in.end_b, b, keys));
          for (int64_t k = std::max(span.begin, At(in.begin_b, b, 0)); k < end; ++k) {
            h[((b * heads + head) * queries + q) * keys + k] = 0;
          }
        }
      }
    }
    if (in.slope_h.defined()) {
      const double slope = in.slope_h.ToDoubles()[head];
      for (int64_t q = 0; q < queries; ++q) {
        for (int64_t k = 0; k < keys; ++k) {
          const double value = -slope * static_cast<double>(std::abs(offset + q - k));
          const int64_t i = (head * queries + q) * keys + k;
          if (bias.dtype() == DType::kFloat64) {
            bias.mutable_data<double>()[i] = value;
          } else {
            bias.mutable_data<float>()[i] = static_cast<float>(value);
          }
        }
      }
    }
  }

  const Tensor q = HeadsFirst(in.q_bthd, heads), k = HeadsFirst(in.k_bshd, heads),
               v = HeadsFirst(in.v_bshe, heads);
  Tensor scores = Scale(MatMul(q, k, false, true), scale);
  scores = Reshape(scores, {batch, heads, queries, keys});
  if (in.slope_h.defined()) scores = Add(scores, bias);
  scores = MaskedFill(scores, hidden, -INFINITY);
  const Tensor p_bhts = tap(Softmax(scores));
  const Tensor out = MatMul(Reshape(p_bhts, {batch * heads, queries, keys}), v);
  return Permute(Reshape(out, {batch, heads, queries, value_width}), {0, 2, 1, 3});
}

}  // namespace longrange
