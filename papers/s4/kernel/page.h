// The report of //papers/s4:kernel.

#ifndef LONGRANGE_PAPERS_S4_KERNEL_PAGE_H_
#define LONGRANGE_PAPERS_S4_KERNEL_PAGE_H_

#include <string>
#include <vector>

#include "common/io/rows.h"
#include "common/report/html.h"
#include "papers/s4/kernel/measure.h"

namespace longrange {

struct S4KernelFinding {
  std::string statement, measured;
  report::Verdict verdict;
};
std::vector<S4KernelFinding> Findings(const S4KernelResults& results);

// Errors and work, which are the same on every run; and times.
std::vector<Row> DeterministicRows(const S4KernelResults& results);
std::vector<Row> TimeRows(const S4KernelResults& results);

std::string S4KernelPage(const S4KernelResults& results);
// For a terminal.
std::string S4KernelText(const S4KernelResults& results);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_S4_KERNEL_PAGE_H_
