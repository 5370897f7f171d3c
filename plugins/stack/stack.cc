#include "plugins/stack/stack.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/batch_norm.h"
#include "common/autograd/ops.h"
#include "common/nn/recompute.h"
#include "plugins/position.h"

namespace longrange {
namespace {

class Norm {
 public:
  Norm(const NormConfig& config, int64_t width, const nn::Scope& scope, absl::string_view name)
      : kind_(config.kind()), epsilon_(config.epsilon()), momentum_(config.momentum()) {
    nn::Tags tags;
    tags.decay = false;
    const nn::Scope own = scope.Child(name);
    weight_ = own.Param("weight", {width}, nn::Constant(1), tags);
    if (kind_ != NormConfig::RMS) bias_ = own.Param("bias", {width}, nn::Zeros(), tags);
    if (kind_ == NormConfig::BATCH) {
      mean_ = own.Buffer("running_mean", {width}, nn::Zeros());
      variance_ = own.Buffer("running_variance", {width}, nn::Constant(1));
    }
  }

  Tensor operator()(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const {
    switch (kind_) {
      case NormConfig::RMS:
        return RmsNorm(x_btd, weight_, epsilon_);
      case NormConfig::LAYER:
        return LayerNorm(x_btd, weight_, bias_, epsilon_);
      case NormConfig::BATCH:
        break;
    }
    if (!call.training) return BatchNormBy(mean_, variance_, x_btd, weight_, bias_, epsilon_);
    const BatchNormResult made =
        BatchNorm(x_btd, rows.begin_b, rows.end_b, weight_, bias_, epsilon_);
    if (call.sink != nullptr) {
      const auto moved = [&](const Tensor& running, const Tensor& batch) {
        return Add(Scale(running, momentum_), Scale(batch, 1 - momentum_));
      };
      call.sink->Buffer(mean_, moved(mean_, made.mean_d));
      call.sink->Buffer(variance_, moved(variance_, made.variance_d));
    }
    return made.y_btd;
  }

 private:
  NormConfig::Kind kind_;
  double epsilon_, momentum_;
  Tensor weight_, bias_;    // no bias: RMS
  Tensor mean_, variance_;  // of BATCH
};

class FeedForward {
 public:
  FeedForward(const FeedForwardConfig& config, const StackConfig& stack, int64_t width,
              const nn::Scope& scope)
      : kind_(config.kind()) {
    const bool gated = IsGated(kind_);
    int64_t hidden = config.width();
    if (hidden == 0) {
      const int64_t exact = gated ? (8 * width + 2) / 3 : 4 * width;
      hidden = (exact + 31) / 32 * 32;
    }
    const nn::Init init = nn::Normal(stack.init_std());
    up_ = scope.Linear("w_up", {hidden, width}, init);
    if (gated) gate_ = scope.Linear("w_gate", {hidden, width}, init);
    down_ = scope.Linear(
        "w_down", {width, hidden},
        nn::Normal(stack.init_std() / std::sqrt(2.0 * static_cast<double>(stack.layers()))));
    if (!config.biases()) return;
    nn::Tags no_decay;
    no_decay.decay = false;
    b_up_ = scope.Param("b_up", {hidden}, nn::Zeros(), no_decay);
    b_down_ = scope.Param("b_down", {width}, nn::Zeros(), no_decay);
  }

  static bool IsGated(FeedForwardConfig::Kind kind) {
    return kind == FeedForwardConfig::SWIGLU || kind == FeedForwardConfig::GEGLU;
  }

  Tensor operator()(const Tensor& x) const {
    if (!IsGated(kind_)) {
      const Tensor hidden = Linear(x, up_(), b_up_);
      return Linear(kind_ == FeedForwardConfig::RELU ? Relu(hidden) : Gelu(hidden), down_(),
                    b_down_);
    }
    const std::vector<Tensor> both = Linears(x, {gate_(), up_()});
    const Tensor hidden =
        kind_ == FeedForwardConfig::GEGLU ? Mul(Gelu(both[0]), both[1]) : SwiGlu(both[0], both[1]);
    return Linear(hidden, down_());
  }

 private:
  FeedForwardConfig::Kind kind_;
  nn::Weight up_, gate_, down_;
  Tensor b_up_, b_down_;  // undefined without biases
};

struct Block {
  std::unique_ptr<Norm> mixer_norm;  // null: the mixer owns its residual
  std::unique_ptr<Norm> feed_forward_norm;
  std::unique_ptr<Mixer> mixer;
  std::unique_ptr<FeedForward> feed_forward;  // null: none
};

class Stack : public Backbone {
 public:
  static absl::StatusOr<std::unique_ptr<Backbone>> Create(const StackConfig& config,
                                                          const BuildArgs& args) {
    if (config.layers() < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("layers: ", config.layers(), " (expected 1 or more)"));
    }
    if (!(config.norm().epsilon() > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("norm.epsilon: ", config.norm().epsilon(), " (expected > 0)"));
    }
    if (!(config.norm().momentum() >= 0 && config.norm().momentum() < 1)) {
      return absl::InvalidArgumentError(
          absl::StrCat("norm.momentum: ", config.norm().momentum(), " (expected in [0, 1))"));
    }
    if (config.feed_forward().width() < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "feed_forward.width: ", config.feed_forward().width(), " (expected 0 or more)"));
    }
    if (config.feed_forward().biases() &&
        (FeedForward::IsGated(config.feed_forward().kind()) ||
         config.feed_forward().kind() == FeedForwardConfig::NONE)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "feed_forward.biases: true (expected false for ",
          FeedForwardConfig::Kind_Name(config.feed_forward().kind()), ", which has none)"));
    }
    if (!(config.init_std() >= 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("init_std: ", config.init_std(), " (expected 0 or more)"));
    }
    auto stack = std::make_unique<Stack>();
    if (config.has_position()) {
      BuildArgs position_args = args;
      position_args.scope = args.scope.Child("position");
      LR_ASSIGN_OR_RETURN(stack->position_,
                          Registry<PositionScheme>::Get().Create(config.position(), position_args));
      if (stack->position_->uses() != kAtInput) {
        return absl::InvalidArgumentError(
            absl::StrCat("position: a stack carries out ", UseNames(kAtInput),
                         "; this scheme asks for ", UseNames(stack->position_->uses())));
      }
    }
    stack->recompute_ = config.recompute();
    LR_ASSIGN_OR_RETURN(const bool owns_residual, OwnsResidual(config.mixer(), args));
    for (int64_t layer = 0; layer < config.layers(); ++layer) {
      BuildArgs mixer_args = args;
      const nn::Scope scope = args.scope.Child(absl::StrCat("layers.", layer));
      mixer_args.scope = scope.Child("mixer");
      mixer_args.layer = layer;
      mixer_args.num_layers = config.layers();
      Block block;
      if (!owns_residual)
        block.mixer_norm = std::make_unique<Norm>(config.norm(), args.width, scope, "mixer_norm");
      LR_ASSIGN_OR_RETURN(block.mixer, Registry<Mixer>::Get().Create(config.mixer(), mixer_args));
      if (config.feed_forward().kind() != FeedForwardConfig::NONE) {
        block.feed_forward_norm =
            std::make_unique<Norm>(config.norm(), args.width, scope, "feed_forward_norm");
        block.feed_forward = std::make_unique<FeedForward>(config.feed_forward(), config,
                                                           args.width, scope.Child("feed_forward"));
      }
      stack->blocks_.push_back(std::move(block));
    }
    stack->post_norm_ = config.norm_place() == StackConfig::POST;
    if (config.norm_place() == StackConfig::PRE)
      stack->last_norm_ = std::make_unique<Norm>(config.norm(), args.width, args.scope, "norm");
    stack->JoinTraits();
    if (config.norm().kind() == NormConfig::BATCH) {
      stack->traits_.batch_coupled = std::max(stack->traits_.batch_coupled, MixerTraits::kTraining);
    }
    return stack;
  }

  const BackboneTraits& traits() const override { return traits_; }

  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const override {
    for (size_t i = 0; i < blocks_.size(); ++i) {
      LR_RETURN_IF_ERROR(Annotate(blocks_[i].mixer->Supports(batch, tokens, rows, call),
                                  absl::StrCat("layer ", i)));
    }
    return absl::OkStatus();
  }

  Sequence Forward(const Sequence& in, const nn::Call& call) const override {
    Tensor x = Placed(in.x_btd, 0, in.rows.begin_b, call);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const auto run = [this, &block = blocks_[i], rows = in.rows](
                           const std::vector<Tensor>& inputs, const nn::Call& at) {
        return Apply(block, inputs[0], rows, at,
                     [&](const Tensor& h) { return block.mixer->Forward(h, rows, at); });
      };
      const nn::Call at = LayerCall(call, i);
      x = recompute_ && call.training ? nn::RecomputePart(run, {x}, at) : run({x}, at);
    }
    return {Last(x, in.rows, call), in.rows};
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    if (position_ != nullptr) {
      state.Set("seen", Tensor::Zeros({batch}, DType::kInt64));
      state.Set("begin", Tensor::Zeros({batch}, DType::kInt64));
    }
    for (size_t i = 0; i < blocks_.size(); ++i) {
      *state.Child(absl::StrCat("layers.", i))->Child("mixer") = blocks_[i].mixer->NewState(batch);
    }
    return state;
  }

  Sequence Extend(const Sequence& in, const nn::Call& call, nn::State* state) const override {
    Tensor x = in.x_btd;
    if (position_ != nullptr) {
      const int64_t batch = x.dim(0), seen = state->Get("seen").data<int64_t>()[0];
      if (in.rows.begin_b.defined()) state->Set("begin", in.rows.begin_b.Clone());
      x = Placed(x, seen, state->Get("begin"), call);
      state->Set("seen",
                 Tensor::Full({batch}, static_cast<double>(seen + x.dim(1)), DType::kInt64));
    }
    for (size_t i = 0; i < blocks_.size(); ++i) {
      nn::State* mine = state->Child(absl::StrCat("layers.", i))->Child("mixer");
      const nn::Call at = LayerCall(call, i);
      x = Apply(blocks_[i], x, in.rows, at,
                [&](const Tensor& h) { return blocks_[i].mixer->Extend(h, in.rows, at, mine); });
    }
    return {Last(x, in.rows, call), in.rows};
  }

  std::vector<std::pair<std::string, HeadMaps>> Heads() const override {
    std::vector<std::pair<std::string, HeadMaps>> heads;
    for (size_t i = 0; i < blocks_.size(); ++i) {
      if (std::optional<HeadMaps> maps = blocks_[i].mixer->Heads(); maps.has_value())
        heads.emplace_back(absl::StrCat("layers.", i, ".mixer"), *std::move(maps));
    }
    return heads;
  }

 private:
  // Asked of a mixer without memory: the parameters of a norm stand before those of its mixer.
  static absl::StatusOr<bool> OwnsResidual(const google::protobuf::Any& mixer,
                                           const BuildArgs& args) {
    nn::ParameterStore scratch;
    BuildArgs meta = args;
    meta.scope = nn::Scope(&scratch, Rng(), args.scope.dtype(), Device::kMeta);
    meta.shared = meta.scope.Child("shared");
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> made,
                        Registry<Mixer>::Get().Create(mixer, meta));
    return made->traits().owns_residual;
  }

  // The rows with their positions, after `seen` ones; `begin_b` rows of each sample are padding.
  Tensor Placed(const Tensor& x_btd, int64_t seen, const Tensor& begin_b,
                const nn::Call& call) const {
    if (position_ == nullptr) return x_btd;
    std::vector<int64_t> first_b(x_btd.dim(0), seen);
    if (begin_b.defined() && !begin_b.is_meta()) {
      for (size_t b = 0; b < first_b.size(); ++b) first_b[b] -= begin_b.data<int64_t>()[b];
    }
    return position_->AddTo(x_btd, first_b, call.Child("position"));
  }

  static nn::Call LayerCall(const nn::Call& call, size_t layer) {
    return call.Child(absl::StrCat("layers.", layer)).Child("mixer");
  }

  template <typename MixFn>
  Tensor Apply(const Block& block, const Tensor& x, const nn::Rows& rows, const nn::Call& call,
               MixFn mix) const {
    const auto connected = [&](const Norm& norm, const Tensor& in, const auto& part) {
      return post_norm_ ? norm(Add(in, part(in)), rows, call) : Add(in, part(norm(in, rows, call)));
    };
    const Tensor mixed =
        block.mixer_norm == nullptr ? mix(x) : connected(*block.mixer_norm, x, mix);
    if (block.feed_forward == nullptr) return mixed;
    return connected(*block.feed_forward_norm, mixed, *block.feed_forward);
  }

  Tensor Last(const Tensor& x, const nn::Rows& rows, const nn::Call& call) const {
    return last_norm_ == nullptr ? x : (*last_norm_)(x, rows, call);
  }

  void JoinTraits() {
    traits_ = {blocks_[0].mixer->traits()};
    const int64_t positions = position_ == nullptr ? 0 : position_->max_positions();
    if (positions > 0 && (traits_.max_tokens == 0 || traits_.max_tokens > positions))
      traits_.max_tokens = positions;
    traits_.hosts = 0;
    traits_.owns_residual = false;
    traits_.taps.clear();
    for (size_t i = 0; i < blocks_.size(); ++i) {
      const MixerTraits& t = blocks_[i].mixer->traits();
      for (const std::string& tap : t.taps)
        traits_.taps.push_back(absl::StrCat("layers.", i, ".mixer/", tap));
      traits_.forms.erase(std::remove_if(traits_.forms.begin(), traits_.forms.end(),
                                         [&](nn::Form form) {
                                           return std::find(t.forms.begin(), t.forms.end(), form) ==
                                                  t.forms.end();
                                         }),
                          traits_.forms.end());
      traits_.streams = traits_.streams && t.streams;
      if (t.segment > 0)
        traits_.segment = traits_.segment == 0 ? t.segment : std::lcm(traits_.segment, t.segment);
      traits_.gradient_crosses_segments =
          traits_.gradient_crosses_segments && t.gradient_crosses_segments;
      traits_.state = std::max(traits_.state, t.state);
      traits_.flops = std::max(traits_.flops, t.flops);
      traits_.min_tokens = std::max(traits_.min_tokens, t.min_tokens);
      if (t.max_tokens > 0) {
        traits_.max_tokens =
            traits_.max_tokens == 0 ? t.max_tokens : std::min(traits_.max_tokens, t.max_tokens);
      }
      traits_.multiple_of = std::lcm(traits_.multiple_of, t.multiple_of);
      traits_.padding = std::min(traits_.padding, t.padding);
      traits_.documents = traits_.documents && t.documents;
      traits_.frontier = traits_.frontier && t.frontier;
      traits_.roles = traits_.roles && t.roles;
      traits_.batch_coupled = std::max(traits_.batch_coupled, t.batch_coupled);
    }
  }

  std::unique_ptr<PositionScheme> position_;  // null: none at the entry
  std::vector<Block> blocks_;
  std::unique_ptr<Norm> last_norm_;  // null: none
  BackboneTraits traits_;
  bool post_norm_ = false, recompute_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Backbone>> CreateStack(const StackConfig& config,
                                                      const BuildArgs& args) {
  return Stack::Create(config, args);
}

LR_REGISTER_PLUGIN(Backbone, StackConfig, CreateStack);

}  // namespace longrange
