#include "papers/induction_heads/maps.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"

namespace longrange::induction_heads {

std::function<Tensor(absl::string_view, const Tensor&)> AttentionMaps::See() {
  return [this](absl::string_view path, const Tensor& value) {
    layers_.push_back({std::string(path), value, value.ToDoubles()});
    return value;
  };
}

absl::Status AttentionMaps::Check(const Sequences& sequences) const {
  const int64_t batch = sequences.ids_bt.dim(0), rows = sequences.ids_bt.dim(1);
  for (const Layer& layer : layers_) {
    const Tensor& p = layer.shape;
    if (p.rank() == 4 && p.dim(0) == batch && p.dim(2) == rows && p.dim(3) == rows) continue;
    return absl::InvalidArgumentError(absl::StrCat(layer.path, ": ", p.shape().ToString(),
                                                   " (expected maps of ", batch, " sequences of ",
                                                   rows, " rows, each of which looks at as many)"));
  }
  return absl::OkStatus();
}

absl::Span<const double> AttentionMaps::Of(size_t layer, int64_t sequence, int64_t head) const {
  const Layer& of = layers_[layer];
  const int64_t size = of.shape.dim(2) * of.shape.dim(3);
  return absl::MakeConstSpan(of.values).subspan((sequence * of.shape.dim(1) + head) * size, size);
}

std::optional<size_t> AttentionMaps::Find(absl::string_view path) const {
  for (size_t layer = 0; layer < layers_.size(); ++layer) {
    if (absl::EndsWith(layers_[layer].path, absl::StrCat(path, "/attention"))) return layer;
  }
  return std::nullopt;
}

Tensor OfHead(const Tensor& x_hmn, int64_t head) {
  return Reshape(Narrow(x_hmn, 0, head, 1), {x_hmn.dim(1), x_hmn.dim(2)});
}

Tensor OfHeadAt(const Tensor& x_bthp, int64_t head) {
  return Reshape(Narrow(x_bthp, 2, head, 1), {x_bthp.dim(0), x_bthp.dim(1), x_bthp.dim(3)});
}

Tensor IdentityLike(const Tensor& p_bhtt) {
  const int64_t rows = p_bhtt.dim(3);
  Tensor identity = Tensor::Zeros({rows, rows}, DType::kFloat64);
  for (int64_t t = 0; t < rows; ++t) identity.mutable_data<double>()[t * rows + t] = 1;
  return BroadcastTo(identity.To(p_bhtt.dtype()), p_bhtt.shape());
}

}  // namespace longrange::induction_heads
