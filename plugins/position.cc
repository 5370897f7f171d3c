#include "plugins/position.h"

#include <vector>

#include "absl/strings/str_join.h"

namespace longrange {

std::string UseNames(uint32_t uses) {
  std::vector<const char*> names;
  if ((uses & kAtInput) != 0) names.push_back("positions added to the input");
  if ((uses & kRotary) != 0) names.push_back("rotary positions");
  if ((uses & kBias) != 0) names.push_back("score biases");
  if ((uses & kAtQk) != 0) names.push_back("positions added to what queries and keys are made of");
  return names.empty() ? "nothing" : absl::StrJoin(names, " and ");
}

Tensor PositionScheme::AddTo(const Tensor&, const std::vector<int64_t>&, const nn::Call&) const {
  LOG(FATAL) << "this position scheme adds nothing to the rows";
  return Tensor();
}

RotaryAngles PositionScheme::RotaryFor(int64_t, const nn::Call&) const {
  LOG(FATAL) << "this position scheme does not rotate";
  return RotaryAngles();
}

ScoreBias PositionScheme::BiasFor(int64_t, const nn::Call&) const {
  LOG(FATAL) << "this position scheme has no bias";
  return ScoreBias();
}

}  // namespace longrange
