// The report of //papers/transformer_xl:evaluation_speed.

#ifndef LONGRANGE_PAPERS_TRANSFORMER_XL_EVALUATION_SPEED_PAGE_H_
#define LONGRANGE_PAPERS_TRANSFORMER_XL_EVALUATION_SPEED_PAGE_H_

#include <string>
#include <vector>

#include "common/io/rows.h"
#include "common/report/html.h"
#include "papers/transformer_xl/evaluation_speed/measure.h"

namespace longrange {

// How many times as long a token takes where its window is read anew.
double SpeedUp(const EvaluationSpeedResults& results, ReadingWay way, int64_t attention);
// The same of the operations.
double WorkRatio(const EvaluationSpeedResults& results, ReadingWay way, int64_t attention);
// b of the line a + b log(attention) through the logarithms of a ratio, by least squares: 1 where
// it grows linearly.
double ExponentOf(const EvaluationSpeedResults& results, ReadingWay way, bool of_work);

struct EvaluationSpeedFinding {
  std::string statement, measured;
  report::Verdict verdict;
};
std::vector<EvaluationSpeedFinding> Findings(const EvaluationSpeedResults& results);

// Work and state, which are the same on every run; and times.
std::vector<Row> DeterministicRows(const EvaluationSpeedResults& results);
std::vector<Row> TimeRows(const EvaluationSpeedResults& results);

std::string EvaluationSpeedPage(const EvaluationSpeedResults& results);
// For a terminal.
std::string EvaluationSpeedText(const EvaluationSpeedResults& results);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_TRANSFORMER_XL_EVALUATION_SPEED_PAGE_H_
