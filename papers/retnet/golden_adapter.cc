// Golden cases of retnet: plain retention with carried states, the gated multi-scale layer in its
// three forms, and a decoder of such layers.

#include "plugins/golden/golden_adapter.h"

#include <google/protobuf/any.pb.h>

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/retention.h"
#include "common/base/status_macros.h"
#include "common/io/name_map.h"
#include "papers/retnet/retnet.pb.h"
#include "papers/retnet/schedule.h"
#include "papers/retnet/score_scale.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/mixer.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

// [B, H, L, D] and [B, L, H, D].
Tensor SwapHeads(const Tensor& x) { return Permute(x, {0, 2, 1, 3}); }

// in.{q, k, v} [B, H, L, *], in.state0 [B, H, D, E]: one call without a state, and two from it.
absl::Status RunPlain(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("heads"));
  LR_ASSIGN_OR_RETURN(const int64_t first, fields.Integer("L0"));
  LR_ASSIGN_OR_RETURN(const int64_t second, fields.Integer("L1"));
  LR_ASSIGN_OR_RETURN(const std::string gamma, fields.String("gamma"));
  LR_ASSIGN_OR_RETURN(const std::string scale, fields.String("scale", "key / sqrt(key_dim)"));
  fields.Skip({"batch", "key_dim", "value_dim"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  RetnetConfig config;
  config.set_heads(heads);
  const std::string linspace = "1-exp(linspace(ln 1/32, ln 1/512, heads))", powers = "1-2^(-5-h)";
  if (gamma != linspace && gamma != powers)
    return UnknownValue("gamma", gamma, absl::StrCat(linspace, " or ", powers));
  if (gamma == linspace) config.set_decay(RetnetConfig::LINSPACE);
  if (scale != "key / sqrt(key_dim)") return UnknownValue("scale", scale, "key / sqrt(key_dim)");

  TensorMap given;
  for (const char* name : {"q", "k", "v", "state0"}) {
    LR_ASSIGN_OR_RETURN(given[name], golden.In(name));
    if (given[name].rank() != 4 || given[name].dim(1) != heads)
      return absl::InvalidArgumentError(absl::StrCat("in.", name, ": expected [B, heads, *, *]"));
  }
  if (first < 0 || second < 0 || given["q"].dim(2) != first + second)
    return absl::InvalidArgumentError("in.q: expected L0 + L1 rows");
  std::vector<double> gammas = retnet::LogDecays(config);
  const std::vector<double> log_decay_h = gammas;
  for (double& g : gammas) g = std::exp(g);
  if (golden.Has("out.gamma")) check->Check("out.gamma", Tensor::FromVector({heads}, gammas));

  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const int64_t chunk : {0, 1, 4, 100}) {
      const GoldenCompare compare = CompareByType(check, dtype, absl::StrCat("chunk ", chunk));
      TensorMap leaves;
      for (const auto& [name, tensor] : given)
        leaves[absl::StrCat("in.", name)] = Leaf(tensor.To(dtype).Clone());
      const double key_scale = 1 / std::sqrt(static_cast<double>(given["k"].dim(3)));
      kernels::RetentionInputs all;
      all.q_bthd = SwapHeads(leaves["in.q"]);
      all.k_bthd = Scale(SwapHeads(leaves["in.k"]), key_scale);
      all.v_bthe = SwapHeads(leaves["in.v"]);
      all.log_decay_h = log_decay_h;
      all.chunk = chunk;
      const auto rows = [&](int64_t begin, int64_t size, const Tensor& state) {
        kernels::RetentionInputs part = all;
        for (Tensor* t : {&part.q_bthd, &part.k_bthd, &part.v_bthe})
          *t = Narrow(*t, 1, begin, size);
        part.state_bhde = state;
        return Retention(part);
      };
      const RetentionResult before = rows(0, first, leaves["in.state0"]),
                            after = rows(first, second, before.state_bhde),
                            at_once = rows(0, first + second, leaves["in.state0"]);
      const TensorMap outputs = {{"y_parallel", SwapHeads(Retention(all).out_bthe)},
                                 {"y_recurrent", SwapHeads(at_once.out_bthe)},
                                 {"y0", SwapHeads(before.out_bthe)},
                                 {"y1", SwapHeads(after.out_bthe)},
                                 {"state1", before.state_bhde},
                                 {"state2", after.state_bhde}};
      for (const auto& [name, output] : outputs) compare(absl::StrCat("out.", name), output);
      LR_RETURN_IF_ERROR(CheckGradients(golden, outputs, leaves, compare));
    }
  }
  return absl::OkStatus();
}

// The reference's names below a layer's.
NameMap LayerNames(absl::string_view theirs, absl::string_view ours) {
  NameMap names;
  for (const char* which : {"q", "k", "v", "g"})
    names.Add(absl::StrCat(theirs, which, "_proj.weight"), absl::StrCat(ours, "w_", which));
  names.Add(absl::StrCat(theirs, "out_proj.weight"), absl::StrCat(ours, "w_o"));
  return names;
}

absl::StatusOr<RetnetConfig::Gate> GateOf(const std::string& name) {
  if (name == "swish") return RetnetConfig::SWISH;
  if (name == "gelu") return RetnetConfig::GELU;
  return UnknownValue("gate", name, "swish or gelu");
}

google::protobuf::Any Packed(const google::protobuf::Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

// The constants that the reference states.
void CheckConstants(const GoldenCase& golden, const RetnetConfig& config, int64_t head_width,
                    int64_t length, GoldenChecker* check) {
  const std::vector<double> log_decay_h = retnet::LogDecays(config);
  const int64_t heads = config.heads();
  std::vector<double> angles, gammas, mask, last;
  for (const double frequency : retnet::Frequencies(config, head_width))
    angles.insert(angles.end(), 2, frequency);  // once for each channel of a pair
  for (const double log_decay : log_decay_h) {
    gammas.push_back(std::exp(log_decay));
    const std::vector<double> sums = retnet::DecaySums(log_decay, length);
    for (int64_t n = 0; n < length; ++n) {
      for (int64_t m = 0; m < length; ++m) {
        mask.push_back(
            m > n ? 0 : std::exp(static_cast<double>(n - m) * log_decay) / std::sqrt(sums[n]));
      }
    }
    last.push_back(sums.back());
  }
  const auto compare = [&](const char* name, const Shape& shape,
                           const std::vector<double>& values) {
    if (golden.Has(name)) check->Check(name, Tensor::FromVector(shape, values));
  };
  compare("out.angle", {head_width}, angles);
  compare("out.decay", {heads}, gammas);
  compare("out.decay_mask_normalised", {heads, length, length}, mask);
  compare("out.scale_final", {heads}, last);
}

// The reference's final state [B, H, E, D], which it keeps divided by the root of its scale.
Tensor ScaledState(const Tensor& state_bhde, const std::vector<double>& log_decay_h,
                   int64_t length) {
  std::vector<double> factors;
  for (const double log_decay : log_decay_h)
    factors.push_back(1 / std::sqrt(retnet::DecaySums(log_decay, length).back()));
  const int64_t heads = static_cast<int64_t>(factors.size());
  return Permute(Mul(state_bhde, Tensor::FromVector({heads, 1, 1}, factors).To(state_bhde.dtype())),
                 {0, 1, 3, 2});
}

struct FormOfCase {
  nn::Form form;
  const char* name;
};
constexpr FormOfCase kForms[] = {{nn::Form::kParallel, "parallel"},
                                 {nn::Form::kChunked, "chunkwise"},
                                 {nn::Form::kRecurrent, "recurrent"}};

// x [B, L, d_model] -> y, by the three forms where `forms`, and as a stream where the layer does.
absl::Status RunLayerIn(const GoldenCase& golden, const RetnetConfig& config, bool forms,
                        DType dtype, GoldenChecker* check) {
  const std::string scale =
      config.score_scale() == RetnetConfig::TORCHSCALE ? "torchscale's scale" : "no scale";
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("x"));
  const Tensor x = given.To(dtype);
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(), dtype)};
  args.width = x.dim(2);
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> mixer,
                      Registry<Mixer>::Get().Create(Packed(config), args));
  const NameMap names = LayerNames("", "");
  LR_ASSIGN_OR_RETURN(const TensorMap values, names.Import(golden.Group("param."), store.Wanted()));
  LR_RETURN_IF_ERROR(store.Load(values));

  for (const FormOfCase& by : kForms) {
    if (!forms) break;
    const GoldenCompare compare =
        CompareByType(check, dtype, absl::StrCat(by.name, " form, ", scale));
    const std::string output = absl::StrCat("y_", by.name);
    nn::Call call;
    call.form = by.form;
    const Tensor leaf = Leaf(x.Clone());
    const Tensor y = mixer->Forward(leaf, nn::Rows(), call);
    compare(absl::StrCat("out.", output), y);
    store.ClearGradients();
    if (!golden.Has(absl::StrCat("cotangent.", output))) continue;
    LR_ASSIGN_OR_RETURN(const Tensor dy, golden.Cotangent(output));
    Backward({y}, {dy.To(dtype)});
    // grad.* are those of the parallel form; others say so.
    if (by.form == nn::Form::kParallel) {
      if (golden.Has("grad.in.x")) compare("grad.in.x", Gradient(leaf));
      LR_RETURN_IF_ERROR(CheckParameterGradients(golden, store, names, compare));
    } else {
      const std::string name = absl::StrCat(by.name, ".grad.in.x");
      if (golden.Has(name)) compare(name, Gradient(leaf));
    }
  }
  if (!mixer->traits().streams) return absl::OkStatus();
  // Row by row. Its state is the reference's, whatever the scale of the scores.
  const NoGradScope no_grad;
  nn::State state = mixer->NewState(x.dim(0));
  std::vector<Tensor> parts;
  for (int64_t t = 0; t < x.dim(1); ++t)
    parts.push_back(mixer->Extend(Narrow(x, 1, t, 1), nn::Rows(), nn::Call(), &state));
  const GoldenCompare compare = CompareByType(check, dtype, "streamed");
  if (forms) compare("out.y_recurrent", Concat(parts, 1));
  if (golden.Has("out.state_final")) {
    compare("out.state_final", ScaledState(state.Get("s"), retnet::LogDecays(config), x.dim(1)));
  }
  return absl::OkStatus();
}

absl::Status RunLayer(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("heads"));
  LR_ASSIGN_OR_RETURN(const int64_t width, fields.Integer("d_model"));
  LR_ASSIGN_OR_RETURN(const int64_t value_width, fields.Integer("value_dim"));
  LR_ASSIGN_OR_RETURN(const int64_t chunk, fields.Integer("chunk"));
  LR_ASSIGN_OR_RETURN(const double epsilon, fields.Number("layernorm_eps"));
  LR_ASSIGN_OR_RETURN(const std::string gate, fields.String("gate"));
  fields.Skip({"L"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const Tensor x, golden.In("x"));
  if (x.rank() != 3 || x.dim(2) != width || heads < 1)
    return absl::InvalidArgumentError("in.x: expected [B, L, d_model]");
  RetnetConfig config;
  config.set_heads(heads);
  config.set_value_width(value_width);
  config.set_chunk(chunk);
  config.set_head_norm_epsilon(epsilon);
  LR_ASSIGN_OR_RETURN(const RetnetConfig::Gate kind, GateOf(gate));
  config.set_gate(kind);
  CheckConstants(golden, config, width / heads, x.dim(1), check);
  // Below this the norm's epsilon does not notice how scores are scaled.
  constexpr double kUnnoticed = 1e-9;
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const auto scale : {RetnetConfig::TORCHSCALE, RetnetConfig::NO_SCALE}) {
      config.set_score_scale(scale);
      const bool forms = scale == RetnetConfig::TORCHSCALE || epsilon <= kUnnoticed;
      LR_RETURN_IF_ERROR(RunLayerIn(golden, config, forms, dtype, check));
    }
  }
  return absl::OkStatus();
}

// in.ids [B, L] -> out.logits [B, L, V].
absl::Status RunDecoder(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("heads"));
  LR_ASSIGN_OR_RETURN(const int64_t width, fields.Integer("d_model"));
  LR_ASSIGN_OR_RETURN(const int64_t value_width, fields.Integer("value_dim"));
  LR_ASSIGN_OR_RETURN(const int64_t hidden, fields.Integer("ffn"));
  LR_ASSIGN_OR_RETURN(const int64_t layers, fields.Integer("layers"));
  LR_ASSIGN_OR_RETURN(const int64_t vocabulary, fields.Integer("vocab"));
  LR_ASSIGN_OR_RETURN(const double epsilon, fields.Number("layernorm_eps"));
  LR_ASSIGN_OR_RETURN(const std::string activation, fields.String("activation"));
  LR_ASSIGN_OR_RETURN(const bool deepnorm, fields.Bool("deepnorm", false));
  LR_ASSIGN_OR_RETURN(const bool unscaled, fields.Bool("no_scale_embedding"));
  LR_ASSIGN_OR_RETURN(const bool tied, fields.Bool("tied"));
  fields.Skip({"L", "subln"});  // stated by the tensors; subln is about initial values
  LR_RETURN_IF_ERROR(fields.Done());
  if (activation != "gelu" && activation != "swish")
    return UnknownValue("activation", activation, "gelu or swish");
  if (deepnorm) return UnknownValue("deepnorm", "true", "false");
  if (!unscaled) return UnknownValue("no_scale_embedding", "false", "true");

  RetnetConfig mixer;
  mixer.set_heads(heads);
  mixer.set_value_width(value_width);
  mixer.set_head_norm_epsilon(epsilon);
  mixer.set_score_scale(RetnetConfig::TORCHSCALE);
  StackConfig stack;
  stack.set_layers(layers);
  *stack.mutable_mixer() = Packed(mixer);
  stack.mutable_feed_forward()->set_kind(activation == "gelu" ? FeedForwardConfig::GEGLU
                                                              : FeedForwardConfig::SWIGLU);
  stack.mutable_feed_forward()->set_width(hidden);
  stack.mutable_norm()->set_epsilon(epsilon);
  ModelConfig config;
  config.set_vocabulary(vocabulary);
  config.set_width(width);
  config.set_tied(tied);
  *config.mutable_backbone() = Packed(stack);

  NameMap names = LayerNames("layers.*.retention.", "layers.*.mixer.");
  names.Add("embed_tokens.weight", "embedding")
      .Add("layers.*.retention_layer_norm.weight", "layers.*.mixer_norm.weight")
      .Add("layers.*.final_layer_norm.weight", "layers.*.feed_forward_norm.weight")
      .Add("layers.*.ffn.fc1.weight", "layers.*.feed_forward.w_gate")
      .Add("layers.*.ffn.gate.weight", "layers.*.feed_forward.w_up")
      .Add("layers.*.ffn.fc2.weight", "layers.*.feed_forward.w_down")
      .Add("layer_norm.weight", "norm.weight");
  if (!tied) names.Add("output_projection.weight", "output");

  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("ids"));
  const Tensor ids = given.To(DType::kInt32);
  for (const int64_t id : ids.ToInts()) {
    if (id < 0 || id >= vocabulary)
      return absl::InvalidArgumentError(absl::StrCat("in.ids: ", id, " (expected 0 to vocab - 1)"));
  }
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    ModelArgs args;
    args.dtype = dtype;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Create(config, args));
    LR_ASSIGN_OR_RETURN(const TensorMap values,
                        names.Import(golden.Group("param."), model->parameters().Wanted()));
    LR_RETURN_IF_ERROR(model->parameters().Load(values));
    const GoldenCompare compare = CompareByType(check, dtype, "parallel form");
    const Tensor logits = model->Logits(ids, nn::Rows(), nn::Call());
    compare("out.logits", logits);
    LR_ASSIGN_OR_RETURN(const Tensor dlogits, golden.Cotangent("logits"));
    Backward({logits}, {dlogits.To(dtype)});
    LR_RETURN_IF_ERROR(CheckParameterGradients(golden, model->parameters(), names, compare));
  }
  return absl::OkStatus();
}

absl::Status RunRetnet(const GoldenCase& golden, GoldenChecker* check) {
  if (golden.Has("in.ids")) return RunDecoder(golden, check);
  if (golden.Has("in.x")) return RunLayer(golden, check);
  return RunPlain(golden, check);
}

LR_REGISTER_GOLDEN_ADAPTER("retnet", RunRetnet);

}  // namespace
}  // namespace longrange
