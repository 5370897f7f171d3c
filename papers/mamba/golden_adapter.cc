// Golden cases of Mamba: the scan alone, the mixer at once and streamed, a language model, and a
// whole checkpoint in the Hugging Face layout. B batch, T rows, E channels, N states.

#include "plugins/golden/golden_adapter.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/selective_scan.h"
#include "common/base/status_macros.h"
#include "common/io/json.h"
#include "common/io/safetensors.h"
#include "plugins/hugging_face/hugging_face.h"
#include "plugins/mixer.h"
#include "plugins/model/generate.h"
#include "plugins/model/model.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

// Elementwise in float64; in float32, where rounding fills the tolerance, by RMS.
void Compare(const std::string& name, const Tensor& actual, const std::string& path,
             GoldenChecker* check) {
  const std::string full = absl::StrCat(path, path.empty() ? "" : ", ", Name(actual.dtype()));
  actual.dtype() == DType::kFloat64 ? check->Check(name, actual, full)
                                    : check->CheckRms(name, actual, full);
}

// in.{u, delta, z} (B, E, T), in.A (E, N), in.{B, C} (B, N, T), (B, G, N, T) or (E, N) ->
// out.y (B, E, T), out.last_state (B, E, N).
absl::Status RunScan(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const bool softplus, fields.Bool("delta_softplus"));
  // Stated by the tensors.
  fields.Skip({"D", "L", "batch", "d", "delta_bias", "groups", "n", "variable_BC", "z"});
  LR_RETURN_IF_ERROR(fields.Done());
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    TensorMap leaves;
    for (const auto& [name, value] : golden.Group("in."))
      leaves[absl::StrCat("in.", name)] = Leaf(value.To(dtype).Clone());
    const auto given = [&](const char* name) {
      const auto it = leaves.find(absl::StrCat("in.", name));
      return it == leaves.end() ? Tensor() : it->second;
    };
    const auto rows_first = [&](const char* name) {
      const Tensor t = given(name);
      return t.defined() ? Permute(t, {0, 2, 1}) : t;
    };
    // Of a channel; by token; by token and group.
    const auto map = [&](const char* name) {
      Tensor t = given(name);
      if (t.rank() == 2) return t;
      if (t.rank() == 3) t = Reshape(t, {t.dim(0), 1, t.dim(1), t.dim(2)});
      return Permute(t, {0, 3, 1, 2});
    };
    for (const char* name : {"u", "delta", "A", "B", "C"})
      LR_RETURN_IF_ERROR(golden.In(name).status());
    kernels::SelectiveScanInputs in;
    in.x_btd = rows_first("u");
    in.delta_btd = rows_first("delta");
    in.a_dn = given("A");
    in.b = map("B");
    in.c = map("C");
    in.softplus = softplus;
    in.bias_d = given("delta_bias");
    in.skip_d = given("D");
    in.gate_btd = rows_first("z");
    const SelectiveScanResult result = SelectiveScan(in);
    const TensorMap outputs = {{"y", Permute(result.y_btd, {0, 2, 1})},
                               {"last_state", result.last_bdn}};
    for (const auto& [name, output] : outputs) {
      if (golden.Has(absl::StrCat("out.", name)))
        Compare(absl::StrCat("out.", name), output, "", check);
    }
    LR_RETURN_IF_ERROR(CheckGradients(golden, outputs, leaves,
                                      [&](const std::string& name, const Tensor& gradient) {
                                        Compare(name, gradient, "", check);
                                      }));
  }
  return absl::OkStatus();
}

// The case's config as that of a checkpoint.
absl::StatusOr<HuggingFaceModel> ImportCase(const GoldenCase& golden) {
  nlohmann::json config = golden.config();
  config["model_type"] = "mamba";
  for (const char* key : {"L", "prefill", "steps"}) config.erase(key);
  return ImportHuggingFaceModel(config);
}

// One mixer and its parameters.
struct Layer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Mixer> mixer;
  NameMap names;
};

// The names of the map are those of a whole model, so the mixer stands where its first layer does.
constexpr char kTheirs[] = "backbone.layers.0.mixer.";

absl::StatusOr<Layer> LoadLayer(const GoldenCase& golden, DType dtype) {
  LR_ASSIGN_OR_RETURN(const HuggingFaceModel imported, ImportCase(golden));
  StackConfig stack;
  CHECK(imported.config.backbone().UnpackTo(&stack));
  Layer layer;
  layer.names = imported.names;
  BuildArgs args{nn::Scope(layer.store.get(), Rng(), dtype).Child("layers.0.mixer")};
  args.width = imported.config.width();
  LR_ASSIGN_OR_RETURN(layer.mixer, Registry<Mixer>::Get().Create(stack.mixer(), args));
  TensorMap theirs;
  for (const auto& [name, value] : golden.Group("param."))
    theirs[absl::StrCat(kTheirs, name)] = value;
  LR_ASSIGN_OR_RETURN(const TensorMap ours, layer.names.Import(theirs, layer.store->Wanted()));
  LR_RETURN_IF_ERROR(layer.store->Load(ours));
  return layer;
}

TensorMap GradientsOf(const nn::ParameterStore& store) {
  TensorMap gradients;
  for (const nn::Parameter& p : store.all()) {
    const Tensor gradient = Gradient(p.value);
    gradients[p.name] = gradient.defined() ? gradient : Tensor::ZerosLike(p.value);
  }
  return gradients;
}

// The rows in pieces of these lengths.
Tensor Streamed(const Mixer& mixer, const Tensor& x_btd, const std::vector<int64_t>& pieces,
                nn::State* state) {
  std::vector<Tensor> ys;
  int64_t at = 0;
  for (const int64_t rows : pieces) {
    ys.push_back(mixer.Extend(Narrow(x_btd, 1, at, rows), nn::Rows(), nn::Call(), state));
    at += rows;
  }
  return Concat(ys, 1);
}

// in.x (B, T, D) -> out.y and gradients of everything: in each form, and in pieces.
absl::Status RunMixer(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("x"));
  const int64_t rows = given.dim(1);
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    LR_ASSIGN_OR_RETURN(const Layer layer, LoadLayer(golden, dtype));
    for (const std::string path : {"parallel", "recurrent", "in pieces"}) {
      const Tensor x = Leaf(given.To(dtype).Clone());
      Tensor y;
      if (path == "in pieces") {
        nn::State state = layer.mixer->NewState(x.dim(0));
        const int64_t first = std::min<int64_t>(rows, 2);
        std::vector<int64_t> pieces = {first};
        if (rows > first) pieces.push_back(rows - first);
        y = Streamed(*layer.mixer, x, pieces, &state);
      } else {
        nn::Call call;
        call.form = path == "parallel" ? nn::Form::kParallel : nn::Form::kRecurrent;
        y = layer.mixer->Forward(x, nn::Rows(), call);
      }
      Compare("out.y", y, path, check);
      layer.store->ClearGradients();
      LR_RETURN_IF_ERROR(CheckGradients(golden, {{"y", y}}, {{"in.x", x}},
                                        [&](const std::string& name, const Tensor& gradient) {
                                          Compare(name, gradient, path, check);
                                        }));
      LR_ASSIGN_OR_RETURN(const TensorMap theirs, layer.names.Export(GradientsOf(*layer.store)));
      for (const auto& [name, gradient] : theirs) {
        const std::string full = absl::StrCat("grad.param.", name.substr(sizeof(kTheirs) - 1));
        if (golden.Has(full)) Compare(full, gradient, path, check);
      }
    }
  }
  return absl::OkStatus();
}

// in.x (B, T, D): `prefill` rows, then one at a time -> y_full, y_prefill, y_steps, and the states
// (B, E, K) and (B, E, N) after the prefill and after each step. Their convolution's state holds
// the row that is no longer needed too.
absl::Status RunDecode(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("x"));
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t prefill, fields.Integer("prefill"));
  LR_ASSIGN_OR_RETURN(const int64_t steps, fields.Integer("steps"));
  if (prefill < 1 || steps < 1 || prefill + steps != given.dim(1)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "config: ", prefill, " rows and ", steps, " steps (expected ", given.dim(1), " together)"));
  }
  const NoGradScope no_grad;
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    LR_ASSIGN_OR_RETURN(const Layer layer, LoadLayer(golden, dtype));
    const Tensor x = given.To(dtype);
    nn::State state = layer.mixer->NewState(x.dim(0));
    // The next rows, and the window of K inputs that the last of them saw.
    const auto extend = [&](int64_t begin, int64_t count, Tensor* window) {
      std::vector<Tensor> ys;
      if (count > 1)
        ys.push_back(Streamed(*layer.mixer, Narrow(x, 1, begin, count - 1), {count - 1}, &state));
      const Tensor before = state.Get("conv");
      ys.push_back(Streamed(*layer.mixer, Narrow(x, 1, begin + count - 1, 1), {1}, &state));
      const Tensor after = state.Get("conv");
      const int64_t kept = after.dim(1);
      *window = Permute(Concat({before, Narrow(after, 1, kept - 1, 1)}, 1), {0, 2, 1});
      return Concat(ys, 1);
    };
    const auto compare = [&](const std::string& name, const Tensor& actual) {
      if (golden.Has(name)) Compare(name, actual, "", check);
    };
    Tensor window;
    const Tensor y_prefill = extend(0, prefill, &window);
    compare("out.y_prefill", y_prefill);
    compare("out.conv_state_prefill", window);
    compare("out.ssm_state_prefill", state.Get("ssm"));
    std::vector<Tensor> ys, windows, states;
    const auto stacked = [](const Tensor& t) {
      Shape shape = {1};
      for (const int64_t size : t.shape().dims()) shape.Append(size);
      return t.View(shape);
    };
    for (int64_t i = 0; i < steps; ++i) {
      ys.push_back(extend(prefill + i, 1, &window));
      windows.push_back(stacked(window));
      states.push_back(stacked(state.Get("ssm")));
    }
    compare("out.y_steps", Concat(ys, 1));
    compare("out.conv_state_steps", Concat(windows, 0));
    compare("out.ssm_state_steps", Concat(states, 0));
    compare("out.y_full", layer.mixer->Forward(x, nn::Rows(), nn::Call()));
  }
  return absl::OkStatus();
}

// Each row's target is the next token; the last has none.
Batch NextTokens(const Tensor& ids_bt) {
  const int64_t length = ids_bt.dim(1);
  Batch next;
  next.ids_bt = ids_bt;
  next.target_bt = Tensor::Full(ids_bt.shape(), -1, DType::kInt32);
  for (int64_t i = 0; i < ids_bt.numel(); ++i) {
    if ((i + 1) % length != 0)
      next.target_bt.mutable_data<int32_t>()[i] = ids_bt.data<int32_t>()[i + 1];
  }
  return next;
}

absl::Status CheckParameterGradients(const GoldenCase& golden, const Model& model,
                                     const NameMap& names, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const TensorMap theirs, names.Export(GradientsOf(model.parameters())));
  for (const auto& [name, gradient] : theirs) {
    const std::string full = absl::StrCat("grad.param.", name);
    if (golden.Has(full)) Compare(full, gradient, "", check);
  }
  model.parameters().ClearGradients();
  return absl::OkStatus();
}

// in.ids [B, T] -> logits with a cotangent, and the loss by the next token.
absl::Status RunLanguageModel(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const HuggingFaceModel imported, ImportCase(golden));
  LR_ASSIGN_OR_RETURN(Tensor ids_bt, golden.In("ids"));
  ids_bt = ids_bt.To(DType::kInt32);
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    ModelArgs args;
    args.dtype = dtype;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                        LoadHuggingFaceModel(imported, golden.Group("param."), args));
    const Tensor logits = model->Logits(ids_bt, nn::Rows(), nn::Call());
    Compare("out.logits", logits, "", check);
    if (golden.Has("cotangent.logits")) {
      LR_ASSIGN_OR_RETURN(const Tensor cotangent, golden.Cotangent("logits"));
      Backward({logits}, {cotangent.To(dtype)});
      LR_RETURN_IF_ERROR(CheckParameterGradients(golden, *model, imported.names, check));
    }
    if (golden.Has("out.next_token_loss")) {
      Compare("out.next_token_loss", model->Loss(NextTokens(ids_bt), nn::Call()).Detach().View({1}),
              "", check);
    }
  }
  return absl::OkStatus();
}

// Prompts [P, L] and what greedy generation makes of them, [P, wanted_size].
absl::StatusOr<Tensor> GreedyIds(const Model& model, const Tensor& prompt_pl, int64_t wanted_size,
                                 GenerateOptions::Horizon horizon) {
  GenerateOptions options;
  options.max_new_tokens = wanted_size - prompt_pl.dim(1);
  options.horizon = horizon;
  std::vector<int32_t> all;
  for (int64_t p = 0; p < prompt_pl.dim(0); ++p) {
    const std::vector<int64_t> prompt = prompt_pl.ViewRows(p, p + 1).ToInts();
    LR_ASSIGN_OR_RETURN(
        const std::vector<int32_t> ids,
        Generate(model, std::vector<int32_t>(prompt.begin(), prompt.end()), options));
    all.insert(all.end(), ids.begin(), ids.end());
  }
  return Tensor::FromVector<int32_t>({prompt_pl.dim(0), wanted_size}, all);
}

// in.input_ids: config.json and model.safetensors lie beside the case.
absl::Status RunCheckpoint(const GoldenCase& golden, GoldenChecker* check) {
  const std::string folder = golden.path().substr(0, golden.path().rfind('/') + 1);
  LR_ASSIGN_OR_RETURN(const nlohmann::json json, ReadJson(absl::StrCat(folder, "config.json")));
  LR_ASSIGN_OR_RETURN(const SafetensorsFile weights,
                      ReadSafetensors(absl::StrCat(folder, "model.safetensors")));
  LR_ASSIGN_OR_RETURN(const HuggingFaceModel imported, ImportHuggingFaceModel(json));
  LR_ASSIGN_OR_RETURN(Tensor ids_bt, golden.In("input_ids"));
  ids_bt = ids_bt.To(DType::kInt32);
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    ModelArgs args;
    args.dtype = dtype;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                        LoadHuggingFaceModel(imported, weights.tensors, args));
    Compare("out.logits", model->Logits(ids_bt, nn::Rows(), nn::Call()), "", check);
    const Tensor loss = model->Loss(NextTokens(ids_bt), nn::Call());
    Compare("out.loss", loss.Detach().View({1}), "", check);
    Backward(loss);
    LR_RETURN_IF_ERROR(CheckParameterGradients(golden, *model, imported.names, check));
    if (!golden.Has("out.greedy_ids")) continue;
    LR_ASSIGN_OR_RETURN(const Tensor prompt, golden.In("prompt_ids"));
    LR_ASSIGN_OR_RETURN(const Tensor expected, golden.Out("greedy_ids"));
    for (const auto& [how, horizon] : {std::pair("streamed", GenerateOptions::kFixed),
                                       {"recomputed", GenerateOptions::kRecompute}}) {
      check->Check("out.greedy_ids", GreedyIds(*model, prompt, expected.dim(1), horizon),
                   absl::StrCat(how, ", ", Name(dtype)));
    }
  }
  return absl::OkStatus();
}

absl::Status RunMamba(const GoldenCase& golden, GoldenChecker* check) {
  if (golden.Has("in.input_ids")) return RunCheckpoint(golden, check);
  if (golden.Has("in.ids")) return RunLanguageModel(golden, check);
  if (golden.Has("in.u")) return RunScan(golden, check);
  if (golden.Has("out.y_steps")) return RunDecode(golden, check);
  return RunMixer(golden, check);
}

LR_REGISTER_GOLDEN_ADAPTER("mamba", RunMamba);

}  // namespace
}  // namespace longrange
