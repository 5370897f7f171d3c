// Numbers behind claims: a paper's claims.cc measures them anew, its claims.textproto names them
// (Verification in claims.proto).
//
//   double LargestErrorOverBound() { ... }
//   LR_REGISTER_CLAIM_FIGURE("position_interpolation", LargestErrorOverBound);
//
//   verify { figure: "LargestErrorOverBound" value: 0.21 tolerance: 0.01 at_most: 1 }

#ifndef LONGRANGE_PAPERS_CLAIM_FIGURE_H_
#define LONGRANGE_PAPERS_CLAIM_FIGURE_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

// A name that a paper has already is fatal.
bool RegisterClaimFigure(absl::string_view paper, absl::string_view figure,
                         std::function<double()> measure);

// NotFound lists the figures of the paper.
absl::StatusOr<double> MeasureClaimFigure(absl::string_view paper, absl::string_view figure);

#define LR_REGISTER_CLAIM_FIGURE(paper, measure)    \
  static const bool lr_registered_claim_##measure = \
      ::longrange::RegisterClaimFigure(paper, #measure, measure)

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_CLAIM_FIGURE_H_
