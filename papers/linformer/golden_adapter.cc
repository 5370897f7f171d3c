// Golden cases of linformer: layers of the package (self- and cross-attention), of the authors'
// code, and of a transcription that has every sharing, order and pooling.

#include "plugins/golden/golden_adapter.h"

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/tape.h"
#include "common/base/status_macros.h"
#include "common/io/name_map.h"
#include "papers/linformer/linformer.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"

namespace longrange {
namespace {

using linformer::Linformer;
// float64 elementwise, float32 by RMS ratio. A bias that all slots' keys have alike changes no
// weight: its gradient is rounding alone, which has no ratio.
GoldenCompare Comparison(GoldenChecker* check, DType dtype) {
  return [=](const std::string& name, const Tensor& actual) {
    const bool rounding = absl::EndsWith(name, "k_proj.bias") || absl::EndsWith(name, ".b_k");
    dtype == DType::kFloat64 || rounding ? check->Check(name, actual, Name(dtype))
                                         : check->CheckRms(name, actual, Name(dtype));
  };
}

// What a case says of its layers, which are called "layers.0" and on here.
struct LayerCase {
  LinformerConfig config;
  int64_t layers = 1;
  NameMap names;               // biases that the reference has not are 0
  std::vector<int64_t> end_b;  // empty: no padding
};

// The package: projections [n_max, k], and no bias but the output's.
absl::StatusOr<LayerCase> ReadPackage(JsonFields* fields) {
  LayerCase layer;
  LR_ASSIGN_OR_RETURN(const int64_t n_max, fields->Integer("seq_len"));
  LR_ASSIGN_OR_RETURN(const int64_t rank, fields->Integer("k"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields->Integer("heads"));
  LR_ASSIGN_OR_RETURN(const int64_t head_width, fields->Integer("dim_head"));
  LR_ASSIGN_OR_RETURN(const bool one_head, fields->Bool("one_kv_head"));
  LR_ASSIGN_OR_RETURN(const bool share, fields->Bool("share_kv"));
  fields->Skip({"dim", "batch", "n", "kv_len"});  // stated by the tensors
  LinformerConfig& config = layer.config;
  config.set_n_max(n_max);
  config.set_rank(rank);
  config.set_heads(heads);
  config.set_head_width(head_width);
  if (one_head) config.set_kv_heads(1);
  config.set_sharing(LinformerConfig::HEADWISE);
  config.set_values_are_keys(share);
  config.set_biases(true);
  layer.names.Add("to_q.weight", "layers.0.w_q")
      .Add("to_k.weight", "layers.0.w_k")
      .Add("to_out.weight", "layers.0.w_o")
      .Add("to_out.bias", "layers.0.b_o")
      .Add("proj_k", "layers.0.e", {Transform::Transpose()})
      .IgnoreOurs("layers.0.b_q")
      .IgnoreOurs("layers.0.b_k")
      .IgnoreOurs("layers.0.b_v");
  if (!share) {
    layer.names.Add("to_v.weight", "layers.0.w_v")
        .Add("proj_v", "layers.0.f", {Transform::Transpose()});
  }
  return layer;
}

// The authors' code: the input is compressed, by E for the keys and, unless shared, F for values.
absl::StatusOr<LayerCase> ReadOfficial(JsonFields* fields) {
  LayerCase layer;
  LR_ASSIGN_OR_RETURN(const int64_t n_max, fields->Integer("max_seq_len"));
  LR_ASSIGN_OR_RETURN(const int64_t rank, fields->Integer("k"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields->Integer("num_heads"));
  LR_ASSIGN_OR_RETURN(const int64_t shared, fields->Integer("shared_kv_compressed"));
  fields->Skip({"embed_dim", "compressed", "batch", "n"});
  LinformerConfig& config = layer.config;
  config.set_n_max(n_max);
  config.set_rank(rank);
  config.set_heads(heads);
  config.set_sharing(shared != 0 ? LinformerConfig::KEY_VALUE : LinformerConfig::HEADWISE);
  config.set_order(LinformerConfig::COMPRESS_THEN_PROJECT);
  config.set_biases(true);
  const std::pair<const char*, const char*> maps[] = {
      {"q_proj", "q"}, {"k_proj", "k"}, {"v_proj", "v"}, {"out_proj", "o"}};
  for (const auto& [theirs, ours] : maps) {
    layer.names.Add(absl::StrCat(theirs, ".weight"), absl::StrCat("layers.0.w_", ours))
        .Add(absl::StrCat(theirs, ".bias"), absl::StrCat("layers.0.b_", ours));
  }
  layer.names.Add("compress_k.weight", "layers.0.e");
  if (shared == 0) layer.names.Add("compress_v.weight", "layers.0.f");
  return layer;
}

// An option by the name of the enum's value, in lower case.
template <typename Enum>
absl::StatusOr<Enum> Option(JsonFields* fields, absl::string_view key,
                            bool (*parse)(const std::string&, Enum*)) {
  LR_ASSIGN_OR_RETURN(const std::string name, fields->String(key));
  Enum value;
  if (!parse(absl::AsciiStrToUpper(name), &value))
    return absl::UnimplementedError(absl::StrCat("config.", key, ": ", name, " is not known"));
  return value;
}

// linformer_cases.py, whose options and parameters have the names that they have here.
absl::StatusOr<LayerCase> ReadTranscription(const GoldenCase& golden, JsonFields* fields) {
  LayerCase layer;
  LinformerConfig& config = layer.config;
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields->Integer("heads"));
  LR_ASSIGN_OR_RETURN(const int64_t kv_heads, fields->Integer("kv_heads"));
  LR_ASSIGN_OR_RETURN(const int64_t rank, fields->Integer("rank"));
  LR_ASSIGN_OR_RETURN(const int64_t n_max, fields->Integer("n_max"));
  LR_ASSIGN_OR_RETURN(const bool biases, fields->Bool("biases"));
  LR_ASSIGN_OR_RETURN(layer.layers, fields->Integer("layers"));
  const auto parse_sharing = [](const std::string& name, LinformerConfig::Sharing* value) {
    return LinformerConfig::Sharing_Parse(name, value);
  };
  const auto parse_order = [](const std::string& name, LinformerConfig::Order* value) {
    return LinformerConfig::Order_Parse(name, value);
  };
  const auto parse_pooling = [](const std::string& name, LinformerConfig::Pooling* value) {
    return LinformerConfig::Pooling_Parse(name, value);
  };
  LR_ASSIGN_OR_RETURN(const auto sharing,
                      Option<LinformerConfig::Sharing>(fields, "sharing", parse_sharing));
  LR_ASSIGN_OR_RETURN(const auto order,
                      Option<LinformerConfig::Order>(fields, "order", parse_order));
  LR_ASSIGN_OR_RETURN(const auto pooling,
                      Option<LinformerConfig::Pooling>(fields, "pooling", parse_pooling));
  fields->Skip({"batch", "width", "n"});
  config.set_heads(heads);
  config.set_kv_heads(kv_heads);
  config.set_rank(rank);
  config.set_n_max(n_max);
  config.set_biases(biases);
  config.set_sharing(sharing);
  config.set_order(order);
  config.set_pooling(pooling);
  if (layer.layers < 1 || layer.layers > 16)
    return absl::InvalidArgumentError("config.layers: expected 1 to 16");
  if (fields->Has("lengths")) {
    LR_ASSIGN_OR_RETURN(const std::vector<double> lengths, fields->Numbers("lengths"));
    for (const double length : lengths) {
      if (!(length >= 1 && length <= static_cast<double>(n_max)))
        return absl::InvalidArgumentError("config.lengths: expected 1 to n_max rows");
      layer.end_b.push_back(static_cast<int64_t>(length));
    }
  }
  for (const auto& [name, value] : golden.Group("param.")) layer.names.Add(name, name);
  return layer;
}

// in.x [B, N, D], and in.context [B, S, D] where other rows are asked -> out.y.
absl::Status RunLinformer(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const LayerCase layer, fields.Has("dim_head") ? ReadPackage(&fields)
                                             : fields.Has("max_seq_len")
                                                 ? ReadOfficial(&fields)
                                                 : ReadTranscription(golden, &fields));
  LR_RETURN_IF_ERROR(fields.Done());
  TensorMap given;
  LR_ASSIGN_OR_RETURN(given["in.x"], golden.In("x"));
  if (golden.Has("in.context")) {
    LR_ASSIGN_OR_RETURN(given["in.context"], golden.In("context"));
  }
  const Tensor& x = given["in.x"];
  for (const auto& [name, tensor] : given) {
    if (x.rank() != 3 || tensor.rank() != 3 || tensor.dim(0) != x.dim(0) ||
        tensor.dim(2) != x.dim(2) || tensor.dim(1) > layer.config.n_max()) {
      return absl::InvalidArgumentError(
          absl::StrCat(name, ": expected [batch, up to n_max rows, width]"));
    }
  }
  if (!layer.end_b.empty() && static_cast<int64_t>(layer.end_b.size()) != x.dim(0))
    return absl::InvalidArgumentError("config.lengths: expected one a sample");

  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    const GoldenCompare compare = Comparison(check, dtype);
    nn::ParameterStore store;
    const nn::Scope root(&store, Rng(), dtype);
    std::vector<std::unique_ptr<Linformer>> layers;
    for (int64_t i = 0; i < layer.layers; ++i) {
      BuildArgs args{root.Child(absl::StrCat("layers.", i))};
      args.shared = root.Child("shared");
      args.width = x.dim(2);
      args.layer = i;
      args.num_layers = layer.layers;
      args.direction = nn::Direction::kBidirectional;
      LR_ASSIGN_OR_RETURN(std::unique_ptr<Linformer> made, Linformer::Create(layer.config, args));
      layers.push_back(std::move(made));
    }
    LR_ASSIGN_OR_RETURN(TensorMap values,
                        layer.names.Import(golden.Group("param."), store.Wanted()));
    for (const nn::Parameter& p : store.all()) values.try_emplace(p.name, p.value);
    LR_RETURN_IF_ERROR(store.Load(values));

    TensorMap leaves;
    for (const auto& [name, tensor] : given) leaves[name] = Leaf(tensor.To(dtype).Clone());
    nn::Rows rows;
    if (!layer.end_b.empty()) {
      rows.end_b =
          Tensor::FromVector<int64_t>({static_cast<int64_t>(layer.end_b.size())}, layer.end_b);
    }
    const bool crosses = leaves.count("in.context") > 0;
    Tensor y = leaves["in.x"];
    for (const auto& one : layers)
      y = one->Attend(y, rows, crosses ? leaves["in.context"] : y, crosses ? nn::Rows() : rows);
    compare("out.y", y);
    LR_ASSIGN_OR_RETURN(const Tensor dy, golden.Cotangent("y"));
    Backward({y}, {dy.To(dtype)});
    for (const auto& [name, leaf] : leaves) compare(absl::StrCat("grad.", name), Gradient(leaf));
    LR_RETURN_IF_ERROR(CheckParameterGradients(golden, store, layer.names, compare));
  }
  return absl::OkStatus();
}

LR_REGISTER_GOLDEN_ADAPTER("linformer", RunLinformer);

}  // namespace
}  // namespace longrange
