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

// Facts of the whole: it streams if all its parts do, and so on.
struct BackboneTraits : MixerTraits {
  // > 0: a call gives back so many rows, however many came in, and nothing is to be said of them
  // (latents that have read the sequence: Perceiver). It is of use for one answer a sequence. Such
  // a backbone is bidirectional, does not stream, and takes no documents, frontier or roles, which
  // belong to rows that it does not give back.
  int64_t output_rows = 0;
  int64_t output_width = 0;  // of the rows given back; 0: that of the rows that came in

  int64_t RowsBack(int64_t tokens) const { return output_rows > 0 ? output_rows : tokens; }
  int64_t WidthBack(int64_t width) const { return output_width > 0 ? output_width : width; }
};

class Backbone : public nn::Module {
 public:
  using Args = BuildArgs;
  static constexpr char kKindName[] = "backbone";

  virtual const BackboneTraits& traits() const = 0;
  virtual absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                                const nn::Call& call) const;
  // What comes back is of the rows that came in, or of output_rows of its own.
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
