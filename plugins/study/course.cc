#include "plugins/study/course.h"

#include <algorithm>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

bool IsNumbers(absl::string_view key) { return key == "steps" || key == "values"; }

// Of one figure at one place?
bool SameFigure(const Row& a, const Row& b) {
  const auto fields = [](const Row& row) {
    std::vector<std::pair<std::string, RowValue>> kept;
    for (const auto& field : row.fields()) {
      if (!IsNumbers(field.first)) kept.push_back(field);
    }
    return kept;
  };
  return fields(a) == fields(b);
}

}  // namespace

void AddToCourse(int64_t step, const std::vector<Row>& figures, std::vector<Row>* course) {
  for (const Row& figure : figures) {
    Row row;
    for (const auto& [key, value] : figure.fields()) {
      if (key != "value") row.Set(key, value);
    }
    row.Set("kind", "course");
    auto same = std::find_if(course->begin(), course->end(),
                             [&](const Row& other) { return SameFigure(row, other); });
    std::string steps, values;
    if (same == course->end()) {
      same = course->insert(course->end(), row);
    } else {
      steps = same->String("steps").value_or("") + " ";
      values = same->String("values").value_or("") + " ";
    }
    absl::StrAppend(&steps, step);
    absl::StrAppendFormat(&values, "%.9g", figure.Number("value").value_or(0));
    same->Set("steps", steps);
    same->Set("values", values);
  }
}

absl::StatusOr<std::vector<std::pair<int64_t, double>>> ReadCourse(absl::string_view steps,
                                                                   absl::string_view values) {
  std::vector<std::pair<int64_t, double>> course;
  const std::vector<absl::string_view> step_texts = absl::StrSplit(steps, ' ', absl::SkipEmpty()),
                                       texts = absl::StrSplit(values, ' ', absl::SkipEmpty());
  if (step_texts.empty() || step_texts.size() != texts.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat(step_texts.size(), " steps and ", texts.size(),
                     " values (expected as many of both, one or more)"));
  }
  for (size_t i = 0; i < texts.size(); ++i) {
    int64_t step = 0;
    double value = 0;
    if (!absl::SimpleAtoi(step_texts[i], &step) || step < 0 ||
        (!course.empty() && step <= course.back().first)) {
      return absl::InvalidArgumentError(
          absl::StrCat("step \"", step_texts[i], "\" (expected rising numbers)"));
    }
    if (!absl::SimpleAtod(texts[i], &value))
      return absl::InvalidArgumentError(
          absl::StrCat("value \"", texts[i], "\" (expected a number)"));
    course.emplace_back(step, value);
  }
  return course;
}

std::string CourseToText(const std::vector<Row>& course) {
  std::string text;
  for (const Row& row : course) absl::StrAppend(&text, row.ToJson(), "\n");
  return text;
}

absl::StatusOr<std::vector<Row>> CourseFromText(absl::string_view text) {
  std::vector<Row> course;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    LR_ASSIGN_OR_RETURN(Row row, ParseRow(line, "course"));
    course.push_back(std::move(row));
  }
  return course;
}

}  // namespace longrange
