// Who sees whom, pair by pair.

#include "plugins/conformance/reference.h"

#include "papers/_skeleton/my_rule/my_rule.pb.h"

namespace longrange {
namespace {

bool VisibleInMyRule(const MyRuleConfig& config, int64_t /*head*/, int64_t query, int64_t key,
                     int64_t /*keys*/) {
  const int64_t distance = query - key;
  return distance % config.dilation() == 0 && distance / config.dilation() < config.window();
}

LR_REGISTER_RULE_REFERENCE(MyRuleConfig, VisibleInMyRule);

}  // namespace
}  // namespace longrange
