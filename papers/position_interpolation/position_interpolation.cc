// Position Interpolation: f'(x, m) = f(x, m L / L') (Chen et al. 2023, section 2.3), f the rotary
// embedding. As angles are products of position and frequency, the frequencies are divided instead:
// theta_j / s, s = L' / L.

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "papers/position_interpolation/position_interpolation.pb.h"
#include "plugins/attention/rope.h"
#include "plugins/position.h"

namespace longrange {
namespace {

class PositionInterpolation : public PositionScheme {
 public:
  PositionInterpolation(const PositionInterpolationConfig& config, int64_t dims)
      : config_(config), theta_(RopeFrequencies(dims, config.theta())) {}

  uint32_t uses() const override { return kRotary; }
  bool depends_on_length() const override { return config_.dynamic(); }
  RotaryAngles RotaryFor(int64_t length, const nn::Call&) const override {
    const double factor = config_.dynamic()
                              ? std::max(1.0, static_cast<double>(length) /
                                                  static_cast<double>(config_.original_length()))
                              : config_.factor();
    std::vector<double> inv_freq = theta_;
    for (double& f : inv_freq) f /= factor;
    return {FrequencyTensor(inv_freq), 1, config_.interleaved()};
  }

 private:
  PositionInterpolationConfig config_;
  std::vector<double> theta_;
};

absl::StatusOr<std::unique_ptr<PositionScheme>> CreatePositionInterpolation(
    const PositionInterpolationConfig& config, const BuildArgs& args) {
  if (!(config.factor() >= 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("factor: ", config.factor(), " (expected 1 or more)"));
  }
  if (config.dynamic() && config.original_length() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("original_length: ", config.original_length(),
                     " (expected the length that the model was trained at, in tokens)"));
  }
  if (config.dynamic() &&
      config.factor() != PositionInterpolationConfig::default_instance().factor()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "factor: ", config.factor(), " (expected unset, as a dynamic factor follows the length)"));
  }
  if (!config.dynamic() && config.original_length() != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("original_length: ", config.original_length(),
                     " (expected unset, as only a dynamic factor depends on it)"));
  }
  if (!(config.theta() > 1)) {
    return absl::InvalidArgumentError(absl::StrCat("theta: ", config.theta(), " (expected > 1)"));
  }
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryWidth(args.width, config.partial()));
  return std::make_unique<PositionInterpolation>(config, dims);
}

LR_REGISTER_PLUGIN(PositionScheme, PositionInterpolationConfig, CreatePositionInterpolation);

}  // namespace
}  // namespace longrange
