#include "plugins/backbone.h"

namespace longrange {

absl::Status Backbone::Supports(int64_t /*batch*/, int64_t tokens, const nn::Rows& rows,
                                const nn::Call& call) const {
  return SupportedBy(traits(), tokens, rows, call);
}

nn::State Backbone::NewState(int64_t /*batch*/) const {
  LOG(FATAL) << "this backbone does not stream";
  return nn::State();
}

Sequence Backbone::Extend(const Sequence&, const nn::Call&, nn::State*) const {
  LOG(FATAL) << "this backbone does not stream";
  return Sequence();
}

}  // namespace longrange
