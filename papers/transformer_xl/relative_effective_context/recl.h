// Relative effective context length (Dai et al. 2019, section 4.5 and appendix C): the context
// beyond which more of it no longer improves on what the best model of a group does with less.

#ifndef LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_RECL_H_
#define LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_RECL_H_

#include <cstddef>
#include <vector>

namespace longrange {

// losses[m][k][t]: nats of model m at position t behind k + 1 steps of context. Every model has as
// many contexts, and every context as many positions.
using GroupLosses = std::vector<std::vector<std::vector<double>>>;

// What model `model` gains by k + 2 steps of context over k + 1 at the `share` of positions whose
// loss behind the short context is largest, where it is that of the best model of the group: with
//   b(t) = min over models of the loss behind the short context,
//   f(c) = mean over the positions of min(b(t), the model's loss behind c),
// perplexity = exp f(short) - exp f(long), and relative = perplexity / exp f(short).
struct Gain {
  double perplexity = 0, relative = 0;
};
Gain GainOf(const GroupLosses& losses, size_t model, size_t k, double share);

// The number of steps at which the search ends: the first context from which the relative gain is
// below the threshold. `open`: none was, it is the longest one.
struct Recl {
  size_t steps = 0;
  bool open = false;
};
Recl ReclOf(const GroupLosses& losses, size_t model, double share, double threshold);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_RECL_H_
