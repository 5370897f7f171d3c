// Who sees whom: `window` rows, `dilation` apart, the row itself the last of them.

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "papers/_skeleton/my_rule/my_rule.pb.h"
#include "plugins/position.h"

namespace longrange {
namespace {

class MyRule : public AttentionRule {
 public:
  explicit MyRule(const MyRuleConfig& config)
      : reach_((config.window() - 1) * config.dilation()), dilation_(config.dilation()) {}

  std::pair<int64_t, int64_t> Keep() const override { return {0, reach_ + 1}; }

  Growth keys_seen() const override { return Growth::kConstant; }

  void Spans(int64_t, int64_t query, int64_t keys, const nn::Call&,
             std::vector<Span>* out) const override {
    const int64_t back = std::min(query, reach_) / dilation_ * dilation_;
    for (int64_t key = query - back; key <= std::min(query, keys - 1); key += dilation_)
      out->push_back({key, key + 1});
  }

 private:
  int64_t reach_;  // distance of the farthest key
  int64_t dilation_;
};

absl::StatusOr<std::unique_ptr<AttentionRule>> CreateMyRule(const MyRuleConfig& config,
                                                            const BuildArgs&) {
  constexpr int64_t kMost = 1 << 20;
  if (config.window() < 1 || config.window() > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("window: ", config.window(), " (expected 1 to ", kMost, " rows)"));
  }
  if (config.dilation() < 1 || config.dilation() > kMost) {
    return absl::InvalidArgumentError(
        absl::StrCat("dilation: ", config.dilation(), " (expected 1 to ", kMost, " rows)"));
  }
  return std::make_unique<MyRule>(config);
}

LR_REGISTER_PLUGIN(AttentionRule, MyRuleConfig, CreateMyRule);

}  // namespace
}  // namespace longrange
