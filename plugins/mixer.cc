#include "plugins/mixer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace longrange {

absl::Status SupportedBy(const MixerTraits& t, int64_t tokens, const nn::Rows& rows,
                         const nn::Call& call) {
  if (tokens < t.min_tokens || (t.max_tokens > 0 && tokens > t.max_tokens)) {
    return absl::InvalidArgumentError(absl::StrCat(
        tokens, " tokens; this layer takes ", t.min_tokens,
        t.max_tokens > 0 ? absl::StrCat(" to ", t.max_tokens) : std::string(" or more")));
  }
  if (tokens % t.multiple_of != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(tokens, " tokens; this layer takes multiples of ", t.multiple_of));
  }
  if (call.form != nn::Form::kDefault &&
      std::find(t.forms.begin(), t.forms.end(), call.form) == t.forms.end()) {
    return absl::InvalidArgumentError("this layer does not have the form that is asked for");
  }
  if (rows.begin_b.defined() && t.padding != MixerTraits::kBothSides) {
    return absl::InvalidArgumentError("this layer takes no padding on the left");
  }
  if (rows.end_b.defined() && t.padding == MixerTraits::kNoPadding) {
    return absl::InvalidArgumentError("this layer takes no padding");
  }
  if (rows.document_bt.defined() && !t.documents) {
    return absl::InvalidArgumentError("this layer does not keep documents apart");
  }
  if (rows.frontier_t.defined() && !t.frontier) {
    return absl::InvalidArgumentError("this layer does not take a frontier");
  }
  if (rows.role_bt.defined() && !t.roles) {
    return absl::InvalidArgumentError("this layer knows no roles of rows");
  }
  return absl::OkStatus();
}

absl::Status Mixer::Supports(int64_t /*batch*/, int64_t tokens, const nn::Rows& rows,
                             const nn::Call& call) const {
  return SupportedBy(traits(), tokens, rows, call);
}

nn::State Mixer::NewState(int64_t /*batch*/) const {
  LOG(FATAL) << "this layer does not stream";
  return nn::State();
}

Tensor Mixer::Extend(const Tensor&, const nn::Rows&, const nn::Call&, nn::State*) const {
  LOG(FATAL) << "this layer does not stream";
  return Tensor();
}

}  // namespace longrange
