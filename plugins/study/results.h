// The rows of a study as typed results, and the estimates that its report and its findings rest on.
//
// Two things make a measured figure uncertain: which text, or which examples, it was measured on,
// and which seed the model was trained with. Arms share both, so differences between them are taken
// window by window and seed by seed.

#ifndef LONGRANGE_PLUGINS_STUDY_RESULTS_H_
#define LONGRANGE_PLUGINS_STUDY_RESULTS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/rows.h"

namespace longrange {

// What a run took, from runs.jsonl.
struct StudyRecord {
  std::string device;
  int64_t threads = 0;
  double training_seconds = 0, evaluation_seconds = 0;
  double peak_bytes = 0;  // 0: not measured
};

// Nats a token; a value that is no number counts as infinite: such a model predicts nothing.
struct StudyWindow {
  double nll = 0;       // over all tokens of the window
  double tail_nll = 0;  // over its last `trained_length` tokens, which are the same at every length
};

struct StudyBucket {
  int64_t begin = 0, end = 0;  // positions
  double nll = 0;
};

struct StudyCell {
  double score = 0;            // mean, in [0, 1]
  std::vector<double> scores;  // of each example
};

// A task's grid: by length, then by depth in percent (-1: at uniform depths).
using StudyGrid = std::map<int64_t, std::map<double, StudyCell>>;

// Perplexity by windows that overlap (evaluation.h).
struct StudyStride {
  int64_t stride = 0, windows = 0;
  double nll = 0;
};

// A figure that a probe measured inside a model.
struct StudyProbeFigure {
  std::string probe, figure;
  std::string where;  // "layer 0, head 2"; may be empty
  int64_t length = 0;
  double value = 0;
};

// A figure that a probe measured along the training (course.h).
struct StudyFigureCourse {
  std::string probe, figure;
  std::string where;  // as of StudyProbeFigure
  int64_t length = 0;
  std::vector<std::pair<int64_t, double>> values;  // by step, rising
};

// One arm with one base model and one tuning seed.
struct StudyRun {
  int64_t base_seed = 0;
  int64_t tuning_seed = -1;  // -1: frozen
  int64_t parameters = 0, state_bytes = 0, steps = 0;
  double tokens = 0, training_flops = 0, evaluation_flops = 0, final_loss = 0;
  std::map<int64_t, std::map<int64_t, StudyWindow>> windows;  // by length, then by number
  std::map<int64_t, std::vector<StudyBucket>> positions;      // by length
  std::map<int64_t, StudyStride> strides;                     // by length
  std::map<std::string, StudyGrid> grids;                     // by task
  std::vector<StudyProbeFigure> figures;                      // as in the rows
  std::vector<StudyFigureCourse> courses;                     // as in the rows
  std::vector<std::pair<int64_t, double>> checks;             // step, score on held-out examples
  std::optional<StudyRecord> record;
};

struct StudyArmResults {
  std::string name, label, method, note, differs, config;
  bool tuned = false;
  std::vector<StudyRun> runs;
};

struct StudyBaseResults {
  int64_t seed = 0;
  int64_t parameters = 0, steps = 0;
  double tokens = 0, training_flops = 0, final_loss = 0;
  bool solved = false;
  std::string from;  // where it was trained, if not by this study: "one_model, base model, seed 1"
  std::vector<std::pair<int64_t, double>> checks;  // step, score on held-out examples of the task
  std::optional<StudyRecord> record;
};

// What a finding reads from a figure's course (StudyFinding.Course).
struct StudyReading {
  enum Kind { kLast, kLeast, kMost, kFall, kFallStep, kFirstStep } kind = kLast;
  std::string figure;
  int64_t within = 100, before = 0;
  double level = 0;
};

// A comparison that a finding of the protocol rests on (study.proto).
struct StudyComparison {
  std::string arm, against;  // by name; "": the figure itself
  bool perplexity = false;   // not a score
  std::string task;          // "": the study's
  int64_t length = 0;
  std::optional<double> at_least, at_most;
  std::optional<StudyReading> reading, less;  // of a course, in the place of score and perplexity
};

struct StudyRule {
  std::string id, statement;
  std::vector<StudyComparison> comparisons;
};

struct StudyResults {
  std::string name, title, question, compares, compares_further, findings, corpus, corpus_checksum,
      config;
  int64_t version = 0, corpus_bytes = 0;
  int64_t trained_length = 0, extended_length = 0;
  bool from_scratch = false;  // no base model: what is called tuning is all the training
  std::string left;           // what this run leaves to a larger preset
  std::string task;           // its id; "": perplexity only
  double chance = 0;          // the task's score of a blind guess
  std::string task_data;      // what its examples are made of; "": what its name says
  std::vector<std::pair<std::string, double>> further_tasks;  // name, chance
  std::vector<StudyRule> rules;                               // findings of the protocol
  std::vector<StudyBaseResults> bases;
  std::vector<StudyArmResults> arms;  // by method, frozen before tuned, then as in the rows
  std::vector<std::string> methods;   // direct, PI, NTK, YaRN, then as in the rows
  std::vector<int64_t> lengths;       // of perplexity in any run, ascending
  std::vector<int64_t> task_lengths;  // of the study's task in any run, ascending
  std::vector<double> depths;
  std::map<std::string, std::vector<int64_t>> lengths_of;  // of each task

  // Arms of a method (case does not count), frozen or tuned.
  std::vector<const StudyArmResults*> Find(absl::string_view method, bool tuned) const;
  // An arm's name inside a sentence: "tuned NTK"; its label where that would fit several arms.
  std::string Spoken(const StudyArmResults& arm) const;
};

// Reads rows as in rows.jsonl and records as in runs.jsonl (runner.h). InvalidArgument names the
// row's number, counted from 1, and the key: a field that lacks or has another type, an unknown
// kind, a measurement of a run that has no row of its own before it, anything given twice.
absl::StatusOr<StudyResults> ReadStudy(const std::vector<Row>& rows,
                                       const std::vector<Row>& records);

// What a standard error is over.
enum class StudySpread {
  kBaseSeeds,    // two or more base models
  kTuningSeeds,  // one base model, two or more tunings of it
  kSample,       // one run: its windows of text, or its examples of the task
};
StudySpread SpreadOf(const StudyArmResults& arm);

struct StudyEstimate {
  double value = 0;               // NaN: not measured
  double error = 0;               // one standard error; NaN: cannot be told
  double degrees_of_freedom = 0;  // of `error`
};

// What an estimate must exceed to count: the half width of its 95 % interval (Student's t), and at
// least two standard errors. NaN where there is no standard error.
double Margin(const StudyEstimate& estimate);

// exp(mean nll), over what SpreadOf says; `over_windows` takes the windows' error in any case.
StudyEstimate Perplexity(const StudyArmResults& arm, int64_t length, bool over_windows = false);
// Mean score over the grid's depths, over what SpreadOf says.
StudyEstimate TaskScore(const StudyArmResults& arm, const std::string& task, int64_t length);

// Mean nll of `a` at length_a minus that of `b` at length_b, over pairs of windows of one number
// and of runs of one seed. A frozen run is the partner of every tuned run of its base model. The
// error joins that over windows and that over seeds:
//   error^2 = var(mean over seeds of each window) / windows + var(mean over windows of each seed) /
//   seeds,
// where a term that has a single observation is left out; degrees of freedom after Welch and
// Satterthwaite.
StudyEstimate NllDifference(const StudyArmResults& a, int64_t length_a, const StudyArmResults& b,
                            int64_t length_b, bool tail = false);

// Mean nll; its error joins that over windows and that over seeds.
StudyEstimate LogPerplexity(const StudyArmResults& arm, int64_t length);

// What a comparison of scores looks at: cells of the grids of some tasks.
struct TaskCells {
  std::vector<std::string> tasks;
  std::vector<int64_t> lengths;
  // Cells of which at least so many tokens lie behind the depth (100 % minus the depth, of the
  // length), and so many before it; 0: all.
  int64_t least_distance = 0, least_offset = 0;
};

// Mean score of `arm` over these cells.
StudyEstimate TaskScore(const StudyArmResults& arm, const TaskCells& cells);
// The same; its error joins that over examples and that over seeds, as NllDifference.
StudyEstimate TaskScoreOfBoth(const StudyArmResults& arm, const TaskCells& cells);

// The mean score over these cells, `a` minus `b`, over pairs of one example and of runs of one
// seed, as NllDifference. Half an example that only `a` answers, half a one that only `b` does, and
// one more of which nothing is told are added to those there are (Agresti and Min 2005), so that
// the error does not vanish where all agree.
StudyEstimate TaskDifference(const StudyArmResults& a, const StudyArmResults& b,
                             const TaskCells& cells);

// What is read from a run's course of a figure without a place, or, last, from what a probe of the
// evaluation measured; NaN where it was not measured or there is no such step.
double ReadingOf(const StudyRun& run, const StudyReading& reading);
// The same (less `less` of the same run) of an arm; its error is over seeds, and there is none of
// one run. `b`: that it is more than that arm's, by pairs of runs of one seed.
StudyEstimate ReadingEstimate(const StudyArmResults& a, const StudyArmResults* b,
                              const StudyReading& reading, const std::optional<StudyReading>& less);

// exp(mean nll) by overlapping windows; the spread is over seeds, and there is none of one run.
StudyEstimate StridePerplexity(const StudyArmResults& arm, int64_t length);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_RESULTS_H_
