// What a study will take, told before it runs.
//
// Steps, tokens, flops, bytes and tensor memory come from running the models on meta tensors, step
// by step as the run will; time comes from running every distinct shape once on this machine.

#ifndef LONGRANGE_PLUGINS_STUDY_FORECAST_H_
#define LONGRANGE_PLUGINS_STUDY_FORECAST_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/study/context.h"
#include "plugins/study/runner.h"

namespace longrange {

// A base model, or one arm with its seeds. Names are those of the rows and records of the run.
struct RunForecast {
  std::string arm;  // "": a base model
  int64_t base_seed = 0, tuning_seed = -1;
  int64_t parameters = 0, steps = 0;
  double tokens = 0;  // of training
  double training_flops = 0, evaluation_flops = 0;
  double bytes = 0;  // that kernels must move at least
  double training_seconds = 0, evaluation_seconds = 0;
  double cpu_seconds = 0;  // of all processors, in both
  int64_t peak_bytes = 0;  // of tensors
};

struct StudyForecast {
  std::vector<RunForecast> bases;  // where they go on to the last step
  std::vector<RunForecast> early;  // the same, where each stops as soon as it may
  std::vector<RunForecast> runs;   // of the arms
  bool measured = false;           // otherwise all seconds are 0
  int threads = 0;
  int shapes = 0;                  // that were run to measure them
  double measuring_seconds = 0;    // which took this long
  int64_t peak_bytes() const;      // of tensors, the most in any of them
  int64_t process_peak_bytes = 0;  // of this process after it, all of its memory
};

// All but the seconds. Needs little memory itself, whatever the study needs.
absl::StatusOr<StudyForecast> ForecastStudy(const Study& study, const StudyContext& context);
// The seconds too. Leaves no file.
absl::StatusOr<StudyForecast> MeasureStudy(const Study& study, const StudyContext& context);

std::string FormatForecast(const Study& study, const StudyForecast& forecast);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_FORECAST_H_
