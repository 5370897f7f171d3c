// Long Range Arena (Tay et al. 2021): any mixers on any of its tasks under one protocol, and the
// speed and memory of training by length.

#include <gflags/gflags.h>

#include <cmath>
#include <cstdio>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/command_line.h"
#include "common/base/hash.h"
#include "common/base/interrupt.h"
#include "common/base/paths.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/thread_pool.h"
#include "common/io/atomic_file.h"
#include "common/io/rows.h"
#include "common/report/measurement.h"
#include "experiments/long_range_arena/arena.h"
#include "experiments/long_range_arena/page.h"
#include "experiments/long_range_arena/speed.h"
#include "plugins/study/context.h"
#include "plugins/study/results.h"
#include "plugins/study/runner.h"

DEFINE_string(
    preset, "quick",
    "Sizes: 'quick' (minutes on two cores), 'smoke' (seconds), 'small' (hours) or 'paper' "
    "(the paper's, for a machine that has the time)");
DEFINE_string(tasks, "", "Run only these, e.g. listops,text; none: all of the preset");
DEFINE_string(mixers, "", "Run only these, e.g. transformer,s5; none: all");
DEFINE_string(
    data, "",
    "Folders of real files, e.g. text=aclImdb,image=cifar-10-batches-bin; tasks that read "
    "files and are not named here have stand-ins, which the report says");
DEFINE_bool(stand_ins, false, "Stand-ins also in the preset 'paper'");
DEFINE_bool(speed, true, "Measure speed and memory");

namespace longrange {
namespace {

constexpr char kFolder[] = "experiments/long_range_arena";

ArenaOptions OptionsOf(const CommandLine& line, std::map<std::string, std::string> data) {
  ArenaOptions options;
  options.preset = FLAGS_preset;
  options.tasks = absl::StrSplit(FLAGS_tasks, ',', absl::SkipEmpty());
  options.mixers = absl::StrSplit(FLAGS_mixers, ',', absl::SkipEmpty());
  options.data = std::move(data);
  options.stand_ins = FLAGS_stand_ins;
  options.set = line.set;
  return options;
}

// The task whose models and bytes speed is measured with, whether it is among those chosen or not.
absl::StatusOr<NamedTask> TextTask(const std::string& folder, ArenaOptions options) {
  options.tasks = {"text"};
  options.mixers.clear();
  LR_ASSIGN_OR_RETURN(const Arena arena, ReadArena(folder, options));
  return arena.tasks[0];
}

// What a study's rows say of its task.
absl::StatusOr<ArenaTaskResult> ReadTask(const NamedTask& task, const ArenaStudy& made,
                                         const std::string& out, const ArenaOptions& options) {
  const std::string folder = absl::StrCat(out, "/", task.name);
  LR_ASSIGN_OR_RETURN(const std::vector<Row> rows, ReadRows(absl::StrCat(folder, "/rows.jsonl")));
  LR_ASSIGN_OR_RETURN(const std::vector<Row> runs, ReadRows(absl::StrCat(folder, "/runs.jsonl")));
  LR_ASSIGN_OR_RETURN(const StudyResults study, ReadStudy(rows, runs));
  const StudySettings& settings = made.study.protocol.settings();
  ArenaTaskResult result;
  result.name = task.name;
  result.title = task.config.title();
  result.note = task.config.note();
  result.question = study.question;
  result.data = study.task_data;
  result.stand_in = !task.config.stand_in().empty() && options.data.count(task.name) == 0;
  result.in_average = task.config.in_average();
  result.chance = study.chance;
  result.rows = study.trained_length;
  result.examples = settings.evaluation().task_examples();
  result.steps = settings.tuning().steps();
  result.batch = settings.tuning().batch();
  result.seeds = made.study.protocol.tuning_seed_size();
  result.folder = task.name;
  for (const StudyArmResults& arm : study.arms) {
    ArenaScore score;
    score.score = TaskScore(arm, study.task, study.trained_length);
    const double margin = Margin(score.score);
    score.above_chance = score.score.value - study.chance > (margin > 0 ? margin : 0);
    score.parameters = arm.runs.front().parameters;
    for (const StudyRun& run : arm.runs) {
      score.training_flops += run.training_flops;
      if (run.record.has_value()) score.seconds += run.record->training_seconds;
    }
    result.scores[arm.name] = score;
  }
  for (const Unserved& unserved : made.unserved) result.unserved[unserved.mixer] = unserved.why;
  return result;
}

ArenaMixerResult Described(const NamedMixer& mixer) {
  ArenaMixerResult result;
  result.name = mixer.name;
  result.label = mixer.config.arm().has_label() ? mixer.config.arm().label() : mixer.name;
  result.note = mixer.config.arm().note();
  for (const ArenaMixer::Published& published : mixer.config.published())
    result.published[published.task()] =
        published.has_accuracy() ? published.accuracy() : std::nan("");
  result.published_average = mixer.config.published_average();
  result.published_in = mixer.config.published_in();
  return result;
}

// Speed as it was measured before, if that was the same measurement; else measured now.
absl::StatusOr<std::vector<SpeedRow>> Speed(const Arena& arena, const NamedTask& text,
                                            const ArenaOptions& options, const std::string& out) {
  const std::string path = absl::StrCat(out, "/speed.jsonl"),
                    hash = Hash(SpeedIdentity(arena, text, options));
  if (PathExists(path)) {
    absl::StatusOr<std::vector<Row>> rows = ReadRows(path);
    if (rows.ok() && !rows->empty() && rows->front().String("hash").value_or("") == hash) {
      rows->erase(rows->begin());
      absl::StatusOr<std::vector<SpeedRow>> speed = ParseSpeedRows(*rows);
      if (speed.ok()) return speed;
    }
    if (!rows.ok()) absl::FPrintF(stderr, "warning: %s; measured again\n", rows.status().message());
  }
  const int64_t steps =
      static_cast<int64_t>(arena.mixers.size()) * arena.speed.length_size() * arena.speed.rounds();
  Progress progress({"speed", steps},
                    FLAGS_quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  LR_ASSIGN_OR_RETURN(const std::vector<SpeedRow> speed,
                      MeasureSpeed(arena, text, options, [&](const std::string& what) {
                        progress.Advance(1, 0, what);
                        return !Interrupted();
                      }));
  progress.Finish();
  std::vector<Row> rows = SpeedRows(speed);
  rows.insert(rows.begin(), Row().Set("hash", hash));
  LR_RETURN_IF_ERROR(WriteRows(path, rows));
  return speed;
}

absl::Status Forecast(const Arena& arena, const std::vector<ArenaStudy>& studies) {
  for (size_t i = 0; i < studies.size(); ++i) {
    LR_ASSIGN_OR_RETURN(const std::string text, DescribeStudy(studies[i].study));
    absl::PrintF("== %s\n%s", arena.tasks[i].name, text);
  }
  return absl::OkStatus();
}

absl::Status Run(const CommandLine& line) {
  LR_ASSIGN_OR_RETURN(auto data, ParseData(FLAGS_data));
  const ArenaOptions options = OptionsOf(line, std::move(data));
  LR_ASSIGN_OR_RETURN(const std::string folder, RunfilePath(kFolder));
  LR_ASSIGN_OR_RETURN(const Arena arena, ReadArena(folder, options));
  LR_ASSIGN_OR_RETURN(const NamedTask text, TextTask(folder, options));
  // All are made, and their files opened, before the first is run: a mistake is told at once.
  std::vector<ArenaStudy> studies;
  for (const NamedTask& task : arena.tasks) {
    LR_ASSIGN_OR_RETURN(ArenaStudy made, MakeArenaStudy(arena, task, options));
    for (const Unserved& unserved : made.unserved) {
      if (!FLAGS_quiet)
        absl::FPrintF(stderr, "%s does not serve %s: %s\n", unserved.mixer, task.name,
                      unserved.why);
    }
    LR_RETURN_IF_ERROR(Annotate(StudyContext::Open(made.study.protocol.settings()).status(),
                                absl::StrCat("task ", task.name)));
    studies.push_back(std::move(made));
  }
  if (FLAGS_dry_run) return Forecast(arena, studies);
  const std::string out =
      OutFolder(arena.preset == "quick" ? "long_range_arena"
                                        : absl::StrCat("long_range_arena-", arena.preset));
  LR_RETURN_IF_ERROR(MakeOutFolder(out));
  CatchInterrupts();
  ArenaResults results;
  results.preset = arena.preset;
  results.threads = NumThreads();
  results.left = arena.left;
  for (const NamedMixer& mixer : arena.mixers) results.mixers.push_back(Described(mixer));
  for (size_t i = 0; i < studies.size(); ++i) {
    const NamedTask& task = arena.tasks[i];
    StudyOptions study_options;
    study_options.out = absl::StrCat(out, "/", task.name);
    study_options.quiet = FLAGS_quiet;
    LR_RETURN_IF_ERROR(
        Annotate(RunStudy(studies[i].study, study_options), absl::StrCat("task ", task.name)));
    LR_ASSIGN_OR_RETURN(ArenaTaskResult result, ReadTask(task, studies[i], out, options));
    results.tasks.push_back(std::move(result));
  }
  if (FLAGS_speed) {
    LR_ASSIGN_OR_RETURN(results.speed, Speed(arena, text, options, out));
    results.speed_batch = arena.speed.batch();
  }
  return report::WriteMeasurement(
      out, {ArenaRows(results), ArenaTimes(results), ArenaPage(results), ArenaText(results)});
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Trains any mixers on any tasks of Long Range Arena under one protocol, and measures the "
       "speed and memory of training by length; one report.\n"
       "The same command again goes on where it was stopped. README.md beside it says what the "
       "presets and the stand-ins are.",
       {{"Arena", {"preset", "tasks", "mixers", "data", "stand_ins", "speed", "set"}},
        {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}},
       {{"preset", {"quick", "smoke", "small", "paper"}}}},
      longrange::Run);
}
