// The checks of probes.

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_PROBE_CHECKS_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_PROBE_CHECKS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/conformance/verdict.h"
#include "plugins/probe.h"

namespace longrange::conformance {

struct ProbeSubject {
  std::function<absl::StatusOr<std::unique_ptr<Probe>>()> make;
};

struct ProbeCheck {
  const char* name;
  const char* promise;
  Verdict (*run)(const ProbeSubject&);
};
const std::vector<ProbeCheck>& ProbeChecks();

// Its figures of a small model as text.
absl::StatusOr<std::string> ProbeBehaviour(const ProbeSubject& subject);

}  // namespace longrange::conformance

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_PROBE_CHECKS_H_
