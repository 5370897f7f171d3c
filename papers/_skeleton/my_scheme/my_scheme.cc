// Rotary positions on a scale: pair j of a row at position p turns by scale p theta_j.

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "papers/_skeleton/my_scheme/my_scheme.pb.h"
#include "plugins/attention/rope.h"
#include "plugins/position.h"

namespace longrange {
namespace {

class MyScheme : public PositionScheme {
 public:
  explicit MyScheme(const std::vector<double>& inv_freq) : rotary_{FrequencyTensor(inv_freq)} {}

  uint32_t uses() const override { return kRotary; }
  RotaryAngles RotaryFor(int64_t, const nn::Call&) const override { return rotary_; }

 private:
  RotaryAngles rotary_;
};

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateMyScheme(const MySchemeConfig& config,
                                                               const BuildArgs& args) {
  if (!(config.scale() > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("scale: ", config.scale(), " (expected a finite number > 0)"));
  }
  if (!(config.theta() > 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("theta: ", config.theta(), " (expected a finite number > 1)"));
  }
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryWidth(args.width, /*partial=*/1));
  std::vector<double> inv_freq = RopeFrequencies(dims, config.theta());
  for (double& f : inv_freq) f *= config.scale();
  return std::make_unique<MyScheme>(inv_freq);
}

LR_REGISTER_PLUGIN(PositionScheme, MySchemeConfig, CreateMyScheme);

}  // namespace
}  // namespace longrange
