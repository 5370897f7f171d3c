// What came out of the arena, as a page, as text and as rows.

#ifndef LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_PAGE_H_
#define LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_PAGE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/io/rows.h"
#include "common/report/html.h"
#include "experiments/long_range_arena/speed.h"
#include "plugins/study/results.h"

namespace longrange {

// A mixer on a task.
struct ArenaScore {
  StudyEstimate score;        // in [0, 1]
  bool above_chance = false;  // by more than the estimate's margin
  int64_t parameters = 0;
  double training_flops = 0, seconds = 0;  // of all seeds together
};

struct ArenaTaskResult {
  std::string name, title, note, question;
  std::string data;  // what its examples are made of; "": generated as in the benchmark
  bool stand_in = false;
  bool in_average = true;
  double chance = 0;
  int64_t rows = 0, examples = 0, steps = 0, batch = 0, seeds = 0;
  std::string folder;                           // of its own report, below that of the page
  std::map<std::string, ArenaScore> scores;     // by mixer
  std::map<std::string, std::string> unserved;  // why, by mixer
};

struct ArenaMixerResult {
  std::string name, label, note;
  std::map<std::string, double> published;  // percent, by task; NaN: no better than chance
  double published_average = 0;             // 0: none
  std::string published_in;
};

struct ArenaResults {
  std::string preset;
  int threads = 0;
  std::vector<ArenaTaskResult> tasks;
  std::vector<ArenaMixerResult> mixers;
  std::vector<std::string> left;  // titles of tasks that the preset leaves out
  int64_t speed_batch = 0;
  std::vector<SpeedRow> speed;  // none: not measured
};

// The mean over the tasks that count, or NaN where the mixer lacks one of them.
double AverageScore(const ArenaResults& results, const std::string& mixer);

// Statements with fixed rules, and what came of them.
struct ArenaFinding {
  std::string id, statement, measured;
  report::Verdict verdict = report::Verdict::kNotRun;
  bool of_speed = false;
};
std::vector<ArenaFinding> ArenaFindings(const ArenaResults& results);

std::string ArenaPage(const ArenaResults& results);
std::string ArenaText(const ArenaResults& results);

// What is deterministic, for rows.jsonl, and what the clock says, for runs.jsonl.
std::vector<Row> ArenaRows(const ArenaResults& results);
std::vector<Row> ArenaTimes(const ArenaResults& results);
std::vector<Row> SpeedRows(const std::vector<SpeedRow>& speed);
// SpeedRows read back; InvalidArgument: they are not.
absl::StatusOr<std::vector<SpeedRow>> ParseSpeedRows(const std::vector<Row>& rows);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_LONG_RANGE_ARENA_PAGE_H_
