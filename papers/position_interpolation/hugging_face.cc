// rope_scaling {"rope_type": "linear", "factor": s} of a config.json.

#include "plugins/hugging_face/hugging_face.h"

#include "common/base/status_macros.h"
#include "papers/position_interpolation/position_interpolation.pb.h"

namespace longrange {
namespace {

absl::StatusOr<google::protobuf::Any> ImportLinear(const HuggingFaceRotary& rotary) {
  PositionInterpolationConfig config;
  LR_ASSIGN_OR_RETURN(const double factor, rotary.scaling->Number("factor"));
  config.set_factor(factor);
  config.set_theta(rotary.theta);
  config.set_partial(rotary.partial);
  google::protobuf::Any any;
  any.PackFrom(config);
  return any;
}

LR_REGISTER_HUGGING_FACE_ROPE("linear", ImportLinear);

}  // namespace
}  // namespace longrange
