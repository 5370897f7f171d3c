#include "plugins/conformance/layer.h"

#include <algorithm>
#include <cmath>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/status_macros.h"
#include "common/testing/shapes.h"

namespace longrange::conformance {
namespace {

Outcome Collect(const BuiltLayer& layer, const Tensor& x, const Tensor& y) {
  layer.store->ClearGradients();
  Backward({y}, {RandomNormal(y.shape(), Rng(3), 1, y.dtype())});
  Outcome outcome;
  const auto add = [&](const std::string& name, const Tensor& value, const Tensor& like) {
    outcome.names.push_back(name);
    outcome.tensors.push_back(value.defined() ? value : Tensor::ZerosLike(like));
  };
  add("the output", y.Detach(), y);
  add("the gradient of the input", Gradient(x), x);
  for (const nn::Parameter& p : layer.store->all())
    add(absl::StrCat("the gradient of ", p.name), Gradient(p.value), p.value);
  layer.store->ClearGradients();
  return outcome;
}

double Rms(const Tensor& t) {
  double sum = 0;
  for (const double v : t.ToDoubles()) sum += v * v;
  return t.numel() > 0 ? std::sqrt(sum / static_cast<double>(t.numel())) : 0;
}

}  // namespace

const MixerTraits& BuiltLayer::traits() const {
  return mixer != nullptr ? mixer->traits() : backbone->traits();
}

Shape BuiltLayer::OutputShape(int64_t batch, int64_t tokens, int64_t width) const {
  if (backbone == nullptr) return {batch, tokens, width};
  const BackboneTraits& t = backbone->traits();
  return {batch, t.RowsBack(tokens), t.WidthBack(width)};
}

absl::Status BuiltLayer::Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                                  const nn::Call& call) const {
  return mixer != nullptr ? mixer->Supports(batch, tokens, rows, call)
                          : backbone->Supports(batch, tokens, rows, call);
}

Tensor BuiltLayer::Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const {
  return mixer != nullptr ? mixer->Forward(x_btd, rows, call)
                          : backbone->Forward({x_btd, rows}, call).x_btd;
}

nn::State BuiltLayer::NewState(int64_t batch) const {
  return mixer != nullptr ? mixer->NewState(batch) : backbone->NewState(batch);
}

Tensor BuiltLayer::Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                          nn::State* state) const {
  return mixer != nullptr ? mixer->Extend(x_btd, rows, call, state)
                          : backbone->Extend({x_btd, rows}, call, state).x_btd;
}

absl::StatusOr<BuiltLayer> LayerSubject::Build(DType dtype) const {
  LR_ASSIGN_OR_RETURN(BuiltLayer narrow, make(DType::kFloat32, Device::kCpu));
  for (const nn::Parameter& p : narrow.store->all()) {
    const Tensor noise = RandomNormal(p.value.shape(), Rng(5).Child(p.name), jostle);
    for (int64_t i = 0; i < noise.numel(); ++i)
      p.value.mutable_data<float>()[i] += noise.data<float>()[i];
  }
  for (const nn::Buffer& b : narrow.store->buffers()) {
    // Between a half and one and a half times what they are, and off 0: variances stay positive.
    const Tensor noise = RandomUniform(b.value.shape(), Rng(5).Child(b.name), 0.5, 1.5);
    for (int64_t i = 0; i < noise.numel(); ++i)
      b.value.mutable_data<float>()[i] =
          b.value.data<float>()[i] * noise.data<float>()[i] + 0.1f * noise.data<float>()[i];
  }
  if (dtype == DType::kFloat32) return narrow;
  LR_ASSIGN_OR_RETURN(BuiltLayer wide, make(dtype, Device::kCpu));
  TensorMap values = narrow.store->Values();
  for (auto& [name, value] : values) value = value.To(dtype);
  LR_RETURN_IF_ERROR(wide.store->Load(values));
  return wide;
}

Tensor LayerSubject::Input(int64_t batch, int64_t tokens, DType dtype, int seed) const {
  return RandomNormal({batch, tokens, width}, Rng(2).Child(seed), 1).To(dtype);
}

nn::Call CallFor(int64_t tokens, nn::Form form) {
  nn::Call call;
  call.horizon = tokens;
  call.form = form;
  return call;
}

Outcome RunForward(const BuiltLayer& layer, const Tensor& x_btd, const nn::Rows& rows,
                   const nn::Call& call) {
  const Tensor x = Leaf(x_btd);
  return Collect(layer, x, layer.Forward(x, rows, call));
}

Outcome RunStream(const BuiltLayer& layer, const Tensor& x_btd, const std::vector<int64_t>& pieces,
                  const nn::Call& call, const nn::Rows& rows) {
  const Tensor x = Leaf(x_btd);
  nn::State state = layer.NewState(x.dim(0));
  std::vector<Tensor> parts;
  int64_t at = 0;
  for (const int64_t size : pieces) {
    nn::Rows piece;
    if (rows.frontier_t.defined()) piece.frontier_t = rows.frontier_t.ViewRows(at, at + size);
    parts.push_back(layer.Extend(Narrow(x, 1, at, size), piece, call, &state));
    at += size;
  }
  return Collect(layer, x, Concat(parts, 1));
}

Verdict SameBits(const Outcome& a, const Outcome& b, absl::string_view what) {
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    LR_CHECK_PART(
        Of(CompareBits(a.tensors[i], b.tensors[i]), absl::StrCat(what, ": ", a.names[i])));
  }
  return Passed();
}

Verdict Close(const Outcome& actual, const Outcome& expected, double forward, double gradient,
              absl::string_view what) {
  // A gradient that is zero but for rounding (of a bias that all keys have) has no size of its own:
  // it has to be small beside the largest.
  const double rounding = expected.y().dtype() == DType::kFloat64 ? 1e-12 : 1e-6;
  double largest = 0;
  for (size_t i = 1; i < expected.tensors.size(); ++i)
    largest = std::max(largest, Rms(expected.tensors[i]));
  for (size_t i = 0; i < actual.tensors.size(); ++i) {
    if (i > 0 && Rms(expected.tensors[i]) <= rounding * largest) {
      const double rms = Rms(actual.tensors[i]);
      if (!(rms <= gradient * largest))
        return Failed(what, ": ", actual.names[i], ": RMS ", rms, " (expected 0; that of the ",
                      "largest gradient is ", largest, ")");
      continue;
    }
    LR_CHECK_PART(
        Of(CompareRms(actual.tensors[i], expected.tensors[i], i == 0 ? forward : gradient),
           absl::StrCat(what, ": ", actual.names[i])));
  }
  return Passed();
}

bool AllFinite(const Tensor& t) {
  const std::vector<double> values = t.ToDoubles();
  return std::all_of(values.begin(), values.end(), [](double v) { return std::isfinite(v); });
}

int64_t Fit(const MixerTraits& traits, int64_t tokens) {
  const int64_t least = std::max(tokens, traits.min_tokens);
  const int64_t fit = (least + traits.multiple_of - 1) / traits.multiple_of * traits.multiple_of;
  return traits.max_tokens > 0 && fit > traits.max_tokens ? 0 : fit;
}

}  // namespace longrange::conformance
