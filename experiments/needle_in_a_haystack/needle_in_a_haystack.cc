// The pressure test (Kamradt 2023) for any trained model: context length across, depth of the
// needle down, share answered right in each cell.

#include <gflags/gflags.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/command_line.h"
#include "common/base/hash.h"
#include "common/base/interrupt.h"
#include "common/base/paths.h"
#include "common/base/process_memory.h"
#include "common/base/progress.h"
#include "common/base/status_macros.h"
#include "common/base/text_proto.h"
#include "common/data/corpus.h"
#include "common/io/atomic_file.h"
#include "common/tensor/cost.h"
#include "experiments/needle_in_a_haystack/grid.h"
#include "experiments/needle_in_a_haystack/page.h"
#include "experiments/needle_in_a_haystack/source.h"
#include "plugins/study/study.pb.h"
#include "plugins/task.h"

DEFINE_string(checkpoint, "", "Folder of a trained model (plugins/checkpoint)");
DEFINE_string(study_out, "", "Output folder of a study that has ended, instead of --checkpoint");
DEFINE_string(arm, "", "With --study_out: the arm, or 'base' for the base model");
DEFINE_string(lengths, "",
              "Context lengths in tokens: 128,256,512 or FIRST:LAST:COUNT; none: eight, from half "
              "the trained length to four times it");
DEFINE_string(depths, "0:100:11", "Depths in percent, in the same form");
DEFINE_int64(examples, 16, "Examples of a cell");
DEFINE_string(corpus, "",
              "Text to hide needles in: 'anarchism', 'bible_kjv', or a file or folder of text; "
              "none: what the model was trained on");
DEFINE_string(task, "{ [type.googleapis.com/longrange.NeedleInAHaystackConfig] {} }",
              "The task; the model must have been trained on its special tokens");

namespace longrange {
namespace {

// Raised when a change of this code changes rows.
constexpr int kVersion = 1;
constexpr int64_t kMostLength = int64_t{1} << 24;
constexpr int64_t kMostExamples = int64_t{1} << 20;
constexpr int64_t kRows = 8192;  // of a batch
constexpr double kSaveSeconds = 2;

absl::StatusOr<NeedleSource> FindSource() {
  if (!FLAGS_checkpoint.empty()) {
    if (!FLAGS_study_out.empty() || !FLAGS_arm.empty()) {
      return absl::InvalidArgumentError(
          "--checkpoint is given (expected no --study_out and no --arm beside it)");
    }
    return SourceOfCheckpoint(UserPath(FLAGS_checkpoint));
  }
  if (FLAGS_study_out.empty() && FLAGS_arm.empty()) {
    return absl::InvalidArgumentError(
        "no model is given (expected --checkpoint=FOLDER, or --study_out=DIR --arm=NAME; "
        "`bazel run //experiments/context_extension` trains some, into "
        ".out/context_extension/models)");
  }
  if (FLAGS_study_out.empty() || FLAGS_arm.empty())
    return absl::InvalidArgumentError("expected both --study_out and --arm, or --checkpoint");
  return SourceOfArm(UserPath(FLAGS_study_out), FLAGS_arm);
}

// Text, tokens and task, as the model knows them.
struct Haystack {
  std::unique_ptr<Corpus> corpus;
  std::unique_ptr<ByteTokenizer> tokenizer;
  google::protobuf::Any config;
  std::unique_ptr<Task> task;
};

absl::StatusOr<Haystack> OpenHaystack(const CheckpointConfig& checkpoint) {
  Haystack haystack;
  StudySettings settings;
  const absl::Status parsed = SetField(&settings, absl::StrCat("task=", FLAGS_task));
  if (!parsed.ok()) return Annotate(parsed, "--task");
  haystack.config = settings.task();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Task> unbound,
                      Registry<Task>::Get().Create(haystack.config, TaskArgs()));
  const std::vector<std::string> known(checkpoint.tokenizer().special_token().begin(),
                                       checkpoint.tokenizer().special_token().end());
  haystack.tokenizer = std::make_unique<ByteTokenizer>(known);
  LR_RETURN_IF_ERROR(CheckTokenizer(checkpoint, *haystack.tokenizer));
  for (const std::string& name : unbound->special_tokens()) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("the model does not know the task's token '", name,
                     "': it was not trained on this task (it knows ",
                     known.empty() ? "none" : absl::StrJoin(known, " "), ")"));
  }
  std::string corpus = FLAGS_corpus.empty() ? checkpoint.origin().corpus() : FLAGS_corpus;
  if (corpus.empty()) corpus = "anarchism";
  LR_ASSIGN_OR_RETURN(Corpus opened, OpenCorpus(corpus));
  haystack.corpus = std::make_unique<Corpus>(std::move(opened));
  TaskArgs args;
  args.tokenizer = haystack.tokenizer.get();
  args.corpus = haystack.corpus.get();
  LR_ASSIGN_OR_RETURN(haystack.task, Registry<Task>::Get().Create(haystack.config, args));
  return haystack;
}

// Can every length be made and scored, and is there memory for the longest? Counted on meta
// tensors.
absl::Status CheckLengths(const NeedleSource& source, const Task& task,
                          const std::vector<int64_t>& lengths) {
  const int64_t longest = lengths.back();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> meta, source.Create(longest, Device::kMeta));
  for (const int64_t length : lengths) {
    ExampleRequest request;
    request.length = length;
    const std::string where = absl::StrCat("length ", length);
    LR_RETURN_IF_ERROR(Annotate(task.Make(request, 0).status(), where));
    LR_RETURN_IF_ERROR(Annotate(meta->Supports(1, length, nn::Rows(), nn::Call()), where));
  }
  ResetPeak(Device::kMeta);
  const Tensor ids =
      Tensor::Empty({std::min(FLAGS_examples, std::max<int64_t>(1, kRows / longest)), longest},
                    DType::kInt32, Device::kMeta);
  meta->Score(ids, ids, nn::Rows(), nn::Call());
  return RequireMemory(static_cast<double>(GetMemoryStats(Device::kMeta).peak_bytes),
                       absl::StrCat("length ", longest), "take shorter --lengths");
}

absl::Status Run(const CommandLine&) {
  if (FLAGS_examples < 1 || FLAGS_examples > kMostExamples) {
    return absl::InvalidArgumentError(
        absl::StrCat("--examples=", FLAGS_examples, " (expected 1 to ", kMostExamples, ")"));
  }
  LR_ASSIGN_OR_RETURN(const NeedleSource source, FindSource());
  const CheckpointConfig& config = source.checkpoint.config();
  NeedleGrid grid;
  grid.trained_length = config.trained_length();
  if (!FLAGS_lengths.empty()) {
    LR_ASSIGN_OR_RETURN(grid.lengths, ParseWholeAxis("lengths", FLAGS_lengths, 1, kMostLength));
  } else if (grid.trained_length > 0) {
    grid.lengths = DefaultLengths(grid.trained_length);
  } else {
    return absl::InvalidArgumentError(
        "the checkpoint does not say at which length it was trained (expected --lengths)");
  }
  LR_ASSIGN_OR_RETURN(grid.depths, ParseAxis("depths", FLAGS_depths, 0, 100));
  LR_ASSIGN_OR_RETURN(const Haystack haystack, OpenHaystack(config));
  LR_RETURN_IF_ERROR(CheckLengths(source, *haystack.task, grid.lengths));
  grid.label = source.label;
  grid.folder = source.checkpoint.folder();
  grid.task = Resolve(haystack.config);
  grid.corpus = haystack.corpus->name();
  grid.chance = haystack.task->traits().chance;

  const int64_t planned = static_cast<int64_t>(grid.lengths.size() * grid.depths.size());
  int64_t tokens = 0;
  for (const int64_t length : grid.lengths)
    tokens += length * FLAGS_examples * static_cast<int64_t>(grid.depths.size());
  if (FLAGS_dry_run) {
    absl::PrintF(
        "%s\n%d cells (%d lengths from %d to %d tokens, %d depths) of %d examples: %s "
        "tokens to score\n",
        grid.label, planned, grid.lengths.size(), grid.lengths.front(), grid.lengths.back(),
        grid.depths.size(), FLAGS_examples, FormatCount(static_cast<double>(tokens)));
    return absl::OkStatus();
  }

  Row head;
  head.Set("kind", "grid");
  head.Set("model", source.name);
  head.Set("label", source.label);
  head.Set("weights", source.checkpoint.weights_checksum());
  head.Set("trained_length", grid.trained_length);
  head.Set("corpus", haystack.corpus->name());
  head.Set("corpus_checksum", haystack.corpus->checksum());
  head.Set("examples", FLAGS_examples);
  head.Set("chance", grid.chance);
  head.Set("task", grid.task);
  head.Set("model_config", Resolve(source.model));
  const std::string hash =
      Hash(absl::StrCat("version ", kVersion, ".", haystack.task->traits().version, "\n",
                        source.checkpoint.weights_checksum(), "\n", Resolve(source.model), "\n",
                        grid.task, "\n", haystack.corpus->checksum(), "\n", FLAGS_examples,
                        // A scheme may depend on the longest length that is planned.
                        "\n", grid.lengths.back()));
  head.Set("hash", hash);

  const std::string out = OutFolder(absl::StrCat("needle_in_a_haystack/", source.name));
  LR_RETURN_IF_ERROR(MakeOutFolder(out));
  const std::string rows_path = absl::StrCat(out, "/rows.jsonl");
  absl::StatusOr<GridCells> kept = ReadGrid(rows_path, hash);
  if (kept.ok()) {
    grid.cells = *std::move(kept);
  } else {
    absl::FPrintF(stderr, "warning: %s; measured again\n", kept.status().message());
  }

  CatchInterrupts();
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                      source.Create(grid.lengths.back(), Device::kCpu));
  // Named as the task of a study is, and so with its examples.
  const TaskGrid task = {PluginId(haystack.config.type_url()), haystack.task.get(), grid.lengths,
                         grid.depths, FLAGS_examples};
  int64_t done = 0;
  for (const int64_t length : grid.lengths)
    for (const double depth : grid.depths) done += grid.cells.count({length, depth});
  Progress progress({"cells", planned, done},
                    FLAGS_quiet ? ProgressOutput::Quiet() : ProgressOutput::Stderr());
  auto saved = std::chrono::steady_clock::now();
  for (const int64_t length : grid.lengths) {
    for (const double depth : grid.depths) {
      if (grid.cells.count({length, depth}) > 0) continue;
      if (Interrupted()) {
        LR_RETURN_IF_ERROR(WriteGrid(rows_path, head, grid.cells));
        return absl::CancelledError("stopped; the same command goes on from here");
      }
      LR_ASSIGN_OR_RETURN(const GridCell cell, MeasureCell(*model, task, length, depth, kRows));
      grid.cells[{length, depth}] = cell;
      progress.Advance(1, length * FLAGS_examples, absl::StrCat(length, " tokens"));
      const auto now = std::chrono::steady_clock::now();
      if (std::chrono::duration<double>(now - saved).count() < kSaveSeconds) continue;
      LR_RETURN_IF_ERROR(WriteGrid(rows_path, head, grid.cells));
      saved = now;
    }
  }
  progress.Finish();
  LR_RETURN_IF_ERROR(WriteGrid(rows_path, head, grid.cells));
  const std::string report_path = absl::StrCat(out, "/report.html");
  LR_RETURN_IF_ERROR(WriteFileAtomically(report_path, NeedlePage(grid)));
  absl::PrintF("%s", NeedleText(grid));
  if (!FLAGS_quiet) absl::FPrintF(stderr, "rows    %s\nreport  %s\n", rows_path, report_path);
  return absl::OkStatus();
}

}  // namespace
}  // namespace longrange

int main(int argc, char** argv) {
  return longrange::Main(
      argc, argv,
      {"Hides needles in a text at every length and depth of a grid, asks a trained model for "
       "them, "
       "and draws the heat map.\n"
       "Stopped and started again, it goes on where it was. README.md beside it says what is "
       "measured.",
       {{"Model", {"checkpoint", "study_out", "arm"}},
        {"Grid", {"lengths", "depths", "examples", "corpus", "task"}},
        {"Run", {"out", "threads", "device", "dry_run", "quiet", "trace"}}}},
      longrange::Run);
}
