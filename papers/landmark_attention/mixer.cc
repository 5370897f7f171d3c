// The mixer: projections and rotary positions of ordinary attention around the attention through
// landmarks of grouped_attention.h. B batch, T rows of a call, S keys, H query heads, K key-value
// heads, P head width, D width.

#include "plugins/mixer.h"

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "papers/landmark_attention/grouped_attention.h"
#include "papers/landmark_attention/landmark_attention.pb.h"
#include "plugins/attention/rotation.h"
#include "plugins/head_sizes.h"
#include "plugins/position.h"

namespace longrange {
namespace {

// Streaming state: "k" and "v" [B, S, K, P] of all rows, "seen" [B] (int64) how many.
class LandmarkMixer : public Mixer {
 public:
  static absl::StatusOr<std::unique_ptr<Mixer>> Create(const LandmarkAttentionMixerConfig& config,
                                                       const BuildArgs& args);

  const MixerTraits& traits() const override { return traits_; }

  Tensor Forward(const Tensor& x_btd, const nn::Rows&, const nn::Call& call) const override {
    const Projected p = Project(x_btd);
    const int64_t rows = x_btd.dim(1), length = call.horizon > 0 ? call.horizon : rows;
    if (top_k_ > 0 && !call.training)
      return Retrieve(p, InBlock(p.k, 0, length, call), length, call);
    return Attend(Rotated(p.q, 0, length, call), Rotated(p.k, 0, length, call), p.v, call);
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    const Shape none = {batch, 0, kv_heads_, head_width_};
    state.Set("k", Tensor::Empty(none, w_k_.dtype(), w_k_.device()));
    state.Set("v", Tensor::Empty(none, w_k_.dtype(), w_k_.device()));
    state.Set("seen", Tensor::Zeros({batch}, DType::kInt64));
    return state;
  }

  // Keys are kept as they are used next: rotated, but for schemes that depend on the length.
  Tensor Extend(const Tensor& x_btd, const nn::Rows&, const nn::Call& call,
                nn::State* state) const override {
    CHECK(top_k_ == 0 || !call.training)
        << "training retrieves nothing, and what a stream keeps is "
           "made for retrieval";
    const int64_t seen = state->Get("seen").data<int64_t>()[0], total = seen + x_btd.dim(1),
                  length = call.horizon > 0 ? call.horizon : total;
    Projected p = Project(x_btd);
    const bool late = position_ != nullptr && position_->depends_on_length();
    const auto placed = [&](const Tensor& k, int64_t first) {
      return top_k_ > 0 ? InBlock(k, first, length, call) : Rotated(k, first, length, call);
    };
    state->Append("k", late ? p.k : placed(p.k, seen));
    state->Append("v", p.v);
    state->Set("seen", Tensor::Full({x_btd.dim(0)}, static_cast<double>(total), DType::kInt64));
    const Tensor k = late ? placed(state->Get("k"), 0) : state->Get("k");
    p.v = state->Get("v");
    if (top_k_ > 0) return Retrieve(p, k, length, call);
    return Attend(Rotated(p.q, seen, length, call), k, p.v, call);
  }

 private:
  struct Projected {
    Tensor q, k, v;  // [B, T, H, P], [B, T, K, P] twice
  };

  Projected Project(const Tensor& x_btd) const {
    const std::vector<Tensor> qkv = Linears(x_btd, {w_q_(), w_k_(), w_v_()});
    const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1);
    return {Reshape(qkv[0], {batch, rows, heads_, head_width_}),
            Reshape(qkv[1], {batch, rows, kv_heads_, head_width_}),
            Reshape(qkv[2], {batch, rows, kv_heads_, head_width_})};
  }

  // Rows from stream position `first` on, where they stand.
  Tensor Rotated(const Tensor& x, int64_t first, int64_t length, const nn::Call& call) const {
    std::vector<double> positions(x.dim(1));
    for (size_t t = 0; t < positions.size(); ++t)
      positions[t] = static_cast<double>(first) + static_cast<double>(t);
    return RotateTo(position_.get(), x, positions, length, call);
  }

  // The same as if their block stood `away` blocks behind the first.
  Tensor InBlock(const Tensor& x, int64_t first, int64_t length, const nn::Call& call,
                 int64_t away = 0) const {
    std::vector<double> positions(x.dim(1));
    for (size_t t = 0; t < positions.size(); ++t) {
      positions[t] =
          static_cast<double>(away * block_ + (first + static_cast<int64_t>(t)) % block_);
    }
    return RotateTo(position_.get(), x, positions, length, call);
  }

  // q and k stand where they are.
  Tensor Attend(const Tensor& q, const Tensor& k, const Tensor& v, const nn::Call& call) const {
    return Output(
        call.Wants("attention")
            ? landmark_attention::PlainGroupedAttention(
                  q, k, v, block_, [&](const Tensor& p) { return call.Tap("attention", p); })
            : landmark_attention::GroupedAttention(q, k, v, block_));
  }

  // k stands in its block; p.v is of all keys, p.q of the last rows.
  Tensor Retrieve(const Projected& p, const Tensor& k, int64_t length, const nn::Call& call) const {
    const int64_t batch = p.q.dim(0), rows = p.q.dim(1), first = k.dim(1) - rows;
    std::vector<Tensor> as_met;
    for (int64_t away = 0; away <= top_k_ + 1; ++away) {
      as_met.push_back(
          Reshape(InBlock(p.q, first, length, call, away), {batch, rows, heads_, 1, head_width_}));
    }
    return Output(
        landmark_attention::RetrievedAttention(Concat(as_met, 3), k, p.v, block_, top_k_));
  }

  Tensor Output(const Tensor& y) const {
    return Linear(Reshape(y, {y.dim(0), y.dim(1), heads_ * head_width_}), w_o_());
  }

  MixerTraits traits_;
  int64_t heads_ = 0, kv_heads_ = 0, head_width_ = 0, block_ = 0, top_k_ = 0;
  std::unique_ptr<PositionScheme> position_;  // null: none
  nn::Weight w_q_, w_k_, w_v_, w_o_;
};

absl::StatusOr<std::unique_ptr<Mixer>> LandmarkMixer::Create(
    const LandmarkAttentionMixerConfig& config, const BuildArgs& args) {
  constexpr int64_t kMostTopK = 1024, kLongestBlock = 1 << 20;
  if (args.direction != nn::Direction::kCausal) {
    return absl::InvalidArgumentError(
        "landmark attention is causal (expected no attention in both directions)");
  }
  LR_ASSIGN_OR_RETURN(const HeadSizes sizes, CheckHeads(config.heads(), config.kv_heads(),
                                                        config.head_width(), args.width));
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  if (config.block() < 2 || config.block() > kLongestBlock)
    return Refuse("block", config.block(), absl::StrCat("2 to ", kLongestBlock, " rows"));
  if (config.top_k() < 0 || config.top_k() > kMostTopK)
    return Refuse("top_k", config.top_k(), absl::StrCat("0 to ", kMostTopK, " blocks"));
  auto mixer = std::make_unique<LandmarkMixer>();
  mixer->heads_ = sizes.heads;
  mixer->kv_heads_ = sizes.kv_heads;
  mixer->head_width_ = sizes.head_width;
  mixer->block_ = config.block();
  mixer->top_k_ = config.top_k();
  if (config.has_position()) {
    BuildArgs part = args;
    part.width = mixer->head_width_;
    part.heads = mixer->heads_;
    part.scope = args.scope.Child("position");
    LR_ASSIGN_OR_RETURN(mixer->position_,
                        Registry<PositionScheme>::Get().Create(config.position(), part));
    if ((mixer->position_->uses() & ~uint32_t{kRotary}) != 0) {
      return absl::InvalidArgumentError(absl::StrCat("position: landmark attention carries out ",
                                                     UseNames(kRotary), "; this scheme asks for ",
                                                     UseNames(mixer->position_->uses())));
    }
  }
  MixerTraits& traits = mixer->traits_;
  traits.streams = true;
  traits.state = Growth::kLinear;
  traits.flops = Growth::kQuadratic;  // retrieval too: every landmark is looked at
  traits.padding = MixerTraits::kRight;
  traits.hosts = kRotary;
  if (mixer->top_k_ == 0) traits.taps = {"attention"};

  const int64_t q_width = mixer->heads_ * mixer->head_width_,
                kv_width = mixer->kv_heads_ * mixer->head_width_;
  const nn::Init init = nn::Normal(config.init_std());
  mixer->w_q_ = args.scope.Linear("w_q", {q_width, args.width}, init);
  mixer->w_k_ = args.scope.Linear("w_k", {kv_width, args.width}, init);
  mixer->w_v_ = args.scope.Linear("w_v", {kv_width, args.width}, init);
  mixer->w_o_ = args.scope.Linear(
      "w_o", {args.width, q_width},
      nn::Normal(config.init_std() / std::sqrt(2.0 * static_cast<double>(args.num_layers))));
  return mixer;
}

LR_REGISTER_PLUGIN(Mixer, LandmarkAttentionMixerConfig, LandmarkMixer::Create);

}  // namespace
}  // namespace longrange
