// Who sees whom: the last `window` rows, and the first `first`.

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
  explicit MyRule(const MyRuleConfig& config) : window_(config.window()), first_(config.first()) {}

  std::pair<int64_t, int64_t> Keep() const override { return {first_, window_}; }

  Growth keys_seen() const override { return Growth::kConstant; }

  void Spans(int64_t, int64_t query, int64_t keys, const nn::Call&,
             std::vector<Span>* out) const override {
    const int64_t begin = std::max<int64_t>(0, query - window_ + 1);
    if (first_ > 0 && begin > 0) out->push_back({0, std::min(first_, begin)});
    out->push_back({begin, std::min(keys, query + 1)});
  }

 private:
  int64_t window_, first_;
};

absl::StatusOr<std::unique_ptr<AttentionRule>> CreateMyRule(const MyRuleConfig& config,
                                                            const BuildArgs&) {
  if (config.window() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("window: ", config.window(), " (expected 1 or more)"));
  }
  if (config.first() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("first: ", config.first(), " (expected 0 or more)"));
  }
  return std::make_unique<MyRule>(config);
}

LR_REGISTER_PLUGIN(AttentionRule, MyRuleConfig, CreateMyRule);

}  // namespace
}  // namespace longrange
