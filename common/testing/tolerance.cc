#include "common/testing/tolerance.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/io/glob.h"

namespace longrange {

std::string Tolerance::ToString() const { return absl::StrCat("rtol ", rtol, ", atol ", atol); }

SourcedTolerance GoldenTolerance(absl::string_view paper, absl::string_view case_name,
                                 absl::string_view tensor, double position) {
  for (const GoldenOverride& row : kGoldenOverrides) {
    if (paper == row.paper && position >= row.from_position &&
        GlobMatch(row.case_pattern, case_name) && GlobMatch(row.tensor_pattern, tensor)) {
      return {row.tolerance, row.source};
    }
  }
  if (absl::StartsWith(tensor, "grad.") || absl::StrContains(tensor, ".grad.")) {
    return {kGoldenGradient, "goldens: ten times the forward tolerance for gradients"};
  }
  return {kGoldenForward, "goldens: rtol 1e-4, atol 1e-5 forward"};
}

}  // namespace longrange
