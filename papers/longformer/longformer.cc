// Longformer: window attention, dilated by layer and head, with global rows (Beltagy, Peters, Cohan
// 2020, section 3.1). B batch, T rows of a call, H heads, P head width, D width, G global rows of a
// sample at most.

#include <algorithm>
#include <cmath>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/window_attention.h"
#include "common/base/refuse.h"
#include "papers/longformer/longformer.pb.h"
#include "plugins/attention/plain_attention.h"
#include "plugins/head_sizes.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

constexpr int64_t kMost = int64_t{1} << 30;  // rows

using GlobalRows = std::vector<std::vector<int64_t>>;  // of each sample, ascending

int64_t At(const Tensor& bound_b, int64_t b, int64_t otherwise) {
  return bound_b.defined() && !bound_b.is_meta() ? bound_b.data<int64_t>()[b] : otherwise;
}

struct Projection {
  nn::Weight weight;
  Tensor bias;  // undefined: none

  Tensor operator()(const Tensor& x) const { return Linear(x, weight(), bias); }
};

// Streaming state of a causal layer: "k" and "v" [B, S, H, P] of the last rows, as many as the
// widest head looks back; "seen" [B] (int64) rows so far, "begin" [B] (int64) the first real one.
class Longformer : public Mixer {
 public:
  static absl::StatusOr<std::unique_ptr<Mixer>> Create(const LongformerConfig& config,
                                                       const BuildArgs& args);

  const MixerTraits& traits() const override { return traits_; }

  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    const int64_t batch = x_btd.dim(0), length = x_btd.dim(1), width = heads_ * head_width_;
    const GlobalRows global_b = GlobalRowsOf(rows, batch, length);
    const bool any = std::any_of(global_b.begin(), global_b.end(),
                                 [](const std::vector<int64_t>& g) { return !g.empty(); });
    kernels::WindowAttentionInputs in = Window();
    in.q_bthd = ByHead(q_(x_btd));
    in.k_bshd = ByHead(k_(x_btd));
    in.v_bshe = ByHead(v_(x_btd));
    in.begin_b = in.query_begin_b = rows.begin_b;
    in.end_b = in.query_end_b = rows.end_b;
    if (any) in.global_b = global_b;
    if (call.Wants("attention"))
      return o_(Reshape(Plain(x_btd, in, global_b, call), {batch, length, width}));
    const Tensor local = Reshape(WindowAttention(in), {batch, length, width});
    if (!any) return o_(local);
    return o_(WithGlobalRows(local, FromGlobalRows(x_btd, in, rows, global_b), global_b));
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    const Tensor none =
        Tensor::Empty({batch, 0, heads_, head_width_}, k_.weight.dtype(), k_.weight.device());
    state.Set("k", none);
    state.Set("v", none);
    state.Set("seen", Tensor::Zeros({batch}, DType::kInt64));
    state.Set("begin", Tensor::Zeros({batch}, DType::kInt64));
    return state;
  }

  Tensor Extend(const Tensor& x_btd, const nn::Rows& rows, const nn::Call&,
                nn::State* state) const override {
    CHECK(!rows.end_b.defined()) << "a stream is not padded on the right";
    const int64_t batch = x_btd.dim(0), new_rows = x_btd.dim(1),
                  seen = state->Get("seen").data<int64_t>()[0], total = seen + new_rows;
    if (rows.begin_b.defined()) {
      CHECK_EQ(seen, 0) << "padding on the left belongs to the first rows of a stream";
      state->Set("begin", rows.begin_b.Clone());
    }
    state->Append("k", ByHead(k_(x_btd)));
    state->Append("v", ByHead(v_(x_btd)));
    kernels::WindowAttentionInputs in = Window();
    in.q_bthd = ByHead(q_(x_btd));
    in.k_bshd = state->Get("k");
    in.v_bshe = state->Get("v");
    const Tensor& begin = state->Get("begin");
    const std::vector<int64_t> begin_b = begin.ToInts();
    if (std::any_of(begin_b.begin(), begin_b.end(), [](int64_t b) { return b > 0; })) {
      const auto counted_from = [&](int64_t first) {
        Tensor counted = Tensor::Empty({batch}, DType::kInt64);
        for (int64_t b = 0; b < batch; ++b)
          counted.mutable_data<int64_t>()[b] = std::max<int64_t>(0, begin_b[b] - first);
        return counted;
      };
      in.begin_b = counted_from(total - in.k_bshd.dim(1));
      in.query_begin_b = counted_from(seen);
    }
    const Tensor y = o_(Reshape(WindowAttention(in), {batch, new_rows, heads_ * head_width_}));
    state->KeepLast("k", looks_back_);
    state->KeepLast("v", looks_back_);
    state->Set("seen", Tensor::Full({batch}, static_cast<double>(total), DType::kInt64));
    return y;
  }

 private:
  Tensor ByHead(const Tensor& x) const {
    return Reshape(x, {x.dim(0), x.dim(1), heads_, head_width_});
  }

  kernels::WindowAttentionInputs Window() const {
    kernels::WindowAttentionInputs in;
    in.back = side_;
    in.ahead = traits_.direction == nn::Direction::kCausal ? 0 : side_;
    in.dilation_h = dilation_h_;
    return in;
  }

  // Those of the config and those that have the role, among the real ones.
  GlobalRows GlobalRowsOf(const nn::Rows& rows, int64_t batch, int64_t length) const {
    const bool roles = rows.role_bt.defined() && !rows.role_bt.is_meta();
    GlobalRows global_b(batch);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t begin = std::max<int64_t>(0, At(rows.begin_b, b, 0)),
                    end = std::min(length, At(rows.end_b, b, length));
      std::set<int64_t> global;
      for (const int64_t row : global_row_) {
        const int64_t at = row >= 0 ? begin + row : end + row;
        if (at >= begin && at < end) global.insert(at);
      }
      for (int64_t t = begin; roles && t < end; ++t) {
        if (rows.role_bt.data<int32_t>()[b * length + t] == nn::kGlobalRole) global.insert(t);
      }
      global_b[b] = {global.begin(), global.end()};
    }
    return global_b;
  }

  // What the global rows of each sample get from all of its rows, [B G, H P]; the places of samples
  // that have fewer hold nothing of meaning. `in`: the projections of the others.
  Tensor FromGlobalRows(const Tensor& x_btd, const kernels::WindowAttentionInputs& in,
                        const nn::Rows& rows, const GlobalRows& global_b) const {
    const int64_t batch = x_btd.dim(0), length = x_btd.dim(1), width = heads_ * head_width_;
    size_t most = 0;
    for (const std::vector<int64_t>& global : global_b) most = std::max(most, global.size());
    const int64_t count = static_cast<int64_t>(most);
    std::vector<int64_t> from(batch * count), count_b(batch);
    for (int64_t b = 0; b < batch; ++b) {
      count_b[b] = static_cast<int64_t>(global_b[b].size());
      for (int64_t g = 0; g < count; ++g)
        from[b * count + g] = b * length + (g < count_b[b] ? global_b[b][g] : 0);
    }
    const Tensor index = OnDevice(Tensor::FromVector<int64_t>({batch * count}, from), x_btd);
    const auto rows_of = [&](const Tensor& t) {
      return Embedding(Reshape(t, {batch * length, -1}), index);
    };
    kernels::AttentionInputs call;
    const Shape shape = {batch, count, heads_, head_width_};
    if (own_projections_) {
      call.q_bthd = Reshape(global_q_(rows_of(x_btd)), shape);
      call.k_bshd = ByHead(global_k_(x_btd));
      call.v_bshe = ByHead(global_v_(x_btd));
    } else {
      call.q_bthd = Reshape(rows_of(in.q_bthd), shape);
      call.k_bshd = in.k_bshd;
      call.v_bshe = in.v_bshe;
    }
    call.begin_b = rows.begin_b;
    call.end_b = rows.end_b;
    if (!x_btd.is_meta()) call.query_end_b = Tensor::FromVector<int64_t>({batch}, count_b);
    const auto plan =
        std::make_shared<const kernels::SpanPlan>(kernels::SpanPlan::Full(count, length));
    call.plans = {plan.get()};
    return Reshape(Attention(call, plan).out_bthe, {batch * count, width});
  }

  // `local` [B, T, H P] with the global rows put in.
  static Tensor WithGlobalRows(const Tensor& local, const Tensor& global,
                               const GlobalRows& global_b) {
    const int64_t batch = local.dim(0), length = local.dim(1), width = local.dim(2),
                  count = global.dim(0) / batch;
    std::vector<int64_t> from(batch * length);
    for (int64_t i = 0; i < batch * length; ++i) from[i] = i;
    for (int64_t b = 0; b < batch; ++b) {
      for (size_t g = 0; g < global_b[b].size(); ++g) {
        from[b * length + global_b[b][g]] = batch * length + b * count + static_cast<int64_t>(g);
      }
    }
    const Tensor index = OnDevice(Tensor::FromVector<int64_t>({batch, length}, from), local);
    return Embedding(Concat({Reshape(local, {batch * length, width}), global}, 0), index);
  }

  // [B, T, H, P] with the weights of all pairs of rows in memory, for whoever looks at them.
  Tensor Plain(const Tensor& x_btd, const kernels::WindowAttentionInputs& in,
               const GlobalRows& global_b, const nn::Call& call) const {
    const int64_t batch = x_btd.dim(0), length = x_btd.dim(1);
    kernels::AttentionInputs local, global;
    local.q_bthd = global.q_bthd = in.q_bthd;
    local.k_bshd = global.k_bshd = in.k_bshd;
    local.v_bshe = global.v_bshe = in.v_bshe;
    if (own_projections_) {
      global.q_bthd = ByHead(global_q_(x_btd));
      global.k_bshd = ByHead(global_k_(x_btd));
      global.v_bshe = ByHead(global_v_(x_btd));
    }
    std::vector<double> is_local(batch * length, 1.0), is_global(batch * length, 0.0);
    std::vector<Tensor> weights;
    for (int64_t b = 0; b < batch; ++b) {
      const std::vector<int64_t>& rows = global_b[b];
      const int64_t begin = At(in.begin_b, b, 0), end = At(in.end_b, b, length);
      const kernels::KeySpan real = {std::max<int64_t>(0, begin), std::min(length, end)};
      std::vector<kernels::SpanPlan> plans;
      for (int64_t h = 0; h < heads_; ++h) plans.push_back(LocalPlan(in, rows, real, length, h));
      std::vector<std::vector<kernels::KeySpan>> all(length);
      for (const int64_t row : rows) {
        all[row] = {real};
        is_local[b * length + row] = 0;
        is_global[b * length + row] = 1;
      }
      plans.push_back(kernels::SpanPlan::FromSpans(length, all));
      const auto sample = [&](kernels::AttentionInputs of) {
        for (Tensor* t : {&of.q_bthd, &of.k_bshd, &of.v_bshe}) *t = Narrow(*t, 0, b, 1);
        return of;
      };
      kernels::AttentionInputs local_b = sample(local), global_of_b = sample(global);
      for (int64_t h = 0; h < heads_; ++h) local_b.plans.push_back(&plans[h]);
      global_of_b.plans = {&plans.back()};
      weights.push_back(PlainProbabilities({local_b, global_of_b}));
    }
    const Tensor p_bhts = call.Tap("attention", Concat(weights, 0));
    const auto mixed = [&](const std::vector<double>& which, const Tensor& v_bshe) {
      const Tensor mask = Tensor::FromVector({batch, 1, length, 1}, which).To(x_btd.dtype());
      return PlainMix(Mul(p_bhts, mask), v_bshe);
    };
    return Add(mixed(is_local, local.v_bshe), mixed(is_global, global.v_bshe));
  }

  // What head h sees from the rows that are not global: its window and the global rows.
  static kernels::SpanPlan LocalPlan(const kernels::WindowAttentionInputs& in,
                                     const std::vector<int64_t>& global, kernels::KeySpan real,
                                     int64_t length, int64_t h) {
    const int64_t dilation = in.dilation_h[in.dilation_h.size() == 1 ? 0 : h];
    std::vector<std::vector<kernels::KeySpan>> spans(length);
    for (int64_t t = real.begin; t < real.end; ++t) {
      if (std::binary_search(global.begin(), global.end(), t)) continue;
      for (int64_t i = -in.back; i <= in.ahead; ++i) {
        const int64_t key = t + i * dilation;
        if (key >= real.begin && key < real.end) spans[t].push_back({key, key + 1});
      }
      for (const int64_t key : global) spans[t].push_back({key, key + 1});
    }
    return kernels::SpanPlan::FromSpans(length, spans);
  }

  static Tensor OnDevice(const Tensor& index, const Tensor& like) {
    return like.is_meta() ? index.To(Device::kMeta) : index;
  }

  MixerTraits traits_;
  int64_t heads_ = 0, head_width_ = 0;
  int64_t side_ = 0;        // keys of the window on one side of the row
  int64_t looks_back_ = 0;  // rows, of the widest head
  std::vector<int64_t> dilation_h_, global_row_;
  bool own_projections_ = false;
  Projection q_, k_, v_, o_, global_q_, global_k_, global_v_;
};

// The entry for this layer of a field that has one for all layers, or one a layer.
template <typename Values>
absl::StatusOr<int> EntryOf(const Values& values, absl::string_view field, const BuildArgs& args) {
  if (values.size() == 1) return 0;
  if (values.size() != args.num_layers) {
    return Refuse(field, absl::StrCat(values.size(), " of them"),
                  absl::StrCat("1, or one for each of ", args.num_layers, " layers"));
  }
  return static_cast<int>(args.layer);
}

absl::Status CheckConfig(const LongformerConfig& config, const BuildArgs& args) {
  for (const int64_t window : config.window()) {
    if (window < 2 || window > kMost || window % 2 != 0)
      return Refuse("window", window, absl::StrCat("an even number of rows, 2 to ", kMost));
  }
  for (const LongformerDilation& dilation : config.dilation()) {
    if (dilation.head_size() != 1 && dilation.head_size() != config.heads()) {
      return Refuse("dilation.head", absl::StrCat(dilation.head_size(), " of them"),
                    absl::StrCat("1, or one for each of ", config.heads(), " heads"));
    }
    for (const int64_t rows : dilation.head()) {
      if (rows < 1 || rows > kMost)
        return Refuse("dilation.head", rows, absl::StrCat("1 to ", kMost, " rows"));
    }
  }
  for (const int64_t row : config.global_row()) {
    if (row < -kMost || row > kMost)
      return Refuse("global_row", row, absl::StrCat(-kMost, " to ", kMost));
  }
  if (config.global_row_size() > 0 && args.direction == nn::Direction::kCausal) {
    return Refuse("global_row", config.global_row(0),
                  "none: a causal layer has no global rows, which see the rows behind them");
  }
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Mixer>> Longformer::Create(const LongformerConfig& config,
                                                          const BuildArgs& args) {
  LR_ASSIGN_OR_RETURN(const HeadSizes sizes,
                      CheckHeads(config.heads(), /*kv_heads=*/0, config.head_width(), args.width));
  LR_RETURN_IF_ERROR(CheckConfig(config, args));
  auto mixer = std::make_unique<Longformer>();
  int64_t window = 512;
  if (config.window_size() > 0) {
    LR_ASSIGN_OR_RETURN(const int entry, EntryOf(config.window(), "window", args));
    window = config.window(entry);
  }
  mixer->dilation_h_ = {1};
  if (config.dilation_size() > 0) {
    LR_ASSIGN_OR_RETURN(const int entry, EntryOf(config.dilation(), "dilation", args));
    const LongformerDilation& dilation = config.dilation(entry);
    mixer->dilation_h_ = {dilation.head().begin(), dilation.head().end()};
  }
  mixer->heads_ = sizes.heads;
  mixer->head_width_ = sizes.head_width;
  mixer->side_ = window / 2;
  const int64_t widest = *std::max_element(mixer->dilation_h_.begin(), mixer->dilation_h_.end());
  if (mixer->side_ > kMost / widest)
    return Refuse("dilation.head", widest, absl::StrCat("a reach of ", kMost, " rows at most"));
  mixer->looks_back_ = mixer->side_ * widest;
  mixer->global_row_ = {config.global_row().begin(), config.global_row().end()};

  const bool causal = args.direction == nn::Direction::kCausal;
  MixerTraits& traits = mixer->traits_;
  traits.direction = args.direction;
  traits.streams = causal;
  traits.padding = MixerTraits::kBothSides;
  traits.roles = !causal;
  traits.taps = {"attention"};

  const int64_t width = mixer->heads_ * mixer->head_width_;
  const nn::Tags no_decay = {"default", /*decay=*/false};
  const auto project = [&](const char* name, int64_t to, int64_t from, const nn::Init& init,
                           const nn::Init& bias_init) {
    Projection made;
    made.weight = args.scope.Linear(absl::StrCat("w_", name), {to, from}, init);
    if (config.biases())
      made.bias = args.scope.Param(absl::StrCat("b_", name), {to}, bias_init, no_decay);
    return made;
  };
  const nn::Init init = nn::Normal(config.init_std());
  mixer->q_ = project("q", width, args.width, init, nn::Zeros());
  mixer->k_ = project("k", width, args.width, init, nn::Zeros());
  mixer->v_ = project("v", width, args.width, init, nn::Zeros());
  const double out_std = config.init_std() / std::sqrt(2.0 * static_cast<double>(args.num_layers));
  mixer->o_ = project("o", args.width, width, nn::Normal(out_std), nn::Zeros());
  mixer->own_projections_ = !causal && config.global_projections();
  if (mixer->own_projections_) {
    const auto copy = [&](const char* name, const Projection& of) {
      const auto from = [](Tensor value) {
        return [value = std::move(value)](const Rng&, const Tensor& to) { to.CopyFrom(value); };
      };
      return project(name, width, args.width, from(of.weight().Detach()),
                     config.biases() ? from(of.bias.Detach()) : nn::Zeros());
    };
    mixer->global_q_ = copy("global_q", mixer->q_);
    mixer->global_k_ = copy("global_k", mixer->k_);
    mixer->global_v_ = copy("global_v", mixer->v_);
  }
  return mixer;
}

LR_REGISTER_PLUGIN(Mixer, LongformerConfig, Longformer::Create);

}  // namespace
}  // namespace longrange
