// The checks of position schemes and attention rules by themselves. Inside the attention host they
// are also held to the checks of layers (layer_checks.h).

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_POSITION_CHECKS_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_POSITION_CHECKS_H_

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "common/nn/parameters.h"
#include "plugins/conformance/verdict.h"
#include "plugins/position.h"

namespace longrange::conformance {

inline constexpr int64_t kHostWidth = 12;  // of the rows of what hosts a scheme or a rule

struct SchemeSubject {
  int64_t width = 8;  // of a head
  std::function<absl::StatusOr<std::unique_ptr<PositionScheme>>(const BuildArgs& args)> make;
};

struct SchemeCheck {
  const char* name;
  const char* promise;
  Verdict (*run)(const SchemeSubject&);
};
const std::vector<SchemeCheck>& SchemeChecks();

struct RuleSubject {
  std::function<absl::StatusOr<std::unique_ptr<AttentionRule>>(const BuildArgs& args)> make;
  // The distance at which the query sees the key, if it does. Null: none was given, which is a
  // failure.
  std::function<std::optional<double>(int64_t head, int64_t query, int64_t key, int64_t keys)>
      reference;
};

struct RuleCheck {
  const char* name;
  const char* promise;
  Verdict (*run)(const RuleSubject&);
};
const std::vector<RuleCheck>& RuleChecks();

}  // namespace longrange::conformance

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_POSITION_CHECKS_H_
