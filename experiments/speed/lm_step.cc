// One training step of a small language model (training_step.h), timed: the counterpart of a
// PyTorch loop over the same model. Prints one JSON line.

#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/command_line.h"
#include "common/base/paths.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"
#include "common/io/safetensors.h"
#include "experiments/speed/training_step.h"
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
DEFINE_string(precision, "f32", "Of matrix products: 'f32' or 'bf16'");
DEFINE_string(checkpoint, "",
              "Folder of a trained model (plugins/checkpoint) to go on from, instead of --mixer, "
              "--dim, --layers, --heads, --vocab and --load");
DEFINE_string(load, "",
              "safetensors file with PyTorch's initial weights (state_dict names) and 'ids' "
              "[batch, length + 1]");

namespace longrange {
namespace {

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
                      PeerNames(FLAGS_mixer).Import(file.tensors, model.parameters().Wanted()));
  return model.parameters().Load(values);
}

absl::Status Run(const CommandLine&) {
  SpeedStep step;
  step.set_mixer(FLAGS_mixer);
  step.set_batch(FLAGS_batch);
  step.set_length(FLAGS_length);
  step.set_width(FLAGS_dim);
  step.set_layers(FLAGS_layers);
  step.set_heads(FLAGS_heads);
  step.set_vocabulary(FLAGS_vocab);
  LR_RETURN_IF_ERROR(CheckStep(step));
  constexpr int64_t kMostSteps = int64_t{1} << 24;
  if (FLAGS_rounds < 1 || FLAGS_rounds > kMostSteps)
    return Refuse("--rounds", FLAGS_rounds, absl::StrCat("1 to ", kMostSteps));
  if (FLAGS_warmup < 0 || FLAGS_warmup > kMostSteps)
    return Refuse("--warmup", FLAGS_warmup, absl::StrCat("0 to ", kMostSteps));
  std::optional<Checkpoint> checkpoint;
  ModelConfig config;
  if (FLAGS_checkpoint.empty()) {
    LR_ASSIGN_OR_RETURN(config, ConfigOf(step));
  } else {
    LR_RETURN_IF_ERROR(CheckAlone());
    LR_ASSIGN_OR_RETURN(checkpoint, Checkpoint::Open(UserPath(FLAGS_checkpoint)));
    config = checkpoint->config().model();
  }
  LR_RETURN_IF_ERROR(CheckMemory(config, FLAGS_batch, FLAGS_length));
  ModelArgs args;
  args.max_tokens = FLAGS_length;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, checkpoint.has_value()
                                                              ? checkpoint->CreateModel(args)
                                                              : Model::Create(config, args));
  Tensor ids;
  if (FLAGS_load.empty()) {
    ids = RandomIds(FLAGS_batch, FLAGS_length, config.vocabulary());
  } else {
    LR_RETURN_IF_ERROR(LoadPeer(*model, &ids));
  }
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<TrainingStep> training,
                      TrainingStep::Create(model.get(), ids,
                                           FLAGS_precision == "bf16" ? OptimizerConfig::BFLOAT16
                                                                     : OptimizerConfig::FLOAT32));
  double best = 0;
  std::vector<std::string> losses;
  for (int64_t i = 0; i < FLAGS_warmup + FLAGS_rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    LR_ASSIGN_OR_RETURN(const double loss, training->Run());
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i == FLAGS_warmup || (i > FLAGS_warmup && seconds < best)) best = seconds;
    losses.push_back(absl::StrFormat("%.4f", loss));
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
        {"Run",
         {"length", "batch", "precision", "warmup", "rounds", "threads", "device", "trace"}}},
       {{"precision", {"f32", "bf16"}}}},
      longrange::Run);
}
