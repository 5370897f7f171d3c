// Golden cases of LongLoRA among those of the study: an attention layer of Llama in training, with
// the groups as published (y_nowrap) and with the rows going round (y_wrap).

#include "plugins/golden/golden_adapter.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "papers/longlora/longlora.pb.h"
#include "plugins/attention/attention_host.h"
#include "plugins/attention/rope.h"
#include "plugins/golden/attention_layer.h"
#include "plugins/golden/attention_tap.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"

namespace longrange {
namespace {

constexpr char kPlainOrder[] = "y_nowrap", kWrapped[] = "y_wrap";

struct Layer {
  int64_t heads = 0, kv_heads = 0, head_width = 0;
  double theta = 0;
};

// The layer of the case under a rule, with the parameters of the case.
struct BuiltLayer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<AttentionHost> host;
};

absl::StatusOr<BuiltLayer> Build(const GoldenCase& golden, const Layer& layer,
                                 const LongloraConfig& config, int64_t width, DType dtype) {
  BuiltLayer built;
  BuildArgs args{nn::Scope(built.store.get(), Rng(), dtype)};
  args.width = width;
  args.direction = config.wrap() ? nn::Direction::kBidirectional : nn::Direction::kCausal;
  AttentionHostOptions options;
  options.heads = layer.heads;
  options.kv_heads = layer.kv_heads;
  options.head_width = layer.head_width;
  google::protobuf::Any rule;
  rule.PackFrom(config);
  LR_RETURN_IF_ERROR(CreateParts(nullptr, &rule, args, &options));
  options.position = LlamaRope(layer.head_width, layer.theta);
  LR_ASSIGN_OR_RETURN(built.host, AttentionHost::Create(std::move(options), args));
  LR_RETURN_IF_ERROR(LoadLlamaAttention(golden, *built.store).status());
  return built;
}

enum class Way { kTraining, kAlways, kStreamed };

// One way to compute the outputs of the case, and the gradients of all of them together.
absl::Status Run(const GoldenCase& golden, const Layer& layer, LongloraConfig config, Way way,
                 bool plain, DType dtype, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("x"));
  const Tensor x = Leaf(given.To(dtype).Clone());
  const int64_t length = x.dim(1);
  const GoldenCompare compare =
      CompareByType(check, dtype,
                    absl::StrCat(plain ? "plain" : "fused", way == Way::kTraining ? ", training"
                                                            : way == Way::kAlways ? ""
                                                                                  : ", streamed"));
  config.set_always(way != Way::kTraining);
  nn::Call call;
  call.training = way == Way::kTraining;
  call.horizon = length;
  AttentionTap tap;
  if (plain) call.sink = &tap;

  std::vector<BuiltLayer> layers;
  std::vector<Tensor> roots, cotangents;
  for (const char* name : {kPlainOrder, kWrapped}) {
    if (!golden.Has(absl::StrCat("out.", name))) continue;
    config.set_wrap(name == kWrapped);
    if (config.wrap() && way == Way::kStreamed) continue;
    LR_ASSIGN_OR_RETURN(BuiltLayer built, Build(golden, layer, config, x.dim(2), dtype));
    Tensor y;
    if (way == Way::kStreamed) {
      nn::State state = built.host->NewState(x.dim(0));
      std::vector<Tensor> parts;
      for (int64_t at = 0; at < length; at += 3) {
        parts.push_back(built.host->Extend(Narrow(x, 1, at, std::min<int64_t>(3, length - at)),
                                           nn::Rows(), call, &state));
      }
      y = Concat(parts, 1);
    } else {
      y = built.host->Forward(x, nn::Rows(), call);
    }
    compare(absl::StrCat("out.", name), y);
    if (golden.Has(absl::StrCat("cotangent.", name))) {
      LR_ASSIGN_OR_RETURN(const Tensor cotangent, golden.Cotangent(name));
      roots.push_back(y);
      cotangents.push_back(cotangent.To(dtype));
    }
    layers.push_back(std::move(built));
  }
  // A stream has one of the two outputs, the gradients belong to both.
  if (roots.empty() || (way == Way::kStreamed && golden.Has("cotangent.y_wrap")))
    return absl::OkStatus();
  Backward(roots, cotangents);
  if (golden.Has("grad.in.x")) compare("grad.in.x", Gradient(x));
  TensorMap gradients;
  for (const BuiltLayer& built : layers) {
    for (const nn::Parameter& p : built.store->all()) {
      const Tensor gradient = Gradient(p.value);
      if (!gradient.defined()) continue;
      Tensor& sum = gradients[p.name];
      sum = sum.defined() ? Add(sum, gradient) : gradient;
    }
  }
  LR_ASSIGN_OR_RETURN(const TensorMap theirs, LlamaAttentionNames().Export(gradients));
  for (const auto& [name, gradient] : theirs) {
    const std::string full = absl::StrCat("grad.param.", name);
    if (golden.Has(full)) compare(full, gradient);
  }
  return absl::OkStatus();
}

// in.x [B, L, H*D], param.{q,k,v,o}_proj.weight -> out.{y_nowrap, y_wrap}.
absl::Status RunLonglora(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  Layer layer;
  LR_ASSIGN_OR_RETURN(layer.heads, fields.Integer("H"));
  LR_ASSIGN_OR_RETURN(layer.kv_heads, fields.Integer("H_kv", layer.heads));
  LR_ASSIGN_OR_RETURN(layer.head_width, fields.Integer("D"));
  LR_ASSIGN_OR_RETURN(layer.theta, fields.Number("rope_theta", 10000));
  LR_ASSIGN_OR_RETURN(const double ratio, fields.Number("group_size_ratio", 0));
  LR_ASSIGN_OR_RETURN(const int64_t group, fields.Integer("group_size", 0));
  fields.Skip({"B", "L"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  LR_RETURN_IF_ERROR(RotaryWidth(layer.head_width, 1).status());
  LR_ASSIGN_OR_RETURN(const Tensor x, golden.In("x"));
  if (x.rank() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("in.x: ", x.shape().ToString(), " (expected [B, L, H*D])"));
  }
  LongloraConfig config;
  if (ratio > 0) {
    config.set_ratio(ratio);
    config.set_least_group(1);
    const auto of_ratio = static_cast<int64_t>(ratio * static_cast<double>(x.dim(1)));
    if (group > 0 && group != of_ratio) {
      return absl::InvalidArgumentError(absl::StrCat("config.group_size: ", group, " (expected ",
                                                     of_ratio, ", the ratio of the length)"));
    }
  } else if (group > 0) {
    config.set_group(group);
  } else {
    return absl::InvalidArgumentError("config: expected group_size_ratio or group_size");
  }
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const bool plain : {false, true}) {
      for (const Way way : {Way::kTraining, Way::kAlways, Way::kStreamed})
        LR_RETURN_IF_ERROR(Run(golden, layer, config, way, plain, dtype, check));
    }
  }
  return absl::OkStatus();
}

bool IsLonglora(const GoldenCase& golden) {
  return golden.Has(absl::StrCat("out.", kPlainOrder)) ||
         golden.Has(absl::StrCat("out.", kWrapped));
}

LR_REGISTER_GOLDEN_FORM("context_extension_study", IsLonglora, RunLonglora);

}  // namespace
}  // namespace longrange
