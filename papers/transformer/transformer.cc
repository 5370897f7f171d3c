// The control arm: softmax attention, rotary positions, and a sliding window.

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/base/refuse.h"
#include "papers/transformer/transformer.pb.h"
#include "plugins/attention/attention_host.h"
#include "plugins/attention/rope.h"
#include "plugins/head_sizes.h"
#include "plugins/mixer.h"
#include "plugins/position.h"

namespace longrange {
namespace {

class Transformer : public Mixer {
 public:
  explicit Transformer(std::unique_ptr<AttentionHost> host) : host_(std::move(host)) {}

  const MixerTraits& traits() const override { return host_->traits(); }
  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    return host_->Forward(x_btd, rows, call);
  }
  nn::State NewState(int64_t batch) const override { return host_->NewState(batch); }
  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    return host_->Extend(x_btd, rows, call, state);
  }
  std::optional<HeadMaps> Heads() const override { return host_->Heads(); }

 private:
  std::unique_ptr<AttentionHost> host_;
};

absl::StatusOr<std::unique_ptr<Mixer>> CreateTransformer(const TransformerConfig& config,
                                                         const BuildArgs& args) {
  LR_ASSIGN_OR_RETURN(const HeadSizes sizes, CheckHeads(config.heads(), config.kv_heads(),
                                                        config.head_width(), args.width));
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  AttentionHostOptions options;
  options.heads = sizes.heads;
  options.kv_heads = sizes.kv_heads;
  options.head_width = sizes.head_width;
  options.init_std = config.init_std();
  options.freeze_cached_keys = config.freeze_cached_keys();
  LR_RETURN_IF_ERROR(CreateParts(config.has_position() ? &config.position() : nullptr,
                                 config.has_rule() ? &config.rule() : nullptr, args, &options));
  LR_ASSIGN_OR_RETURN(std::unique_ptr<AttentionHost> host,
                      AttentionHost::Create(std::move(options), args));
  return std::make_unique<Transformer>(std::move(host));
}

class Rope : public PositionScheme {
 public:
  Rope(const TransformerRopeConfig& config, int64_t dims)
      : rotary_{FrequencyTensor(RopeFrequencies(dims, config.theta())), 1, config.interleaved()} {}

  uint32_t uses() const override { return kRotary; }
  RotaryAngles RotaryFor(int64_t, const nn::Call&) const override { return rotary_; }

 private:
  RotaryAngles rotary_;
};

absl::StatusOr<std::unique_ptr<PositionScheme>> CreateRope(const TransformerRopeConfig& config,
                                                           const BuildArgs& args) {
  LR_ASSIGN_OR_RETURN(const int64_t dims, RotaryWidth(args.width, config.partial()));
  if (!(config.theta() > 1)) return Refuse("theta", config.theta(), "> 1");
  return std::make_unique<Rope>(config, dims);
}

class Window : public AttentionRule {
 public:
  explicit Window(int64_t window) : window_(window) {}

  std::pair<int64_t, int64_t> Keep() const override { return {0, window_}; }
  Growth keys_seen() const override { return Growth::kConstant; }
  void Spans(int64_t, int64_t query, int64_t keys, const nn::Call&,
             std::vector<Span>* out) const override {
    out->push_back({std::max<int64_t>(0, query - window_ + 1), std::min(keys, query + 1)});
  }

 private:
  int64_t window_;
};

absl::StatusOr<std::unique_ptr<AttentionRule>> CreateWindow(const TransformerWindowConfig& config,
                                                            const BuildArgs&) {
  if (config.window() < 1) return Refuse("window", config.window(), "1 or more");
  return std::make_unique<Window>(config.window());
}

LR_REGISTER_PLUGIN(Mixer, TransformerConfig, CreateTransformer);
LR_REGISTER_PLUGIN(PositionScheme, TransformerRopeConfig, CreateRope);
LR_REGISTER_PLUGIN(AttentionRule, TransformerWindowConfig, CreateWindow);

}  // namespace
}  // namespace longrange
