#include "experiments/long_range_arena/speed.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/process_memory.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/base/thread_pool.h"
#include "common/data/batches.h"
#include "common/tensor/allocator.h"
#include "common/tensor/cost.h"
#include "common/train/trainer.h"
#include "plugins/study/context.h"
#include "plugins/study/training.h"

namespace longrange {
namespace {

// A model that is being trained, and what its steps took.
struct Runner {
  std::string mixer;
  std::unique_ptr<Model> model;
  std::unique_ptr<train::Trainer> trainer;
  int64_t own_bytes = 0;   // held between steps
  int64_t step_bytes = 0;  // beyond them in a step, the most
  double flops = 0;
  std::vector<double> seconds;
};

// Random tokens with a random answer behind the last.
Batch RandomTokens(int64_t sequences, int64_t length, int64_t vocabulary) {
  Batch batch;
  batch.ids_bt = Tensor::Empty({sequences, length}, DType::kInt32);
  batch.target_bt = Tensor::Full({sequences, length}, -1, DType::kInt32);
  batch.weight_bt = Tensor::Full({sequences, length}, 1);
  const Rng rng = Rng(1).Child("tokens");
  const auto token = [&](int64_t i) { return static_cast<int32_t>(rng.UniformInt(i, vocabulary)); };
  for (int64_t i = 0; i < batch.ids_bt.numel(); ++i)
    batch.ids_bt.mutable_data<int32_t>()[i] = token(i);
  for (int64_t b = 0; b < sequences; ++b)
    batch.target_bt.mutable_data<int32_t>()[(b + 1) * length - 1] = token(-1 - b);
  return batch;
}

int64_t LiveBytes() { return GetMemoryStats(Device::kCpu).live_bytes; }

absl::Status Step(const Batch& batch, bool counts, Runner* runner) {
  const int64_t before = LiveBytes();
  ResetPeak(Device::kCpu);
  const CostScope cost;
  const auto start = std::chrono::steady_clock::now();
  LR_RETURN_IF_ERROR(runner->trainer->Step({batch}).status());
  if (!counts) return absl::OkStatus();
  runner->seconds.push_back(
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  runner->step_bytes =
      std::max(runner->step_bytes, GetMemoryStats(Device::kCpu).peak_bytes - before);
  runner->flops = cost.cost().flops;
  return absl::OkStatus();
}

// The bytes of a step, counted without memory.
absl::StatusOr<int64_t> StepBytes(const StudySettings& settings, const Batch& like) {
  const int64_t before = GetMemoryStats(Device::kMeta).live_bytes;
  ResetPeak(Device::kMeta);
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, StudyModel(settings, 1, Device::kMeta));
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<train::Trainer> trainer,
                      StudyTrainer(*model, settings.tuning(), Rng(1)));
  Batch batch;
  batch.ids_bt = like.ids_bt.To(Device::kMeta);
  batch.target_bt = like.target_bt.To(Device::kMeta);
  batch.weight_bt = like.weight_bt.To(Device::kMeta);
  LR_RETURN_IF_ERROR(trainer->Step({batch}).status());
  return GetMemoryStats(Device::kMeta).peak_bytes - before;
}

absl::StatusOr<Runner> CreateRunner(const NamedTask& text, const NamedMixer& mixer,
                                    const ArenaOptions& options, int64_t length,
                                    const Batch& batch) {
  Runner runner;
  runner.mixer = mixer.name;
  LR_ASSIGN_OR_RETURN(const StudySettings settings, SpeedSettings(text, mixer, options, length));
  LR_ASSIGN_OR_RETURN(const int64_t needed, StepBytes(settings, batch));
  LR_RETURN_IF_ERROR(RequireMemory(static_cast<double>(needed),
                                   absl::StrCat(mixer.name, " at ", length, " rows"),
                                   "take a smaller preset, other --mixers, or --nospeed"));
  const int64_t before = LiveBytes();
  LR_ASSIGN_OR_RETURN(runner.model, StudyModel(settings, 1, Device::kCpu));
  LR_ASSIGN_OR_RETURN(runner.trainer, StudyTrainer(*runner.model, settings.tuning(), Rng(1)));
  LR_RETURN_IF_ERROR(Step(batch, /*counts=*/false, &runner));
  runner.own_bytes = LiveBytes() - before;
  return runner;
}

}  // namespace

std::string SpeedIdentity(const Arena& arena, const NamedTask& text_task,
                          const ArenaOptions& options) {
  std::string text = absl::StrCat("version 1, threads ", NumThreads(), ", preset ", arena.preset,
                                  ", ", absl::StrJoin(options.set, " "), "\n", Resolve(arena.speed),
                                  Resolve(text_task.config));
  for (const NamedMixer& mixer : arena.mixers)
    absl::StrAppend(&text, mixer.name, "\n", Resolve(mixer.config));
  return text;
}

absl::StatusOr<std::vector<SpeedRow>> MeasureSpeed(
    const Arena& arena, const NamedTask& text, const ArenaOptions& options,
    const std::function<bool(const std::string& what)>& on_row) {
  std::vector<SpeedRow> rows;
  for (const int64_t length : arena.speed.length()) {
    // All models of a study have the vocabulary of its task.
    Batch batch;
    std::vector<Runner> runners;
    for (const NamedMixer& mixer : arena.mixers) {
      const absl::StatusOr<StudySettings> settings = SpeedSettings(text, mixer, options, length);
      if (!settings.ok() || !CanTrain(*settings, /*padded=*/false).ok()) continue;
      if (!batch.ids_bt.defined())
        batch = RandomTokens(arena.speed.batch(), length, settings->model().vocabulary());
      LR_ASSIGN_OR_RETURN(Runner runner, CreateRunner(text, mixer, options, length, batch));
      runners.push_back(std::move(runner));
    }
    for (int64_t round = 0; round < arena.speed.rounds(); ++round) {
      for (Runner& runner : runners) {
        LR_RETURN_IF_ERROR(Annotate(Step(batch, /*counts=*/true, &runner), runner.mixer));
        if (!on_row(absl::StrCat(length, " rows: ", runner.mixer)))
          return absl::CancelledError("stopped while speed was measured");
      }
    }
    for (Runner& runner : runners) {
      std::sort(runner.seconds.begin(), runner.seconds.end());
      SpeedRow row;
      row.mixer = runner.mixer;
      row.length = length;
      row.seconds = runner.seconds[runner.seconds.size() / 2];
      row.least = runner.seconds.front();
      row.peak_bytes = runner.own_bytes + runner.step_bytes;
      row.flops = runner.flops;
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace longrange
