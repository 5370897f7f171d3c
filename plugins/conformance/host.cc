// The attention host as a mixer, for schemes, rules and probes under test.

#include <memory>
#include <utility>

#include "plugins/attention/attention_host.h"
#include "plugins/conformance/conformance.pb.h"
#include "plugins/mixer.h"

namespace longrange::conformance {
namespace {

class Host : public Mixer {
 public:
  Host(std::unique_ptr<AttentionHost> host, bool taps)
      : host_(std::move(host)), traits_(host_->traits()) {
    if (!taps) traits_.taps.clear();
  }

  const MixerTraits& traits() const override { return traits_; }
  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    return host_->Forward(x_btd, rows, Heard(call));
  }
  nn::State NewState(int64_t batch) const override { return host_->NewState(batch); }
  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    return host_->Extend(x_btd, rows, Heard(call), state);
  }

 private:
  nn::Call Heard(nn::Call call) const {
    if (traits_.taps.empty()) call.sink = nullptr;
    return call;
  }

  std::unique_ptr<AttentionHost> host_;
  MixerTraits traits_;
};

absl::StatusOr<std::unique_ptr<Mixer>> CreateHost(const ConformanceHostConfig& config,
                                                  const BuildArgs& args) {
  AttentionHostOptions options;
  options.heads = config.heads();
  options.kv_heads = config.kv_heads();
  options.head_width = config.head_width();
  options.init_std = 0.3;
  LR_RETURN_IF_ERROR(CreateParts(config.has_position() ? &config.position() : nullptr,
                                 config.has_rule() ? &config.rule() : nullptr, args, &options));
  LR_ASSIGN_OR_RETURN(std::unique_ptr<AttentionHost> host,
                      AttentionHost::Create(std::move(options), args));
  return std::make_unique<Host>(std::move(host), config.taps());
}

LR_REGISTER_PLUGIN(Mixer, ConformanceHostConfig, CreateHost);

}  // namespace
}  // namespace longrange::conformance
