// Mixer: a layer that lets the rows of a sequence exchange information. The contract that every one
// honours; the facts an implementation declares are data (MixerTraits) and are verified by
// plugins/conformance. B batch, T rows of a call, D width.

#ifndef LONGRANGE_PLUGINS_MIXER_H_
#define LONGRANGE_PLUGINS_MIXER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/nn/call.h"
#include "common/nn/module.h"
#include "plugins/growth.h"
#include "plugins/registry.h"

namespace longrange {

// Facts of one instance: its config may change them. plugins/conformance verifies each.
struct MixerTraits {
  std::vector<nn::Form> forms = {nn::Form::kParallel};  // the first is the default
  nn::Direction direction = nn::Direction::kCausal;
  bool streams = false;  // Extend over any cut equals Forward, in values and gradients
  // > 0: a grid of this many rows on the stream; what lies before a row's segment is memory.
  int64_t segment = 0;
  bool gradient_crosses_segments = true;  // does what is memory carry a gradient?
  // Where it does not: none crosses every so-many-th border, counted from the stream's first row;
  // across the borders between, it does.
  int64_t gradient_segments = 1;
  Growth state = Growth::kConstant;        // bytes of a stream's state, in rows seen
  Growth flops = Growth::kLinear;          // of Forward in the default form
  int64_t min_tokens = 1, max_tokens = 0;  // 0: any
  int64_t multiple_of = 1;                 // rows of a call
  enum Padding { kNoPadding, kRight, kBothSides } padding = kNoPadding;
  // Honours Rows::document_bt, Rows::frontier_t, Rows::role_bt.
  bool documents = false, frontier = false, roles = false;
  // Do rows of a batch influence each other (batch norm; Nystromformer's maximum over the batch)?
  enum Coupling { kNever, kTraining, kAlways } batch_coupled = kNever;
  // Are norm and residual connection part of the layer (Transformer-XL, Mega)? Then it gets the raw
  // rows, and a stack adds neither.
  bool owns_residual = false;
  uint32_t hosts = 0;             // the PositionUse values it can carry out
  std::vector<std::string> taps;  // side outputs it offers to a Sink
};

// Can a call of this size and kind be served by a layer with these facts? InvalidArgument names
// what cannot.
absl::Status SupportedBy(const MixerTraits& traits, int64_t tokens, const nn::Rows& rows,
                         const nn::Call& call);

// The linear maps of a layer's H heads of width P, for probes of circuits: a head's query of a row
// x is w_q x, its key w_k x, its value w_v x, and what it writes of a value v is w_o v. Heads that
// share keys and values have the same w_k and w_v. Biases and positions are not in them.
struct HeadMaps {
  Tensor w_q_hpd, w_k_hpd, w_v_hpd, w_o_hdp;
};

class Mixer : public nn::Module {
 public:
  using Args = BuildArgs;
  static constexpr char kKindName[] = "mixer";

  virtual const MixerTraits& traits() const = 0;

  // Can a call of this size and kind be served? InvalidArgument or Unimplemented names what cannot.
  // Here: SupportedBy its traits.
  virtual absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                                const nn::Call& call) const;

  // x [B, T, D] -> [B, T, D], all rows at once.
  virtual Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const = 0;

  // A fresh state for B streams, and the next rows of them. Only where traits().streams. Padding in
  // front of a stream comes with its first rows and ends within them; there is none behind. Whoever
  // changes the parameters under an open stream calls its State::DropDerived().
  virtual nn::State NewState(int64_t batch) const;
  virtual Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                        nn::State* state) const;

  // Of a layer whose heads are such maps, not on the tape; nullopt: it has none.
  virtual std::optional<HeadMaps> Heads() const { return std::nullopt; }
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MIXER_H_
