// Golden cases of S5: the state space model with its discretised matrices and states, and the whole
// residual layer around it.

#include "plugins/golden/golden_adapter.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/batch_norm.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "common/io/name_map.h"
#include "papers/s5/discretise.h"
#include "papers/s5/s5.pb.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

class StatesTap : public nn::Sink {
 public:
  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override { return absl::EndsWith(path, "/states"); }
  Tensor Tap(absl::string_view, const Tensor& value) override {
    pieces.push_back(value);
    return value;
  }

  std::vector<Tensor> pieces;  // [B, T, P, 2]
};

struct Case {
  S5Config config;
  bool bidirectional = false;
  // The residual layer around the model, where the case has one; its norm is in front or behind.
  bool layer = false, batch_norm = false, norm_first = true, training = true;
  double epsilon = 0, momentum = 0;
  NameMap names;
};

// The option `key`, which must be one of `known`; which of them.
absl::StatusOr<int> OneOf(JsonFields* fields, const char* key,
                          const std::vector<std::string>& known) {
  LR_ASSIGN_OR_RETURN(const std::string got, fields->String(key));
  for (size_t i = 0; i < known.size(); ++i) {
    if (known[i] == got) return static_cast<int>(i);
  }
  return absl::UnimplementedError(absl::StrCat("config.", key, ": '", got, "' is not known"));
}

NameMap NamesOf(const Case& c, const GoldenCase& golden) {
  const std::string seq = c.layer ? "seq." : "";
  NameMap names;
  names.Add(seq + "Lambda_re", "lambda_re")
      .Add(seq + "Lambda_im", "lambda_im")
      .Add(seq + "log_step", "log_step", {Transform::Squeeze(1)})
      .Add(seq + "B", "b")
      .Add(seq + "D", "d");
  if (c.bidirectional && golden.Has(absl::StrCat("param.", seq, "C"))) {
    // Both directions in one matrix [H, 2P, 2], as complex_normal has them.
    NameMapRow row;
    row.theirs = {seq + "C"};
    row.ours = {"c", "c_reverse"};
    row.before = {Transform::Transpose()};
    row.after = {{Transform::Transpose()}, {Transform::Transpose()}};
    names.Add(row);
  } else {
    names.Add(seq + (c.bidirectional ? "C1" : "C"), "c");
    if (c.bidirectional) names.Add(seq + "C2", "c_reverse");
  }
  if (!c.layer) return names;
  const S5Config::Gate gate = c.config.gate();
  names.Add("norm.scale", "norm.weight").Add("norm.bias", "norm.bias");
  if (gate != S5Config::GELU) {
    names.Add("out2.kernel", "w_gate", {Transform::Transpose()}).Add("out2.bias", "gate_bias");
  }
  if (gate == S5Config::FULL_GLU) {
    names.Add("out1.kernel", "w_value", {Transform::Transpose()}).Add("out1.bias", "value_bias");
  }
  return names;
}

absl::StatusOr<Case> ReadCase(const GoldenCase& golden) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  Case c;
  LR_ASSIGN_OR_RETURN(
      const int init,
      OneOf(&fields, "C_init", {"trunc_standard_normal", "lecun_normal", "complex_normal"}));
  LR_ASSIGN_OR_RETURN(const int rule, OneOf(&fields, "discretization", {"zoh", "bilinear"}));
  LR_ASSIGN_OR_RETURN(const int64_t state, fields.Integer("ssm_size_base"));
  LR_ASSIGN_OR_RETURN(const int64_t blocks, fields.Integer("blocks"));
  LR_ASSIGN_OR_RETURN(const bool conjugate, fields.Bool("conj_sym"));
  LR_ASSIGN_OR_RETURN(const bool clip, fields.Bool("clip_eigs", false));
  LR_ASSIGN_OR_RETURN(const double rescale, fields.Number("step_rescale", 1));
  LR_ASSIGN_OR_RETURN(c.bidirectional, fields.Bool("bidirectional"));
  c.config.set_output_init(static_cast<S5Config::OutputInit>(init));
  c.config.set_discretisation(static_cast<S5Config::Discretisation>(rule));
  c.config.set_state(state);
  c.config.set_blocks(blocks);
  c.config.set_conjugate_symmetry(conjugate);
  c.config.set_clip_eigenvalues(clip);
  c.config.set_step_rescale(rescale);
  c.config.set_gate(S5Config::NONE);
  c.layer = fields.Has("activation");
  if (c.layer) {
    LR_ASSIGN_OR_RETURN(const int gate, OneOf(&fields, "activation",
                                              {"half_glu1", "half_glu2", "full_glu", "gelu"}));
    LR_ASSIGN_OR_RETURN(c.batch_norm, fields.Bool("batchnorm"));
    LR_ASSIGN_OR_RETURN(c.epsilon, fields.Number("norm_eps"));
    LR_ASSIGN_OR_RETURN(c.momentum, fields.Number("bn_momentum"));
    LR_ASSIGN_OR_RETURN(c.norm_first, fields.Bool("prenorm"));
    LR_ASSIGN_OR_RETURN(c.training, fields.Bool("training"));
    LR_ASSIGN_OR_RETURN(const double dropout, fields.Number("dropout"));
    if (c.training && dropout != 0) {
      return absl::UnimplementedError(
          "config.dropout: other than 0 in training (its draws are another generator's)");
    }
    c.config.set_dropout(dropout);
    c.config.set_gate(static_cast<S5Config::Gate>(gate));
  }
  fields.Skip({"H", "L", "local_P"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  c.names = NamesOf(c, golden);
  return c;
}

// The model as built from the case's parameters, and its norm.
struct Built {
  nn::ParameterStore store;
  std::unique_ptr<Mixer> mixer;
  Tensor norm_weight, norm_bias;
};

absl::Status Build(const GoldenCase& golden, const Case& c, int64_t width, DType dtype,
                   Built* built) {
  BuildArgs args{nn::Scope(&built->store, Rng(), dtype)};
  args.width = width;
  if (c.bidirectional) args.direction = nn::Direction::kBidirectional;
  google::protobuf::Any any;
  any.PackFrom(c.config);
  LR_ASSIGN_OR_RETURN(built->mixer, Registry<Mixer>::Get().Create(any, args));
  if (c.layer) {
    const nn::Scope norm = args.scope.Child("norm");
    built->norm_weight = norm.Param("weight", {width}, nn::Constant(1));
    built->norm_bias = norm.Param("bias", {width}, nn::Zeros());
  }
  LR_ASSIGN_OR_RETURN(const TensorMap values,
                      c.names.Import(golden.Group("param."), built->store.Wanted()));
  return built->store.Load(values);
}

// The discretised matrices, where the case has them.
void CheckDiscrete(const GoldenCase& golden, const Case& c, const nn::ParameterStore& store,
                   const std::function<void(const std::string&, const Tensor&)>& compare) {
  if (!golden.Has("out.Lambda_bar") && !golden.Has("out.B_bar")) return;
  const TensorMap values = store.Values();
  const s5::Discrete discrete = s5::Discretise(
      values.at("lambda_re"), values.at("lambda_im"), values.at("log_step"), values.at("b"),
      {c.config.discretisation() == S5Config::BILINEAR, c.config.step_rescale(),
       c.config.clip_eigenvalues()});
  if (golden.Has("out.Lambda_bar")) compare("out.Lambda_bar", discrete.a_p2);
  if (golden.Has("out.B_bar")) compare("out.B_bar", discrete.b_ph2);
}

// x [B, L, H] -> y, by the model or the layer; in one call, by steps, and in two pieces.
enum class Way { kWhole, kSteps, kPieces };

Tensor Mix(const Built& built, const Tensor& x, Way way, bool training, StatesTap* tap) {
  nn::Call call;
  call.training = training;
  call.sink = tap;
  if (way == Way::kSteps) call.form = nn::Form::kRecurrent;
  if (way != Way::kPieces) return built.mixer->Forward(x, nn::Rows(), call);
  nn::State state = built.mixer->NewState(x.dim(0));
  const int64_t half = x.dim(1) / 2;
  const Tensor first = built.mixer->Extend(Narrow(x, 1, 0, half), nn::Rows(), call, &state);
  return Concat(
      {first, built.mixer->Extend(Narrow(x, 1, half, x.dim(1) - half), nn::Rows(), call, &state)},
      1);
}

absl::Status RunS5(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const Case c, ReadCase(golden));
  LR_ASSIGN_OR_RETURN(const Tensor x, golden.In("x"));
  if (x.rank() != 3) return absl::InvalidArgumentError("in.x: expected [B, L, H]");
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    Built built;
    LR_RETURN_IF_ERROR(Build(golden, c, x.dim(2), dtype, &built));
    for (const Way way : {Way::kWhole, Way::kSteps, Way::kPieces}) {
      if (way != Way::kWhole && c.bidirectional) continue;
      const char* const name = way == Way::kWhole   ? "whole, "
                               : way == Way::kSteps ? "step by step, "
                                                    : "in two pieces, ";
      const std::string path = absl::StrCat(name, Name(dtype));
      const auto compare = [&](const std::string& result, const Tensor& actual) {
        check->Check(result, actual, path);
      };
      CheckDiscrete(golden, c, built.store, compare);
      const Tensor leaf = Leaf(x.To(dtype).Clone());
      const auto norm = [&](const Tensor& in) {
        if (!c.batch_norm) return LayerNorm(in, built.norm_weight, built.norm_bias, c.epsilon);
        // Running statistics are those of the start: a mean of 0 and a variance of 1.
        const Tensor mean = Tensor::ZerosLike(built.norm_bias.Detach()),
                     variance = Tensor::Full(mean.shape(), 1, dtype);
        if (!c.training) {
          return BatchNormBy(mean, variance, in, built.norm_weight, built.norm_bias, c.epsilon);
        }
        const BatchNormResult made =
            BatchNorm(in, Tensor(), Tensor(), built.norm_weight, built.norm_bias, c.epsilon);
        const double part = 1 - c.momentum;
        compare("out.running_mean", Scale(made.mean_d, part));
        compare("out.running_var", Affine(made.variance_d, part, c.momentum));
        return made.y_btd;
      };
      StatesTap tap;
      const auto mix = [&](const Tensor& in) { return Mix(built, in, way, c.training, &tap); };
      const Tensor y = !c.layer       ? mix(leaf)
                       : c.norm_first ? Add(leaf, mix(norm(leaf)))
                                      : norm(Add(leaf, mix(leaf)));
      compare("out.y", y);
      if (golden.Has("out.states_forward")) compare("out.states_forward", Concat(tap.pieces, 1));
      built.store.ClearGradients();
      LR_RETURN_IF_ERROR(CheckGradients(golden, {{"y", y}}, {{"in.x", leaf}}, compare));
      LR_RETURN_IF_ERROR(CheckParameterGradients(golden, built.store, c.names, compare));
    }
  }
  return absl::OkStatus();
}

LR_REGISTER_GOLDEN_ADAPTER("s5", RunS5);

}  // namespace
}  // namespace longrange
