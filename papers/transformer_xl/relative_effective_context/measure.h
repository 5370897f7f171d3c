// The losses behind which a relative effective context length stands: every model of a study's
// group, at the same tokens, behind contexts of growing length.

#ifndef LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_MEASURE_H_
#define LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_MEASURE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "papers/transformer_xl/relative_effective_context/recl.h"
#include "papers/transformer_xl/relative_effective_context/relative_effective_context.pb.h"
#include "plugins/model/model.h"
#include "plugins/study/load.h"

namespace longrange {

// InvalidArgument names the first field that has no meaning, or an arm that the study does not run.
absl::Status CheckSettings(const RelativeEffectiveContextSettings& settings, const Study& study);

// Called after each context length of a model; false stops, which is Cancelled.
using OnContext = std::function<bool(const std::string& what)>;
int64_t PlannedContexts(const RelativeEffectiveContextSettings& settings, int64_t seeds);

// [context][position]: the loss of each token, nats, behind each context, of which the model gets
// `most_context` tokens at most (0: all). OutOfRange: the text is too short.
absl::StatusOr<std::vector<std::vector<double>>> ContextLosses(
    const RelativeEffectiveContextSettings& settings, const Model& model,
    absl::Span<const int32_t> text, int64_t most_context, const OnContext& on_context);

struct SeedLosses {
  int64_t seed = 0;
  GroupLosses losses;  // by the order of settings.arm
};
struct RelativeEffectiveContextResults {
  RelativeEffectiveContextSettings settings;
  std::vector<std::string> labels;  // of the arms
  std::vector<SeedLosses> seeds;
};

// Measures the models that the study in `out` has kept.
absl::StatusOr<RelativeEffectiveContextResults> MeasureRelativeEffectiveContext(
    const RelativeEffectiveContextSettings& settings, const Study& study, const std::string& out,
    const OnContext& on_context);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_TRANSFORMER_XL_RELATIVE_EFFECTIVE_CONTEXT_MEASURE_H_
