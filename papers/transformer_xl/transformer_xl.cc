// Attention over segments with a memory of those before (Dai et al. 2019, section 3.2). Form:
// kChunked, segment by segment. B batch, T rows of a call, H heads, P channels of a head, D width.

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "papers/transformer_xl/relative_attention.h"
#include "papers/transformer_xl/transformer_xl.pb.h"
#include "plugins/head_sizes.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

using transformer_xl::ByHead;

nn::Init AroundOne(double standard_deviation) {
  return [normal = nn::Normal(standard_deviation)](const Rng& rng, const Tensor& value) {
    normal(rng, value);
    if (!value.is_meta()) value.CopyFrom(Affine(value.Detach(), 1, 1));
  };
}

// Streaming state: "memory" [B, M, D], the newest rows before the open segment, and "open" [B, O,
// D], its rows so far: the layer's raw inputs. Derived: their keys "k" and values "v" [H, B, M + O,
// P], and the projected distances "r" [H, R, P].
class TransformerXlMixer : public Mixer {
 public:
  // `channels` of a head.
  TransformerXlMixer(const TransformerXlConfig& config, int64_t channels, const BuildArgs& args)
      : config_(config),
        heads_(config.heads()),
        segment_(config.segment()),
        memory_(config.memory()) {
    traits_.forms = {nn::Form::kChunked};
    traits_.streams = true;
    traits_.segment = segment_;
    traits_.gradient_crosses_segments = false;
    traits_.padding = MixerTraits::kRight;
    traits_.owns_residual = true;
    traits_.taps = {"attention", "head_out"};
    const int64_t width = heads_ * channels;
    const nn::Init init = nn::Normal(config.init_std());
    w_q_ = args.scope.Linear("w_q", {width, args.width}, init);
    w_k_ = args.scope.Linear("w_k", {width, args.width}, init);
    w_v_ = args.scope.Linear("w_v", {width, args.width}, init);
    w_r_ = args.scope.Linear("w_r", {width, args.width}, init);
    w_o_ = args.scope.Linear("w_o", {args.width, width}, init);
    const nn::Scope biases = config.untie() ? args.scope : args.shared.Child("transformer_xl");
    u_hp_ = biases.SharedParam("u", {heads_, channels}, init);
    v_hp_ = biases.SharedParam("v", {heads_, channels}, init);
    nn::Tags no_decay;
    no_decay.decay = false;
    const nn::Scope norm = args.scope.Child("norm");
    norm_weight_ = norm.Param("weight", {args.width}, AroundOne(config.init_std()), no_decay);
    norm_bias_ = norm.Param("bias", {args.width}, nn::Zeros(), no_decay);
  }

  const MixerTraits& traits() const override { return traits_; }

  Tensor Forward(const Tensor& x_btd, const nn::Rows&, const nn::Call& call) const override {
    nn::State at_rest = NewState(x_btd.dim(0));
    return Run(x_btd, call, &at_rest, /*goes_on=*/false);
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    for (const char* name : {"memory", "open"}) {
      state.Set(name, Tensor::Empty({batch, 0, norm_bias_.dim(0)}, norm_bias_.dtype(),
                                    norm_bias_.device()));
    }
    return state;
  }

  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const override {
    CHECK(!rows.end_b.defined()) << "a stream is not padded on the right";
    return Run(x_btd, call, state, /*goes_on=*/true);
  }

  std::optional<HeadMaps> Heads() const override {
    const NoGradScope no_grad;
    const int64_t width = norm_bias_.dim(0), channels = u_hp_.dim(1);
    const auto by_head = [&](const nn::Weight& w) {
      return Reshape(w(), {heads_, channels, width});
    };
    return HeadMaps{by_head(w_q_), by_head(w_k_), by_head(w_v_),
                    Permute(Reshape(w_o_(), {width, heads_, channels}), {1, 0, 2})};
  }

 private:
  // Rows of one segment, and where their keys begin among memory and live rows.
  struct Piece {
    transformer_xl::RelativeAttentionInputs in;
    int64_t first_key = 0;
  };

  struct KeysAndValues {
    Tensor k_hbsp, v_hbsp;

    KeysAndValues Rows(int64_t begin, int64_t size) const {
      if (begin == 0 && size == k_hbsp.dim(2)) return *this;
      return {Narrow(k_hbsp, 2, begin, size), Narrow(v_hbsp, 2, begin, size)};
    }
  };
  // `a` may be none at all.
  static KeysAndValues Joined(const KeysAndValues& a, const KeysAndValues& b) {
    if (!a.k_hbsp.defined() || a.k_hbsp.dim(2) == 0) return b;
    return {Concat({a.k_hbsp, b.k_hbsp}, 2), Concat({a.v_hbsp, b.v_hbsp}, 2)};
  }

  Tensor Normed(const Tensor& x) const {
    return LayerNorm(x, norm_weight_, norm_bias_, config_.norm_epsilon());
  }
  Tensor Seen(const Tensor& rows_bsd) const {
    return config_.pre_norm() ? Normed(rows_bsd) : rows_bsd;
  }
  KeysAndValues Keys(const Tensor& rows_bsd, const Tensor& w_k, const Tensor& w_v) const {
    const std::vector<Tensor> projected = Linears(Seen(rows_bsd), {w_k, w_v});
    return {ByHead(projected[0], heads_), ByHead(projected[1], heads_)};
  }

  // How many distances have rows of their own, among `keys` keys.
  int64_t Distances(int64_t keys) const {
    if (config_.same_length()) keys = std::min(keys, memory_);
    return config_.clamp() > 0 ? std::min(keys, config_.clamp() + 1) : keys;
  }

  Tensor ProjectedDistances(int64_t count, const nn::Call& call) const {
    const int64_t width = norm_bias_.dim(0);
    const DType dtype = norm_bias_.dtype();
    const Device device = norm_bias_.device();
    const auto make = [&] {
      return std::make_shared<const Tensor>(
          transformer_xl::DistanceRows(count, width, dtype, device));
    };
    const auto rows = call.memo == nullptr
                          ? make()
                          : call.memo->Get<Tensor>(
                                absl::StrCat("transformer_xl distances ", count, " ", width), make);
    return ByHead(Linear(*rows, w_r_()), heads_);
  }

  // What the heads make of the values, side by side: [B, T, H P]. A sink sees the attention of all
  // rows [B, H, T, `keys`], memory first, and of what it puts there the keys that a row's segment
  // can see; and the heads apart [B, T, H, P].
  Tensor Mixed(const std::vector<Piece>& pieces, int64_t keys, const nn::Call& call) const {
    std::vector<Tensor> parts;
    if (call.Wants("attention")) {
      std::vector<Tensor> rows;
      for (const Piece& piece : pieces) {
        const Tensor p = Permute(RelativeProbabilities(piece.in), {1, 0, 2, 3});
        const auto unseen = [&](int64_t count) {
          return Tensor::Zeros({p.dim(0), p.dim(1), p.dim(2), count}, p.dtype(), p.device());
        };
        rows.push_back(
            Concat({unseen(piece.first_key), p, unseen(keys - piece.first_key - p.dim(3))}, 3));
      }
      const Tensor all = call.Tap("attention", Concat(rows, 2));
      int64_t row = 0;
      for (const Piece& piece : pieces) {
        const int64_t count = piece.in.q_hbtp.dim(2);
        const Tensor p =
            Narrow(Narrow(all, 2, row, count), 3, piece.first_key, piece.in.k_hbsp.dim(2));
        parts.push_back(transformer_xl::MixValues(Permute(p, {1, 0, 2, 3}), piece.in.v_hbsp));
        row += count;
      }
    } else {
      for (const Piece& piece : pieces) parts.push_back(RelativeAttention(piece.in));
    }
    const Tensor mixed = parts.size() == 1 ? parts[0] : Concat(parts, 1);
    if (!call.Wants("head_out")) return mixed;
    const int64_t batch = mixed.dim(0), rows = mixed.dim(1);
    const Tensor apart = Reshape(mixed, {batch, rows, heads_, mixed.dim(2) / heads_});
    return Reshape(call.Tap("head_out", apart), mixed.shape());
  }

  // The rows that follow those of `state`; where the stream goes on, it is left behind them.
  Tensor Run(const Tensor& x_btd, const nn::Call& call, nn::State* state, bool goes_on) const {
    const Tensor memory_bmd = state->Get("memory"), before_bod = state->Get("open");
    const int64_t remembered = memory_bmd.dim(1), open = before_bod.dim(1), rows = x_btd.dim(1),
                  live = open + rows;  // rows from the open segment's first one on
    const int64_t last_border = live == 0 ? 0 : (live - 1) / segment_ * segment_;
    const Tensor w_q = w_q_(), w_k = w_k_(), w_v = w_v_();
    const bool records =
        WillRecord({x_btd, before_bod, w_k, w_v, w_r_(), norm_weight_, norm_bias_, u_hp_, v_hp_});
    const Tensor live_bld = open == 0 ? x_btd : Concat({before_bod, x_btd}, 1);

    // Keys and values: of all rows, memory and live, where nothing is recorded. Else of the live
    // ones, for their own segment, and once more of those before the last border, without a
    // gradient to the rows, for the segments behind.
    KeysAndValues own, held;
    if (records) {
      state->DropDerived();
      own = Keys(live_bld, w_k, w_v);
      const Tensor past =
          last_border == 0 ? memory_bmd
                           : Concat({memory_bmd, Narrow(live_bld.Detach(), 1, 0, last_border)}, 1);
      if (memory_ > 0 && past.dim(1) > 0) held = Keys(past, w_k, w_v);
    } else {
      KeysAndValues known;
      if (state->Has("k")) {
        known = {state->Get("k"), state->Get("v")};
      } else if (remembered + open > 0) {
        known = Keys(Concat({memory_bmd, before_bod}, 1), w_k, w_v);
      }
      own = Joined(known, Keys(x_btd, w_k, w_v));
    }

    const int64_t most_keys =
        std::min(memory_, remembered + last_border) + std::min(segment_, live);
    Tensor r_hrp;
    if (goes_on && !records) {
      // A stream makes them in powers of two, so that it makes few.
      int64_t count = 1;
      while (count < most_keys) count *= 2;
      count = Distances(std::min(count, memory_ + segment_));
      if (!state->Has("r") || state->Get("r").dim(1) < count)
        state->Set("r", ProjectedDistances(count, call), nn::State::Kind::kDerived);
      r_hrp = state->Get("r");
    } else {
      r_hrp = ProjectedDistances(Distances(most_keys), call);
    }

    const Tensor seen_btd = Seen(x_btd);
    const Tensor q_hbtp = ByHead(Linear(seen_btd, w_q), heads_);
    std::vector<Piece> pieces;
    for (int64_t begin = 0; begin < live; begin += segment_) {
      const int64_t end = std::min(live, begin + segment_), first = std::max(begin, open);
      const int64_t past = std::min(memory_, remembered + begin);
      Piece piece;
      transformer_xl::RelativeAttentionInputs& in = piece.in;
      in.q_hbtp =
          first == open && end == live ? q_hbtp : Narrow(q_hbtp, 2, first - open, end - first);
      const int64_t from = remembered + begin - past;  // the first key, counted from the memory's
      const KeysAndValues keys = !records ? own.Rows(from, past + end - begin)
                                 : past == 0
                                     ? own.Rows(begin, end - begin)
                                     : Joined(held.Rows(from, past), own.Rows(begin, end - begin));
      in.k_hbsp = keys.k_hbsp;
      in.v_hbsp = keys.v_hbsp;
      const int64_t distances = Distances(past + end - begin);
      in.r_hrp = Narrow(r_hrp, 1, r_hrp.dim(1) - distances, distances);
      in.u_hp = u_hp_;
      in.v_hp = v_hp_;
      in.offset = past + first - begin;
      in.window = config_.same_length() ? memory_ : 0;
      piece.first_key = from;
      pieces.push_back(std::move(piece));
    }
    const Tensor out = Linear(Mixed(pieces, remembered + live, call), w_o_());
    const Tensor sum = Add(x_btd, out);
    if (goes_on) Remember(x_btd, live_bld, own, records, state);
    return config_.pre_norm() ? sum : Normed(sum);
  }

  // Moves the open segment's border behind the rows that are complete, and forgets what no later
  // row sees.
  void Remember(const Tensor& x_btd, const Tensor& live_bld, const KeysAndValues& all, bool records,
                nn::State* state) const {
    const Tensor memory_bmd = state->Get("memory");
    const int64_t live = live_bld.dim(1), border = live / segment_ * segment_;
    if (border == 0) {
      // The first rows are copied: Append would keep the caller's.
      state->Append("open", live == x_btd.dim(1) ? Narrow(x_btd, 1, 0, live) : x_btd);
    } else {
      const int64_t kept = std::min(memory_, memory_bmd.dim(1) + border);
      const Tensor past = Concat({memory_bmd, Narrow(live_bld.Detach(), 1, 0, border)}, 1);
      state->Set("memory", Narrow(past, 1, past.dim(1) - kept, kept).Detach());
      state->Set("open", Narrow(live_bld, 1, border, live - border));
    }
    if (records) return;
    const int64_t known = state->Get("memory").dim(1) + state->Get("open").dim(1);
    const KeysAndValues kept = all.Rows(all.k_hbsp.dim(2) - known, known);
    state->Set("k", kept.k_hbsp, nn::State::Kind::kDerived);
    state->Set("v", kept.v_hbsp, nn::State::Kind::kDerived);
  }

  TransformerXlConfig config_;
  MixerTraits traits_;
  int64_t heads_, segment_, memory_;
  nn::Weight w_q_, w_k_, w_v_, w_r_, w_o_;
  Tensor u_hp_, v_hp_, norm_weight_, norm_bias_;
};

absl::StatusOr<std::unique_ptr<Mixer>> CreateTransformerXl(const TransformerXlConfig& config,
                                                           const BuildArgs& args) {
  constexpr int64_t kMost = int64_t{1} << 24;
  if (args.direction != nn::Direction::kCausal)
    return Refuse("direction", "bidirectional", "causal");
  LR_ASSIGN_OR_RETURN(const HeadSizes sizes,
                      CheckHeads(config.heads(), /*kv_heads=*/0, config.head_width(), args.width));
  if (args.width % 2 != 0)
    return Refuse("width", args.width, "an even number, for sines and cosines of distances");
  if (config.segment() < 1 || config.segment() > kMost)
    return Refuse("segment", config.segment(), absl::StrCat("1 to ", kMost, " rows"));
  if (config.memory() < 0 || config.memory() > kMost)
    return Refuse("memory", config.memory(), absl::StrCat("0, for none, to ", kMost, " rows"));
  if (config.same_length() && config.memory() == 0) {
    return Refuse("same_length", "true",
                  "false where memory is 0: every row would see no key at all");
  }
  if (config.clamp() < 0 || config.clamp() > kMost)
    return Refuse("clamp", config.clamp(), absl::StrCat("0, for none, to ", kMost));
  if (!(config.norm_epsilon() > 0)) return Refuse("norm_epsilon", config.norm_epsilon(), "above 0");
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  return std::make_unique<TransformerXlMixer>(config, sizes.head_width, args);
}

LR_REGISTER_PLUGIN(Mixer, TransformerXlConfig, CreateTransformerXl);

}  // namespace
}  // namespace longrange
