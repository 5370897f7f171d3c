// One training step of a small language model, timed: the counterpart of a PyTorch loop over the
// same model.
//
// Embedding, layers of (RMSNorm, mixer, RMSNorm, SwiGLU of 8/3 width rounded up to 32), RMSNorm,
// untied output; a Mamba layer is (RMSNorm, mixer) alone, as in its paper. AdamW (0.9, 0.999, decay
// 0.1 on every tensor), gradient norm clipped to 1, the same batch in every step. Prints one JSON
// line.

#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <map>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/process_memory.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/base/thread_pool.h"
#include "common/io/name_map.h"
#include "common/io/safetensors.h"
#include "common/train/trainer.h"
#include "plugins/checkpoint/checkpoint.h"
#include "plugins/model/model.h"

DEFINE_string(mixer, "attention", "The layer that mixes rows: 'attention', 'mamba' or 'retnet'");
DEFINE_int64(length, 1024, "Tokens of a sequence");
DEFINE_int64(batch, 4, "Sequences of a step");
DEFINE_int64(dim, 128, "Width of the model");
DEFINE_int64(layers, 4, "Layers");
DEFINE_int64(heads, 4, "Attention heads");
DEFINE_int64(vocab, 256, "Vocabulary");
DEFINE_int64(warmup, 2, "Steps before the clock counts");
DEFINE_int64(rounds, 5, "Timed steps; the best one is reported");
DEFINE_string(checkpoint, "",
              "Folder of a trained model (plugins/checkpoint) to go on from, instead of --mixer, "
              "--dim, --layers, --heads, --vocab and --load");
DEFINE_string(load, "",
              "safetensors file with PyTorch's initial weights (state_dict names) and 'ids' "
              "[batch, length + 1]");

namespace longrange {
namespace {

// A value of --mixer: what it is here, and what PyTorch's state_dict calls its parameters.
struct PeerMixer {
  std::string config;  // "$heads" stands for --heads
  bool feed_forward;   // does a layer have one beside the mixer?
  void (*add_names)(NameMap* map);
};

// One tensor of theirs is several of ours, one below the other.
void AddSplit(const std::string& theirs, const std::vector<std::string>& ours, NameMap* map) {
  NameMapRow row;
  row.theirs = {"layers.*.mixer." + theirs};
  for (const std::string& name : ours) row.ours.push_back("layers.*.mixer." + name);
  map->Add(row);
}

void AddAttentionNames(NameMap* map) {
  AddSplit("qkv.weight", {"w_q", "w_k", "w_v"}, map);
  map->Add("layers.*.mixer.o.weight", "layers.*.mixer.w_o");
}

// Those of mambapy.
void AddMambaNames(NameMap* map) {
  AddSplit("in_proj.weight", {"w_x", "w_z"}, map);
  AddSplit("x_proj.weight", {"w_rank", "w_b", "w_c"}, map);
  map->Add("layers.*.mixer.conv1d.weight", "layers.*.mixer.conv.weight", {Transform::Squeeze(1)})
      .Add("layers.*.mixer.conv1d.bias", "layers.*.mixer.conv.bias")
      .Add("layers.*.mixer.dt_proj.weight", "layers.*.mixer.w_delta")
      .Add("layers.*.mixer.dt_proj.bias", "layers.*.mixer.delta_bias")
      .Add("layers.*.mixer.A_log", "layers.*.mixer.a_log")
      .Add("layers.*.mixer.D", "layers.*.mixer.skip")
      .Add("layers.*.mixer.out_proj.weight", "layers.*.mixer.w_out");
}

void AddRetnetNames(NameMap* map) {
  for (const char* which : {"q", "k", "v", "g", "o"}) {
    map->Add(absl::StrCat("layers.*.mixer.", which, ".weight"),
             absl::StrCat("layers.*.mixer.w_", which));
  }
}

const std::map<std::string, PeerMixer>& PeerMixers() {
  static const auto* mixers = new std::map<std::string, PeerMixer>{
      {"attention",
       {"[type.googleapis.com/longrange.TransformerConfig] { heads: $heads position { "
        "[type.googleapis.com/longrange.TransformerRopeConfig] {} } }",
        /*feed_forward=*/true, AddAttentionNames}},
      {"mamba",
       {"[type.googleapis.com/longrange.MambaConfig] {}", /*feed_forward=*/false, AddMambaNames}},
      {"retnet",
       {"[type.googleapis.com/longrange.RetnetConfig] { heads: $heads rotation: ROPE "
        "interleaved: false head_norm_epsilon: 1.1920929e-7 }",
        /*feed_forward=*/true, AddRetnetNames}},
  };
  return *mixers;
}

absl::StatusOr<ModelConfig> Config() {
  const auto mixer = PeerMixers().find(FLAGS_mixer);
  if (mixer == PeerMixers().end()) {
    std::vector<std::string> known;
    for (const auto& [name, peer] : PeerMixers()) known.push_back(name);
    return absl::InvalidArgumentError(absl::StrCat("--mixer=", FLAGS_mixer, " (expected one of ",
                                                   absl::StrJoin(known, ", "), ")"));
  }
  const std::string mixer_text =
      absl::StrReplaceAll(mixer->second.config, {{"$heads", absl::StrCat(FLAGS_heads)}});
  ModelConfig config;
  LR_RETURN_IF_ERROR(ParseTextProto(
      absl::StrCat("vocabulary: ", FLAGS_vocab, " width: ", FLAGS_dim,
                   " backbone { [type.googleapis.com/longrange.StackConfig] { layers: ",
                   FLAGS_layers, " norm { epsilon: 1.1920929e-7 } mixer { ", mixer_text, " } ",
                   mixer->second.feed_forward ? "" : "feed_forward { kind: NONE } ",
                   "} }"),  // epsilon: of float32, torch's default
      "lm_step", &config));
  return config;
}

// Flags that say what a checkpoint says too.
absl::Status CheckAlone() {
  for (const char* flag : {"mixer", "dim", "layers", "heads", "vocab", "load"}) {
    const google::CommandLineFlagInfo info = google::GetCommandLineFlagInfoOrDie(flag);
    if (info.is_default) continue;
    return absl::InvalidArgumentError(absl::StrCat("--", flag, "=", info.current_value,
                                                   ": the model is that of --checkpoint (expected "
                                                   "one of the two)"));
  }
  return absl::OkStatus();
}

// The peer's state_dict.
NameMap PeerNames() {
  const PeerMixer& mixer = PeerMixers().at(FLAGS_mixer);
  NameMap map;
  map.Add("emb.weight", "embedding")
      .Add("layers.*.n1.weight", "layers.*.mixer_norm.weight")
      .Add("norm.weight", "norm.weight")
      .Add("head.weight", "output");
  if (mixer.feed_forward) {
    map.Add("layers.*.n2.weight", "layers.*.feed_forward_norm.weight")
        .Add("layers.*.down.weight", "layers.*.feed_forward.w_down");
    NameMapRow up;
    up.theirs = {"layers.*.up.weight"};
    up.ours = {"layers.*.feed_forward.w_gate", "layers.*.feed_forward.w_up"};
    map.Add(up);
  }
  mixer.add_names(&map);
  return map;
}

absl::Status LoadPeer(const Model& model, Tensor* ids) {
  LR_ASSIGN_OR_RETURN(SafetensorsFile file, ReadSafetensors(UserPath(FLAGS_load)));
  const auto found = file.tensors.find("ids");
  const Shape shape = {FLAGS_batch, FLAGS_length + 1};
  if (found == file.tensors.end() || found->second.shape() != shape) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--load=", FLAGS_load, ": expected a tensor 'ids' of shape ", shape.ToString(), ", got ",
        found == file.tensors.end() ? "none" : found->second.shape().ToString()));
  }
  *ids = found->second.To(DType::kInt32);
  for (const int64_t id : ids->ToInts()) {
    if (id < 0 || id >= FLAGS_vocab) {
      return absl::InvalidArgumentError(
          absl::StrCat("--load=", FLAGS_load, ": id ", id, " is outside --vocab=", FLAGS_vocab));
    }
  }
  file.tensors.erase(found);
  LR_ASSIGN_OR_RETURN(const TensorMap values,
                      PeerNames().Import(file.tensors, model.parameters().Wanted()));
  return model.parameters().Load(values);
}

// Of anything, and of the tokens of a step; what is larger is a mistake.
constexpr int64_t kMost = int64_t{1} << 24;
constexpr int64_t kMostLayers = 4096;

// Is there memory for a step? Counted on meta tensors.
absl::Status CheckMemory(const ModelConfig& config, ModelArgs args,
                         const OptimizerConfig& optimizer) {
  args.device = Device::kMeta;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Create(config, args));
  LR_RETURN_IF_ERROR(model->Supports(FLAGS_batch, FLAGS_length, nn::Rows(), nn::Call()));
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<train::Trainer> trainer,
                      train::Trainer::Create(model.get(), optimizer, Rng()));
  const Tensor ids = Tensor::Empty({FLAGS_batch, FLAGS_length}, DType::kInt32, Device::kMeta);
  LR_RETURN_IF_ERROR(trainer->Step({Batch{ids, ids, Tensor()}}).status());
  return RequireMemory(static_cast<double>(GetMemoryStats(Device::kMeta).peak_bytes), "a step",
                       "take a smaller --batch, --length or --dim");
}

absl::Status Run(const CommandLine&) {
  for (const auto& [name, value] : std::map<std::string, int64_t>{{"length", FLAGS_length},
                                                                  {"batch", FLAGS_batch},
                                                                  {"dim", FLAGS_dim},
                                                                  {"layers", FLAGS_layers},
                                                                  {"heads", FLAGS_heads},
                                                                  {"vocab", FLAGS_vocab},
                                                                  {"rounds", FLAGS_rounds}}) {
    const int64_t most = name == "layers" ? kMostLayers : kMost;
    if (value < 1 || value > most) {
      return absl::InvalidArgumentError(
          absl::StrCat("--", name, "=", value, " (expected 1 to ", most, ")"));
    }
  }
  if (FLAGS_batch * FLAGS_length > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("--batch=", FLAGS_batch, ": with --length=", FLAGS_length, " a step has ",
                     FLAGS_batch * FLAGS_length, " tokens (expected ", kMost, " or fewer)"));
  }
  if (FLAGS_warmup < 0)
    return absl::InvalidArgumentError(
        absl::StrCat("--warmup=", FLAGS_warmup, " (expected 0 or more)"));
  std::optional<Checkpoint> checkpoint;
  ModelConfig config;
  if (FLAGS_checkpoint.empty()) {
    LR_ASSIGN_OR_RETURN(config, Config());
  } else {
    LR_RETURN_IF_ERROR(CheckAlone());
    LR_ASSIGN_OR_RETURN(checkpoint, Checkpoint::Open(UserPath(FLAGS_checkpoint)));
    config = checkpoint->config().model();
  }
  ModelArgs args;
  args.max_tokens = FLAGS_length;
  OptimizerConfig optimizer;
  optimizer.mutable_schedule()->set_learning_rate(1e-3);
  optimizer.set_beta2(0.999);
  optimizer.set_weight_decay(0.1);
  optimizer.set_decay_all(true);
  LR_RETURN_IF_ERROR(CheckMemory(config, args, optimizer));
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, checkpoint.has_value()
                                                              ? checkpoint->CreateModel(args)
                                                              : Model::Create(config, args));

  const int64_t row = FLAGS_length + 1;
  Tensor ids = Tensor::Empty({FLAGS_batch, row}, DType::kInt32);
  if (FLAGS_load.empty()) {
    for (int64_t i = 0; i < ids.numel(); ++i) {
      ids.mutable_data<int32_t>()[i] =
          static_cast<int32_t>(Rng(0).Child("ids").UniformInt(i, config.vocabulary()));
    }
  } else {
    LR_RETURN_IF_ERROR(LoadPeer(*model, &ids));
  }
  Batch batch{Tensor::Empty({FLAGS_batch, FLAGS_length}, DType::kInt32),
              Tensor::Empty({FLAGS_batch, FLAGS_length}, DType::kInt32), Tensor()};
  for (int64_t b = 0; b < FLAGS_batch; ++b) {
    const int32_t* from = ids.data<int32_t>() + b * row;
    std::copy(from, from + FLAGS_length, batch.ids_bt.mutable_data<int32_t>() + b * FLAGS_length);
    std::copy(from + 1, from + row, batch.target_bt.mutable_data<int32_t>() + b * FLAGS_length);
  }

  LR_ASSIGN_OR_RETURN(const std::unique_ptr<train::Trainer> trainer,
                      train::Trainer::Create(model.get(), optimizer, Rng()));
  double best = 0;
  std::vector<std::string> losses;
  for (int64_t step = 0; step < FLAGS_warmup + FLAGS_rounds; ++step) {
    const auto start = std::chrono::steady_clock::now();
    LR_ASSIGN_OR_RETURN(const train::StepReport report, trainer->Step({batch}));
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (step == FLAGS_warmup || (step > FLAGS_warmup && seconds < best)) best = seconds;
    losses.push_back(absl::StrFormat("%.4f", report.loss));
  }
  const std::string which =
      checkpoint.has_value()
          ? absl::StrFormat("\"weights\": \"%s\"", checkpoint->weights_checksum())
          : absl::StrFormat("\"mixer\": \"%s\", \"dim\": %d, \"layers\": %d", FLAGS_mixer,
                            FLAGS_dim, FLAGS_layers);
  absl::PrintF(
      "{\"peer\": \"longrange\", %s, \"length\": %d, \"batch\": %d, \"parameters\": %d, "
      "\"step_ms\": %.2f, \"tokens_per_s\": %.0f, \"losses\": [%s], "
      "\"threads\": %d}\n",
      which, FLAGS_length, FLAGS_batch, model->parameters().NumElements(), best * 1e3,
      static_cast<double>(FLAGS_batch * FLAGS_length) / best, absl::StrJoin(losses, ", "),
      NumThreads());
  return absl::OkStatus();
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Times the training step of a small language model and prints one JSON line.",
       {{"Model", {"mixer", "dim", "layers", "heads", "vocab", "load", "checkpoint"}},
        {"Run", {"length", "batch", "warmup", "rounds", "threads", "device", "trace"}}}},
      longrange::Run);
}
