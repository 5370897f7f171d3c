// The report of //papers/transformer_xl:relative_effective_context.

#ifndef LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_PAGE_H_
#define LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_PAGE_H_

#include <string>
#include <vector>

#include "common/io/rows.h"
#include "papers/transformer_xl/relative_effective_context/measure.h"

namespace longrange {

// A length of an arm at a share of the positions: the mean over seeds, in tokens; `open`: in one of
// them the search came to the longest context.
struct EffectiveContext {
  double tokens = 0;
  bool open = false;
};
EffectiveContext EffectiveContextOf(const RelativeEffectiveContextResults& results, size_t arm,
                                    double share);

// Losses by context, gains from context to context, and the lengths.
std::vector<Row> EffectiveContextRows(const RelativeEffectiveContextResults& results);

std::string EffectiveContextPage(const RelativeEffectiveContextResults& results);
// For a terminal.
std::string EffectiveContextText(const RelativeEffectiveContextResults& results);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_PAGE_H_
