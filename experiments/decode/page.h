// The results of the decode experiment for readers.

#ifndef LONGRANGE_EXPERIMENTS_DECODE_PAGE_H_
#define LONGRANGE_EXPERIMENTS_DECODE_PAGE_H_

#include <string>
#include <vector>

#include "common/io/rows.h"
#include "common/report/html.h"
#include "experiments/decode/measure.h"

namespace longrange {

// A statement and what the measurement says of it.
struct DecodeFinding {
  std::string id, statement, measured;
  report::Verdict verdict = report::Verdict::kNotRun;
  bool of_growth = false;  // about a form's time when the length doubles
};
std::vector<DecodeFinding> Findings(const DecodeResults& results);

// One self-contained HTML page.
std::string DecodePage(const DecodeResults& results);

// Tokens a second and bytes of state, a line a context.
std::string DecodeText(const DecodeResults& results);

// What is the same on every machine, and the times.
std::vector<Row> DeterministicRows(const DecodeResults& results);
std::vector<Row> TimeRows(const DecodeResults& results);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_DECODE_PAGE_H_
