#include "plugins/study/forecast.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>
#include <map>
#include <memory>
#include <tuple>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/process_memory.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "common/train/trainer.h"
#include "plugins/study/evaluation.h"
#include "plugins/study/training.h"

namespace longrange {
namespace {

// What one training step, or one batch that is scored, takes.
struct Price {
  double flops = 0, bytes = 0;
  int64_t peak_bytes = 0;  // above what is held before it
};

int64_t LiveMetaBytes() { return GetMemoryStats(Device::kMeta).live_bytes; }

absl::StatusOr<Price> PriceOf(absl::FunctionRef<absl::Status()> work) {
  const int64_t before = LiveMetaBytes();
  ResetPeak(Device::kMeta);
  const CostScope cost;
  LR_RETURN_IF_ERROR(work());
  return Price{cost.cost().flops, cost.cost().bytes,
               GetMemoryStats(Device::kMeta).peak_bytes - before};
}

Batch MetaBatch(const Model& model, int64_t sequences, int64_t length) {
  const Shape shape = {sequences, length};
  Batch batch = {Tensor::Empty(shape, DType::kInt32, Device::kMeta),
                 Tensor::Empty(shape, DType::kInt32, Device::kMeta),
                 Tensor::Empty(shape, DType::kFloat32, Device::kMeta)};
  if (const int64_t features = model.config().features(); features > 0) {
    batch.features_btf =
        Tensor::Empty({sequences, length, features}, DType::kFloat32, Device::kMeta);
  }
  if (model.config().two_towers())
    batch.second_bt = Tensor::Empty(shape, DType::kInt32, Device::kMeta);
  return batch;
}

absl::StatusOr<Price> PriceOfStep(const Model& model, train::Trainer& trainer, int64_t sequences,
                                  int64_t length) {
  return PriceOf([&] { return trainer.Step({MetaBatch(model, sequences, length)}).status(); });
}

// Read in pieces where `piece` > 0 and there are more rows than that.
absl::StatusOr<Price> PriceOfScoring(const Model& model, int64_t sequences, int64_t length,
                                     int64_t piece) {
  return PriceOf([&]() -> absl::Status {
    if (piece == 0 || length <= piece) {
      const Batch batch = MetaBatch(model, sequences, length);
      model.Score(InputOf(batch), batch.target_bt, nn::Rows(), nn::Call());
      return absl::OkStatus();
    }
    nn::Call call;
    call.horizon = length;
    nn::State state = model.NewState(sequences);
    for (int64_t begin = 0; begin < length; begin += piece) {
      const Batch rows = MetaBatch(model, sequences, std::min(piece, length - begin));
      model.ExtendScores(InputOf(rows), rows.target_bt, nn::Rows(), call, &state);
    }
    return absl::OkStatus();
  });
}

// Scoring of `count` sequences, `batch` at once.
absl::StatusOr<Price> PriceOfScoringAll(const Model& model, int64_t count, int64_t batch,
                                        int64_t length, int64_t piece) {
  Price all;
  for (const auto& [times, sequences] :
       {std::pair<int64_t, int64_t>(count / batch, batch), {count % batch > 0, count % batch}}) {
    if (times == 0) continue;
    LR_ASSIGN_OR_RETURN(const Price one, PriceOfScoring(model, sequences, length, piece));
    all.flops += static_cast<double>(times) * one.flops;
    all.bytes += static_cast<double>(times) * one.bytes;
    all.peak_bytes = std::max(all.peak_bytes, one.peak_bytes);
  }
  return all;
}

int64_t ScoringBatch(int64_t rows, int64_t length) { return std::max<int64_t>(1, rows / length); }

// Seconds of the clock on the wall, and of all processors together.
struct Duration {
  double wall = 0, cpu = 0;
};

class Timer {
 public:
  Duration Elapsed() const {
    return {std::chrono::duration<double>(std::chrono::steady_clock::now() - wall_).count(),
            static_cast<double>(std::clock() - cpu_) / CLOCKS_PER_SEC};
  }

 private:
  std::chrono::steady_clock::time_point wall_ = std::chrono::steady_clock::now();
  std::clock_t cpu_ = std::clock();  // of this process
};

// Runs work of each distinct shape and remembers how long it took. Two models whose kernels declare
// the same work at the same shape are taken to be equally fast.
class Stopwatch {
 public:
  enum class Work { kStep, kPerplexity, kStride, kTask, kCheck, kProbes, kCourse };

  // How long `work` takes: the median after a run to warm up.
  absl::StatusOr<Duration> Measure(Work kind, int64_t sequences, int64_t length, double flops,
                                   absl::FunctionRef<absl::Status()> work) {
    const auto [found, is_new] = taken_.try_emplace({kind, sequences, length, flops}, Duration());
    if (!is_new) return found->second;
    constexpr double kEnough = 0.3;
    constexpr size_t kMost = 7;
    const Timer whole;
    LR_RETURN_IF_ERROR(work());
    std::vector<Duration> runs;
    double sum = 0;
    while (runs.empty() || (sum < kEnough && runs.size() < kMost)) {
      const Timer timer;
      LR_RETURN_IF_ERROR(work());
      runs.push_back(timer.Elapsed());
      sum += runs.back().wall;
    }
    const auto middle = runs.begin() + static_cast<int64_t>(runs.size() / 2);
    std::nth_element(runs.begin(), middle, runs.end(),
                     [](const Duration& a, const Duration& b) { return a.wall < b.wall; });
    total_ += whole.Elapsed().wall;
    return found->second = *middle;
  }

  int shapes() const { return static_cast<int>(taken_.size()); }
  double total() const { return total_; }

 private:
  std::map<std::tuple<Work, int64_t, int64_t, double>, Duration> taken_;
  double total_ = 0;
};

// How a training may go: its steps, and how many of them there are of each length.
struct Course {
  int64_t steps = 0, checks = 0;
  std::map<int64_t, int64_t> steps_of;
};

Course CourseOf(const StudyTraining& config, bool has_task, const Rng& rng, int64_t steps) {
  Course course;
  course.steps = steps;
  for (int64_t step = 0; step < steps; ++step) ++course.steps_of[TrainingLength(config, rng, step)];
  if (config.stop_at_score() > 0 && has_task) {
    course.checks = steps / config.check_every() +
                    (steps == config.steps() && steps % config.check_every() != 0 ? 1 : 0);
  }
  return course;
}

// The fewest steps after which a training can end.
int64_t FewestSteps(const StudyTraining& config, bool has_task) {
  if (!(config.stop_at_score() > 0) || !has_task) return config.steps();
  return std::min(config.steps(), std::max(config.minimum_steps(), config.check_every()));
}

class Forecaster {
 public:
  Forecaster(const StudyContext& context, Stopwatch* stopwatch)
      : context_(context), stopwatch_(stopwatch) {}

  // Adds a training of `meta_model` to the forecast; `model` (null: no times) has its shapes on
  // the CPU.
  absl::Status AddTraining(const Model& meta_model, const Model* model, const StudyTraining& config,
                           const Rng& order, const Course& course, RunForecast* forecast) {
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<train::Trainer> meta_trainer,
                        StudyTrainer(meta_model, config, Rng()));
    std::unique_ptr<train::Trainer> trainer;
    if (model != nullptr) {
      LR_ASSIGN_OR_RETURN(trainer, StudyTrainer(*model, config, Rng()));
    }
    const int64_t held = LiveMetaBytes();
    const auto raise_peak = [&](const Price& price) {
      forecast->peak_bytes = std::max(forecast->peak_bytes, held + price.peak_bytes);
    };
    forecast->steps += course.steps;
    for (const auto& [length, steps] : course.steps_of) {
      StudyTraining same_length = config;
      same_length.set_length(length);
      same_length.set_batch(TrainingSequences(config, length));
      same_length.clear_short_length();
      const int64_t sequences = same_length.batch();
      const double times = static_cast<double>(steps);
      // What is carried fills up with the first steps.
      for (int64_t bytes = 0; meta_trainer->carried_bytes() > bytes;) {
        bytes = meta_trainer->carried_bytes();
        LR_RETURN_IF_ERROR(meta_trainer->Step({MetaBatch(meta_model, sequences, length)}).status());
      }
      LR_ASSIGN_OR_RETURN(const Price price,
                          PriceOfStep(meta_model, *meta_trainer, sequences, length));
      raise_peak(price);
      forecast->tokens += times * static_cast<double>(sequences * length);
      forecast->training_flops += times * price.flops;
      forecast->bytes += times * price.bytes;
      if (model == nullptr) continue;
      LR_ASSIGN_OR_RETURN(
          const Duration taken,
          stopwatch_->Measure(
              Stopwatch::Work::kStep, sequences, length, price.flops, [&]() -> absl::Status {
                LR_ASSIGN_OR_RETURN(const Batch batch,
                                    TrainingBatch(context_, same_length, order, trainer->step()));
                return trainer->Step({batch}).status();
              }));
      forecast->training_seconds += times * taken.wall;
      forecast->cpu_seconds += times * taken.cpu;
    }
    if (model != nullptr && !config.course().probe().empty()) {
      const StudyCourse& probed = config.course();
      const int64_t rows = probed.length() > 0 ? probed.length() : config.length();
      LR_ASSIGN_OR_RETURN(const ProbeArgs args, ProbeSequences(context_, rows, probed.sequences()));
      LR_ASSIGN_OR_RETURN(
          const Duration taken,
          stopwatch_->Measure(Stopwatch::Work::kCourse, probed.sequences(), rows,
                              static_cast<double>(forecast->parameters), [&] {
                                return EvaluateProbes(*model, probed.probe(), args).status();
                              }));
      const double times = 1 + std::ceil(Ratio(course.steps, probed.every()));
      forecast->training_seconds += times * taken.wall;
      forecast->cpu_seconds += times * taken.cpu;
    }
    if (course.checks == 0) return absl::OkStatus();
    const int64_t length = config.length(), batch = ScoringBatch(kCheckRows, length),
                  examples = config.check_examples();
    const double times = static_cast<double>(course.checks);
    LR_ASSIGN_OR_RETURN(const Price price,
                        PriceOfScoringAll(meta_model, examples, batch, length, /*piece=*/0));
    raise_peak(price);
    forecast->bytes += times * price.bytes;
    if (model == nullptr) return absl::OkStatus();
    const int64_t sample = std::min(examples, batch);
    LR_ASSIGN_OR_RETURN(
        const Duration taken,
        stopwatch_->Measure(Stopwatch::Work::kCheck, sample, length, price.flops, [&] {
          return HeldOutScore(context_, *model, length, sample).status();
        }));
    forecast->training_seconds += times * taken.wall * Ratio(examples, sample);
    forecast->cpu_seconds += times * taken.cpu * Ratio(examples, sample);
    return absl::OkStatus();
  }

  absl::Status AddEvaluation(const Model& meta_model, const Model* model,
                             const StudyEvaluation& config, int64_t trained_length,
                             RunForecast* forecast) {
    for (const int64_t length : config.length()) {
      const int64_t batch = ScoringBatch(config.batch_rows(), length);
      StudyEvaluation sample = config;
      sample.clear_length();
      sample.add_length(length);
      sample.set_windows(std::min(config.windows(), batch));
      LR_RETURN_IF_ERROR(AddScoring(
          meta_model, model, Stopwatch::Work::kPerplexity, {length}, config.windows(), batch,
          [&] { return EvaluatePerplexity(context_, *model, sample, trained_length).status(); },
          forecast));
      if (config.stride() == 0) continue;
      sample.set_stride_windows(std::min(config.stride_windows(), batch));
      LR_RETURN_IF_ERROR(AddScoring(
          meta_model, model, Stopwatch::Work::kStride, {length}, config.stride_windows(), batch,
          [&] { return EvaluateStride(context_, *model, sample).status(); }, forecast));
    }
    for (const TaskGrid& grid : TaskGrids(context_, config)) {
      for (const int64_t length : grid.lengths) {
        if (!MeasuredAt(meta_model, config, length)) continue;
        const int64_t batch = TaskBatch(config, length), examples = grid.Examples(length);
        Rows rows = {length, config.stream_rows()};
        // Piece by piece of a constant state all takes alike: some tell of the rest.
        if (rows.piece > 0 && length > kPiecesPriced * rows.piece &&
            meta_model.backbone().traits().state == Growth::kConstant) {
          rows.length = kPiecesPriced * rows.piece;
          rows.times = Ratio(length, rows.length);
        }
        TaskGrid sample = grid;
        sample.lengths = {rows.length};
        sample.depths = {grid.depths[0]};
        sample.examples = std::min(examples, batch);
        sample.most_rows = 0;
        for (size_t i = 0; i < grid.depths.size(); ++i) {
          LR_RETURN_IF_ERROR(AddScoring(
              meta_model, model, Stopwatch::Work::kTask, rows, examples, batch,
              [&] { return EvaluateTask(*model, config, sample).status(); }, forecast));
        }
      }
    }
    if (config.probe().empty() || model == nullptr) return absl::OkStatus();
    LR_ASSIGN_OR_RETURN(
        const Duration taken,
        stopwatch_->Measure(
            Stopwatch::Work::kProbes, config.probe_windows(), config.probe_length(),
            static_cast<double>(forecast->parameters),
            [&] { return EvaluateProbes(context_, *model, config, trained_length).status(); }));
    forecast->evaluation_seconds += taken.wall;
    forecast->cpu_seconds += taken.cpu;
    return absl::OkStatus();
  }

 private:
  static double Ratio(int64_t a, int64_t b) {
    return static_cast<double>(a) / static_cast<double>(b);
  }

  static constexpr int64_t kPiecesPriced = 4;

  // What is scored: `times` as much as `length` rows, read in pieces of `piece` (0: at once).
  struct Rows {
    int64_t length = 0, piece = 0;
    double times = 1;
  };

  // `count` sequences scored `batch` at once; `work` does one such batch.
  absl::Status AddScoring(const Model& meta_model, const Model* model, Stopwatch::Work kind,
                          const Rows& rows, int64_t count, int64_t batch,
                          absl::FunctionRef<absl::Status()> work, RunForecast* forecast) {
    const int64_t held = LiveMetaBytes();
    LR_ASSIGN_OR_RETURN(const Price price,
                        PriceOfScoringAll(meta_model, count, batch, rows.length, rows.piece));
    forecast->evaluation_flops += rows.times * price.flops;
    forecast->bytes += rows.times * price.bytes;
    forecast->peak_bytes = std::max(forecast->peak_bytes, held + price.peak_bytes);
    if (model == nullptr) return absl::OkStatus();
    const int64_t sample = std::min(count, batch);
    LR_ASSIGN_OR_RETURN(const Duration taken,
                        stopwatch_->Measure(kind, sample, rows.length, price.flops, work));
    forecast->evaluation_seconds += rows.times * taken.wall * Ratio(count, sample);
    forecast->cpu_seconds += rows.times * taken.cpu * Ratio(count, sample);
    return absl::OkStatus();
  }

  const StudyContext& context_;
  Stopwatch* stopwatch_;
};

// Everything, measured where `stopwatch` is there.
absl::StatusOr<StudyForecast> Forecast(const Study& study, const StudyContext& context,
                                       Stopwatch* stopwatch) {
  const TraceSpan span("forecast", TraceSpan::kPhase);
  const StudyProtocol& protocol = study.protocol;
  const StudySettings& settings = protocol.settings();
  const bool has_task = context.task != nullptr;
  Forecaster forecaster(context, stopwatch);
  StudyForecast forecast;
  const auto cpu_model = [&](const StudySettings& of) -> absl::StatusOr<std::unique_ptr<Model>> {
    if (stopwatch == nullptr) return nullptr;
    return StudyModel(of, protocol.base_seed(0), Device::kCpu);
  };

  // Base models stay in memory while the arms run, as they will.
  std::vector<std::unique_ptr<Model>> meta_bases;
  for (const int64_t seed : protocol.base_seed()) {
    LR_ASSIGN_OR_RETURN(std::unique_ptr<Model> meta, StudyModel(settings, seed, Device::kMeta));
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, cpu_model(settings));
    RunForecast base;
    base.base_seed = seed;
    base.parameters = meta->parameters().NumElements();
    const StudyTraining& config = settings.base();
    for (const auto& [steps, list] : {std::pair(config.steps(), &forecast.bases),
                                      {FewestSteps(config, has_task), &forecast.early}}) {
      const Rng order = BaseOrder(seed);
      RunForecast one = base;
      LR_RETURN_IF_ERROR(forecaster.AddTraining(*meta, model.get(), config, order,
                                                CourseOf(config, has_task, order, steps), &one));
      list->push_back(std::move(one));
    }
    meta_bases.push_back(std::move(meta));
  }
  for (size_t i = 0; i < study.arms.size(); ++i) {
    const StudySettings& arm = study.settings[i];
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> meta, StudyModel(arm, 0, Device::kMeta));
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model, cpu_model(arm));
    for (const int64_t base_seed : protocol.base_seed()) {
      const bool tuned = arm.tuning().steps() > 0, tunes = tuned && study.After(i) < 0;
      std::vector<int64_t> seeds = {-1};
      if (tuned) seeds.assign(protocol.tuning_seed().begin(), protocol.tuning_seed().end());
      for (const int64_t seed : seeds) {
        RunForecast run;
        run.arm = study.arms[i].name();
        run.base_seed = base_seed;
        run.tuning_seed = seed;
        run.parameters = meta->parameters().NumElements();
        if (tunes) {
          const Rng order = TuningOrder(seed);
          LR_RETURN_IF_ERROR(forecaster.AddTraining(
              *meta, model.get(), arm.tuning(), order,
              CourseOf(arm.tuning(), has_task, order, arm.tuning().steps()), &run));
        }
        LR_RETURN_IF_ERROR(forecaster.AddEvaluation(*meta, model.get(), arm.evaluation(),
                                                    protocol.trained_length(), &run));
        forecast.runs.push_back(std::move(run));
      }
    }
  }
  return forecast;
}

double SecondsOf(const RunForecast& run) { return run.training_seconds + run.evaluation_seconds; }

// One line of the table: the sum of `runs`.
class Line {
 public:
  explicit Line(std::string name) : name_(std::move(name)) {}

  Line& Add(const RunForecast& run) {
    ++runs_;
    parameters_ = run.parameters;
    steps_ += run.steps;
    tokens_ += run.tokens;
    flops_ += run.training_flops + run.evaluation_flops;
    bytes_ += run.bytes;
    seconds_ += SecondsOf(run);
    cpu_seconds_ += run.cpu_seconds;
    peak_bytes_ = std::max(peak_bytes_, run.peak_bytes);
    return *this;
  }

  static std::string Head() {
    return absl::StrFormat("%-28s %4s %10s %6s %6s %6s %6s %8s %8s %8s\n", "", "runs", "parameters",
                           "steps", "tokens", "flops", "bytes", "time", "cpu time", "tensors");
  }

  std::string Text(bool measured, bool of_one_model = true) const {
    return absl::StrFormat("%-28s %4d %10s %6d %6s %6s %6s %8s %8s %8s\n", name_, runs_,
                           of_one_model ? FormatCount(static_cast<double>(parameters_)) : "",
                           steps_, FormatCount(tokens_), FormatCount(flops_), FormatCount(bytes_),
                           measured ? FormatDuration(seconds_) : "?",
                           measured ? FormatDuration(cpu_seconds_) : "?",
                           absl::StrCat(FormatCount(static_cast<double>(peak_bytes_)), "B"));
  }

 private:
  std::string name_;
  int64_t runs_ = 0, parameters_ = 0, steps_ = 0, peak_bytes_ = 0;
  double tokens_ = 0, flops_ = 0, bytes_ = 0, seconds_ = 0, cpu_seconds_ = 0;
};

}  // namespace

int64_t StudyForecast::peak_bytes() const {
  int64_t peak = 0;
  for (const std::vector<RunForecast>* list : {&bases, &runs}) {
    for (const RunForecast& run : *list) peak = std::max(peak, run.peak_bytes);
  }
  return peak;
}

absl::StatusOr<StudyForecast> ForecastStudy(const Study& study, const StudyContext& context) {
  return Forecast(study, context, nullptr);
}

absl::StatusOr<StudyForecast> MeasureStudy(const Study& study, const StudyContext& context) {
  Stopwatch stopwatch;
  LR_ASSIGN_OR_RETURN(StudyForecast forecast, Forecast(study, context, &stopwatch));
  forecast.measured = true;
  forecast.threads = NumThreads();
  forecast.shapes = stopwatch.shapes();
  forecast.measuring_seconds = stopwatch.total();
  forecast.process_peak_bytes = ProcessPeakBytes();
  return forecast;
}

std::string FormatForecast(const Study& study, const StudyForecast& forecast) {
  const StudyProtocol& protocol = study.protocol;
  const bool measured = forecast.measured;
  std::string text =
      absl::StrCat(protocol.title(), "\n", protocol.question(), "\n\n", Line::Head());
  const auto add = [&](const Line& line) { absl::StrAppend(&text, line.Text(measured)); };
  Line all("all"), least("all, base stops early");
  const bool may_stop = forecast.early[0].steps < forecast.bases[0].steps;
  for (size_t i = 0; i < forecast.bases.size() && !protocol.from_scratch(); ++i) {
    const RunForecast &most = forecast.bases[i], &early = forecast.early[i];
    const std::string name = forecast.bases.size() == 1
                                 ? "base model"
                                 : absl::StrCat("base model, seed ", most.base_seed);
    add(Line(may_stop ? absl::StrCat(name, ", at most") : name).Add(most));
    if (may_stop) add(Line(absl::StrCat(name, ", at least")).Add(early));
    all.Add(most);
    least.Add(early);
  }
  for (const StudyArm& arm : study.arms) {
    Line line(arm.name());
    for (const RunForecast& run : forecast.runs) {
      if (run.arm != arm.name()) continue;
      line.Add(run);
      all.Add(run);
      least.Add(run);
    }
    add(line);
  }
  absl::StrAppend(&text, all.Text(measured, /*of_one_model=*/false));
  if (may_stop) absl::StrAppend(&text, least.Text(measured, /*of_one_model=*/false));
  absl::StrAppend(&text,
                  "\nflops: a multiply-add counts two. bytes: read and written by kernels, at "
                  "least. tensors: the most that is held at\nonce, peak_bytes in runs.jsonl.");
  if (may_stop) {
    absl::StrAppendFormat(&text,
                          " A base model stops once it scores %g on held-out examples, after step "
                          "%d at the\nearliest.",
                          protocol.settings().base().stop_at_score(), forecast.early[0].steps);
  }
  if (measured) {
    absl::StrAppendFormat(
        &text,
        "\ntime: measured on this machine, now, with --threads=%d, by running each of %d shapes "
        "for "
        "a moment (%.1f s in all);\nother work on the machine makes it longer. The whole process "
        "took %sB of memory for that, process_peak_bytes in\nruns.jsonl.\n",
        forecast.threads, forecast.shapes, forecast.measuring_seconds,
        FormatCount(static_cast<double>(forecast.process_peak_bytes)));
  } else {
    absl::StrAppend(&text, "\ntime: not measured, as the machine has only ",
                    FormatCount(static_cast<double>(AvailableBytes())), "B of memory left.\n");
  }
  return text;
}

}  // namespace longrange
