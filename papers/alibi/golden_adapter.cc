// Golden cases of alibi: slopes, attention of given queries, keys and values, and the attention
// layers of BLOOM and MPT.

#include "plugins/golden/golden_adapter.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "common/io/name_map.h"
#include "papers/alibi/alibi.pb.h"
#include "plugins/attention/attention_host.h"
#include "plugins/attention/plain_attention.h"
#include "plugins/golden/attention_tap.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"

namespace longrange {
namespace {

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateScheme(double bias_max) {
  AlibiConfig config;
  config.set_bias_max(bias_max);
  google::protobuf::Any any;
  any.PackFrom(config);
  nn::ParameterStore store;
  return Registry<PositionScheme>::Get().Create(any, BuildArgs{nn::Scope(&store, Rng())});
}

absl::StatusOr<Tensor> SlopesOf(int64_t heads, double bias_max) {
  constexpr int64_t kMostHeads = 1 << 20;
  if (heads < 1 || heads > kMostHeads) {
    return absl::InvalidArgumentError(
        absl::StrCat("heads: ", heads, " (expected 1 to ", kMostHeads, ")"));
  }
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<PositionScheme> scheme, CreateScheme(bias_max));
  return scheme->BiasFor(heads, nn::Call()).slope_h;
}

// Compares on one path.
std::function<void(const std::string&, const Tensor&)> Comparison(GoldenChecker* check, DType dtype,
                                                                  std::string path) {
  absl::StrAppend(&path, ", ", Name(dtype));
  return [=](const std::string& name, const Tensor& actual) { check->Check(name, actual, path); };
}

// config.heads: numbers of heads N -> out.slopes.N [N].
absl::Status RunSlopes(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const std::vector<double> counts, fields.Numbers("heads"));
  LR_ASSIGN_OR_RETURN(const double bias_max, fields.Number("alibi_bias_max", 8));
  LR_RETURN_IF_ERROR(fields.Done());
  for (const double count : counts) {
    const auto heads = static_cast<int64_t>(count);
    if (static_cast<double>(heads) != count)
      return absl::InvalidArgumentError(
          absl::StrCat("config.heads: ", count, " is no whole number"));
    LR_ASSIGN_OR_RETURN(const Tensor slopes, SlopesOf(heads, bias_max));
    check->Check(absl::StrCat("out.slopes.", heads), slopes);
  }
  return absl::OkStatus();
}

// in.{q, k, v} [B, H, L, D] -> out.{y, attn_probs}: attention in both directions or causal.
absl::Status RunDense(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const bool bidirectional, fields.Bool("bidirectional"));
  LR_ASSIGN_OR_RETURN(const double bias_max, fields.Number("alibi_bias_max", 8));
  fields.Skip({"B", "H", "L", "D"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  Tensor given[3];
  for (int i = 0; i < 3; ++i) {
    const std::string name(1, "qkv"[i]);
    LR_ASSIGN_OR_RETURN(given[i], golden.In(name));
    if (given[i].rank() != 4 || given[i].shape() != given[0].shape())
      return absl::InvalidArgumentError(absl::StrCat("in.", name, ": expected [B, H, L, D]"));
  }
  const int64_t heads = given[0].dim(1), length = given[0].dim(2);
  LR_ASSIGN_OR_RETURN(const Tensor slopes, SlopesOf(heads, bias_max));
  const auto plan = std::make_shared<kernels::SpanPlan>(
      bidirectional ? kernels::SpanPlan::Full(length, length)
                    : kernels::SpanPlan::Causal(length, length));
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const bool plain : {false, true}) {
      const auto compare = Comparison(check, dtype, plain ? "plain" : "fused");
      const TensorMap leaves = {{"in.q", Leaf(given[0].To(dtype).Clone())},
                                {"in.k", Leaf(given[1].To(dtype).Clone())},
                                {"in.v", Leaf(given[2].To(dtype).Clone())}};
      kernels::AttentionInputs in;
      in.q_bthd = Permute(leaves.at("in.q"), {0, 2, 1, 3});
      in.k_bshd = Permute(leaves.at("in.k"), {0, 2, 1, 3});
      in.v_bshe = Permute(leaves.at("in.v"), {0, 2, 1, 3});
      in.plans = {plan.get()};
      in.slope_h = slopes;
      TensorMap outputs;
      const auto keep = [&](const Tensor& p_bhts) {
        if (golden.Has("out.attn_probs")) outputs["attn_probs"] = p_bhts;
        return p_bhts;
      };
      outputs["y"] =
          Permute(plain ? PlainAttention(in, keep) : Attention(in, plan).out_bthe, {0, 2, 1, 3});
      for (const auto& [name, output] : outputs) compare(absl::StrCat("out.", name), output);
      LR_RETURN_IF_ERROR(CheckGradients(golden, outputs, leaves, compare));
    }
  }
  return absl::OkStatus();
}

// A layer of a case in our terms.
struct Layer {
  int64_t heads = 0, head_width = 0;
  double bias_max = 8;
  bool biases = false;
  NameMap names;
  nn::Rows rows;  // padding
};

// BLOOM's fused rows go [q, k, v] head by head.
Layer BloomLayer(int64_t heads) {
  Layer layer;
  layer.biases = true;
  NameMapRow weights;
  weights.theirs = {"query_key_value.weight"};
  weights.ours = {"w_q", "w_k", "w_v"};
  weights.groups = heads;
  NameMapRow biases;
  biases.theirs = {"query_key_value.bias"};
  biases.ours = {"b_q", "b_k", "b_v"};
  biases.groups = heads;
  layer.names.Add(weights).Add(biases).Add("dense.weight", "w_o").Add("dense.bias", "b_o");
  return layer;
}

// MPT's go all q, all k, all v.
Layer MptLayer() {
  Layer layer;
  NameMapRow weights;
  weights.theirs = {"Wqkv.weight"};
  weights.ours = {"w_q", "w_k", "w_v"};
  layer.names.Add(weights).Add("out_proj.weight", "w_o");
  return layer;
}

// Padding on the left and right, of a mask [B, L] with 1 where a row is real.
absl::StatusOr<nn::Rows> RowsOf(const Tensor& mask_bl) {
  const int64_t batch = mask_bl.dim(0), length = mask_bl.dim(1);
  const std::vector<int64_t> mask = mask_bl.ToInts();
  nn::Rows rows;
  rows.begin_b = Tensor::Zeros({batch}, DType::kInt64);
  rows.end_b = Tensor::Zeros({batch}, DType::kInt64);
  for (int64_t b = 0; b < batch; ++b) {
    const auto begin = mask.begin() + b * length, end = begin + length;
    const auto first = std::find(begin, end, 1), last = std::find(first, end, 0);
    if (std::any_of(begin, end, [](int64_t m) { return m != 0 && m != 1; }) ||
        std::find(last, end, 1) != end) {
      return absl::UnimplementedError(absl::StrCat(
          "in.attention_mask: row ", b, " is no run of ones (expected padding at its ends only)"));
    }
    rows.begin_b.mutable_data<int64_t>()[b] = first - begin;
    rows.end_b.mutable_data<int64_t>()[b] = last - begin;
  }
  return rows;
}

// Pieces that a stream of `length` rows comes in.
std::vector<int64_t> Pieces(int64_t length, bool streamed) {
  if (!streamed || length < 3) return {length};
  return {length / 2, 1, length - length / 2 - 1};
}

// x [B, L, H*D] -> y [B, L, H*D], in every way that the host has.
absl::Status RunHost(const GoldenCase& golden, const Layer& layer, DType dtype,
                     GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(Tensor x, golden.In("x"));
  x = x.To(dtype);
  const int64_t length = x.dim(1);
  AttentionHostOptions options;
  options.heads = options.kv_heads = layer.heads;
  options.head_width = layer.head_width;
  options.biases = layer.biases;
  LR_ASSIGN_OR_RETURN(options.position, CreateScheme(layer.bias_max));
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(), dtype)};
  args.width = x.dim(2);
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<AttentionHost> host,
                      AttentionHost::Create(std::move(options), args));
  LR_ASSIGN_OR_RETURN(const TensorMap values,
                      layer.names.Import(golden.Group("param."), store.Wanted()));
  LR_RETURN_IF_ERROR(store.Load(values));

  // The reference's outputs are 0 in padded rows.
  Tensor mask;
  if (golden.Has("in.attention_mask")) {
    LR_ASSIGN_OR_RETURN(mask, golden.In("attention_mask"));
    mask = mask.To(dtype).View({x.dim(0), length, 1});
  }
  const auto masked = [&](const Tensor& y) { return mask.defined() ? Mul(y, mask) : y; };

  for (const bool streamed : {false, true}) {
    // A stream is padded on its left only.
    if (streamed && layer.rows.end_b.defined()) {
      const std::vector<int64_t> ends = layer.rows.end_b.ToInts();
      if (std::any_of(ends.begin(), ends.end(), [&](int64_t end) { return end != length; }))
        continue;
    }
    for (const bool plain : {false, true}) {
      const auto compare = Comparison(
          check, dtype, absl::StrCat(plain ? "plain" : "fused", streamed ? ", streamed" : ""));
      AttentionTap tap;
      nn::Call call;
      if (plain) call.sink = &tap;
      const Tensor x_leaf = Leaf(x.Clone());
      TensorMap outputs;
      if (streamed) {
        nn::State state = host->NewState(x.dim(0));
        nn::Rows rows;
        rows.begin_b = layer.rows.begin_b;
        std::vector<Tensor> parts;
        int64_t at = 0;
        for (const int64_t piece : Pieces(length, streamed)) {
          parts.push_back(host->Extend(Narrow(x_leaf, 1, at, piece), rows, call, &state));
          rows = nn::Rows();
          at += piece;
        }
        outputs["y"] = masked(Concat(parts, 1));
      } else {
        outputs["y"] = masked(host->Forward(x_leaf, layer.rows, call));
        if (plain && golden.Has("out.attn_probs")) outputs["attn_probs"] = tap.probabilities_bhts;
      }
      for (const auto& [name, output] : outputs) compare(absl::StrCat("out.", name), output);
      // Gradients of parameters are compared under the reference's names.
      store.ClearGradients();
      LR_RETURN_IF_ERROR(CheckGradients(golden, outputs, {{"in.x", x_leaf}}, compare));
      LR_RETURN_IF_ERROR(CheckParameterGradients(golden, store, layer.names, compare));
    }
  }
  return absl::OkStatus();
}

// slope[h] (j - (L - 1)) for key j: the bias of the newest query.
Tensor LastRowBias(const Tensor& slope_h, int64_t length) {
  const std::vector<double> slopes = slope_h.ToDoubles();
  Tensor bias = Tensor::Empty({slope_h.numel(), length}, DType::kFloat64);
  for (int64_t h = 0; h < slope_h.numel(); ++h) {
    for (int64_t j = 0; j < length; ++j)
      bias.mutable_data<double>()[h * length + j] =
          slopes[h] * static_cast<double>(j - (length - 1));
  }
  return bias;
}

// in.alibi [B, H, L] is the bias that the reference added, slope[h] times the number of real keys
// before key j: a case with other slopes than the paper's asks for something else.
absl::Status CheckGivenBias(const GoldenCase& golden, const Layer& layer, int64_t batch,
                            int64_t length) {
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("alibi"));
  LR_ASSIGN_OR_RETURN(const Tensor slope_h, SlopesOf(layer.heads, layer.bias_max));
  const std::vector<double> slopes = slope_h.ToDoubles(), values = given.ToDoubles();
  if (given.shape() != Shape({batch, layer.heads, length}))
    return absl::InvalidArgumentError("in.alibi: expected [B, H, L]");
  for (int64_t i = 0; i < given.numel(); ++i) {
    const int64_t j = i % length, h = i / length % layer.heads, b = i / length / layer.heads;
    const int64_t begin = layer.rows.begin_b.defined() ? layer.rows.begin_b.ToInts()[b] : 0;
    const int64_t end = layer.rows.end_b.defined() ? layer.rows.end_b.ToInts()[b] : length;
    const double wanted = j < begin || j >= end ? 0 : slopes[h] * static_cast<double>(j - begin);
    if (!(std::abs(values[i] - wanted) <= 1e-5 * (1 + wanted))) {
      return absl::UnimplementedError(absl::StrCat("in.alibi: ", values[i], " for key ", j,
                                                   " of head ", h, " (expected ", wanted, ")"));
    }
  }
  return absl::OkStatus();
}

// in.x [B, L, H*D] -> out.{y, attn_probs}.
absl::Status RunLayer(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("H"));
  LR_ASSIGN_OR_RETURN(const int64_t head_width, fields.Integer("D"));
  LR_ASSIGN_OR_RETURN(const Tensor x, golden.In("x"));
  if (x.rank() != 3 || heads < 1 || x.dim(2) % heads != 0 || x.dim(2) / heads != head_width) {
    return absl::InvalidArgumentError(absl::StrCat("in.x: ", x.shape().ToString(),
                                                   " (expected [B, L, H*D], H ", heads, ", D ",
                                                   head_width, ")"));
  }
  Layer layer = golden.Has("param.Wqkv.weight") ? MptLayer() : BloomLayer(heads);
  layer.heads = heads;
  layer.head_width = head_width;
  LR_ASSIGN_OR_RETURN(layer.bias_max, fields.Number("alibi_bias_max", 8));
  fields.Skip({"B", "L", "left_padding_row0"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  const int64_t length = x.dim(1);
  if (golden.Has("in.attention_mask")) {
    LR_ASSIGN_OR_RETURN(const Tensor mask, golden.In("attention_mask"));
    if (mask.shape() != Shape({x.dim(0), length}))
      return absl::InvalidArgumentError("in.attention_mask: expected [B, L]");
    LR_ASSIGN_OR_RETURN(layer.rows, RowsOf(mask));
  }
  if (golden.Has("in.alibi")) LR_RETURN_IF_ERROR(CheckGivenBias(golden, layer, x.dim(0), length));
  if (golden.Has("out_check.position_bias_last_row")) {
    LR_ASSIGN_OR_RETURN(const Tensor slopes, SlopesOf(heads, layer.bias_max));
    check->Check("out_check.position_bias_last_row", LastRowBias(slopes, length));
  }
  for (const DType dtype : {DType::kFloat64, DType::kFloat32})
    LR_RETURN_IF_ERROR(RunHost(golden, layer, dtype, check));
  return absl::OkStatus();
}

absl::Status RunAlibi(const GoldenCase& golden, GoldenChecker* check) {
  if (golden.Has("in.q")) return RunDense(golden, check);
  if (golden.Has("in.x")) return RunLayer(golden, check);
  return RunSlopes(golden, check);
}

LR_REGISTER_GOLDEN_ADAPTER("alibi", RunAlibi);

}  // namespace
}  // namespace longrange
