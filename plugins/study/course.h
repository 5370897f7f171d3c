// What probes measure along a training (StudyTraining.course): one row a figure, with its values
// after the steps that were looked at.

#ifndef LONGRANGE_PLUGINS_STUDY_COURSE_H_
#define LONGRANGE_PLUGINS_STUDY_COURSE_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/rows.h"

namespace longrange {

// Adds the rows of EvaluateProbes (evaluation.h) measured after `step`, to
//   {"kind": "course", then what they say, with "steps": "0 100 200" and "values": "4.1 3.9 0.7" in
//   the place of "value"}
// A figure that was not there before begins a row.
void AddToCourse(int64_t step, const std::vector<Row>& figures, std::vector<Row>* course);

// The values of a row by step. InvalidArgument: not as many of both, not numbers, or steps that do
// not rise.
absl::StatusOr<std::vector<std::pair<int64_t, double>>> ReadCourse(absl::string_view steps,
                                                                   absl::string_view values);

// Rows as lines that read back as the same rows.
std::string CourseToText(const std::vector<Row>& course);
absl::StatusOr<std::vector<Row>> CourseFromText(absl::string_view text);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_STUDY_COURSE_H_
