// Probe: a measurement of a model that looks inside it, or at how it behaves: attention maps, the
// reach of a mechanism, circuits. A probe changes no parameter.

#ifndef LONGRANGE_PLUGINS_PROBE_H_
#define LONGRANGE_PLUGINS_PROBE_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/io/rows.h"
#include "common/nn/call.h"
#include "plugins/model/model.h"
#include "plugins/registry.h"

namespace longrange {

struct ProbeArgs {
  Tensor ids_bt;  // int32: the sequences that the model reads while it is probed
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

  // InvalidArgument: the model does not offer what the probe needs.
  absl::Status Accepts(const Model& model) const;

  // Figures as rows: a string "figure" and a finite number "value" each, and what further keys say
  // where it was measured ("layer", "head"). InvalidArgument: the model is not accepted, or cannot
  // take these sequences; nothing has run then.
  absl::StatusOr<std::vector<Row>> Measure(const Model& model, const ProbeArgs& args) const;

 protected:
  // Called once needs and size are checked.
  virtual absl::StatusOr<std::vector<Row>> Run(const Model& model, const ProbeArgs& args) const = 0;

  // Reads the sequences and hands every side output whose path ends in "/`tap`" to `see`, after
  // args.intervene, and with what `see` returns in its place; returns the logits [B, T, V]. Records
  // nothing.
  static Tensor Look(const Model& model, const ProbeArgs& args, absl::string_view tap,
                     const std::function<Tensor(absl::string_view path, const Tensor& value)>& see);
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_PROBE_H_
