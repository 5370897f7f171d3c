// Mixer: a layer that lets the rows of a sequence exchange information. The contract that every one
// honours; the facts an implementation declares are data (MixerTraits) and are verified by its
// tests. B batch, T rows of a call, D width.

#ifndef LONGRANGE_PLUGINS_MIXER_H_
#define LONGRANGE_PLUGINS_MIXER_H_

#include <memory>
#include <string>
#include <vector>

#include "common/nn/call.h"
#include "common/nn/module.h"
#include "plugins/registry.h"

namespace longrange {

// Facts of one instance: its config may change them.
struct MixerTraits {
  std::vector<nn::Form> forms = {nn::Form::kParallel};  // the first is the default
  nn::Direction direction = nn::Direction::kCausal;
  bool streams = false;  // Extend over any cut equals Forward, in values and gradients
  int64_t min_tokens = 1, max_tokens = 0;  // 0: any
  enum Padding { kNoPadding, kRight, kBothSides } padding = kNoPadding;
  uint32_t hosts = 0;             // the PositionUse values it can carry out
  std::vector<std::string> taps;  // side outputs it offers to a Sink
};

class Mixer : public nn::Module {
 public:
  using Args = BuildArgs;
  static constexpr char kKindName[] = "mixer";

  virtual const MixerTraits& traits() const = 0;

  // Can a call of this size and kind be served? InvalidArgument or Unimplemented names what cannot.
  virtual absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                                const nn::Call& call) const;

  // x [B, T, D] -> [B, T, D], all rows at once.
  virtual Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const = 0;

  // A fresh state for B streams, and the next rows of them. Only where traits().streams.
  virtual nn::State NewState(int64_t batch) const;
  virtual Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                        nn::State* state) const;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MIXER_H_
