// Golden cases of rope_extension: tables of frequencies and angles, rotated queries and keys, and
// whole models in the Hugging Face layout under rope_scaling variants.

#include "plugins/golden/golden_adapter.h"

#include <google/protobuf/text_format.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "common/io/json.h"
#include "common/io/safetensors.h"
#include "kernels/rotary/rotary.h"
#include "papers/rope_extension/rope_extension.pb.h"
#include "plugins/attention/plain_attention.h"
#include "plugins/hugging_face/hugging_face.h"
#include "plugins/model/generate.h"
#include "plugins/position.h"

namespace longrange {
namespace {

using google::protobuf::Any;

HuggingFaceOptions OptionsOf(const GoldenCase& golden) {
  HuggingFaceOptions options;
  options.as_transformers_446 = absl::StrContains(golden.reference(), "transformers 4.46");
  return options;
}

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateScheme(const Any& position,
                                                             int64_t head_width) {
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng())};
  args.width = head_width;
  return Registry<PositionScheme>::Get().Create(position, args);
}

// cos and sin of [P, R], the second half of a row as the first (the half-split layout's tables).
std::pair<Tensor, Tensor> FullTables(const RotaryAngles& angles,
                                     const std::vector<double>& positions) {
  const Shape half = {static_cast<int64_t>(positions.size()), angles.inv_freq.numel()};
  const Tensor cos = Tensor::Empty(half), sin = Tensor::Empty(half);
  kernels::RotaryTable(positions, angles.inv_freq, angles.magnitude, cos, sin);
  return {Concat({cos, cos}, 1), Concat({sin, sin}, 1)};
}

// One group of a tables case: what the reference was asked for, in our terms.
struct Table {
  Any position;
  int64_t head_width = 0;
  int64_t length = 0;
  // The reference leaves the frequencies alone and divides the positions: its inv_freq are this
  // times ours.
  double inv_freq_scale = 1;
};

Any Packed(const google::protobuf::Message& config) {
  Any any;
  any.PackFrom(config);
  return any;
}

// A group of modeling_rope_utils. longrope without a factor takes it from the lengths:
// max_position_embeddings over the original one, which stands in the config or, as "origlen64", in
// the key.
absl::StatusOr<Table> LibraryTable(const std::string& key, nlohmann::json group,
                                   const HuggingFaceOptions& options) {
  const nlohmann::json scaling = group.value("rope_scaling", nlohmann::json());
  if (scaling.is_object() && !scaling.contains("factor") &&
      !group.contains("original_max_position_embeddings")) {
    static constexpr char kOriginal[] = "origlen";
    const size_t at = key.find(kOriginal);
    if (at != std::string::npos) {
      const size_t digits = at + sizeof(kOriginal) - 1;
      int64_t original = 0;
      if (absl::SimpleAtoi(key.substr(digits, key.find_first_not_of("0123456789", digits) - digits),
                           &original)) {
        group["original_max_position_embeddings"] = original;
      }
    }
  }
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(group, key));
  Table table;
  LR_ASSIGN_OR_RETURN(table.head_width, fields.Integer("head_dim"));
  LR_ASSIGN_OR_RETURN(table.length, fields.Integer("seq_len_argument", 0));
  LR_ASSIGN_OR_RETURN(table.position, ImportHuggingFacePosition(&fields, options));
  LR_RETURN_IF_ERROR(fields.Done());
  return table;
}

// A group of the community's classes, named by "kind".
absl::StatusOr<Table> CommunityTable(const std::string& key, const nlohmann::json& group) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(group, key));
  Table table;
  LR_ASSIGN_OR_RETURN(const std::string kind, fields.String("kind"));
  LR_ASSIGN_OR_RETURN(table.head_width, fields.Integer("dim"));
  LR_ASSIGN_OR_RETURN(table.length, fields.Integer("seq_len"));
  LR_ASSIGN_OR_RETURN(const double theta, fields.Number("base", 10000));
  if (kind == "ntk") {
    RopeExtensionNtkConfig config;
    LR_ASSIGN_OR_RETURN(const double alpha, fields.Number("alpha"));
    config.set_alpha(alpha);
    config.set_theta(theta);
    table.position = Packed(config);
  } else if (kind == "by_parts") {
    RopeExtensionByPartsConfig config;
    LR_ASSIGN_OR_RETURN(const double factor, fields.Number("scale"));
    LR_ASSIGN_OR_RETURN(const int64_t original_length,
                        fields.Integer("original_max_position_embeddings"));
    config.set_factor(factor);
    config.set_original_length(original_length);
    config.set_theta(theta);
    if (fields.Has("beta0_beta1")) {
      LR_ASSIGN_OR_RETURN(const std::vector<double> beta, fields.Numbers("beta0_beta1"));
      if (beta.size() != 2)
        return absl::InvalidArgumentError(absl::StrCat(key, ".beta0_beta1: expected two numbers"));
      config.set_beta_0(beta[0]);
      config.set_beta_1(beta[1]);
    }
    if (fields.Has("gamma0_gamma1")) {
      LR_ASSIGN_OR_RETURN(const std::vector<double> gamma, fields.Numbers("gamma0_gamma1"));
      if (gamma.size() != 2)
        return absl::InvalidArgumentError(
            absl::StrCat(key, ".gamma0_gamma1: expected two numbers"));
      config.set_gamma_0(gamma[0]);
      config.set_gamma_1(gamma[1]);
    }
    table.position = Packed(config);
  } else if (kind == "dynamic_pi") {
    // Another paper's scheme: by its name.
    LR_ASSIGN_OR_RETURN(const int64_t original_length, fields.Integer("max_position_embeddings"));
    const std::string text =
        absl::StrCat("[type.googleapis.com/longrange.PositionInterpolationConfig] { dynamic: true ",
                     "original_length: ", original_length, " theta: ", theta, " }");
    if (!google::protobuf::TextFormat::ParseFromString(text, &table.position)) {
      return absl::UnimplementedError(
          "dynamic_pi needs position_interpolation, which is not linked in");
    }
    table.inv_freq_scale =
        std::max(1.0, static_cast<double>(table.length) / static_cast<double>(original_length));
  } else if (kind == "dynamic_ntk" || absl::StartsWith(kind, "lceg_ntk")) {
    RopeExtensionDynamicNtkConfig config;
    LR_ASSIGN_OR_RETURN(const int64_t original_length, fields.Integer("max_position_embeddings"));
    LR_ASSIGN_OR_RETURN(const double factor, fields.Number("factor"));
    config.set_original_length(original_length);
    config.set_factor(factor);
    config.set_theta(theta);
    if (kind != "dynamic_ntk") {
      LR_ASSIGN_OR_RETURN(const int64_t frozen, fields.Integer("frozen_length"));
      config.set_minimum_length(frozen);
    }
    table.position = Packed(config);
  } else if (kind == "yarn" || kind == "dynamic_yarn") {
    RopeExtensionYarnConfig config;
    LR_ASSIGN_OR_RETURN(const int64_t original_length, fields.Integer("original"));
    LR_ASSIGN_OR_RETURN(const double beta_fast, fields.Number("beta_fast", config.beta_fast()));
    LR_ASSIGN_OR_RETURN(const double beta_slow, fields.Number("beta_slow", config.beta_slow()));
    config.set_original_length(original_length);
    config.set_beta_fast(beta_fast);
    config.set_beta_slow(beta_slow);
    config.set_theta(theta);
    if (kind == "yarn") {
      LR_ASSIGN_OR_RETURN(const double factor, fields.Number("scale"));
      config.set_factor(factor);
    } else {
      // The class scales only what is longer than its table of max_position_embeddings.
      LR_ASSIGN_OR_RETURN(const int64_t untouched, fields.Integer("max_position_embeddings"));
      if (table.length <= untouched) table.length = original_length;
      config.set_dynamic(true);
    }
    table.position = Packed(config);
  } else {
    return absl::UnimplementedError(absl::StrCat(key, ".kind: unknown '", kind, "'"));
  }
  LR_RETURN_IF_ERROR(fields.Done());
  return table;
}

// config: {KEY: settings}; in.KEY.positions [P]; out.KEY.{inv_freq, attention_scaling, cos, sin}.
absl::Status RunTables(const GoldenCase& golden, GoldenChecker* check) {
  for (const auto& [key, group] : golden.config().items()) {
    if (!group.is_object())
      return absl::InvalidArgumentError(absl::StrCat("config.", key, ": expected an object"));
    LR_ASSIGN_OR_RETURN(const Table table, group.contains("kind")
                                               ? CommunityTable(key, group)
                                               : LibraryTable(key, group, OptionsOf(golden)));
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<PositionScheme> scheme,
                        CreateScheme(table.position, table.head_width));
    LR_ASSIGN_OR_RETURN(const Tensor positions_p, golden.In(absl::StrCat(key, ".positions")));
    const std::vector<double> positions = positions_p.ToDoubles();
    const RotaryAngles angles = scheme->RotaryFor(table.length, nn::Call());
    const auto [cos, sin] = FullTables(angles, positions);
    const std::string out = absl::StrCat("out.", key, ".");
    check->Check(absl::StrCat(out, "inv_freq"), Scale(angles.inv_freq, table.inv_freq_scale));
    if (golden.Has(absl::StrCat(out, "attention_scaling"))) {
      check->Check(absl::StrCat(out, "attention_scaling"), Tensor::Full({1}, angles.magnitude));
    }
    check->CheckTable(absl::StrCat(out, "cos"), cos, positions);
    check->CheckTable(absl::StrCat(out, "sin"), sin, positions);
  }
  return absl::OkStatus();
}

// Causal attention probabilities [B, H, T, S] of q and k [B, T, H, D]. The kernel never holds them,
// but gives them as its output where the values are the unit vectors.
Tensor CausalProbabilities(const Tensor& q_bthd, const Tensor& k_bshd, bool fused) {
  const int64_t batch = k_bshd.dim(0), keys = k_bshd.dim(1), kv_heads = k_bshd.dim(2);
  const auto plan =
      std::make_shared<kernels::SpanPlan>(kernels::SpanPlan::Causal(q_bthd.dim(1), keys));
  Tensor unit_bshs = Tensor::Zeros({batch, keys, kv_heads, keys});
  for (int64_t row = 0; row < batch * keys * kv_heads; ++row) {
    unit_bshs.mutable_data<float>()[row * keys + row / kv_heads % keys] = 1;
  }
  kernels::AttentionInputs in;
  in.q_bthd = q_bthd;
  in.k_bshd = k_bshd;
  in.v_bshe = unit_bshs;
  in.plans = {plan.get()};
  if (fused) return Permute(Attention(in, plan).out_bthe, {0, 2, 1, 3});
  Tensor probabilities;
  PlainAttention(in, [&](const Tensor& p_bhts) { return probabilities = p_bhts; });
  return probabilities;
}

// in.{q [B, H, L, D], k [B, K, L, D], positions, inv_freq, attention_scaling} -> out.{q, k}_LAYOUT
// and out.attn_probs_LAYOUT for the layouts half and interleaved.
absl::Status RunRotation(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  fields.Skip({"B", "H", "H_kv", "L", "D", "rotary_dim",
               "position_offset"});  // facts that the tensors state too
  LR_RETURN_IF_ERROR(ImportHuggingFacePosition(&fields, OptionsOf(golden)).status());
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const Tensor positions, golden.In("positions"));
  LR_ASSIGN_OR_RETURN(const Tensor inv_freq, golden.In("inv_freq"));
  LR_ASSIGN_OR_RETURN(const Tensor magnitude, golden.In("attention_scaling"));
  LR_ASSIGN_OR_RETURN(const Tensor q_bhld, golden.In("q"));
  LR_ASSIGN_OR_RETURN(const Tensor k_bhld, golden.In("k"));
  if (q_bhld.rank() != 4 || k_bhld.rank() != 4)
    return absl::InvalidArgumentError("in.q and in.k: expected [B, H, L, D]");
  const Tensor cos = Tensor::Empty({positions.numel(), inv_freq.numel()}),
               sin = Tensor::EmptyLike(cos);
  kernels::RotaryTable(positions.ToDoubles(), inv_freq, magnitude.item(), cos, sin);

  for (const bool fused : {true, false}) {
    const std::string path = fused ? "fused" : "plain";
    const TensorMap leaves = {{"in.q", Leaf(q_bhld.Clone())}, {"in.k", Leaf(k_bhld.Clone())}};
    TensorMap outputs;
    for (const bool interleaved : {false, true}) {
      const std::string layout = interleaved ? "interleaved" : "half";
      const auto rotate = [&](const std::string& name) {
        return Rotary(Permute(leaves.at(name), {0, 2, 1, 3}), cos, sin, interleaved);
      };
      const Tensor q_blhd = rotate("in.q"), k_blhd = rotate("in.k");
      outputs[absl::StrCat("q_", layout)] = Permute(q_blhd, {0, 2, 1, 3});
      outputs[absl::StrCat("k_", layout)] = Permute(k_blhd, {0, 2, 1, 3});
      if (golden.Has(absl::StrCat("out.attn_probs_", layout))) {
        outputs[absl::StrCat("attn_probs_", layout)] = CausalProbabilities(q_blhd, k_blhd, fused);
      }
    }
    for (const auto& [name, output] : outputs)
      check->Check(absl::StrCat("out.", name), output, path);
    LR_RETURN_IF_ERROR(CheckGradients(golden, outputs, leaves,
                                      [&](const std::string& name, const Tensor& gradient) {
                                        check->Check(name, gradient, path);
                                      }));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Model>> LoadVariant(const nlohmann::json& config,
                                                   const HuggingFaceOptions& options,
                                                   const TensorMap& weights, NameMap* names) {
  LR_ASSIGN_OR_RETURN(const HuggingFaceModel imported, ImportHuggingFaceModel(config, options));
  *names = imported.names;
  return LoadHuggingFaceModel(imported, weights, ModelArgs());
}

// Prompts [P, N] and what greedy generation makes of them, [P, wanted_size].
absl::StatusOr<Tensor> GreedyIds(const Model& model, const Tensor& prompt_pn, int64_t wanted_size,
                                 GenerateOptions::Horizon horizon) {
  GenerateOptions options;
  options.max_new_tokens = wanted_size - prompt_pn.dim(1);
  options.horizon = horizon;
  std::vector<int32_t> all;
  for (int64_t p = 0; p < prompt_pn.dim(0); ++p) {
    const std::vector<int64_t> prompt = prompt_pn.ViewRows(p, p + 1).ToInts();
    LR_ASSIGN_OR_RETURN(
        const std::vector<int32_t> ids,
        Generate(model, std::vector<int32_t>(prompt.begin(), prompt.end()), options));
    all.insert(all.end(), ids.begin(), ids.end());
  }
  return Tensor::FromVector<int32_t>({prompt_pn.dim(0), wanted_size}, all);
}

absl::Status RunVariant(const GoldenCase& golden, const std::string& variant,
                        const nlohmann::json& config, const TensorMap& weights,
                        GoldenChecker* check) {
  const std::string out = absl::StrCat("out.", variant, ".");
  NameMap names;
  HuggingFaceOptions options = OptionsOf(golden);
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                      LoadVariant(config, options, weights, &names));
  LR_ASSIGN_OR_RETURN(Tensor ids_bt, golden.In("input_ids"));
  ids_bt = ids_bt.To(DType::kInt32);
  const int64_t batch = ids_bt.dim(0), length = ids_bt.dim(1);
  check->Check(absl::StrCat(out, "logits"), model->Logits(ids_bt, nn::Rows(), nn::Call()));

  // The last row has no target but counts for the length.
  Batch next;
  next.ids_bt = ids_bt;
  next.target_bt = Tensor::Full({batch, length}, -1, DType::kInt32);
  for (int64_t i = 0; i < batch * length; ++i) {
    if ((i + 1) % length != 0)
      next.target_bt.mutable_data<int32_t>()[i] = ids_bt.data<int32_t>()[i + 1];
  }
  const Tensor loss = model->Loss(next, nn::Call());
  check->Check(absl::StrCat(out, "loss"), loss.Detach().View({1}));

  const std::string grad = absl::StrCat("grad.", variant, ".param.");
  if (const TensorMap wanted = golden.Group(grad); !wanted.empty()) {
    Backward(loss);
    TensorMap ours;
    for (const nn::Parameter& p : model->parameters().all()) ours[p.name] = Gradient(p.value);
    LR_ASSIGN_OR_RETURN(const TensorMap theirs, names.Export(ours));
    for (const auto& [name, expected] : wanted) {
      const auto it = theirs.find(name);
      if (it != theirs.end()) check->Check(absl::StrCat(grad, name), it->second);
    }
  }

  LR_ASSIGN_OR_RETURN(const Tensor prompt, golden.In("prompt_ids"));
  if (golden.Has(absl::StrCat(out, "greedy_ids"))) {
    LR_ASSIGN_OR_RETURN(const Tensor expected, golden.Get(absl::StrCat(out, "greedy_ids")));
    check->Check(absl::StrCat(out, "greedy_ids"),
                 GreedyIds(*model, prompt, expected.dim(1), GenerateOptions::kRecompute),
                 "recomputed");
    LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(config, "config.json"));
    LR_ASSIGN_OR_RETURN(const Any position, ImportHuggingFacePosition(&fields, options));
    LR_ASSIGN_OR_RETURN(const int64_t head_width, fields.Integer("head_dim", 0));
    LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("num_attention_heads"));
    LR_ASSIGN_OR_RETURN(
        const std::unique_ptr<PositionScheme> scheme,
        CreateScheme(position, head_width > 0 ? head_width : model->config().width() / heads));
    if (!scheme->depends_on_length()) {
      check->Check(absl::StrCat(out, "greedy_ids"),
                   GreedyIds(*model, prompt, expected.dim(1), GenerateOptions::kFixed), "streamed");
    }
  }
  if (golden.Has(absl::StrCat(out, "greedy_ids_kvcache"))) {
    LR_ASSIGN_OR_RETURN(const Tensor expected, golden.Get(absl::StrCat(out, "greedy_ids_kvcache")));
    options.freeze_cached_keys = true;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> frozen,
                        LoadVariant(config, options, weights, &names));
    check->Check(absl::StrCat(out, "greedy_ids_kvcache"),
                 GreedyIds(*frozen, prompt, expected.dim(1), GenerateOptions::kGrowing));
  }
  return absl::OkStatus();
}

// config: {VARIANT: what replaces keys of the config.json beside the case}; the weights are in
// model.safetensors there.
absl::Status RunModels(const GoldenCase& golden, GoldenChecker* check) {
  const std::string folder = golden.path().substr(0, golden.path().rfind('/') + 1);
  LR_ASSIGN_OR_RETURN(const nlohmann::json base, ReadJson(absl::StrCat(folder, "config.json")));
  LR_ASSIGN_OR_RETURN(const SafetensorsFile weights,
                      ReadSafetensors(absl::StrCat(folder, "model.safetensors")));
  for (const auto& [variant, changes] : golden.config().items()) {
    nlohmann::json config = base;
    for (const auto& [key, value] : changes.items()) {
      if (key != "float32_vs_float64_max_abs_diff")
        config[key] = value;  // a remark of the reference on itself
    }
    LR_RETURN_IF_ERROR(RunVariant(golden, variant, config, weights.tensors, check));
  }
  return absl::OkStatus();
}

absl::Status RunRopeExtension(const GoldenCase& golden, GoldenChecker* check) {
  if (golden.Has("in.input_ids")) return RunModels(golden, check);
  if (golden.Has("in.q")) return RunRotation(golden, check);
  return RunTables(golden, check);
}

LR_REGISTER_GOLDEN_ADAPTER("rope_extension", RunRopeExtension);

}  // namespace
}  // namespace longrange
