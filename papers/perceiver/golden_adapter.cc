// Golden cases of perceiver: layers of transformers, whole models of perceiver-pytorch, codes of
// places, and whole models of a transcription that has the paper's options.

#include "plugins/golden/golden_adapter.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/status_macros.h"
#include "common/io/name_map.h"
#include "papers/perceiver/perceiver.h"
#include "papers/perceiver/positions.h"
#include "plugins/hugging_face/json_fields.h"

namespace longrange::perceiver {
namespace {

using CompareFn = std::function<void(const std::string& name, const Tensor& actual)>;

// float64 elementwise, float32 by RMS ratio. A gradient that is 0 but for rounding (of a bias that
// all keys have alike; of what asks where there is one key alone) has no ratio.
CompareFn Comparison(const GoldenCase& golden, GoldenChecker* check, DType dtype) {
  return [&golden, check, dtype](const std::string& name, const Tensor& actual) {
    constexpr double kRounding = 1e-9;
    const auto expected = golden.Get(name);
    bool rounding = expected.ok();
    if (expected.ok()) {
      for (const double v : expected->ToDoubles()) rounding &= std::abs(v) <= kRounding;
    }
    dtype == DType::kFloat64 || rounding ? check->Check(name, actual, Name(dtype))
                                         : check->CheckRms(name, actual, Name(dtype));
  };
}

// Loads what the case has under its own names.
absl::Status Load(const GoldenCase& golden, const NameMap& names, const nn::ParameterStore& store) {
  LR_ASSIGN_OR_RETURN(const TensorMap values, names.Import(golden.Group("param."), store.Wanted()));
  return store.Load(values);
}

absl::Status CompareGradients(const nn::ParameterStore& store, const NameMap& names,
                              const CompareFn& compare) {
  TensorMap gradients;
  for (const nn::Parameter& p : store.all()) {
    const Tensor gradient = Gradient(p.value);
    gradients[p.name] = gradient.defined() ? gradient : Tensor::ZerosLike(p.value);
  }
  LR_ASSIGN_OR_RETURN(const TensorMap theirs, names.Export(gradients));
  for (const auto& [name, gradient] : theirs) compare(absl::StrCat("grad.param.", name), gradient);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<int64_t>> Sizes(JsonFields* fields, absl::string_view key) {
  LR_ASSIGN_OR_RETURN(const std::vector<double> numbers, fields->Numbers(key));
  std::vector<int64_t> sizes;
  for (const double number : numbers) {
    if (!(number >= 1 && number <= 1 << 20)) {
      return absl::InvalidArgumentError(
          absl::StrCat("config.", key, ": ", number, " (expected 1 to ", 1 << 20, ")"));
    }
    sizes.push_back(static_cast<int64_t>(number));
  }
  return sizes;
}

// Codes of places, of coordinates that are given and of those that the grid has.
absl::Status RunFourier(const GoldenCase& golden, JsonFields fields, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const std::vector<int64_t> axis, Sizes(&fields, "index_shape"));
  LR_ASSIGN_OR_RETURN(const int64_t bands, fields.Integer("num_bands"));
  LR_ASSIGN_OR_RETURN(const std::vector<double> max_resolution, fields.Numbers("max_resolution"));
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("pos"));
  LR_ASSIGN_OR_RETURN(const Tensor features, golden.Out("features"));
  if (given.rank() != 3 || given.dim(2) != static_cast<int64_t>(axis.size()) ||
      max_resolution.size() != axis.size())
    return absl::InvalidArgumentError("in.pos: expected [1, places, axes]");
  for (const bool from_grid : {false, true}) {
    const std::vector<double> coordinates =
        from_grid ? GridCoordinates(axis, given.dim(1)) : given.ToDoubles();
    const std::vector<double> codes =
        FourierCodes(coordinates, max_resolution, bands, PerceiverConfig::BY_KIND);
    const Shape shape = {1, given.dim(1), FourierWidth(static_cast<int64_t>(axis.size()), bands)};
    check->Check("out.features", Tensor::FromVector(shape, codes), from_grid ? "grid" : "given");
  }
  return absl::OkStatus();
}

// transformers' PerceiverLayer: in.latents [B, N, D], and of a cross-attend in.inputs [B, M, C] and
// in.mask [B, M] -> out.y [B, N, D].
absl::Status RunBlock(const GoldenCase& golden, JsonFields fields, GoldenChecker* check) {
  BlockOptions options;
  LR_ASSIGN_OR_RETURN(const bool cross, fields.Bool("cross"));
  LR_ASSIGN_OR_RETURN(options.heads, fields.Integer("heads"));
  LR_ASSIGN_OR_RETURN(const int64_t qk_channels, fields.Integer("qk_channels"));
  LR_ASSIGN_OR_RETURN(const int64_t v_channels, fields.Integer("v_channels"));
  LR_ASSIGN_OR_RETURN(options.widening, fields.Integer("widening_factor"));
  LR_ASSIGN_OR_RETURN(const bool residual, fields.Bool("use_query_residual"));
  fields.Skip({"num_latents", "d_latents", "num_inputs", "d_inputs", "batch", "ln_eps", "lengths"});
  LR_RETURN_IF_ERROR(fields.Done());
  if (qk_channels != v_channels || !residual || options.heads < 1 ||
      qk_channels % options.heads != 0)
    return absl::UnimplementedError("config: values of another width, or no residual connection");
  TensorMap given;
  LR_ASSIGN_OR_RETURN(given["in.latents"], golden.In("latents"));
  if (given["in.latents"].rank() != 3)
    return absl::InvalidArgumentError("in.latents: expected [batch, latents, width]");
  options.latent_width = given["in.latents"].dim(2);
  options.head_width = qk_channels / options.heads;
  NameMap names;
  const std::pair<const char*, const char*> maps[] = {
      {"attention.self.query", "q"},   {"attention.self.key", "k"}, {"attention.self.value", "v"},
      {"attention.output.dense", "o"}, {"mlp.dense1", "up"},        {"mlp.dense2", "down"}};
  for (const auto& [theirs, ours] : maps) {
    names.Add(absl::StrCat(theirs, ".weight"), absl::StrCat("w_", ours))
        .Add(absl::StrCat(theirs, ".bias"), absl::StrCat("b_", ours));
  }
  std::vector<std::pair<const char*, const char*>> norms = {
      {"attention.self.layernorm1", "norm_latents"}, {"layernorm", "norm_feed_forward"}};
  nn::Rows rows;
  if (cross) {
    LR_ASSIGN_OR_RETURN(given["in.inputs"], golden.In("inputs"));
    const Tensor& inputs = given["in.inputs"];
    norms.emplace_back("attention.self.layernorm2", "norm_input");
    LR_ASSIGN_OR_RETURN(const Tensor mask, golden.In("mask"));
    if (inputs.rank() != 3 || mask.shape() != Shape({inputs.dim(0), inputs.dim(1)}))
      return absl::InvalidArgumentError("in.inputs: expected [batch, rows, channels], and a mask");
    options.input_width = inputs.dim(2);
    const int64_t batch = mask.dim(0), length = mask.dim(1);
    rows.end_b = Tensor::Zeros({batch}, DType::kInt64);
    for (int64_t b = 0; b < batch; ++b) {
      int64_t& end = rows.end_b.mutable_data<int64_t>()[b];
      for (int64_t t = 0; t < length; ++t) {
        if (mask.data<int64_t>()[b * length + t] == 0) continue;
        if (end != t) return absl::InvalidArgumentError("in.mask: expected padding behind rows");
        end = t + 1;
      }
    }
  }
  for (const auto& [theirs, ours] : norms) {
    for (const char* part : {".weight", ".bias"})
      names.Add(absl::StrCat(theirs, part), absl::StrCat(ours, part));
  }
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    const CompareFn compare = Comparison(golden, check, dtype);
    nn::ParameterStore store;
    const Block block(options, nn::Scope(&store, Rng(), dtype));
    LR_RETURN_IF_ERROR(Load(golden, names, store));
    TensorMap leaves;
    for (const auto& [name, tensor] : given) leaves[name] = Leaf(tensor.To(dtype).Clone());
    const Tensor& z = leaves["in.latents"];
    const Tensor y =
        cross ? block.Cross(z, block.KeysOf(leaves["in.inputs"]), rows) : block.Self(z);
    compare("out.y", y);
    LR_ASSIGN_OR_RETURN(const Tensor dy, golden.Cotangent("y"));
    Backward({y}, {dy.To(dtype)});
    for (const auto& [name, leaf] : leaves) compare(absl::StrCat("grad.", name), Gradient(leaf));
    LR_RETURN_IF_ERROR(CompareGradients(store, names, compare));
  }
  return absl::OkStatus();
}

// Rows with mask 1 in front, in their order; what is left is padding. Rows that carry the codes of
// their places may stand in any order.
Tensor RealRowsFirst(const Tensor& x_bmc, const Tensor& mask_bm, nn::Rows* rows) {
  const int64_t batch = x_bmc.dim(0), length = x_bmc.dim(1);
  Tensor from_bm = Tensor::Empty({batch, length}, DType::kInt64);
  rows->end_b = Tensor::Zeros({batch}, DType::kInt64);
  for (int64_t b = 0; b < batch; ++b) {
    int64_t to = b * length;
    for (const bool real : {true, false}) {
      for (int64_t t = b * length; t < (b + 1) * length; ++t) {
        if ((mask_bm.data<int64_t>()[t] != 0) != real) continue;
        from_bm.mutable_data<int64_t>()[to++] = t;
        rows->end_b.mutable_data<int64_t>()[b] += real ? 1 : 0;
      }
    }
  }
  return Embedding(Reshape(x_bmc, {batch * length, x_bmc.dim(2)}), from_bm);
}

// perceiver-pytorch's Perceiver: in.data [B, axes.., channels], in.mask [B, axes..] -> out.fourier
// [axes.., codes], out.latents [B, N, D], out.logits [B, classes].
absl::Status RunPackage(const GoldenCase& golden, JsonFields fields, GoldenChecker* check) {
  PerceiverConfig config;
  LR_ASSIGN_OR_RETURN(const std::vector<int64_t> axis, Sizes(&fields, "axes"));
  LR_ASSIGN_OR_RETURN(const int64_t channels, fields.Integer("input_channels"));
  LR_ASSIGN_OR_RETURN(const int64_t bands, fields.Integer("num_freq_bands"));
  LR_ASSIGN_OR_RETURN(const double max_freq, fields.Number("max_freq"));
  LR_ASSIGN_OR_RETURN(const int64_t depth, fields.Integer("depth"));
  LR_ASSIGN_OR_RETURN(const int64_t latents, fields.Integer("num_latents"));
  LR_ASSIGN_OR_RETURN(const int64_t width, fields.Integer("latent_dim"));
  LR_ASSIGN_OR_RETURN(const int64_t cross_heads, fields.Integer("cross_heads"));
  LR_ASSIGN_OR_RETURN(const int64_t cross_head_width, fields.Integer("cross_dim_head"));
  LR_ASSIGN_OR_RETURN(const int64_t latent_heads, fields.Integer("latent_heads"));
  LR_ASSIGN_OR_RETURN(const int64_t latent_head_width, fields.Integer("latent_dim_head"));
  LR_ASSIGN_OR_RETURN(const int64_t layers, fields.Integer("self_per_cross_attn"));
  LR_ASSIGN_OR_RETURN(const bool tied, fields.Bool("weight_tie_layers"));
  LR_ASSIGN_OR_RETURN(const int64_t widening, fields.Integer("ff_mult"));
  fields.Skip({"num_classes", "batch"});
  LR_RETURN_IF_ERROR(fields.Done());
  config.mutable_axis()->Add(axis.begin(), axis.end());
  config.set_bands(bands);
  config.add_max_resolution(max_freq);
  config.set_order(PerceiverConfig::BY_AXIS);
  config.set_cross_attends(depth);
  config.set_latents(latents);
  config.set_latent_width(width);
  config.set_cross_heads(cross_heads);
  config.set_cross_head_width(cross_head_width);
  config.set_latent_heads(latent_heads);
  config.set_latent_head_width(latent_head_width);
  config.set_latent_layers(layers);
  config.set_sharing(tied ? PerceiverConfig::ALL_BUT_FIRST : PerceiverConfig::NONE);
  config.set_widening(widening);
  config.set_feed_forward(PerceiverConfig::GEGLU);
  config.set_qkv_biases(false);

  NameMap names;
  names.Add("latents", "latents").Ignore("to_logits.*");
  // Attention and the layer behind it, under their names here and there.
  const auto add = [&](const std::string& attention, const std::string& feed_forward,
                       const std::string& ours, bool cross) {
    names.Add(attention + ".fn.to_q.weight", ours + ".w_q");
    NameMapRow keys_and_values;
    keys_and_values.theirs = {attention + ".fn.to_kv.weight"};
    keys_and_values.ours = {ours + ".w_k", ours + ".w_v"};
    names.Add(std::move(keys_and_values));
    for (const auto& [weight, bias] :
         {std::pair<const char*, const char*>{".weight", "w_"}, {".bias", "b_"}}) {
      names.Add(absl::StrCat(attention, ".fn.to_out", weight), absl::StrCat(ours, ".", bias, "o"))
          .Add(absl::StrCat(feed_forward, ".fn.net.0", weight), absl::StrCat(ours, ".", bias, "up"))
          .Add(absl::StrCat(feed_forward, ".fn.net.2", weight),
               absl::StrCat(ours, ".", bias, "down"))
          .Add(absl::StrCat(attention, ".norm", weight),
               absl::StrCat(ours, ".norm_latents", weight))
          .Add(absl::StrCat(feed_forward, ".norm", weight),
               absl::StrCat(ours, ".norm_feed_forward", weight));
      if (cross)
        names.Add(absl::StrCat(attention, ".norm_context", weight),
                  absl::StrCat(ours, ".norm_input", weight));
    }
  };
  add("layers.*.cross_attn", "layers.*.cross_ff", "cross.*", true);
  add("layers.*.self_attns.*.0", "layers.*.self_attns.*.1", "latent.*.layers.*", false);

  LR_ASSIGN_OR_RETURN(const Tensor data, golden.In("data"));
  const int axes = static_cast<int>(axis.size());
  bool fits = data.rank() == axes + 2 && data.dim(axes + 1) == channels && data.numel() > 0;
  for (int a = 0; fits && a < axes; ++a) fits = data.dim(a + 1) == axis[a];
  if (!fits) return absl::InvalidArgumentError("in.data: expected [batch, axes.., channels]");
  Shape code_shape;
  for (const int64_t length : axis) code_shape.Append(length);
  const int64_t places = code_shape.numel();
  const int64_t batch = data.dim(0), codes = FourierWidth(static_cast<int64_t>(axis.size()), bands);
  code_shape.Append(codes);
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    const CompareFn compare = Comparison(golden, check, dtype);
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng(), dtype)};
    args.width = channels;
    args.direction = nn::Direction::kBidirectional;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Perceiver> perceiver,
                        Perceiver::Create(config, args));
    LR_RETURN_IF_ERROR(Load(golden, names, store));
    TensorMap head;  // norm and linear map behind the mean of the latents
    for (const char* name :
         {"to_logits.1.weight", "to_logits.1.bias", "to_logits.2.weight", "to_logits.2.bias"}) {
      LR_ASSIGN_OR_RETURN(const Tensor value, golden.Param(name));
      head[name] = Leaf(value.To(dtype).Clone());
    }
    const Tensor leaf = Leaf(data.To(dtype).Clone());
    Tensor x = perceiver->WithPositions(Reshape(leaf, {batch, places, channels}), nn::Rows());
    compare("out.fourier",
            Reshape(Narrow(Narrow(x, 0, 0, 1), 2, channels, codes), code_shape).Detach());
    nn::Rows rows;
    if (golden.Has("in.mask")) {
      LR_ASSIGN_OR_RETURN(const Tensor mask, golden.In("mask"));
      if (mask.numel() != batch * places)
        return absl::InvalidArgumentError("in.mask: expected [batch, axes..]");
      x = RealRowsFirst(x, mask.View({batch, places}), &rows);
    }
    const Tensor z = perceiver->Read(x, rows);
    const Tensor mean = Scale(Reshape(SumTo(z, {batch, 1, width}), {batch, width}),
                              1 / static_cast<double>(latents));
    const Tensor logits =
        Linear(LayerNorm(mean, head["to_logits.1.weight"], head["to_logits.1.bias"], 1e-5),
               head["to_logits.2.weight"], head["to_logits.2.bias"]);
    compare("out.latents", z);
    compare("out.logits", logits);
    LR_ASSIGN_OR_RETURN(const Tensor dz, golden.Cotangent("latents"));
    LR_ASSIGN_OR_RETURN(const Tensor dlogits, golden.Cotangent("logits"));
    Backward({z, logits}, {dz.To(dtype), dlogits.To(dtype)});
    compare("grad.in.data", Gradient(leaf));
    for (const auto& [name, value] : head)
      compare(absl::StrCat("grad.param.", name), Gradient(value));
    LR_RETURN_IF_ERROR(CompareGradients(store, names, compare));
  }
  return absl::OkStatus();
}

// model_cases.py, whose options and parameters have the names that they have here: in.x [B, M, W],
// rows [begins[b], ends[b]) of which are real -> out.y, the latents.
absl::Status RunTranscription(const GoldenCase& golden, JsonFields fields, GoldenChecker* check) {
  PerceiverConfig config;
  const std::pair<const char*, void (PerceiverConfig::*)(int64_t)> numbers[] = {
      {"latents", &PerceiverConfig::set_latents},
      {"latent_width", &PerceiverConfig::set_latent_width},
      {"cross_attends", &PerceiverConfig::set_cross_attends},
      {"latent_layers", &PerceiverConfig::set_latent_layers},
      {"cross_heads", &PerceiverConfig::set_cross_heads},
      {"latent_heads", &PerceiverConfig::set_latent_heads},
      {"widening", &PerceiverConfig::set_widening},
      {"bands", &PerceiverConfig::set_bands},
      {"learned_channels", &PerceiverConfig::set_learned_channels}};
  for (const auto& [key, set] : numbers) {
    LR_ASSIGN_OR_RETURN(const int64_t value, fields.Integer(key));
    (config.*set)(value);
  }
  // An option by the name of the enum's value, in lower case.
  const auto option = [&](const char* key, auto parse, auto set) -> absl::Status {
    LR_ASSIGN_OR_RETURN(const std::string name, fields.String(key));
    if (!parse(absl::AsciiStrToUpper(name), set))
      return absl::UnimplementedError(absl::StrCat("config.", key, ": ", name, " is not known"));
    return absl::OkStatus();
  };
  PerceiverConfig::Sharing sharing;
  PerceiverConfig::CrossWidth cross_width;
  PerceiverConfig::FeedForward feed_forward;
  PerceiverConfig::Positions positions;
  PerceiverConfig::FourierOrder order;
  LR_RETURN_IF_ERROR(option("sharing", PerceiverConfig::Sharing_Parse, &sharing));
  LR_RETURN_IF_ERROR(option("cross_width", PerceiverConfig::CrossWidth_Parse, &cross_width));
  LR_RETURN_IF_ERROR(option("feed_forward", PerceiverConfig::FeedForward_Parse, &feed_forward));
  LR_RETURN_IF_ERROR(option("positions", PerceiverConfig::Positions_Parse, &positions));
  LR_RETURN_IF_ERROR(option("order", PerceiverConfig::FourierOrder_Parse, &order));
  config.set_sharing(sharing);
  config.set_cross_width(cross_width);
  config.set_feed_forward(feed_forward);
  config.set_positions(positions);
  config.set_order(order);
  LR_ASSIGN_OR_RETURN(const bool biases, fields.Bool("qkv_biases"));
  config.set_qkv_biases(biases);
  LR_ASSIGN_OR_RETURN(const std::vector<double> axis, fields.Numbers("axis"));
  for (const double length : axis) config.add_axis(static_cast<int64_t>(length));
  LR_ASSIGN_OR_RETURN(const std::vector<double> max_resolution, fields.Numbers("max_resolution"));
  config.mutable_max_resolution()->Add(max_resolution.begin(), max_resolution.end());
  LR_ASSIGN_OR_RETURN(const Tensor x, golden.In("x"));
  nn::Rows rows;
  for (const auto& [key, tensor] :
       {std::pair<const char*, Tensor*>{"begins", &rows.begin_b}, {"ends", &rows.end_b}}) {
    if (!fields.Has(key)) continue;
    LR_ASSIGN_OR_RETURN(const std::vector<double> given, fields.Numbers(key));
    if (static_cast<int64_t>(given.size()) != x.dim(0))
      return absl::InvalidArgumentError(absl::StrCat("config.", key, ": expected one a sample"));
    *tensor = Tensor::Empty({x.dim(0)}, DType::kInt64);
    for (size_t b = 0; b < given.size(); ++b)
      tensor->mutable_data<int64_t>()[b] = static_cast<int64_t>(given[b]);
  }
  LR_RETURN_IF_ERROR(fields.Done());
  NameMap names;
  for (const auto& [name, value] : golden.Group("param.")) names.Add(name, name);
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    const CompareFn compare = Comparison(golden, check, dtype);
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng(), dtype)};
    args.width = x.dim(2);
    args.direction = nn::Direction::kBidirectional;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Perceiver> perceiver,
                        Perceiver::Create(config, args));
    LR_RETURN_IF_ERROR(perceiver->Supports(x.dim(0), x.dim(1), rows, nn::Call()));
    LR_RETURN_IF_ERROR(Load(golden, names, store));
    const Tensor leaf = Leaf(x.To(dtype).Clone());
    const Tensor y = perceiver->Forward({leaf, rows}, nn::Call()).x_btd;
    compare("out.y", y);
    LR_ASSIGN_OR_RETURN(const Tensor dy, golden.Cotangent("y"));
    Backward({y}, {dy.To(dtype)});
    compare("grad.in.x", Gradient(leaf));
    LR_RETURN_IF_ERROR(CompareGradients(store, names, compare));
  }
  return absl::OkStatus();
}

absl::Status RunPerceiver(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  if (fields.Has("index_shape")) return RunFourier(golden, std::move(fields), check);
  if (fields.Has("cross")) return RunBlock(golden, std::move(fields), check);
  if (fields.Has("depth")) return RunPackage(golden, std::move(fields), check);
  return RunTranscription(golden, std::move(fields), check);
}

LR_REGISTER_GOLDEN_ADAPTER("perceiver", RunPerceiver);

}  // namespace
}  // namespace longrange::perceiver
