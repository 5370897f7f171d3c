// What the checks of mixers and backbones see: a way to build the same layer again and again, and
// helpers that run it. B batch, T rows, D width.

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_LAYER_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_LAYER_H_

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/nn/parameters.h"
#include "plugins/backbone.h"
#include "plugins/conformance/verdict.h"
#include "plugins/mixer.h"

namespace longrange::conformance {

// A mixer or a backbone, and its parameters.
struct BuiltLayer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Mixer> mixer;
  std::unique_ptr<Backbone> backbone;

  const MixerTraits& traits() const;
  // Does it give back rows of its own, and not those that it was given? Only a backbone may.
  bool has_own_rows() const { return backbone != nullptr && backbone->traits().output_rows > 0; }
  // Of what Forward gives for rows [B, T, D].
  Shape OutputShape(int64_t batch, int64_t tokens, int64_t width) const;
  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const;
  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const;
  nn::State NewState(int64_t batch) const;
  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const;
};

struct LayerSubject {
  int64_t width = 16;
  double jostle = 0.2;
  // Builds the layer; the same arguments give the same parameters.
  std::function<absl::StatusOr<BuiltLayer>(DType dtype, Device device)> make;
  // The parameters of float64 and x float64 -> y; null: none.
  std::function<Tensor(const TensorMap& parameters, const Tensor& x_btd)> reference;
  bool needs_reference = false;
  // As declared in conformance.textproto; -1: nothing is declared.
  int64_t parameters = 0, state_bytes = 0;
  std::set<std::string> groups;
  std::vector<std::function<absl::StatusOr<BuiltLayer>()>> same_parameters;

  // Made, and its parameters jostled: the same numbers in every type, those of float32.
  absl::StatusOr<BuiltLayer> Build(DType dtype = DType::kFloat32) const;
  Tensor Input(int64_t batch, int64_t tokens, DType dtype = DType::kFloat32, int seed = 1) const;
};

// y, the gradient of x, then those of the parameters, for fixed cotangents of y.
struct Outcome {
  std::vector<Tensor> tensors;
  std::vector<std::string> names;

  const Tensor& y() const { return tensors[0]; }
};

// A call whose horizon is `tokens`, so that length-dependent parts agree however it is cut.
nn::Call CallFor(int64_t tokens, nn::Form form = nn::Form::kDefault);

Outcome RunForward(const BuiltLayer& layer, const Tensor& x_btd, const nn::Rows& rows,
                   const nn::Call& call);
// The same in pieces of the given lengths, through Extend; of `rows` each piece gets its part of
// the frontier.
Outcome RunStream(const BuiltLayer& layer, const Tensor& x_btd, const std::vector<int64_t>& pieces,
                  const nn::Call& call, const nn::Rows& rows = nn::Rows());

Verdict SameBits(const Outcome& a, const Outcome& b, absl::string_view what);
// By RMS ratio: values[0] for y, values[1] for gradients.
Verdict Close(const Outcome& actual, const Outcome& expected, double forward, double gradient,
              absl::string_view what);
bool AllFinite(const Tensor& t);

// The least number of rows >= `tokens` that the layer takes; 0: none.
int64_t Fit(const MixerTraits& traits, int64_t tokens);

}  // namespace longrange::conformance

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_LAYER_H_
