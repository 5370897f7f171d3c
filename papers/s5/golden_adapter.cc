// Golden cases of S5: the state space model with its discretised matrices and states, and the whole
// residual layer around it.

#include "plugins/golden/golden_adapter.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "papers/s5/discretise.h"
#include "papers/s5/s5.pb.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

class StatesTap : public nn::Sink {
 public:
  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override { return absl::EndsWith(path, "/states"); }
  Tensor Tap(absl::string_view, const Tensor& value) override { return states_btp2 = value; }

  Tensor states_btp2;
};

struct Case {
  S5Config config;
  nn::Direction direction = nn::Direction::kCausal;
  int64_t width = 0;
  // Of the layer, where the case is one.
  bool layer = false, batch_norm = false;
  double epsilon = 0, momentum = 0;
};

// The case's option `key`, which must be one of `names`; the number of it.
absl::StatusOr<int> OneOf(JsonFields* fields, const char* key,
                          const std::vector<std::string>& names) {
  LR_ASSIGN_OR_RETURN(const std::string got, fields->String(key));
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == got) return static_cast<int>(i);
  }
  return absl::UnimplementedError(absl::StrCat("config.", key, ": '", got, "' is not known"));
}

absl::StatusOr<Case> ReadCase(const GoldenCase& golden) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  Case c;
  LR_ASSIGN_OR_RETURN(const int init, OneOf(&fields, "C_init",
                                            {"trunc_standard_normal", "lecun_normal",
                                             "complex_normal"}));
  c.config.set_output_init(static_cast<S5Config::OutputInit>(init));
  LR_ASSIGN_OR_RETURN(const int rule, OneOf(&fields, "discretization", {"zoh", "bilinear"}));
  c.config.set_discretisation(static_cast<S5Config::Discretisation>(rule));
  LR_ASSIGN_OR_RETURN(c.width, fields.Integer("H"));
  LR_ASSIGN_OR_RETURN(const bool both_ways, fields.Bool("bidirectional"));
  if (both_ways) c.direction = nn::Direction::kBidirectional;
  LR_ASSIGN_OR_RETURN(const int64_t state, fields.Integer("ssm_size_base"));
  LR_ASSIGN_OR_RETURN(const int64_t blocks, fields.Integer("blocks"));
  LR_ASSIGN_OR_RETURN(const bool conjugate, fields.Bool("conj_sym"));
  LR_ASSIGN_OR_RETURN(const bool clip, fields.Bool("clip_eigs", false));
  LR_ASSIGN_OR_RETURN(const double rescale, fields.Number("step_rescale", 1));
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
    c.config.set_gate(static_cast<S5Config::Gate>(gate));
    LR_ASSIGN_OR_RETURN(c.batch_norm, fields.Bool("batchnorm"));
    LR_ASSIGN_OR_RETURN(c.epsilon, fields.Number("norm_eps"));
    LR_ASSIGN_OR_RETURN(c.momentum, fields.Number("bn_momentum"));
    LR_ASSIGN_OR_RETURN(const bool before, fields.Bool("prenorm"));
    LR_ASSIGN_OR_RETURN(const bool training, fields.Bool("training"));
    LR_ASSIGN_OR_RETURN(const double dropout, fields.Number("dropout"));
    if (!before || !training || dropout != 0) {
      return absl::UnimplementedError(
          "config: expected prenorm, training and no dropout (other layers are not built)");
    }
  }
  fields.Skip({"L", "local_P"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  return c;
}

// The reference's parameters under our names.
absl::StatusOr<TensorMap> ReadParameters(const GoldenCase& golden, const Case& c) {
  const std::string seq = c.layer ? "seq." : "";
  std::vector<std::pair<std::string, std::string>> names = {
      {seq + "Lambda_re", "lambda_re"}, {seq + "Lambda_im", "lambda_im"},
      {seq + "log_step", "log_step"},   {seq + "B", "b"},
      {seq + "D", "d"}};
  const bool both_ways = c.direction == nn::Direction::kBidirectional;
  names.emplace_back(seq + (both_ways ? "C1" : "C"), "c");
  if (both_ways) names.emplace_back(seq + "C2", "c_reverse");
  const bool full = c.config.gate() == S5Config::FULL_GLU;
  if (full || c.config.gate() == S5Config::HALF_GLU1 || c.config.gate() == S5Config::HALF_GLU2) {
    names.emplace_back("out2.kernel", "w_gate");
    names.emplace_back("out2.bias", "gate_bias");
  }
  if (full) {
    names.emplace_back("out1.kernel", "w_value");
    names.emplace_back("out1.bias", "value_bias");
  }
  TensorMap values;
  for (const auto& [theirs, ours] : names) {
    LR_ASSIGN_OR_RETURN(values[ours], golden.Param(theirs));
  }
  return values;
}
