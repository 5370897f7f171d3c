// Probe: a measurement of a model that looks inside it, or at how it behaves: attention maps, the
// reach of a mechanism, circuits. A probe changes no parameter.

#ifndef LONGRANGE_PLUGINS_PROBE_H_
#define LONGRANGE_PLUGINS_PROBE_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/autograd/tape.h"
#include "common/io/rows.h"
#include "common/nn/call.h"
#include "plugins/model/model.h"
#include "plugins/registry.h"

namespace longrange {

struct ProbeArgs {
  Tensor ids_bt;     // int32: the sequences that the model reads while it is probed
  Tensor target_bt;  // int32: what is wanted after each row, -1: nothing; undefined: not known
  Tensor answer_bt;  // uint8: 1 where a task asks for the target; undefined: they are of no task
  Rng rng;
  // What takes the place of a side output before the probe sees it; null: nothing. For questions
  // of the kind "and if this head were off?".
  std::function<Tensor(absl::string_view path, const Tensor& value)> intervene;
};

class Probe : public nn::Module {
 public:
  struct Args {};
  static constexpr char kKindName[] = "probe";

  // The side outputs it cannot do without, by the end of their path: "attention".
  virtual std::vector<std::string> Needs() const = 0;
  // Those it looks at where the model offers them, beside its needs. Without them it measures less.
  virtual std::vector<std::string> MayLookAt() const { return {}; }

  // InvalidArgument: the model does not offer what the probe needs.
  absl::Status Accepts(const Model& model) const;

  // Figures as rows: a string "figure" and a finite number "value" each, and what further keys say
  // where it was measured ("layer", "head"). InvalidArgument: the model is not accepted, or cannot
  // take these sequences; nothing has run then.
  absl::StatusOr<std::vector<Row>> Measure(const Model& model, const ProbeArgs& args) const;

 protected:
  // Called once needs and size are checked.
  virtual absl::StatusOr<std::vector<Row>> Run(const Model& model, const ProbeArgs& args) const = 0;

  // Does the model offer this side output in some layer?
  static bool Offers(const Model& model, absl::string_view tap);

  using See = std::function<Tensor(absl::string_view path, const Tensor& value)>;

  // While it lives nothing is recorded, and every side output of a call whose path ends in
  // "/`tap`", for one of `taps`, goes to args.intervene, then to `see`; what that returns takes its
  // place.
  class Listening {
   public:
    Listening(const ProbeArgs& args, const std::vector<std::string>& taps, See see);
    const nn::Call& call() const { return call_; }

   private:
    NoGradScope no_grad_;
    std::unique_ptr<nn::Sink> sink_;
    nn::Call call_;
  };

  // Reads the sequences, listening to one side output; returns the logits [B, T, V].
  static Tensor Look(const Model& model, const ProbeArgs& args, absl::string_view tap,
                     const See& see);
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_PROBE_H_
