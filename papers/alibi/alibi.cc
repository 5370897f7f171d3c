// ALiBi: softmax over keys j of q_i k_j / sqrt(d) - m_h |i - j| (Press, Smith, Lewis 2022, section
// 3). The bias is not divided by sqrt(d); values carry no position.

#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "papers/alibi/alibi.pb.h"
#include "papers/alibi/slopes.h"
#include "plugins/position.h"

namespace longrange {
namespace {

class Alibi : public PositionScheme {
 public:
  explicit Alibi(const AlibiConfig& config) : config_(config) {}

  uint32_t uses() const override { return kBias; }
  // As many as there are heads, but for slopes that are given: attention refuses another number.
  ScoreBias BiasFor(int64_t heads, const nn::Call&) const override {
    const std::vector<double> slopes =
        config_.slopes().empty()
            ? alibi::Slopes(heads, config_.bias_max())
            : std::vector<double>(config_.slopes().begin(), config_.slopes().end());
    return {Tensor::FromVector<double>({static_cast<int64_t>(slopes.size())}, slopes)};
  }

 private:
  AlibiConfig config_;
};

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateAlibi(const AlibiConfig& config,
                                                            const BuildArgs&) {
  if (!(config.bias_max() > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("bias_max: ", config.bias_max(), " (expected > 0)"));
  }
  for (const double slope : config.slopes()) {
    if (!(slope >= 0)) {
      return absl::InvalidArgumentError(absl::StrCat("slopes: ", slope, " (expected 0 or more)"));
    }
  }
  if (!config.slopes().empty() && config.bias_max() != AlibiConfig().bias_max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("bias_max: ", config.bias_max(), " (expected unset, as slopes are given)"));
  }
  return std::make_unique<Alibi>(config);
}

LR_REGISTER_PLUGIN(PositionScheme, AlibiConfig, CreateAlibi);

}  // namespace
}  // namespace longrange
