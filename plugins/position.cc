#include "plugins/position.h"

namespace longrange {

Tensor PositionScheme::AddTo(const Tensor&, int64_t, const nn::Call&) const {
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
