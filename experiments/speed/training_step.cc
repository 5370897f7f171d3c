#include "experiments/speed/training_step.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "common/base/process_memory.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/tensor/allocator.h"

namespace longrange {
namespace {

// Of anything, and of the tokens of a step; what is larger is a mistake.
constexpr int64_t kMost = int64_t{1} << 24;
constexpr int64_t kMostLayers = 4096;

// A mixer: what it is here, and what PyTorch's state_dict calls its parameters.
struct PeerMixer {
  std::string config;  // "$heads" stands for their number
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

OptimizerConfig PeerOptimizer(OptimizerConfig::Precision precision) {
  OptimizerConfig optimizer;
  optimizer.set_precision(precision);
  optimizer.mutable_schedule()->set_learning_rate(1e-3);
  optimizer.set_beta2(0.999);
  optimizer.set_weight_decay(0.1);
  optimizer.set_decay_all(true);
  return optimizer;
}

}  // namespace

absl::Status CheckStep(const SpeedStep& step) {
  for (const auto& [name, value] : {std::pair("batch", step.batch()),
                                    {"length", step.length()},
                                    {"width", step.width()},
                                    {"layers", step.layers()},
                                    {"heads", step.heads()},
                                    {"vocabulary", step.vocabulary()}}) {
    const int64_t most = absl::string_view(name) == "layers" ? kMostLayers : kMost;
    if (value < 1 || value > most) return Refuse(name, value, absl::StrCat("1 to ", most));
  }
  if (step.batch() * step.length() > kMost) {
    return Refuse("batch x length", step.batch() * step.length(),
                  absl::StrCat(kMost, " tokens or fewer"));
  }
  if (PeerMixers().count(step.mixer()) > 0) return absl::OkStatus();
  std::vector<std::string> known;
  for (const auto& [name, peer] : PeerMixers()) known.push_back(name);
  return Refuse("mixer", step.mixer(), absl::StrCat("one of ", absl::StrJoin(known, ", ")));
}

absl::StatusOr<ModelConfig> ConfigOf(const SpeedStep& step) {
  LR_RETURN_IF_ERROR(CheckStep(step));
  const PeerMixer& mixer = PeerMixers().at(step.mixer());
  const std::string mixer_text =
      absl::StrReplaceAll(mixer.config, {{"$heads", absl::StrCat(step.heads())}});
  ModelConfig config;
  LR_RETURN_IF_ERROR(ParseTextProto(
      absl::StrCat("vocabulary: ", step.vocabulary(), " width: ", step.width(),
                   " backbone { [type.googleapis.com/longrange.StackConfig] { layers: ",
                   step.layers(), " norm { epsilon: 1.1920929e-7 } mixer { ", mixer_text, " } ",
                   mixer.feed_forward ? "" : "feed_forward { kind: NONE } ", "} }"),
      "training step", &config));
  return config;
}

NameMap PeerNames(const std::string& mixer_name) {
  const PeerMixer& mixer = PeerMixers().at(mixer_name);
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

absl::Status CheckMemory(const ModelConfig& config, int64_t batch, int64_t length) {
  ModelArgs args;
  args.max_tokens = length;
  args.device = Device::kMeta;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, Model::Create(config, args));
  LR_RETURN_IF_ERROR(model->Supports(batch, length, nn::Rows(), nn::Call()));
  LR_ASSIGN_OR_RETURN(
      const std::unique_ptr<train::Trainer> trainer,
      train::Trainer::Create(model.get(), PeerOptimizer(OptimizerConfig::FLOAT32), Rng()));
  const Tensor ids = Tensor::Empty({batch, length}, DType::kInt32, Device::kMeta);
  LR_RETURN_IF_ERROR(trainer->Step({Batch{ids, ids, Tensor()}}).status());
  return RequireMemory(static_cast<double>(GetMemoryStats(Device::kMeta).peak_bytes), "a step",
                       "take a smaller batch, length or width");
}

Tensor RandomIds(int64_t batch, int64_t length, int64_t vocabulary) {
  const Tensor ids = Tensor::Empty({batch, length + 1}, DType::kInt32);
  const Rng rng = Rng(0).Child("ids");
  for (int64_t i = 0; i < ids.numel(); ++i)
    ids.mutable_data<int32_t>()[i] = static_cast<int32_t>(rng.UniformInt(i, vocabulary));
  return ids;
}

absl::StatusOr<std::unique_ptr<TrainingStep>> TrainingStep::Create(
    Model* model, const Tensor& ids, OptimizerConfig::Precision precision) {
  const int64_t rows = ids.dim(0), length = ids.dim(1) - 1;
  const Batch batch{Tensor::Empty({rows, length}, DType::kInt32),
                    Tensor::Empty({rows, length}, DType::kInt32), Tensor()};
  for (int64_t b = 0; b < rows; ++b) {
    const int32_t* from = ids.data<int32_t>() + b * (length + 1);
    std::copy(from, from + length, batch.ids_bt.mutable_data<int32_t>() + b * length);
    std::copy(from + 1, from + length + 1, batch.target_bt.mutable_data<int32_t>() + b * length);
  }
  LR_ASSIGN_OR_RETURN(std::unique_ptr<train::Trainer> trainer,
                      train::Trainer::Create(model, PeerOptimizer(precision), Rng()));
  return std::unique_ptr<TrainingStep>(new TrainingStep(std::move(trainer), batch));
}

absl::StatusOr<double> TrainingStep::Run() {
  LR_ASSIGN_OR_RETURN(const train::StepReport report, trainer_->Step({batch_}));
  return report.loss;
}

}  // namespace longrange
