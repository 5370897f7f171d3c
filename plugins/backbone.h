// Backbone: from embedded rows to output rows. The default is plugins/stack, blocks of mixers.

#ifndef LONGRANGE_PLUGINS_BACKBONE_H_
#define LONGRANGE_PLUGINS_BACKBONE_H_

#include <string>
#include <utility>
#include <vector>

#include "common/nn/call.h"
#include "common/nn/module.h"
#include "plugins/mixer.h"

namespace longrange {

struct Sequence {
  Tensor x_btd;
  nn::Rows rows;
};

class Backbone : public nn::Module {
 public:
  using Args = BuildArgs;
  static constexpr char kKindName[] = "backbone";

  // The facts of the whole: it streams if all its parts do, and so on.
  virtual const MixerTraits& traits() const = 0;
  virtual absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                                const nn::Call& call) const;
  virtual Sequence Forward(const Sequence& x, const nn::Call& call) const = 0;
  // As of a Mixer; only where traits().streams.
  virtual nn::State NewState(int64_t batch) const;
  virtual Sequence Extend(const Sequence& x, const nn::Call& call, nn::State* state) const;

  // The maps of every layer that has heads (Mixer::Heads), in order, by the path of its side
  // outputs ("layers.0.mixer").
  virtual std::vector<std::pair<std::string, HeadMaps>> Heads() const { return {}; }
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_BACKBONE_H_
