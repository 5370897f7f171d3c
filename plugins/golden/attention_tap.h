// A listener that keeps the attention probabilities of a call, which makes attention run in plain
// operations.

#ifndef LONGRANGE_PLUGINS_GOLDEN_ATTENTION_TAP_H_
#define LONGRANGE_PLUGINS_GOLDEN_ATTENTION_TAP_H_

#include "absl/strings/match.h"
#include "common/nn/call.h"

namespace longrange {

class AttentionTap : public nn::Sink {
 public:
  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override { return absl::EndsWith(path, "/attention"); }
  Tensor Tap(absl::string_view, const Tensor& value) override { return probabilities_bhts = value; }

  Tensor probabilities_bhts;  // of the last layer that ran
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_GOLDEN_ATTENTION_TAP_H_
