#include "plugins/study/training.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <memory>
#include <optional>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/autograd/ops.h"
#include "common/base/interrupt.h"
#include "common/base/progress.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/base/trace.h"
#include "common/data/batches.h"
#include "common/tensor/cost.h"
#include "common/train/checkpoint.h"
#include "common/train/trainer.h"
#include "plugins/model/answer.h"
#include "plugins/study/course.h"
#include "plugins/study/evaluation.h"
#include "plugins/study/metrics.h"

namespace longrange {
namespace {

// What goes with the tensors of a checkpoint: the outcome so far, as text that reads back to the
// same bits.
std::map<std::string, std::string> ToMetadata(const TrainingOutcome& outcome) {
  std::string checks;
  for (const auto& [step, score] : outcome.checks)
    absl::StrAppendFormat(&checks, "%d:%.17g ", step, score);
  return {{"tokens", absl::StrFormat("%.17g", outcome.tokens)},
          {"flops", absl::StrFormat("%.17g", outcome.flops)},
          {"seconds", absl::StrFormat("%.17g", outcome.seconds)},
          {"peak_bytes", absl::StrFormat("%.17g", outcome.peak_bytes)},
          {"final_loss", absl::StrFormat("%.17g", outcome.final_loss)},
          {"reached_score", outcome.reached_score ? "1" : "0"},
          {"checks", checks},
          {"course", CourseToText(outcome.course)}};
}

absl::StatusOr<TrainingOutcome> FromMetadata(const std::map<std::string, std::string>& metadata) {
  TrainingOutcome outcome;
  const auto number = [&](const char* key, double* value) {
    const auto it = metadata.find(key);
    return it != metadata.end() && absl::SimpleAtod(it->second, value);
  };
  double reached = 0;
  if (!number("tokens", &outcome.tokens) || !number("flops", &outcome.flops) ||
      !number("seconds", &outcome.seconds) || !number("peak_bytes", &outcome.peak_bytes) ||
      !number("final_loss", &outcome.final_loss) || !number("reached_score", &reached) ||
      metadata.count("checks") == 0) {
    return absl::DataLossError("a checkpoint lacks the record of its training");
  }
  outcome.reached_score = reached != 0;
  for (const absl::string_view item :
       absl::StrSplit(metadata.at("checks"), ' ', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(item, ':');
    int64_t step = 0;
    double score = 0;
    if (!absl::SimpleAtoi(parts.first, &step) || !absl::SimpleAtod(parts.second, &score)) {
      return absl::DataLossError(absl::StrCat("a checkpoint has a broken score: ", item));
    }
    outcome.checks.emplace_back(step, score);
  }
  if (const auto course = metadata.find("course"); course != metadata.end()) {
    LR_ASSIGN_OR_RETURN(outcome.course, CourseFromText(course->second));
  }
  return outcome;
}

bool Finished(const StudyTraining& config, const TrainingOutcome& outcome) {
  return outcome.steps >= config.steps() ||
         (outcome.reached_score && outcome.steps >= config.minimum_steps());
}

Rng StepRng(const Rng& rng, int64_t step) { return rng.Child("step").Child(step); }

// Where the state is carried: does a pass over the text begin with this step?
bool BeginsPass(const StudyContext& context, const StudyTraining& config, int64_t step) {
  const auto tokens = static_cast<int64_t>(context.train.size());
  return step % std::max<int64_t>(1, TrackSteps(tokens, config.batch(), config.length())) == 0;
}

// Whose example number `i` of a step is, by the shares of the tasks that take part at its length.
const Task& TaskOfExample(const StudyContext& context, const ExampleRequest& request, int64_t i) {
  const auto share = [&](const FurtherTask& further) {
    return request.length < further.config.shortest() ? 0 : further.config.share();
  };
  double all = 1;
  for (const FurtherTask& further : context.further) all += share(further);
  double at = request.rng.Child("which").Uniform(i) * all;
  for (const FurtherTask& further : context.further) {
    at -= share(further);
    if (at < 0) return *further.task;
  }
  return *context.task;
}

}  // namespace

int64_t TrainingLength(const StudyTraining& config, const Rng& rng, int64_t step) {
  const Rng at = StepRng(rng, step);
  if (config.short_length_size() == 0 || at.Uniform(0) >= config.short_share())
    return config.length();
  return config.short_length(static_cast<int>(at.UniformInt(1, config.short_length_size())));
}

int64_t TrainingSequences(const StudyTraining& config, int64_t length) {
  return std::max<int64_t>(1, config.batch() * config.length() / length);
}

absl::StatusOr<Batch> TrainingBatch(const StudyContext& context, const StudyTraining& config,
                                    const Rng& rng, int64_t step) {
  const TraceSpan span("batch", TraceSpan::kPhase);
  const int64_t length = TrainingLength(config, rng, step);
  const int64_t sequences = TrainingSequences(config, length);
  if (config.carry_state()) {
    LR_ASSIGN_OR_RETURN(Batch text,
                        TrackBatch(context.train, sequences, length, rng.Child("text"), step));
    text.weight_bt = Tensor::Full(text.ids_bt.shape(), 1);
    return text;
  }
  const int64_t examples = context.task == nullptr
                               ? 0
                               : std::llround(static_cast<double>(sequences) * config.task_share());
  std::vector<Batch> parts;
  if (examples < sequences) {
    LR_ASSIGN_OR_RETURN(Batch text, RandomBatch(context.train, sequences - examples, length,
                                                rng.Child("text"), step));
    text.weight_bt = Tensor::Full(text.ids_bt.shape(), 1);
    parts.push_back(std::move(text));
  }
  if (examples > 0) {
    ExampleRequest request;
    request.split = Split::kTrain;
    request.length = length;
    request.rng = StepRng(rng, step).Child("task");
    std::vector<Example> made;
    for (int64_t i = 0; i < examples; ++i) {
      const Task& task = TaskOfExample(context, request, i);
      LR_ASSIGN_OR_RETURN(Example example, task.Make(request, i));
      made.push_back(std::move(example));
    }
    parts.push_back(Collate(made));
  }
  if (parts.size() == 1) return parts[0];
  Batch both{Concat({parts[0].ids_bt, parts[1].ids_bt}, 0),
             Concat({parts[0].target_bt, parts[1].target_bt}, 0),
             Concat({parts[0].weight_bt, parts[1].weight_bt}, 0)};
  if (parts[1].end_b.defined()) {
    const Tensor whole =
        Tensor::Full({parts[0].ids_bt.dim(0)}, static_cast<double>(length), DType::kInt64);
    both.end_b = Concat({whole, parts[1].end_b}, 0);
  }
  if (parts[1].role_bt.defined()) {
    const Tensor none = Tensor::Zeros(parts[0].ids_bt.shape(), DType::kInt32);
    both.role_bt = Concat({none, parts[1].role_bt}, 0);
  }
  return both;
}

absl::StatusOr<double> HeldOutScore(const StudyContext& context, const Model& model, int64_t length,
                                    int64_t count) {
  const TraceSpan span("held-out score", TraceSpan::kPhase);
  ExampleRequest request;
  request.split = Split::kValidation;
  request.length = length;
  request.rng = Rng(0).Child("held out");
  std::vector<Example> examples;
  for (int64_t i = 0; i < count; ++i) {
    LR_ASSIGN_OR_RETURN(Example example, context.task->Make(request, i));
    examples.push_back(std::move(example));
  }
  LR_ASSIGN_OR_RETURN(const std::vector<Reply> replies,
                      Answer(model, examples, std::max<int64_t>(1, kCheckRows / length)));
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += context.task->Score(examples[i], replies[i]);
  return sum / static_cast<double>(count);
}

absl::StatusOr<std::unique_ptr<train::Trainer>> StudyTrainer(const Model& model,
                                                             const StudyTraining& config,
                                                             const Rng& rng) {
  LR_ASSIGN_OR_RETURN(
      std::unique_ptr<train::Trainer> trainer,
      train::Trainer::Create(&model, config.optimizer(), rng,
                             {config.trainable().begin(), config.trainable().end()}));
  if (!config.carry_state()) return trainer;
  const MixerTraits& traits = model.backbone().traits();
  if (!traits.streams || model.pools() || traits.state != Growth::kConstant) {
    return Refuse(
        "carry_state", "true",
        absl::StrCat("false for a model ", model.pools()    ? "that reads a sequence at once"
                                           : traits.streams ? "whose state grows with every row"
                                                            : "that does not stream"));
  }
  if (traits.segment > 0 && config.length() % traits.segment != 0) {
    return Refuse("length", config.length(),
                  absl::StrCat("a multiple of the model's segment, ", traits.segment,
                               ", where the state is carried"));
  }
  trainer->Carry(model.NewState(config.batch()));
  return trainer;
}

absl::StatusOr<TrainingOutcome> Train(const StudyContext& context, const Model& model,
                                      const TrainingRun& run) {
  const TraceSpan whole(run.title, TraceSpan::kPhase);
  const StudyTraining& config = run.config;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<train::Trainer> trainer,
                      StudyTrainer(model, config, run.rng));
  const train::CheckpointFolder folder(run.folder);
  std::vector<std::string> warnings;
  LR_ASSIGN_OR_RETURN(std::optional<train::Checkpoint> found, folder.LoadLatest(&warnings));
  for (const std::string& warning : warnings) absl::FPrintF(stderr, "warning: %s\n", warning);
  TrainingOutcome outcome;
  if (found.has_value()) {
    LR_ASSIGN_OR_RETURN(outcome, FromMetadata(found->metadata));
    outcome.steps = found->step;
    LR_RETURN_IF_ERROR(trainer->Restore(found->step, found->tensors));
    if (!warnings.empty()) LR_RETURN_IF_ERROR(folder.Save(*found));  // the folder is whole again
  }
  int64_t saved = found.has_value() ? found->step : -1;
  found.reset();  // its tensors are copied
  if (Finished(config, outcome)) return outcome;
  if (saved >= 0 && !run.quiet) {
    absl::FPrintF(stderr, "%s: goes on from step %d of %d\n", run.title, outcome.steps,
                  config.steps());
  }
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<MetricsLog> metrics,
                      MetricsLog::Open(run.folder, outcome.steps));

  Progress progress({run.title, config.steps(), outcome.steps},
                    run.quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  ResetPeak(Device::kCpu);
  const double seconds_before = outcome.seconds;
  const auto start = std::chrono::steady_clock::now();
  const auto seconds_so_far = [&] {
    return seconds_before +
           std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  // A step is written once: the manifest has its checksum.
  const auto save = [&]() -> absl::Status {
    if (outcome.steps == saved) return absl::OkStatus();
    const TraceSpan span("save", TraceSpan::kPhase);
    outcome.seconds = seconds_so_far();
    outcome.peak_bytes =
        std::max(outcome.peak_bytes, static_cast<double>(GetMemoryStats(Device::kCpu).peak_bytes));
    LR_RETURN_IF_ERROR(metrics->Sync());
    LR_RETURN_IF_ERROR(folder.Save({outcome.steps, trainer->Tensors(), ToMetadata(outcome)}));
    LR_RETURN_IF_ERROR(metrics->Saved(outcome.steps));
    saved = outcome.steps;
    return absl::OkStatus();
  };
  ProbeArgs probed;
  const StudyCourse& course = config.course();
  if (!course.probe().empty()) {
    LR_ASSIGN_OR_RETURN(
        probed, ProbeSequences(context, course.length() > 0 ? course.length() : config.length(),
                               course.sequences()));
  }
  const auto measure = [&]() -> absl::Status {
    LR_ASSIGN_OR_RETURN(const std::vector<Row> figures,
                        EvaluateProbes(model, course.probe(), probed));
    AddToCourse(outcome.steps, figures, &outcome.course);
    return absl::OkStatus();
  };
  if (outcome.steps == 0 && !course.probe().empty()) LR_RETURN_IF_ERROR(measure());
  std::string score_text;
  while (!Finished(config, outcome)) {
    if (Interrupted()) {
      LR_RETURN_IF_ERROR(save());
      return absl::CancelledError(absl::StrCat(run.title, ": stopped after step ", outcome.steps,
                                               "; the same command goes on from here"));
    }
    const TraceSpan step_span("step", TraceSpan::kPhase);
    const double begin = seconds_so_far();
    if (config.carry_state() && BeginsPass(context, config, outcome.steps))
      trainer->Carry(model.NewState(config.batch()));
    LR_ASSIGN_OR_RETURN(const Batch batch, TrainingBatch(context, config, run.rng, outcome.steps));
    const CostScope cost;
    const absl::StatusOr<train::StepReport> stepped = trainer->Step({batch});
    if (!stepped.ok()) return Annotate(stepped.status(), run.title);
    const train::StepReport& report = *stepped;
    outcome.flops += cost.cost().flops;
    const int64_t tokens = batch.ids_bt.numel() * (batch.second_bt.defined() ? 2 : 1);
    outcome.tokens += static_cast<double>(tokens);
    outcome.final_loss = report.loss;
    ++outcome.steps;
    StepMetrics step;
    step.step = outcome.steps;
    step.loss = report.loss;
    step.gradient_norm = report.gradient_norm;
    step.learning_rate = report.learning_rate;
    step.tokens = outcome.tokens;
    step.seconds = seconds_so_far();
    step.tokens_per_second = static_cast<double>(tokens) / (step.seconds - begin);
    LR_RETURN_IF_ERROR(metrics->Step(step));
    if (config.stop_at_score() > 0 && context.task != nullptr &&
        (outcome.steps % config.check_every() == 0 || outcome.steps == config.steps())) {
      LR_ASSIGN_OR_RETURN(const double score,
                          HeldOutScore(context, model, config.length(), config.check_examples()));
      outcome.checks.emplace_back(outcome.steps, score);
      outcome.reached_score = score >= config.stop_at_score();
      LR_RETURN_IF_ERROR(metrics->Check(outcome.steps, score));
      score_text = absl::StrFormat(", held-out score %.2f", score);
    }
    if (!course.probe().empty() &&
        (outcome.steps % course.every() == 0 || Finished(config, outcome)))
      LR_RETURN_IF_ERROR(measure());
    if (Finished(config, outcome) || outcome.steps % config.checkpoint_every() == 0)
      LR_RETURN_IF_ERROR(save());
    progress.Advance(1, tokens, absl::StrFormat("loss %.3f%s", report.loss, score_text));
  }
  progress.Finish();
  return outcome;
}

}  // namespace longrange
