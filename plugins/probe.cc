#include "plugins/probe.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longrange {
namespace {

class Listener : public nn::Sink {
 public:
  Listener(std::vector<std::string> suffixes,
           std::function<Tensor(absl::string_view, const Tensor&)> see)
      : suffixes_(std::move(suffixes)), see_(std::move(see)) {}

  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override {
    return std::any_of(suffixes_.begin(), suffixes_.end(),
                       [&](const std::string& suffix) { return absl::EndsWith(path, suffix); });
  }
  Tensor Tap(absl::string_view path, const Tensor& value) override { return see_(path, value); }

 private:
  std::vector<std::string> suffixes_;
  std::function<Tensor(absl::string_view, const Tensor&)> see_;
};

}  // namespace

bool Probe::Offers(const Model& model, absl::string_view tap) {
  const std::vector<std::string>& taps = model.backbone().traits().taps;
  return std::any_of(taps.begin(), taps.end(), [&](const std::string& offered) {
    return offered == tap || absl::EndsWith(offered, absl::StrCat("/", tap));
  });
}

absl::Status Probe::Accepts(const Model& model) const {
  const std::vector<std::string>& taps = model.backbone().traits().taps;
  for (const std::string& need : Needs()) {
    if (!Offers(model, need)) {
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

Probe::Listening::Listening(const ProbeArgs& args, const std::vector<std::string>& taps, See see) {
  std::vector<std::string> suffixes;
  for (const std::string& tap : taps) suffixes.push_back(absl::StrCat("/", tap));
  sink_ = std::make_unique<Listener>(
      std::move(suffixes), [intervene = args.intervene, see = std::move(see)](
                               absl::string_view path, const Tensor& value) {
        return see(path, intervene == nullptr ? value : intervene(path, value));
      });
  call_.rng = args.rng;
  call_.sink = sink_.get();
}

Tensor Probe::Look(const Model& model, const ProbeArgs& args, absl::string_view tap,
                   const See& see) {
  const Listening listening(args, {std::string(tap)}, see);
  return model.Logits(args.ids_bt, nn::Rows(), listening.call());
}

}  // namespace longrange
