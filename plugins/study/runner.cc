#include "plugins/study/runner.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/hash.h"
#include "common/base/interrupt.h"
#include "common/base/process_memory.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/data/batches.h"
#include "common/io/atomic_file.h"
#include "common/io/model_folder.h"
#include "common/io/rows.h"
#include "common/tensor/cost.h"
#include "common/train/checkpoint.h"
#include "plugins/study/control.h"
#include "plugins/study/evaluation.h"
#include "plugins/study/forecast.h"
#include "plugins/study/kept_models.h"
#include "plugins/study/metrics.h"
#include "plugins/study/report.h"
#include "plugins/study/run_files.h"
#include "plugins/study/summary.h"
#include "plugins/study/training.h"

namespace longrange {
namespace {

// One process at a time in an output folder; the system gives the lock back however the process
// ends.
class FolderLock {
 public:
  static absl::StatusOr<FolderLock> Take(const std::string& folder) {
    const std::string path = absl::StrCat(folder, "/.lock");
    const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0644);
    if (fd < 0) {
      return absl::PermissionDeniedError(
          absl::StrCat("cannot write ", path, ": ", strerror(errno)));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
      close(fd);
      return absl::UnavailableError(
          absl::StrCat("another run is using ", folder, "; wait for it, or give another --out"));
    }
    return FolderLock(fd);
  }
  FolderLock(FolderLock&& other) : fd_(std::exchange(other.fd_, -1)) {}
  ~FolderLock() {
    if (fd_ >= 0) close(fd_);
  }

 private:
  explicit FolderLock(int fd) : fd_(fd) {}
  int fd_;
};

// What a killed run of before was writing. Only for the holder of the folder's lock.
absl::Status RemoveLeftoversBelow(const std::string& folder) {
  if (!IsDirectory(folder)) return absl::OkStatus();
  LR_RETURN_IF_ERROR(RemoveStaleTemporaries(folder));
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDir(folder));
  for (const std::string& name : names)
    LR_RETURN_IF_ERROR(RemoveLeftoversBelow(absl::StrCat(folder, "/", name)));
  return absl::OkStatus();
}

absl::Status RemoveLeftovers(const std::string& out) {
  LR_RETURN_IF_ERROR(RemoveStaleTemporaries(out));
  LR_RETURN_IF_ERROR(RemoveStaleModelFolders(absl::StrCat(out, "/models")));
  LR_RETURN_IF_ERROR(RemoveLeftoversBelow(absl::StrCat(out, "/base")));
  return RemoveLeftoversBelow(absl::StrCat(out, "/runs"));
}

// Raised when a change of this code changes rows.
constexpr int kRunnerVersion = 3;

void Say(const StudyOptions& options, const std::string& line) {
  if (!options.quiet) absl::FPrintF(stderr, "%s\n", line);
}

std::string ShortHash(const std::string& text) { return Hash(text).substr(0, 10); }

// Everything a base model depends on.
std::string BaseIdentity(const StudyProtocol& protocol, const StudySettings& settings,
                         const StudyContext& context, int64_t base_seed) {
  StudySettings base = settings;
  base.clear_tuning();
  base.clear_evaluation();
  for (StudyTask& further : *base.mutable_further_task()) {  // its grid is no matter of training
    further.clear_length();
    further.clear_depth();
    further.clear_examples();
  }
  return absl::StrCat("version ", protocol.version(), ".", kRunnerVersion, " seed ", base_seed,
                      " corpus ", context.corpus == nullptr ? "" : context.corpus->checksum(),
                      " task ", context.task == nullptr ? 0 : context.task->traits().version,
                      absl::StrJoin(context.further, "",
                                    [](std::string* out, const FurtherTask& further) {
                                      absl::StrAppend(out, " ", further.task->traits().version);
                                    }),
                      "\n", Resolve(base));
}

struct BaseModel {
  int64_t seed = 0;
  std::string identity;
  std::unique_ptr<Model> model;
  TrainingOutcome outcome;
  CheckpointConfig config;  // of its model folder
  std::string weights;      // their checksum
  std::string from;         // where it was trained, if not here

  std::string name() const { return absl::StrCat("base-", seed, "-", ShortHash(identity)); }
};

std::string ModelFolder(const std::string& name) { return absl::StrCat("models/", name); }

struct Run {
  const StudyProtocol* protocol = nullptr;
  const StudyArm* arm = nullptr;
  const StudySettings* settings = nullptr;
  const BaseModel* base = nullptr;
  int64_t tuning_seed = -1;          // -1: frozen
  std::shared_ptr<const Run> after;  // whose model this one goes on from; null: the base model

  std::string identity() const {
    return absl::StrCat(base->identity, "\n", Resolve(*settings), "\nseed ", tuning_seed,
                        " lengths ", protocol->trained_length(), " ", protocol->extended_length(),
                        after != nullptr ? absl::StrCat("\nafter ", Hash(after->identity())) : "");
  }
  std::string name() const {
    return absl::StrCat(arm->name(), "-", base->seed,
                        tuning_seed >= 0 ? absl::StrCat("-", tuning_seed) : "", "-",
                        ShortHash(identity()));
  }
};

// "context_extension, yarn_tuned, seeds 1 and 2".
std::string OriginText(const CheckpointConfig::Origin& origin) {
  return absl::StrCat(origin.study(), ", ", origin.arm().empty() ? "base model" : origin.arm(),
                      ", seed",
                      origin.tuning_seed() < 0
                          ? absl::StrCat(" ", origin.base_seed())
                          : absl::StrCat("s ", origin.base_seed(), " and ", origin.tuning_seed()));
}

// The study's checkpoint as its base model.
absl::StatusOr<BaseModel> OpenBase(const Study& study, const StudyContext& context) {
  const Checkpoint& checkpoint = *study.checkpoint;
  BaseModel base;
  base.seed = study.protocol.base_seed(0);
  base.identity =
      absl::StrCat("checkpoint ", checkpoint.weights_checksum(), "\n",
                   BaseIdentity(study.protocol, study.protocol.settings(), context, base.seed));
  LR_ASSIGN_OR_RETURN(base.model, StudyModel(study.protocol.settings(), base.seed, Device::kCpu));
  const nn::ParameterStore& parameters = base.model->parameters();
  LR_ASSIGN_OR_RETURN(const TensorMap weights, checkpoint.ReadWeights(parameters.Wanted()));
  LR_RETURN_IF_ERROR(Annotate(parameters.LoadBase(weights), checkpoint.folder()));
  LR_ASSIGN_OR_RETURN(base.outcome, FromProto(checkpoint.config().training()));
  base.config = checkpoint.config();
  base.config.mutable_origin()->set_hash(Hash(base.identity));
  base.from = OriginText(checkpoint.config().origin());
  return base;
}

// What the study's checkpoint must have in common with the study.
absl::Status CheckCheckpoint(const Study& study, const StudyContext& context) {
  if (study.checkpoint == nullptr) return absl::OkStatus();
  return Annotate(CheckTokenizer(study.checkpoint->config(), *context.tokenizer),
                  absl::StrCat("--checkpoint=", study.checkpoint->folder()));
}

absl::StatusOr<BaseModel> TrainBase(const Study& study, const StudyContext& context,
                                    const StudyOptions& options, int64_t seed) {
  const StudySettings& settings = study.protocol.settings();
  BaseModel base;
  base.seed = seed;
  base.identity = BaseIdentity(study.protocol, settings, context, seed);
  base.config = KeptConfig(study.protocol, context, seed, base.identity);
  LR_ASSIGN_OR_RETURN(base.model, StudyModel(settings, seed, Device::kCpu));
  if (study.protocol.from_scratch()) return base;  // with its initial values
  TrainingRun run;
  run.title =
      study.protocol.base_seed_size() > 1 ? absl::StrCat("base model, seed ", seed) : "base model";
  run.folder = absl::StrCat(options.out, "/base/", seed, "-", ShortHash(base.identity));
  run.config = settings.base();
  run.rng = BaseOrder(seed);
  run.quiet = options.quiet;
  LR_ASSIGN_OR_RETURN(base.outcome, Train(context, *base.model, run));
  if (settings.base().stop_at_score() > 0 && !base.outcome.reached_score) {
    Say(options, absl::StrFormat(
                     "needle not solved: the held-out score is %.2f after %d steps (wanted %.2f)",
                     base.outcome.checks.empty() ? 0.0 : base.outcome.checks.back().second,
                     base.outcome.steps, settings.base().stop_at_score()));
  }
  return base;
}

// Every base model of the study, trained or opened, and kept.
absl::StatusOr<std::vector<BaseModel>> BasesOf(const Study& study, const StudyContext& context,
                                               const StudyOptions& options) {
  std::vector<BaseModel> bases;
  for (const int64_t seed : study.protocol.base_seed()) {
    LR_ASSIGN_OR_RETURN(BaseModel base, study.checkpoint != nullptr
                                            ? OpenBase(study, context)
                                            : TrainBase(study, context, options, seed));
    if (!study.protocol.from_scratch()) {
      LR_ASSIGN_OR_RETURN(base.weights,
                          KeepModel(absl::StrCat(options.out, "/", ModelFolder(base.name())),
                                    base.config, base.outcome, *base.model));
    }
    bases.push_back(std::move(base));
  }
  return bases;
}

// What a tuned arm's model says of itself, but for model and training.
CheckpointConfig KeptRunConfig(const Run& run, const StudyContext& context) {
  CheckpointConfig config = KeptConfig(*run.protocol, context, run.base->seed, run.identity());
  config.set_trained_length(
      std::max(run.base->config.trained_length(), run.settings->tuning().length()));
  config.mutable_origin()->set_arm(run.arm->name());
  config.mutable_origin()->set_tuning_seed(run.tuning_seed);
  config.mutable_origin()->set_from_weights(run.base->weights);
  return config;
}

// Bytes of streaming state of one sequence after `tokens` tokens, or after as many as the model is
// measured on. 0: it does not stream.
int64_t StateBytes(const Model& meta_model, const StudyEvaluation& config, int64_t tokens) {
  if (!meta_model.backbone().traits().streams || meta_model.pools()) return 0;
  if (!MeasuredAt(meta_model, config, tokens)) tokens = config.longest_growing();
  const int64_t piece = config.stream_rows() > 0 ? config.stream_rows() : tokens,
                features = meta_model.config().features();
  nn::State state = meta_model.NewState(1);
  nn::Call call;
  call.horizon = tokens;
  for (int64_t begin = 0; begin < tokens; begin += piece) {
    const int64_t rows = std::min(piece, tokens - begin);
    const Tensor input = features > 0
                             ? Tensor::Empty({1, rows, features}, DType::kFloat32, Device::kMeta)
                             : Tensor::Empty({1, rows}, DType::kInt32, Device::kMeta);
    meta_model.Extend(input, nn::Rows(), call, &state);
  }
  return state.bytes();
}

// What the head row says of an arm beside its figures. Not in the run's identity: a better label
// needs no training.
void Describe(const Run& run, Row* head) {
  std::vector<std::string> differences;
  for (const Difference& d : Differences(run.protocol->settings(), *run.settings)) {
    differences.push_back(absl::StrCat(d.path, ": ", d.before, " -> ", d.after));
  }
  head->Set("label", run.arm->label());
  head->Set("method", run.arm->method());
  head->Set("note", run.arm->note());
  head->Set("differs", absl::StrJoin(differences, "; "));
}

std::string FolderOf(const StudyOptions& options, const Run& run) {
  return absl::StrCat(options.out, "/runs/", run.name());
}

// The model that a run ends with: the base model's values in the arm's model (its own initial ones
// where there is no base model), tuned where the arm tunes; or the model of the run that it goes on
// from. A model that is kept is opened. `kept` says what was trained last, and which weights these
// are.
absl::StatusOr<std::unique_ptr<Model>> TrainedModel(const StudyContext& context,
                                                    const StudyOptions& options, const Run& run,
                                                    KeptTraining* kept) {
  const std::string where = absl::StrCat("arm '", run.arm->name(), "'");
  const bool from_scratch = run.protocol->from_scratch();
  LR_ASSIGN_OR_RETURN(
      std::unique_ptr<Model> model,
      StudyModel(*run.settings, from_scratch ? run.tuning_seed : run.base->seed, Device::kCpu));
  if (run.after != nullptr) {
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> tuned,
                        TrainedModel(context, options, *run.after, kept));
    LR_RETURN_IF_ERROR(Annotate(model->parameters().LoadBase(tuned->parameters().Values()), where));
    return model;
  }
  if (!from_scratch) {
    LR_RETURN_IF_ERROR(
        Annotate(model->parameters().LoadBase(run.base->model->parameters().Values()), where));
  }
  kept->weights_checksum = run.base->weights;
  if (run.tuning_seed < 0) return model;
  TrainingRun training;
  training.title = absl::StrCat(run.arm->name(), ", seed ", run.tuning_seed);
  training.folder = FolderOf(options, run);
  training.config = run.settings->tuning();
  training.rng = TuningOrder(run.tuning_seed);
  training.quiet = options.quiet;
  LR_ASSIGN_OR_RETURN(*kept, TrainOrOpen(context, *model, training,
                                         absl::StrCat(options.out, "/", ModelFolder(run.name())),
                                         KeptRunConfig(run, context)));
  return model;
}

// Trains (if it tunes) and measures one arm; leaves rows.jsonl and run.json in its folder.
absl::Status MeasureRun(const Study& study, const StudyContext& context,
                        const StudyOptions& options, const Run& run) {
  const StudyProtocol& protocol = study.protocol;
  const std::string folder = FolderOf(options, run);
  const auto done = ReadRunFiles(folder);
  if (done.ok() && done->has_value()) return train::CheckpointFolder(folder).Clear();
  if (!done.ok()) absl::FPrintF(stderr, "warning: %s; measured again\n", done.status().message());
  LR_RETURN_IF_ERROR(MakeDirs(folder));
  const std::string title = run.name();
  const TraceSpan span(title, TraceSpan::kPhase);
  KeptTraining kept;
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                      TrainedModel(context, options, run, &kept));
  // What was trained or opened for this run alone.
  const TrainingOutcome tuned = run.after == nullptr ? kept.outcome : TrainingOutcome();
  ResetPeak(Device::kCpu);
  const auto start = std::chrono::steady_clock::now();
  const StudyEvaluation& config = run.settings->evaluation();
  std::vector<Row> measured;
  const auto add = [&](std::vector<Row> part) {
    measured.insert(measured.end(), part.begin(), part.end());
  };
  Cost evaluation;
  {
    const CostScope cost;
    LR_ASSIGN_OR_RETURN(std::vector<Row> perplexity,
                        EvaluatePerplexity(context, *model, config, protocol.trained_length()));
    add(std::move(perplexity));
    LR_ASSIGN_OR_RETURN(std::vector<Row> stride, EvaluateStride(context, *model, config));
    add(std::move(stride));
    for (const TaskGrid& grid : TaskGrids(context, config)) {
      LR_ASSIGN_OR_RETURN(std::vector<Row> cells, EvaluateTask(*model, config, grid));
      add(std::move(cells));
    }
    evaluation = cost.cost();
  }
  LR_RETURN_IF_ERROR(WriteEvaluationEvents(folder, measured));
  LR_ASSIGN_OR_RETURN(std::vector<Row> figures,
                      EvaluateProbes(context, *model, config, protocol.trained_length()));
  add(std::move(figures));
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();

  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> meta,
                      StudyModel(*run.settings, run.base->seed, Device::kMeta));
  Row head;
  head.Set("kind", "run");
  head.Set("arm", run.arm->name());
  Describe(run, &head);
  head.Set("tuned", run.tuning_seed >= 0);
  head.Set("base_seed", run.base->seed);
  head.Set("tuning_seed", run.tuning_seed);
  head.Set("protocol", protocol.name());
  head.Set("version", protocol.version());
  head.Set("hash", Hash(run.identity()));
  const Run& trained = run.after != nullptr ? *run.after : run;
  head.Set("model", ModelFolder(trained.tuning_seed >= 0 ? trained.name() : trained.base->name()));
  head.Set("weights", kept.weights_checksum);
  head.Set("parameters", model->parameters().NumElements());
  head.Set("state_bytes", StateBytes(*meta, config, protocol.extended_length()));
  head.Set("steps", tuned.steps);
  head.Set("tokens", tuned.tokens);
  head.Set("training_flops", tuned.flops);
  head.Set("evaluation_flops", evaluation.flops);
  head.Set("final_loss", tuned.final_loss);
  head.Set("config", Resolve(*run.settings));
  std::vector<Row> rows = {head}, checks;
  for (const auto& [step, score] : tuned.checks)
    checks.push_back(Row().Set("kind", "check").Set("step", step).Set("score", score));
  checks.insert(checks.end(), tuned.course.begin(), tuned.course.end());
  measured.insert(measured.begin(), checks.begin(), checks.end());
  for (const Row& one : measured) {
    Row row;
    row.Set("arm", run.arm->name());
    row.Set("base_seed", run.base->seed);
    row.Set("tuning_seed", run.tuning_seed);
    for (const auto& [key, value] : one.fields()) row.Set(key, value);
    rows.push_back(std::move(row));
  }

  Row record;
  record.Set("run", run.name());
  record.Set("arm", run.arm->name());
  record.Set("device", "cpu");
  record.Set("threads", NumThreads());
  record.Set("training_seconds", tuned.seconds);
  record.Set("evaluation_seconds", seconds);
  record.Set("peak_bytes", std::max(static_cast<int64_t>(tuned.peak_bytes),
                                    GetMemoryStats(Device::kCpu).peak_bytes));
  record.Set("process_peak_bytes", ProcessPeakBytes());
  LR_RETURN_IF_ERROR(WriteRunFiles(folder, {std::move(rows), std::move(record)}));
  return train::CheckpointFolder(folder).Clear();
}

std::vector<Run> RunsOf(const Study& study, const std::vector<BaseModel>& bases) {
  std::vector<Run> runs;
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const int after = study.After(i);
    for (const BaseModel& base : bases) {
      Run run;
      run.protocol = &study.protocol;
      run.arm = &study.arms[i];
      run.settings = &study.settings[i];
      run.base = &base;
      if (run.settings->tuning().steps() == 0) {
        runs.push_back(run);
        continue;
      }
      for (const int64_t seed : study.protocol.tuning_seed()) {
        run.tuning_seed = seed;
        if (after >= 0) {
          Run before = run;
          before.arm = &study.arms[after];
          before.settings = &study.settings[after];
          before.after = nullptr;
          run.after = std::make_shared<const Run>(std::move(before));
        }
        runs.push_back(run);
      }
    }
  }
  return runs;
}

// Is the text long enough for all that will be taken from it? Asked before hours of training, not
// after.
absl::Status CheckText(const Study& study, const StudyContext& context) {
  const StudySettings& settings = study.protocol.settings();
  const StudyEvaluation& evaluation = settings.evaluation();
  const auto in_corpus = [&](const absl::Status& status) {
    if (context.corpus == nullptr) return status;
    return Annotate(status, absl::StrCat("corpus '", context.corpus->name(), "'"));
  };
  if (evaluation.length_size() > 0) {
    const int64_t longest =
        *std::max_element(evaluation.length().begin(), evaluation.length().end());
    LR_RETURN_IF_ERROR(
        in_corpus(EvaluationEnds(context.test, longest, evaluation.windows()).status()));
  }
  for (const TaskGrid& grid : TaskGrids(context, evaluation)) {
    for (const int64_t length : grid.lengths) {
      LR_RETURN_IF_ERROR(
          in_corpus(Annotate(grid.task->Make(grid.Request(length, grid.depths[0]), 0).status(),
                             absl::StrCat("task ", grid.name, " at ", length, " tokens"))));
    }
  }
  // Any example of a training may be of any task.
  const auto check_tasks = [&](int64_t length, Split split) -> absl::Status {
    ExampleRequest request;
    request.length = length;
    request.split = split;
    if (context.task != nullptr)
      LR_RETURN_IF_ERROR(in_corpus(context.task->Make(request, 0).status()));
    for (const FurtherTask& further : context.further) {
      if (further.config.share() > 0 && split == Split::kTrain &&
          length >= further.config.shortest())
        LR_RETURN_IF_ERROR(in_corpus(
            Annotate(further.task->Make(request, 0).status(),
                     absl::StrCat("task ", further.config.name(), " at ", length, " tokens"))));
    }
    return absl::OkStatus();
  };
  for (const StudyTraining* training : {&settings.base(), &settings.tuning()}) {
    if (training->steps() == 0) continue;
    LR_RETURN_IF_ERROR(in_corpus(TrainingBatch(context, *training, Rng(), 0).status()));
    if (training->task_share() > 0)
      LR_RETURN_IF_ERROR(check_tasks(training->length(), Split::kTrain));
    for (const int64_t length : training->short_length()) {
      if (training->task_share() > 0) LR_RETURN_IF_ERROR(check_tasks(length, Split::kTrain));
      StudyTraining shorter = *training;
      shorter.set_length(length);
      shorter.clear_short_length();
      LR_RETURN_IF_ERROR(in_corpus(TrainingBatch(context, shorter, Rng(), 0).status()));
    }
    if (context.task != nullptr && training->stop_at_score() > 0)
      LR_RETURN_IF_ERROR(check_tasks(training->length(), Split::kValidation));
  }
  return absl::OkStatus();
}

// Can every model be trained on what the tasks make: padding, one answer a sequence?
absl::Status CheckExamples(const Study& study, const StudyContext& context) {
  const auto check = [&](const StudySettings& settings,
                         const StudyTraining& training) -> absl::Status {
    if (training.steps() == 0) return absl::OkStatus();
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, StudyModel(settings, 0, Device::kMeta));
    LR_ASSIGN_OR_RETURN(const Batch batch, TrainingBatch(context, training, Rng(), 0));
    const int64_t sequences = batch.target_bt.dim(0), length = batch.target_bt.dim(1);
    nn::Call call;
    call.training = true;
    LR_RETURN_IF_ERROR(model->Supports(InputOf(batch).dim(0), length, RowsOf(batch), call));
    if (!model->pools()) return absl::OkStatus();
    for (int64_t b = 0; b < sequences; ++b) {
      const int32_t* target = batch.target_bt.data<int32_t>() + b * length;
      const int64_t answers =
          std::count_if(target, target + length, [](int32_t t) { return t >= 0; });
      if (answers == 1) continue;
      return absl::InvalidArgumentError(absl::StrCat(
          "model.pooling: ", ModelConfig::Pooling_Name(settings.model().pooling()),
          " (expected EACH_ROW, as a sequence of this study has ", answers, " answers)"));
    }
    return absl::OkStatus();
  };
  const StudySettings& base = study.protocol.settings();
  LR_RETURN_IF_ERROR(Annotate(check(base, base.base()), "base model"));
  for (size_t i = 0; i < study.arms.size(); ++i) {
    LR_RETURN_IF_ERROR(Annotate(check(study.settings[i], study.settings[i].tuning()),
                                absl::StrCat("arm '", study.arms[i].name(), "'")));
  }
  return absl::OkStatus();
}

// Can every arm be probed, and on sequences that there are? Asked of models as they begin, with one
// sequence.
absl::Status CheckProbes(const Study& study, const StudyContext& context) {
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudySettings& settings = study.settings[i];
    const StudyEvaluation& evaluation = settings.evaluation();
    const StudyCourse& course = settings.tuning().course();
    const bool along = settings.tuning().steps() > 0 && !course.probe().empty();
    if (!along && evaluation.probe().empty()) continue;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, StudyModel(settings, 0, Device::kCpu));
    const auto check = [&](const ProbeConfigs& probes, int64_t length) -> absl::Status {
      LR_ASSIGN_OR_RETURN(const ProbeArgs args, ProbeSequences(context, length, 1));
      return EvaluateProbes(*model, probes, args).status();
    };
    absl::Status status;
    if (!evaluation.probe().empty()) {
      status = Annotate(check(evaluation.probe(), evaluation.probe_length() > 0
                                                      ? evaluation.probe_length()
                                                      : study.protocol.trained_length()),
                        "evaluation");
    }
    if (status.ok() && along) {
      status = Annotate(
          check(course.probe(), course.length() > 0 ? course.length() : settings.tuning().length()),
          "tuning.course");
    }
    LR_RETURN_IF_ERROR(Annotate(status, absl::StrCat("arm '", study.arms[i].name(), "'")));
  }
  return absl::OkStatus();
}

absl::Status HasMemory(const StudyForecast& forecast) {
  return RequireMemory(static_cast<double>(forecast.peak_bytes()), "this study",
                       "--dry_run says what for, a smaller batch or width needs less");
}

// Asked before hours of training, and before anything of the study's size is made.
absl::Status CheckMemory(const Study& study, const StudyContext& context) {
  LR_ASSIGN_OR_RETURN(const StudyForecast forecast, ForecastStudy(study, context));
  return HasMemory(forecast);
}

// A comparison of what is read from courses.
Row RowOfCourse(const std::string& finding, const StudyFinding::Comparison& comparison) {
  Row row;
  row.Set("kind", "course_comparison");
  row.Set("finding", finding);
  row.Set("arm", comparison.arm());
  const auto reading = [&](const std::string& prefix, const StudyFinding::Course& course) {
    row.Set(prefix + "figure", course.figure());
    row.Set(prefix + "reading",
            absl::AsciiStrToLower(StudyFinding::Course::Reading_Name(course.reading())));
    row.Set(prefix + "within", course.within());
    row.Set(prefix + "level", course.level());
    row.Set(prefix + "before", course.before());
  };
  reading("", comparison.course());
  if (!comparison.less().figure().empty()) reading("less_", comparison.less());
  if (comparison.has_against()) row.Set("against", comparison.against());
  if (comparison.has_at_least()) row.Set("at_least", comparison.at_least());
  if (comparison.has_at_most()) row.Set("at_most", comparison.at_most());
  return row;
}

// A finding of the protocol: its sentence, then each of its comparisons.
std::vector<Row> RowsOfFinding(const StudyFinding& finding) {
  std::vector<Row> rows;
  rows.push_back(Row()
                     .Set("kind", "finding")
                     .Set("finding", finding.id())
                     .Set("statement", finding.statement()));
  for (const StudyFinding::Comparison& comparison : finding.comparison()) {
    if (!comparison.course().figure().empty()) {
      rows.push_back(RowOfCourse(finding.id(), comparison));
      continue;
    }
    for (const int64_t length : comparison.length()) {
      Row row;
      row.Set("kind", "comparison");
      row.Set("finding", finding.id());
      row.Set("arm", comparison.arm());
      const bool perplexity = comparison.figure() == StudyFinding::Comparison::PERPLEXITY;
      row.Set("figure", perplexity ? "perplexity" : "score");
      row.Set("length", length);
      if (comparison.has_task()) row.Set("task", comparison.task());
      if (comparison.has_against()) row.Set("against", comparison.against());
      if (comparison.has_at_least()) row.Set("at_least", comparison.at_least());
      if (comparison.has_at_most()) row.Set("at_most", comparison.at_most());
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

// The study itself and its base models, at the top of rows.jsonl.
std::vector<Row> HeadRows(const Study& study, const StudyContext& context,
                          const std::vector<BaseModel>& bases) {
  const StudyProtocol& protocol = study.protocol;
  std::vector<Row> rows;
  Row head;
  head.Set("kind", "study");
  head.Set("name", protocol.name());
  head.Set("title", protocol.title());
  head.Set("question", protocol.question());
  head.Set("version", protocol.version());
  head.Set("trained_length", protocol.trained_length());
  head.Set("extended_length", protocol.extended_length());
  head.Set("compares", absl::StrJoin(protocol.compares(), ", "));
  std::vector<std::string> further;
  for (const StudyProtocol::Further& more : protocol.compares_further())
    further.push_back(absl::StrCat(more.path(), " (", absl::StrJoin(more.arm(), ", "), ")"));
  head.Set("compares_further", absl::StrJoin(further, "; "));
  head.Set("findings", protocol.findings());
  const Corpus* corpus = context.corpus.get();
  head.Set("corpus", corpus == nullptr ? "" : corpus->name());
  head.Set("corpus_checksum", corpus == nullptr ? "" : corpus->checksum());
  head.Set("corpus_bytes", corpus == nullptr ? 0 : static_cast<int64_t>(corpus->text().size()));
  head.Set("task", context.task_name);
  head.Set("chance", context.task == nullptr ? 0.0 : context.task->traits().chance);
  if (context.task != nullptr && !context.task->traits().data.empty())
    head.Set("task_data", context.task->traits().data);
  head.Set("left", study.left);
  if (protocol.from_scratch()) head.Set("from_scratch", true);
  head.Set("config", Resolve(protocol.settings()));
  rows.push_back(head);
  for (const FurtherTask& further : context.further) {
    Row row;
    row.Set("kind", "further_task");
    row.Set("task", further.config.name());
    row.Set("chance", further.task->traits().chance);
    rows.push_back(row);
  }
  for (const StudyFinding& finding : protocol.finding()) {
    std::vector<Row> declared = RowsOfFinding(finding);
    rows.insert(rows.end(), declared.begin(), declared.end());
  }
  for (const BaseModel& base : bases) {
    if (protocol.from_scratch()) break;
    Row row;
    row.Set("kind", "base");
    row.Set("base_seed", base.seed);
    row.Set("parameters", base.model->parameters().NumElements());
    row.Set("steps", base.outcome.steps);
    row.Set("tokens", base.outcome.tokens);
    row.Set("training_flops", base.outcome.flops);
    row.Set("model", ModelFolder(base.name()));
    row.Set("weights", base.weights);
    row.Set("from", base.from);
    row.Set("solved", base.outcome.reached_score);
    row.Set("final_loss", base.outcome.final_loss);
    rows.push_back(row);
    for (const auto& [step, score] : base.outcome.checks) {
      Row check;
      check.Set("kind", "base_check");
      check.Set("base_seed", base.seed);
      check.Set("step", step);
      check.Set("score", score);
      rows.push_back(check);
    }
  }
  return rows;
}

}  // namespace

absl::Status RunStudy(const Study& study, const StudyOptions& options) {
  CatchInterrupts();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<StudyContext> context,
                      StudyContext::Open(study.protocol.settings()));
  LR_RETURN_IF_ERROR(CheckCheckpoint(study, *context));
  LR_RETURN_IF_ERROR(CheckMemory(study, *context));
  LR_RETURN_IF_ERROR(CheckText(study, *context));
  LR_RETURN_IF_ERROR(CheckExamples(study, *context));
  if (context->task != nullptr && !context->task->traits().data.empty())
    Say(options, absl::StrCat("task ", context->task_name, ": ", context->task->traits().data));
  LR_RETURN_IF_ERROR(CheckProbes(study, *context));
  LR_RETURN_IF_ERROR(MakeOutFolder(options.out));
  LR_ASSIGN_OR_RETURN(const FolderLock lock, FolderLock::Take(options.out));
  LR_RETURN_IF_ERROR(RemoveLeftovers(options.out));
  LR_ASSIGN_OR_RETURN(const std::vector<BaseModel> bases, BasesOf(study, *context, options));
  const std::vector<Run> runs = RunsOf(study, bases);
  Progress progress({"arms", static_cast<int64_t>(runs.size()), 0, "runs"},
                    options.quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  for (const Run& run : runs) {
    if (Interrupted())
      return absl::CancelledError("stopped between two arms; the same command goes on from here");
    LR_RETURN_IF_ERROR(MeasureRun(study, *context, options, run));
    progress.Advance(1, 1, run.arm->name());
  }
  progress.Finish();

  std::vector<Row> rows = HeadRows(study, *context, bases), records;
  for (const Run& run : runs) {
    const std::string folder = absl::StrCat(options.out, "/runs/", run.name());
    LR_ASSIGN_OR_RETURN(std::optional<RunFiles> files, ReadRunFiles(folder));
    if (!files.has_value() || files->rows.empty())
      return absl::DataLossError(absl::StrCat(folder, ": changed while the study ran"));
    Describe(run, &files->rows.front());
    rows.insert(rows.end(), files->rows.begin(), files->rows.end());
    records.push_back(std::move(files->record));
  }
  for (const BaseModel& base : bases) {
    if (study.protocol.from_scratch()) break;
    Row record;
    record.Set("run", absl::StrCat("base-", base.seed));
    record.Set("arm", "");
    record.Set("device", "cpu");
    record.Set("threads", NumThreads());
    record.Set("training_seconds", base.from.empty() ? base.outcome.seconds : 0.0);
    record.Set("evaluation_seconds", 0.0);
    record.Set("peak_bytes", static_cast<int64_t>(base.outcome.peak_bytes));
    record.Set("process_peak_bytes", ProcessPeakBytes());
    records.push_back(record);
  }
  const std::string rows_path = absl::StrCat(options.out, "/rows.jsonl");
  const std::string runs_path = absl::StrCat(options.out, "/runs.jsonl");
  const std::string report_path = absl::StrCat(options.out, "/report.html");
  LR_RETURN_IF_ERROR(WriteRows(rows_path, rows));
  LR_RETURN_IF_ERROR(WriteRows(runs_path, records));
  LR_ASSIGN_OR_RETURN(const std::string html, StudyReport(rows, records));
  LR_RETURN_IF_ERROR(WriteFileAtomically(report_path, html));
  LR_ASSIGN_OR_RETURN(const std::string summary, StudySummary(rows));
  absl::PrintF("%s\n", summary);
  Say(options, absl::StrCat("rows    ", rows_path, "\nreport  ", report_path));
  return absl::OkStatus();
}

absl::StatusOr<std::string> DescribeStudy(const Study& study) {
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<StudyContext> context,
                      StudyContext::Open(study.protocol.settings()));
  LR_RETURN_IF_ERROR(CheckCheckpoint(study, *context));
  LR_ASSIGN_OR_RETURN(StudyForecast forecast, ForecastStudy(study, *context));
  if (HasMemory(forecast).ok()) {
    LR_RETURN_IF_ERROR(CheckText(study, *context));
    LR_RETURN_IF_ERROR(CheckExamples(study, *context));
    LR_RETURN_IF_ERROR(CheckProbes(study, *context));
    LR_ASSIGN_OR_RETURN(forecast, MeasureStudy(study, *context));
  }
  return FormatForecast(study, forecast);
}

}  // namespace longrange
