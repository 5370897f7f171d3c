#include "plugins/probe.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/autograd/tape.h"

namespace longrange {
namespace {

class Listener : public nn::Sink {
 public:
  Listener(std::string suffix, std::function<Tensor(absl::string_view, const Tensor&)> see)
      : suffix_(std::move(suffix)), see_(std::move(see)) {}

  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override { return absl::EndsWith(path, suffix_); }
  Tensor Tap(absl::string_view path, const Tensor& value) override { return see_(path, value); }

 private:
  std::string suffix_;
  std::function<Tensor(absl::string_view, const Tensor&)> see_;
};

}  // namespace

absl::Status Probe::Accepts(const Model& model) const {
  const std::vector<std::string>& taps = model.backbone().traits().taps;
  for (const std::string& need : Needs()) {
    const bool offered = std::any_of(taps.begin(), taps.end(), [&](const std::string& tap) {
      return tap == need || absl::EndsWith(tap, absl::StrCat("/", need));
    });
    if (!offered) {
      return absl::InvalidArgumentError(absl::StrCat(
          "this probe needs the side output '", need, "', which the model does not offer (",
          taps.empty() ? "it offers none" : absl::StrCat("it offers ", absl::StrJoin(taps, ", ")),
          ")"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Row>> Probe::Measure(const Model& model, const ProbeArgs& args) const {
  LR_RETURN_IF_ERROR(Accepts(model));
  LR_RETURN_IF_ERROR(
      model.Supports(args.ids_bt.dim(0), args.ids_bt.dim(1), nn::Rows(), nn::Call()));
  return Run(model, args);
}

Tensor Probe::Look(const Model& model, const ProbeArgs& args, absl::string_view tap,
                   const std::function<Tensor(absl::string_view, const Tensor&)>& see) {
  const NoGradScope no_grad;
  Listener listener(absl::StrCat("/", tap), [&](absl::string_view path, const Tensor& value) {
    return see(path, args.intervene == nullptr ? value : args.intervene(path, value));
  });
  nn::Call call;
  call.rng = args.rng;
  call.sink = &listener;
  return model.Logits(args.ids_bt, nn::Rows(), call);
}

}  // namespace longrange
