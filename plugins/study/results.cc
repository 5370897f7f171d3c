#include "plugins/study/results.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <tuple>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"
#include "common/eval/metrics.h"
#include "plugins/study/course.h"

namespace longrange {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// A row with its place, for messages; its readers keep the first error.
class Reader {
 public:
  Reader(const Row& row, absl::string_view what, size_t index)
      : row_(row), place_(absl::StrCat(what, " ", index + 1)) {}

  std::string String(absl::string_view key) { return Take(row_.String(key)); }
  // "" where there is none.
  std::string Optional(absl::string_view key) { return row_.String(key).value_or(""); }
  int64_t Integer(absl::string_view key) { return Take(row_.Integer(key)); }
  double Number(absl::string_view key) { return Take(row_.Number(key)); }
  bool Bool(absl::string_view key) { return Take(row_.Bool(key)); }
  bool Has(absl::string_view key) const { return row_.Find(key) != nullptr; }
  // An nll: not a number is infinite.
  double Nll(absl::string_view key) {
    const double value = Number(key);
    return std::isnan(value) ? kInf : value;
  }

  // What else a probe's row says of its place: "layer 0, head 2".
  std::string Where() const {
    std::vector<std::string> parts;
    for (const auto& [key, value] : row_.fields()) {
      static constexpr absl::string_view kKnown[] = {"arm",    "base_seed", "tuning_seed", "kind",
                                                     "length", "probe",     "figure",      "value",
                                                     "steps",  "values"};
      if (std::find(std::begin(kKnown), std::end(kKnown), key) != std::end(kKnown)) continue;
      if (const auto* text = std::get_if<std::string>(&value)) {
        parts.push_back(absl::StrCat(key, " ", *text));
      } else if (const auto* number = std::get_if<int64_t>(&value)) {
        parts.push_back(absl::StrCat(key, " ", *number));
      } else if (const auto* real = std::get_if<double>(&value)) {
        parts.push_back(absl::StrCat(key, " ", *real));
      }
    }
    return absl::StrJoin(parts, ", ");
  }

  void Fail(absl::string_view message) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(absl::StrCat(place_, ": ", message));
  }
  const absl::Status& status() const { return status_; }

 private:
  template <typename T>
  T Take(absl::StatusOr<T> value) {
    if (value.ok()) return *std::move(value);
    Fail(value.status().message());
    return T();
  }

  const Row& row_;
  std::string place_;
  absl::Status status_;
};

using RunKey = std::pair<int64_t, int64_t>;  // seeds: base, tuning

StudyRun* FindRun(std::vector<StudyArmResults>* arms, const std::string& arm_name,
                  const RunKey& key) {
  for (StudyArmResults& arm : *arms) {
    if (arm.name != arm_name) continue;
    for (StudyRun& run : arm.runs) {
      if (RunKey(run.base_seed, run.tuning_seed) == key) return &run;
    }
  }
  return nullptr;
}

void ReadHead(Reader* row, StudyResults* study) {
  if (!study->name.empty()) row->Fail("a second row of kind \"study\"");
  study->name = row->String("name");
  study->title = row->String("title");
  study->question = row->String("question");
  study->version = row->Integer("version");
  study->trained_length = row->Integer("trained_length");
  study->extended_length = row->Integer("extended_length");
  study->compares = row->String("compares");
  study->compares_further = row->String("compares_further");
  study->findings = row->String("findings");
  study->corpus = row->String("corpus");
  study->corpus_checksum = row->String("corpus_checksum");
  study->corpus_bytes = row->Integer("corpus_bytes");
  study->task = row->String("task");
  study->chance = row->Number("chance");
  study->task_data = row->Optional("task_data");
  study->left = row->String("left");
  study->config = row->String("config");
  if (row->Has("from_scratch")) study->from_scratch = row->Bool("from_scratch");
  if (study->name.empty()) row->Fail("key \"name\": expected a name, got nothing");
  if (study->trained_length < 1) row->Fail("key \"trained_length\": expected 1 or more");
  if (study->extended_length < 1) row->Fail("key \"extended_length\": expected 1 or more");
}

void ReadBase(Reader* row, StudyResults* study) {
  StudyBaseResults base;
  base.seed = row->Integer("base_seed");
  base.parameters = row->Integer("parameters");
  base.steps = row->Integer("steps");
  base.tokens = row->Number("tokens");
  base.training_flops = row->Number("training_flops");
  base.solved = row->Bool("solved");
  base.from = row->Optional("from");
  base.final_loss = row->Number("final_loss");
  for (const StudyBaseResults& other : study->bases) {
    if (other.seed == base.seed)
      row->Fail(absl::StrCat("key \"base_seed\": a second base model of seed ", base.seed));
  }
  study->bases.push_back(std::move(base));
}

void ReadBaseCheck(Reader* row, StudyResults* study) {
  const int64_t seed = row->Integer("base_seed");
  const int64_t step = row->Integer("step");
  const double score = row->Number("score");
  for (StudyBaseResults& base : study->bases) {
    if (base.seed == seed) return base.checks.push_back({step, score});
  }
  row->Fail(absl::StrCat("key \"base_seed\": no base model of seed ", seed, " before this row"));
}

void ReadRun(Reader* row, StudyResults* study) {
  StudyArmResults arm;
  arm.name = row->String("arm");
  arm.label = row->String("label");
  arm.method = row->String("method");
  arm.note = row->String("note");
  arm.differs = row->String("differs");
  arm.config = row->String("config");
  arm.tuned = row->Bool("tuned");
  StudyRun run;
  run.base_seed = row->Integer("base_seed");
  run.tuning_seed = row->Integer("tuning_seed");
  run.parameters = row->Integer("parameters");
  run.state_bytes = row->Integer("state_bytes");
  run.steps = row->Integer("steps");
  run.tokens = row->Number("tokens");
  run.training_flops = row->Number("training_flops");
  run.evaluation_flops = row->Number("evaluation_flops");
  run.final_loss = row->Number("final_loss");
  const auto same =
      std::find_if(study->arms.begin(), study->arms.end(),
                   [&](const StudyArmResults& other) { return other.name == arm.name; });
  if (same == study->arms.end()) {
    arm.runs.push_back(std::move(run));
    study->arms.push_back(std::move(arm));
    return;
  }
  if (same->tuned != arm.tuned)
    row->Fail(absl::StrCat("key \"tuned\": arm '", arm.name, "' had the other value before"));
  if (FindRun(&study->arms, arm.name, {run.base_seed, run.tuning_seed}) != nullptr) {
    row->Fail(absl::StrCat("key \"arm\": a second run of '", arm.name, "' with these seeds"));
  }
  same->runs.push_back(std::move(run));
}

void ReadCell(Reader* row, int64_t length, StudyRun* run) {
  const std::string task = row->String("task");
  const double depth = row->Has("depth") ? row->Number("depth") : -1;
  if (row->Has("depth") && !(depth >= 0 && depth <= 100))
    return row->Fail("key \"depth\": expected a number in [0, 100]");
  const int64_t examples = row->Integer("examples");
  StudyCell cell;
  cell.score = row->Number("score");
  const std::string scores = row->String("scores");
  const auto is_score = [](double score) { return score >= 0 && score <= 1; };
  for (const absl::string_view text : absl::StrSplit(scores, ' ', absl::SkipEmpty())) {
    double score = -1;
    if (!absl::SimpleAtod(text, &score) || !is_score(score))
      return row->Fail(
          absl::StrCat("key \"scores\": expected numbers in [0, 1], got \"", text, "\""));
    cell.scores.push_back(score);
  }
  if (examples < 1) row->Fail("key \"examples\": expected 1 or more");
  if (static_cast<int64_t>(cell.scores.size()) != examples)
    row->Fail(absl::StrCat("key \"scores\": expected one of each of ", examples, " examples, got ",
                           cell.scores.size()));
  if (!is_score(cell.score)) row->Fail("key \"score\": expected a number in [0, 1]");
  if (!run->grids[task][length].emplace(depth, std::move(cell)).second) {
    row->Fail(absl::StrCat("key \"depth\": a second cell of task ", task, ", ", length,
                           " tokens, at ", depth < 0 ? "uniform depths" : absl::StrCat(depth)));
  }
}

void ReadFurtherTask(Reader* row, StudyResults* study) {
  study->further_tasks.emplace_back(row->String("task"), row->Number("chance"));
}

void ReadRule(Reader* row, StudyResults* study) {
  study->rules.push_back({row->String("finding"), row->String("statement"), {}});
}

void ReadComparison(Reader* row, StudyResults* study) {
  const std::string finding = row->String("finding");
  StudyComparison comparison;
  comparison.arm = row->String("arm");
  comparison.against = row->Optional("against");
  const std::string figure = row->String("figure");
  comparison.perplexity = figure == "perplexity";
  if (!comparison.perplexity && figure != "score")
    row->Fail(absl::StrCat("key \"figure\": expected score or perplexity, got \"", figure, "\""));
  comparison.task = row->Optional("task");
  comparison.length = row->Integer("length");
  if (row->Has("at_least")) comparison.at_least = row->Number("at_least");
  if (row->Has("at_most")) comparison.at_most = row->Number("at_most");
  for (StudyRule& rule : study->rules) {
    if (rule.id == finding) return rule.comparisons.push_back(std::move(comparison));
  }
  row->Fail(absl::StrCat("key \"finding\": no finding \"", finding, "\" before this row"));
}

StudyReading ReadReading(const std::string& prefix, Reader* row) {
  static constexpr std::pair<absl::string_view, StudyReading::Kind> kKinds[] = {
      {"last", StudyReading::kLast},          {"least", StudyReading::kLeast},
      {"most", StudyReading::kMost},          {"fall", StudyReading::kFall},
      {"fall_step", StudyReading::kFallStep}, {"first_step", StudyReading::kFirstStep}};
  StudyReading reading;
  reading.figure = row->String(prefix + "figure");
  const std::string kind = row->String(prefix + "reading");
  const auto found = std::find_if(std::begin(kKinds), std::end(kKinds),
                                  [&](const auto& known) { return known.first == kind; });
  if (found == std::end(kKinds)) {
    row->Fail(absl::StrCat("key \"", prefix, "reading\": unknown reading \"", kind, "\""));
  } else {
    reading.kind = found->second;
  }
  reading.within = row->Integer(prefix + "within");
  reading.before = row->Integer(prefix + "before");
  reading.level = row->Number(prefix + "level");
  return reading;
}

void ReadCourseComparison(Reader* row, StudyResults* study) {
  const std::string finding = row->String("finding");
  StudyComparison comparison;
  comparison.arm = row->String("arm");
  comparison.against = row->Optional("against");
  comparison.reading = ReadReading("", row);
  if (row->Has("less_figure")) comparison.less = ReadReading("less_", row);
  if (row->Has("at_least")) comparison.at_least = row->Number("at_least");
  if (row->Has("at_most")) comparison.at_most = row->Number("at_most");
  for (StudyRule& rule : study->rules) {
    if (rule.id == finding) return rule.comparisons.push_back(std::move(comparison));
  }
  row->Fail(absl::StrCat("key \"finding\": no finding \"", finding, "\" before this row"));
}

void ReadCheck(Reader* row, StudyResults* study) {
  const std::string arm = row->String("arm");
  const RunKey key = {row->Integer("base_seed"), row->Integer("tuning_seed")};
  StudyRun* run = FindRun(&study->arms, arm, key);
  if (run == nullptr)
    return row->Fail(
        absl::StrCat("key \"arm\": no run of '", arm, "' of these seeds before this row"));
  run->checks.push_back({row->Integer("step"), row->Number("score")});
}

void ReadMeasurement(const std::string& kind, Reader* row, StudyResults* study) {
  const std::string arm = row->String("arm");
  const RunKey key = {row->Integer("base_seed"), row->Integer("tuning_seed")};
  const int64_t length = row->Integer("length");
  if (length < 1) row->Fail("key \"length\": expected 1 or more");
  StudyRun* run = FindRun(&study->arms, arm, key);
  if (run == nullptr) {
    return row->Fail(absl::StrCat("key \"arm\": no run of '", arm, "' with base seed ", key.first,
                                  " and tuning seed ", key.second, " before this row"));
  }
  if (kind == "window") {
    const int64_t number = row->Integer("window");
    const StudyWindow window = {row->Nll("nll"), row->Nll("tail_nll")};
    if (!run->windows[length].emplace(number, window).second) {
      row->Fail(
          absl::StrCat("key \"window\": a second window ", number, " of ", length, " tokens"));
    }
  } else if (kind == "position") {
    const StudyBucket bucket = {row->Integer("begin"), row->Integer("end"), row->Nll("nll")};
    std::vector<StudyBucket>& buckets = run->positions[length];
    if (!buckets.empty() && bucket.begin < buckets.back().end)
      row->Fail("key \"begin\": positions that were there before");
    buckets.push_back(bucket);
  } else if (kind == "stride") {
    const StudyStride stride = {row->Integer("stride"), row->Integer("windows"), row->Nll("nll")};
    if (!run->strides.emplace(length, stride).second)
      row->Fail(absl::StrCat("key \"length\": a second row of ", length, " tokens"));
  } else if (kind == "probe") {
    run->figures.push_back(
        {row->String("probe"), row->String("figure"), row->Where(), length, row->Number("value")});
  } else if (kind == "course") {
    StudyFigureCourse course = {
        row->String("probe"), row->String("figure"), row->Where(), length, {}};
    auto values = ReadCourse(row->String("steps"), row->String("values"));
    if (!values.ok()) return row->Fail(absl::StrCat("key \"values\": ", values.status().message()));
    course.values = *std::move(values);
    run->courses.push_back(std::move(course));
  } else {
    ReadCell(row, length, run);
  }
}

// A record names its run "<arm>-<base seed>[-<tuning seed>]-<hash>", or "base-<seed>" with no arm.
void ReadRecord(Reader* row, StudyResults* study) {
  StudyRecord record;
  const std::string name = row->String("run");
  const std::string arm_name = row->String("arm");
  record.device = row->String("device");
  record.threads = row->Integer("threads");
  record.training_seconds = row->Number("training_seconds");
  record.evaluation_seconds = row->Number("evaluation_seconds");
  record.peak_bytes = row->Number("peak_bytes");
  if (!row->status().ok()) return;
  std::optional<StudyRecord>* place = nullptr;
  if (arm_name.empty()) {
    for (StudyBaseResults& base : study->bases) {
      if (name == absl::StrCat("base-", base.seed)) place = &base.record;
    }
  }
  const std::string without_hash = name.substr(0, name.rfind('-'));
  for (StudyArmResults& arm : study->arms) {
    if (arm.name != arm_name) continue;
    for (StudyRun& run : arm.runs) {
      const std::string tuning = run.tuning_seed >= 0 ? absl::StrCat("-", run.tuning_seed) : "";
      if (without_hash == absl::StrCat(arm.name, "-", run.base_seed, tuning)) place = &run.record;
    }
  }
  if (place == nullptr)
    return row->Fail(absl::StrCat("key \"run\": the rows have no run \"", name, "\""));
  if (place->has_value())
    return row->Fail(absl::StrCat("key \"run\": a second record of \"", name, "\""));
  *place = std::move(record);
}

// Arms by method, the paper's in its order of telling, then the others as they came; frozen before
// tuned.
void SortArms(StudyResults* study) {
  for (const char* known : {"direct", "PI", "NTK", "YaRN"}) {
    for (const StudyArmResults& arm : study->arms) {
      if (!absl::EqualsIgnoreCase(arm.method, known)) continue;
      study->methods.push_back(arm.method);
      break;
    }
  }
  const auto rank = [study](const StudyArmResults& arm) {
    const auto at = std::find_if(
        study->methods.begin(), study->methods.end(),
        [&](const std::string& method) { return absl::EqualsIgnoreCase(method, arm.method); });
    return at - study->methods.begin();
  };
  for (const StudyArmResults& arm : study->arms) {
    if (rank(arm) == static_cast<ptrdiff_t>(study->methods.size()))
      study->methods.push_back(arm.method);
  }
  std::stable_sort(study->arms.begin(), study->arms.end(),
                   [&](const StudyArmResults& a, const StudyArmResults& b) {
                     return std::pair(rank(a), a.tuned) < std::pair(rank(b), b.tuned);
                   });
}

// Groups of pairs of runs, each group one independent replicate of a difference: a base model where
// there are several, else a run.
using RunPair = std::pair<const StudyRun*, const StudyRun*>;
std::vector<std::vector<RunPair>> Replicates(const StudyArmResults& a, const StudyArmResults& b) {
  std::map<int64_t, std::vector<RunPair>> by_base;
  for (const StudyRun& ra : a.runs) {
    for (const StudyRun& rb : b.runs) {
      const bool same_tuning = !a.tuned || !b.tuned || ra.tuning_seed == rb.tuning_seed;
      if (ra.base_seed == rb.base_seed && same_tuning) by_base[ra.base_seed].push_back({&ra, &rb});
    }
  }
  std::vector<std::vector<RunPair>> replicates;
  for (const auto& [seed, pairs] : by_base) {
    if (by_base.size() > 1) {
      replicates.push_back(pairs);
    } else {
      for (const RunPair& pair : pairs) replicates.push_back({pair});
    }
  }
  return replicates;
}

// Rows are replicates, columns what all of them have in common: windows.
using Matrix = std::vector<std::vector<double>>;

const std::map<int64_t, StudyWindow>& WindowsAt(const StudyRun& run, int64_t length) {
  static const auto* const kNone = new std::map<int64_t, StudyWindow>();
  const auto at = run.windows.find(length);
  return at == run.windows.end() ? *kNone : at->second;
}

double NllOf(const StudyWindow& window, bool tail) { return tail ? window.tail_nll : window.nll; }

// [replicate][window] of a - b, or of a alone where length_b is 0.
Matrix WindowMatrix(const std::vector<std::vector<RunPair>>& replicates, int64_t length_a,
                    int64_t length_b, bool tail) {
  if (replicates.empty()) return {};
  std::vector<int64_t> numbers;
  for (const auto& [number, window] : WindowsAt(*replicates[0][0].first, length_a))
    numbers.push_back(number);
  for (const auto& replicate : replicates) {
    for (const auto& [a, b] : replicate) {
      const auto lacks = [&, ra = a, rb = b](int64_t number) {
        return WindowsAt(*ra, length_a).count(number) == 0 ||
               (length_b > 0 && WindowsAt(*rb, length_b).count(number) == 0);
      };
      numbers.erase(std::remove_if(numbers.begin(), numbers.end(), lacks), numbers.end());
    }
  }
  Matrix matrix;
  for (const auto& replicate : replicates) {
    std::vector<double> row;
    for (const int64_t number : numbers) {
      double sum = 0;
      for (const auto& [a, b] : replicate) {
        sum += NllOf(WindowsAt(*a, length_a).at(number), tail);
        if (length_b > 0) sum -= NllOf(WindowsAt(*b, length_b).at(number), tail);
      }
      row.push_back(sum / static_cast<double>(replicate.size()));
    }
    matrix.push_back(std::move(row));
  }
  return matrix;
}

double MeanOf(const std::vector<double>& x) { return eval::Mean(x).value; }

std::vector<double> RowMeans(const Matrix& matrix) {
  std::vector<double> means;
  for (const std::vector<double>& row : matrix) means.push_back(MeanOf(row));
  return means;
}

std::vector<double> ColumnMeans(const Matrix& matrix) {
  std::vector<double> means;
  for (size_t column = 0; !matrix.empty() && column < matrix[0].size(); ++column) {
    std::vector<double> values;
    for (const std::vector<double>& row : matrix) values.push_back(row[column]);
    means.push_back(MeanOf(values));
  }
  return means;
}

// One source of error: its squared standard error and degrees of freedom.
struct Source {
  double variance = 0;
  double degrees_of_freedom = 0;
};

Source SourceOf(const std::vector<double>& independent) {
  const eval::Estimate mean = eval::Mean(independent);
  return {mean.standard_error * mean.standard_error, static_cast<double>(mean.n - 1)};
}

// Sources without degrees of freedom (a single observation) are left out; none left: no error can
// be told.
StudyEstimate Join(double value, const std::vector<Source>& sources) {
  StudyEstimate estimate = {value, kNaN, 0};
  double variance = 0, weighted = 0, most = 0;
  for (const Source& source : sources) {
    if (!(source.degrees_of_freedom > 0)) continue;
    variance += source.variance;
    weighted += source.variance * source.variance / source.degrees_of_freedom;
    most = std::max(most, source.degrees_of_freedom);
  }
  if (most == 0) return estimate;
  estimate.error = std::sqrt(variance);
  estimate.degrees_of_freedom = weighted > 0 ? variance * variance / weighted : most;
  return estimate;
}

StudyEstimate Exponential(const StudyEstimate& log) {
  const double value = std::exp(log.value);
  return {value, value * log.error, log.degrees_of_freedom};
}

// The cells of a run that a comparison looks at, by task, length and depth.
using Place = std::tuple<std::string, int64_t, double>;
std::map<Place, const StudyCell*> CellsOf(const StudyRun& run, const TaskCells& wanted) {
  std::map<Place, const StudyCell*> found;
  for (const std::string& task : wanted.tasks) {
    const auto grid = run.grids.find(task);
    if (grid == run.grids.end()) continue;
    for (const int64_t length : wanted.lengths) {
      const auto cells = grid->second.find(length);
      if (cells == grid->second.end()) continue;
      for (const auto& [depth, cell] : cells->second) {
        // Uniform depths (-1) are anywhere: only where any place will do.
        const double share = depth / 100, tokens = static_cast<double>(length);
        const bool anywhere = wanted.least_distance == 0 && wanted.least_offset == 0;
        if (anywhere || (depth >= 0 && share * tokens >= static_cast<double>(wanted.least_offset) &&
                         (1 - share) * tokens >= static_cast<double>(wanted.least_distance)))
          found[{task, length, depth}] = &cell;
      }
    }
  }
  return found;
}

// [replicate][example] of a - b, or of a alone where `difference` is false; of the cells that all
// runs have. Each cell counts alike, as its examples do.
Matrix ExampleMatrix(const std::vector<std::vector<RunPair>>& replicates, const TaskCells& wanted,
                     bool difference) {
  if (replicates.empty()) return {};
  std::map<Place, size_t> sizes;
  for (const auto& [place, cell] : CellsOf(*replicates[0][0].first, wanted))
    sizes[place] = cell->scores.size();
  for (const auto& replicate : replicates) {
    for (const auto& [a, b] : replicate) {
      for (const StudyRun* run : {a, b}) {
        const auto cells = CellsOf(*run, wanted);
        for (auto place = sizes.begin(); place != sizes.end();) {
          const auto cell = cells.find(place->first);
          const bool same = cell != cells.end() && cell->second->scores.size() == place->second;
          place = same ? std::next(place) : sizes.erase(place);
        }
      }
    }
  }
  Matrix matrix;
  for (const auto& replicate : replicates) {
    std::vector<double> row;
    for (const auto& [a, b] : replicate) {
      const auto of_a = CellsOf(*a, wanted), of_b = CellsOf(*b, wanted);
      size_t at = 0;
      for (const auto& [place, size] : sizes) {
        const std::vector<double>&x = of_a.at(place)->scores, &y = of_b.at(place)->scores;
        for (size_t i = 0; i < size; ++i, ++at) {
          if (row.size() <= at) row.push_back(0);
          row[at] += (x[i] - (difference ? y[i] : 0)) / static_cast<double>(replicate.size());
        }
      }
    }
    matrix.push_back(std::move(row));
  }
  return matrix;
}

// Of a mean score over n examples: one success and one failure are added (Agresti and Caffo 2000),
// so that it does not vanish at 0 and 1. An upper bound where examples score in between.
Source ExampleError(double score, double n) {
  const double p = (score * n + 1) / (n + 2);
  return {p * (1 - p) / (n + 2), n - 1};
}

// Of a mean difference over paired examples, with half an example each way and one in which nothing
// differs added.
Source PairError(const std::vector<double>& differences) {
  const double n = static_cast<double>(differences.size()) + 2;
  double sum = 0, squares = 1;
  for (const double difference : differences) {
    sum += difference;
    squares += difference * difference;
  }
  return {(squares - sum * sum / n) / (n - 1) / n, n - 3};
}

}  // namespace

std::vector<const StudyArmResults*> StudyResults::Find(absl::string_view method, bool tuned) const {
  std::vector<const StudyArmResults*> found;
  for (const StudyArmResults& arm : arms) {
    if (arm.tuned == tuned && absl::EqualsIgnoreCase(arm.method, method)) found.push_back(&arm);
  }
  return found;
}

std::string StudyResults::Spoken(const StudyArmResults& arm) const {
  if (Find(arm.method, arm.tuned).size() > 1) return arm.label;
  if (from_scratch) return arm.method;
  return absl::StrCat(arm.tuned ? "tuned " : "frozen ", arm.method);
}

absl::StatusOr<StudyResults> ReadStudy(const std::vector<Row>& rows,
                                       const std::vector<Row>& records) {
  StudyResults study;
  for (size_t i = 0; i < rows.size(); ++i) {
    Reader row(rows[i], "row", i);
    const std::string kind = row.String("kind");
    if (!row.status().ok()) return row.status();
    if (kind == "study") {
      ReadHead(&row, &study);
    } else if (kind == "base") {
      ReadBase(&row, &study);
    } else if (kind == "base_check") {
      ReadBaseCheck(&row, &study);
    } else if (kind == "run") {
      ReadRun(&row, &study);
    } else if (kind == "further_task") {
      ReadFurtherTask(&row, &study);
    } else if (kind == "check") {
      ReadCheck(&row, &study);
    } else if (kind == "finding") {
      ReadRule(&row, &study);
    } else if (kind == "comparison") {
      ReadComparison(&row, &study);
    } else if (kind == "course_comparison") {
      ReadCourseComparison(&row, &study);
    } else if (kind == "window" || kind == "position" || kind == "stride" || kind == "task" ||
               kind == "probe" || kind == "course") {
      ReadMeasurement(kind, &row, &study);
    } else {
      row.Fail(absl::StrCat(
          "key \"kind\": unknown kind \"", kind,
          "\"; known: study, further_task, finding, comparison, course_comparison, base, "
          "base_check, run, check, course, window, position, stride, task, probe"));
    }
    if (!row.status().ok()) return row.status();
  }
  if (study.name.empty()) return absl::InvalidArgumentError("the rows have none of kind \"study\"");
  for (size_t i = 0; i < records.size(); ++i) {
    Reader row(records[i], "record", i);
    ReadRecord(&row, &study);
    if (!row.status().ok()) return row.status();
  }
  SortArms(&study);
  std::set<int64_t> lengths;
  std::map<std::string, std::set<int64_t>> lengths_of;
  std::set<double> depths;
  for (const StudyArmResults& arm : study.arms) {
    for (const StudyRun& run : arm.runs) {
      for (const auto& [length, windows] : run.windows) lengths.insert(length);
      for (const auto& [task, grid] : run.grids) {
        for (const auto& [length, cells] : grid) {
          lengths_of[task].insert(length);
          if (task != study.task) continue;
          for (const auto& [depth, cell] : cells) depths.insert(depth);
        }
      }
    }
  }
  study.lengths.assign(lengths.begin(), lengths.end());
  for (const auto& [task, of_task] : lengths_of)
    study.lengths_of[task].assign(of_task.begin(), of_task.end());
  study.task_lengths = study.lengths_of[study.task];
  study.depths.assign(depths.begin(), depths.end());
  return study;
}

StudySpread SpreadOf(const StudyArmResults& arm) {
  std::set<int64_t> bases;
  for (const StudyRun& run : arm.runs) bases.insert(run.base_seed);
  if (bases.size() > 1) return StudySpread::kBaseSeeds;
  return arm.runs.size() > 1 ? StudySpread::kTuningSeeds : StudySpread::kSample;
}

double Margin(const StudyEstimate& estimate) {
  if (std::isnan(estimate.error)) return kNaN;
  const double whole = std::max(1.0, std::min(std::floor(estimate.degrees_of_freedom), 1e9));
  return std::max(2.0, eval::StudentT95(static_cast<int64_t>(whole))) * estimate.error;
}

StudyEstimate Perplexity(const StudyArmResults& arm, int64_t length, bool over_windows) {
  const Matrix matrix = WindowMatrix(Replicates(arm, arm), length, 0, /*tail=*/false);
  const bool by_seed = !over_windows && SpreadOf(arm) != StudySpread::kSample;
  const std::vector<double> by_row = RowMeans(matrix);
  return Exponential(Join(MeanOf(by_row), {SourceOf(by_seed ? by_row : ColumnMeans(matrix))}));
}

StudyEstimate TaskScore(const StudyArmResults& arm, const std::string& task, int64_t length) {
  return TaskScore(arm, {{task}, {length}, 0});
}

StudyEstimate TaskScore(const StudyArmResults& arm, const TaskCells& cells) {
  const Matrix matrix = ExampleMatrix(Replicates(arm, arm), cells, /*difference=*/false);
  if (matrix.empty() || matrix[0].empty()) return {kNaN, kNaN, 0};
  const std::vector<double> by_row = RowMeans(matrix);
  const double value = MeanOf(by_row);
  if (SpreadOf(arm) != StudySpread::kSample) return Join(value, {SourceOf(by_row)});
  return Join(value, {ExampleError(value, static_cast<double>(matrix[0].size()))});
}

StudyEstimate TaskScoreOfBoth(const StudyArmResults& arm, const TaskCells& cells) {
  const Matrix matrix = ExampleMatrix(Replicates(arm, arm), cells, /*difference=*/false);
  if (matrix.empty() || matrix[0].empty()) return {kNaN, kNaN, 0};
  const std::vector<double> by_row = RowMeans(matrix);
  const double value = MeanOf(by_row);
  const double examples = static_cast<double>(matrix[0].size());
  return Join(value, {ExampleError(value, examples), SourceOf(by_row)});
}

double ReadingOf(const StudyRun& run, const StudyReading& reading) {
  std::vector<std::pair<int64_t, double>> course;
  for (const StudyFigureCourse& one : run.courses) {
    if (one.figure == reading.figure && one.where.empty()) course = one.values;
  }
  if (reading.before > 0) {
    course.erase(std::remove_if(course.begin(), course.end(),
                                [&](const auto& at) { return at.first >= reading.before; }),
                 course.end());
  }
  if (course.empty()) {
    if (reading.kind != StudyReading::kLast) return kNaN;
    for (const StudyProbeFigure& figure : run.figures) {
      if (figure.figure == reading.figure && figure.where.empty()) return figure.value;
    }
    return kNaN;
  }
  const auto by_value = [](const auto& a, const auto& b) { return a.second < b.second; };
  switch (reading.kind) {
    case StudyReading::kLast:
      return course.back().second;
    case StudyReading::kLeast:
      return std::min_element(course.begin(), course.end(), by_value)->second;
    case StudyReading::kMost:
      return std::max_element(course.begin(), course.end(), by_value)->second;
    case StudyReading::kFirstStep:
      for (const auto& [step, value] : course) {
        if (value > reading.level) return static_cast<double>(step);
      }
      return kNaN;
    case StudyReading::kFall:
    case StudyReading::kFallStep:
      break;
  }
  double fall = 0, middle = kNaN;
  for (size_t i = 0; i < course.size(); ++i) {
    for (size_t j = i + 1; j < course.size(); ++j) {
      if (course[j].first - course[i].first > reading.within) break;
      if (!(course[i].second - course[j].second > fall)) continue;
      fall = course[i].second - course[j].second;
      middle = 0.5 * static_cast<double>(course[i].first + course[j].first);
    }
  }
  return reading.kind == StudyReading::kFall ? fall : middle;
}

StudyEstimate ReadingEstimate(const StudyArmResults& a, const StudyArmResults* b,
                              const StudyReading& reading,
                              const std::optional<StudyReading>& less) {
  const auto value = [&](const StudyRun& run) {
    return ReadingOf(run, reading) - (less.has_value() ? ReadingOf(run, *less) : 0);
  };
  std::vector<double> by_seed;
  for (const auto& replicate : Replicates(a, b != nullptr ? *b : a)) {
    double sum = 0;
    for (const auto& [run_a, run_b] : replicate)
      sum += value(*run_a) - (b != nullptr ? value(*run_b) : 0);
    by_seed.push_back(sum / static_cast<double>(replicate.size()));
  }
  if (by_seed.empty()) return {kNaN, kNaN, 0};
  return Join(MeanOf(by_seed), {SourceOf(by_seed)});
}

StudyEstimate StridePerplexity(const StudyArmResults& arm, int64_t length) {
  std::vector<double> nll;
  for (const auto& replicate : Replicates(arm, arm)) {
    for (const auto& [run, same] : replicate) {
      const auto at = run->strides.find(length);
      if (at == run->strides.end()) return {kNaN, kNaN, 0};
      nll.push_back(at->second.nll);
    }
  }
  return Exponential(Join(MeanOf(nll), {SourceOf(nll)}));
}

StudyEstimate LogPerplexity(const StudyArmResults& arm, int64_t length) {
  const Matrix matrix = WindowMatrix(Replicates(arm, arm), length, 0, /*tail=*/false);
  const std::vector<double> by_row = RowMeans(matrix);
  return Join(MeanOf(by_row), {SourceOf(ColumnMeans(matrix)), SourceOf(by_row)});
}

StudyEstimate NllDifference(const StudyArmResults& a, int64_t length_a, const StudyArmResults& b,
                            int64_t length_b, bool tail) {
  const Matrix matrix = WindowMatrix(Replicates(a, b), length_a, length_b, tail);
  const std::vector<double> by_row = RowMeans(matrix);
  return Join(MeanOf(by_row), {SourceOf(ColumnMeans(matrix)), SourceOf(by_row)});
}

StudyEstimate TaskDifference(const StudyArmResults& a, const StudyArmResults& b,
                             const TaskCells& cells) {
  const Matrix matrix = ExampleMatrix(Replicates(a, b), cells, /*difference=*/true);
  if (matrix.empty() || matrix[0].empty()) return {kNaN, kNaN, 0};
  const std::vector<double> by_row = RowMeans(matrix);
  return Join(MeanOf(by_row), {PairError(ColumnMeans(matrix)), SourceOf(by_row)});
}

}  // namespace longrange
