// The checks of what a folder registers and of how its configs are read, for plugins of any kind.

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_CONFIG_CHECKS_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_CONFIG_CHECKS_H_

#include <google/protobuf/any.pb.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/conformance/conformance.pb.h"
#include "plugins/conformance/verdict.h"

namespace longrange::conformance {

// Every id that is registered is the folder's name, or starts with it and "_"; and each has an
// instance.
Verdict RegisteredUnderItsFolder(const std::string& folder,
                                 const std::vector<std::string>& registered,
                                 const std::vector<std::string>& instances);

// A config with every default written out builds the same plugin: `behaviour` builds it and sums up
// what it does.
using Behaviour = std::function<absl::StatusOr<std::string>(const google::protobuf::Any& config)>;
Verdict ConfigRoundTrips(const google::protobuf::Any& config, const Behaviour& behaviour);

// NaN, infinities and the least integer in any number of the config, and the values that
// conformance.textproto names, are refused by the field's name.
using Create = std::function<absl::Status(const google::protobuf::Any& config)>;
Verdict RefusesBadValues(const ConformanceInstance& instance, const google::protobuf::Any& config,
                         const Create& create);

}  // namespace longrange::conformance

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_CONFIG_CHECKS_H_
