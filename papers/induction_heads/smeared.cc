// Attention with smeared keys: each key is mixed with the one before it, so that a single layer can
// look for what followed a token. B batch, T rows, K key-value heads, P head width.

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "plugins/attention/attention_host.h"
#include "plugins/head_sizes.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

// k_j <- s k_j + (1 - s) k_(j-1), s = sigmoid(alpha) of the head; the first key stays.
class Smear : public KeyFilter {
 public:
  Smear(const nn::Scope& scope, int64_t kv_heads, double init_alpha)
      : alpha_k1_(scope.Param("smear", {kv_heads, 1}, nn::Constant(init_alpha), AlphaTags())) {}

  int64_t reach() const override { return 1; }

  Tensor Filter(const Tensor& k_bskp, const std::vector<int64_t>& first_b) const override {
    const int64_t batch = k_bskp.dim(0), rows = k_bskp.dim(1) - 1;
    const Tensor own = Narrow(k_bskp, 1, 1, rows), before = Narrow(k_bskp, 1, 0, rows);
    Tensor none = Tensor::Empty({batch, rows, 1, 1}, DType::kUInt8);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t t = 0; t < rows; ++t)
        none.mutable_data<uint8_t>()[b * rows + t] = first_b[b] + t < 1 ? 1 : 0;
    }
    const Tensor step = MaskedFill(Sub(before, own), none.To(k_bskp.device()), 0);
    return Add(own, Mul(step, Sigmoid(Scale(alpha_k1_, -1))));  // 1 - s = sigmoid(-alpha)
  }

 private:
  static nn::Tags AlphaTags() {
    nn::Tags tags;
    tags.decay = false;
    return tags;
  }

  Tensor alpha_k1_;
};

class SmearedAttention : public Mixer {
 public:
  explicit SmearedAttention(std::unique_ptr<AttentionHost> host) : host_(std::move(host)) {}

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

absl::StatusOr<std::unique_ptr<Mixer>> CreateSmeared(const InductionHeadsSmearedConfig& config,
                                                     const BuildArgs& args) {
  LR_ASSIGN_OR_RETURN(const HeadSizes sizes, CheckHeads(config.heads(), config.kv_heads(),
                                                        config.head_width(), args.width));
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  AttentionHostOptions options;
  options.heads = sizes.heads;
  options.kv_heads = sizes.kv_heads;
  options.head_width = sizes.head_width;
  options.init_std = config.init_std();
  LR_RETURN_IF_ERROR(CreateParts(config.has_position() ? &config.position() : nullptr,
                                 config.has_rule() ? &config.rule() : nullptr, args, &options));
  options.key_filter = std::make_unique<Smear>(args.scope, options.kv_heads, config.init_alpha());
  LR_ASSIGN_OR_RETURN(std::unique_ptr<AttentionHost> host,
                      AttentionHost::Create(std::move(options), args));
  return std::make_unique<SmearedAttention>(std::move(host));
}

LR_REGISTER_PLUGIN(Mixer, InductionHeadsSmearedConfig, CreateSmeared);

}  // namespace
}  // namespace longrange
