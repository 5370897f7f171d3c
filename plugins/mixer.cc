#include "plugins/mixer.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace longrange {

absl::Status Mixer::Supports(int64_t /*batch*/, int64_t tokens, const nn::Rows& rows,
                             const nn::Call& call) const {
  const MixerTraits& t = traits();
  if (tokens < t.min_tokens || (t.max_tokens > 0 && tokens > t.max_tokens)) {
    return absl::InvalidArgumentError(absl::StrCat(
        tokens, " tokens; this mixer takes ", t.min_tokens,
        t.max_tokens > 0 ? absl::StrCat(" to ", t.max_tokens) : std::string(" or more")));
  }
  if (call.form != nn::Form::kDefault &&
      std::find(t.forms.begin(), t.forms.end(), call.form) == t.forms.end()) {
    return absl::InvalidArgumentError("this mixer does not have the form that is asked for");
  }
  if (rows.begin_b.defined() && t.padding != MixerTraits::kBothSides) {
    return absl::InvalidArgumentError("this mixer takes no padding on the left");
  }
  if (rows.end_b.defined() && t.padding == MixerTraits::kNoPadding) {
    return absl::InvalidArgumentError("this mixer takes no padding");
  }
  return absl::OkStatus();
}

nn::State Mixer::NewState(int64_t /*batch*/) const {
  CHECK(traits().streams) << "this mixer does not stream";
  return nn::State();
}

Tensor Mixer::Extend(const Tensor&, const nn::Rows&, const nn::Call&, nn::State*) const {
  LOG(FATAL) << "this mixer does not stream";
  return Tensor();
}

}  // namespace longrange
