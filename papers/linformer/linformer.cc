#include "papers/linformer/linformer.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "plugins/head_sizes.h"

namespace longrange::linformer {
namespace {

constexpr int64_t kMostRows = int64_t{1} << 30;

int64_t EndOf(const nn::Rows& rows, int64_t b, int64_t length) {
  if (!rows.end_b.defined() || rows.end_b.is_meta()) return length;
  return std::min(length, std::max<int64_t>(0, rows.end_b.data<int64_t>()[b]));
}

// x [B, S, C] with zeros where rows are padding.
Tensor Masked(const Tensor& x_bsc, const nn::Rows& rows) {
  if (!rows.end_b.defined()) return x_bsc;
  const int64_t batch = x_bsc.dim(0), length = x_bsc.dim(1);
  Tensor mask = Tensor::Zeros({batch, length, 1}, DType::kUInt8);
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t t = EndOf(rows, b, length); t < length; ++t)
      mask.mutable_data<uint8_t>()[b * length + t] = 1;
  }
  return MaskedFill(x_bsc, x_bsc.is_meta() ? mask.To(Device::kMeta) : mask, 0);
}

// Numbers as a constant of the type and on the device of `like`.
Tensor ConstantLike(const Shape& shape, const std::vector<double>& values, const Tensor& like) {
  const Tensor made = Tensor::FromVector(shape, values).To(like.dtype());
  return like.is_meta() ? made.To(Device::kMeta) : made;
}

}  // namespace

absl::Status Linformer::Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                                 const nn::Call& call) const {
  if (tokens > config_.n_max())
    return Refuse("n_max", config_.n_max(), absl::StrCat(tokens, " or more, as a call has"));
  return Mixer::Supports(batch, tokens, rows, call);
}

Tensor Linformer::Attend(const Tensor& x_btd, const nn::Rows& rows, const Tensor& context_bsd,
                         const nn::Rows& context_rows) const {
  const int64_t batch = x_btd.dim(0), length = x_btd.dim(1), context = context_bsd.dim(1);
  CHECK_LE(context, config_.n_max()) << "linformer: rows for projections of n_max";
  kernels::AttentionInputs in;
  in.q_bthd = Reshape(Linear(x_btd, w_q_(), b_q_), {batch, length, heads_, head_width_});
  in.k_bshd = Slots(context_bsd, context_rows, w_k_, b_k_, e_);
  in.v_bshe =
      config_.values_are_keys() ? in.k_bshd : Slots(context_bsd, context_rows, w_v_, b_v_, f_);
  in.query_end_b = rows.end_b;
  if (stride_ > 0 && !x_btd.is_meta()) {
    // Runs without a real row are no slots.
    in.end_b = Tensor::Empty({batch}, DType::kInt64);
    for (int64_t b = 0; b < batch; ++b) {
      in.end_b.mutable_data<int64_t>()[b] =
          (EndOf(context_rows, b, context) + stride_ - 1) / stride_;
    }
  }
  const auto plan =
      std::make_shared<const kernels::SpanPlan>(kernels::SpanPlan::Full(length, in.k_bshd.dim(1)));
  in.plans = {plan.get()};
  const Tensor mixed = Attention(in, plan).out_bthe;
  return Linear(Reshape(mixed, {batch, length, heads_ * head_width_}), w_o_(), b_o_);
}

Tensor Linformer::Slots(const Tensor& context_bsd, const nn::Rows& rows, const nn::Weight& weight,
                        const Tensor& bias, const Tensor& mixture) const {
  const int64_t batch = context_bsd.dim(0), length = context_bsd.dim(1), width = context_bsd.dim(2);
  if (config_.order() == LinformerConfig::PROJECT_THEN_COMPRESS) {
    const Tensor projected = Masked(Linear(context_bsd, weight(), bias), rows);
    return Compress(Reshape(projected, {batch, length, kv_heads_, head_width_}), rows, mixture);
  }
  const Tensor slots_brkd =
      Compress(Reshape(Masked(context_bsd, rows), {batch, length, 1, width}), rows, mixture);
  const int64_t slots = slots_brkd.dim(1);
  const Shape shape = {batch, slots, kv_heads_, head_width_};
  if (slots_brkd.dim(2) == 1)
    return Reshape(Linear(Reshape(slots_brkd, {batch, slots, width}), weight(), bias), shape);
  // Each head has slots of its own: [K, B R, D] by [K, P, D].
  const Tensor projected =
      MatMul(Reshape(Permute(slots_brkd, {2, 0, 1, 3}), {kv_heads_, batch * slots, width}),
             Reshape(weight(), {kv_heads_, head_width_, width}), false, true);
  const Tensor by_slot =
      Permute(Reshape(projected, {kv_heads_, batch, slots, head_width_}), {1, 2, 0, 3});
  return bias.defined() ? Add(by_slot, Reshape(bias, {kv_heads_, head_width_})) : by_slot;
}

Tensor Linformer::Compress(const Tensor& y_bskc, const nn::Rows& rows,
                           const Tensor& mixture) const {
  if (stride_ == 0) return CompressLinear(y_bskc, mixture);
  const Tensor runs_brkc = Pool(y_bskc, rows, mixture);
  Shape beyond = runs_brkc.shape();
  beyond.set(1, config_.rank() - beyond[1]);
  if (beyond[1] == 0) return runs_brkc;
  return Concat({runs_brkc, Tensor::Zeros(beyond, y_bskc.dtype(), y_bskc.device())}, 1);
}

Tensor Linformer::CompressLinear(const Tensor& y_bskc, const Tensor& mixture) const {
  const int64_t batch = y_bskc.dim(0), length = y_bskc.dim(1), heads = y_bskc.dim(2),
                channels = y_bskc.dim(3), slots = config_.rank();
  const int last = mixture.rank() - 1;
  const Tensor first_columns =
      length < config_.n_max() ? Narrow(mixture, last, 0, length) : mixture;
  if (mixture.rank() == 2)
    return Permute(Linear(Permute(y_bskc, {0, 2, 3, 1}), first_columns), {0, 3, 1, 2});
  if (heads == 1) {  // one input for the slots of all heads
    const Tensor y_bckr = Linear(Permute(Reshape(y_bskc, {batch, length, channels}), {0, 2, 1}),
                                 Reshape(first_columns, {kv_heads_ * slots, length}));
    return Permute(Reshape(y_bckr, {batch, channels, kv_heads_, slots}), {0, 3, 2, 1});
  }
  const Tensor by_head = Reshape(Permute(y_bskc, {2, 0, 3, 1}), {heads, batch * channels, length});
  return Permute(
      Reshape(MatMul(by_head, first_columns, false, true), {heads, batch, channels, slots}),
      {1, 3, 0, 2});
}

Tensor Linformer::Pool(const Tensor& y_bskc, const nn::Rows& rows, const Tensor& mixture) const {
  const int64_t batch = y_bskc.dim(0), length = y_bskc.dim(1), heads = y_bskc.dim(2),
                channels = y_bskc.dim(3), runs = (length + stride_ - 1) / stride_;
  if (config_.pooling() == LinformerConfig::MAX) {
    // The row of each run, slot and channel that has the largest number.
    Tensor from = Tensor::Empty({batch, runs, heads, channels}, DType::kInt64);
    const int64_t row_size = heads * channels;
    const std::vector<double> values =
        y_bskc.is_meta() ? std::vector<double>() : y_bskc.Detach().ToDoubles();
    for (int64_t i = 0; i < from.numel() && !values.empty(); ++i) {
      const int64_t b = i / (runs * row_size), run = i / row_size % runs, c = i % row_size,
                    end = std::max(std::min(EndOf(rows, b, length), (run + 1) * stride_),
                                   run * stride_ + 1);
      int64_t best = (b * length + run * stride_) * row_size + c;
      for (int64_t t = run * stride_ + 1; t < end; ++t) {
        const int64_t at = (b * length + t) * row_size + c;
        if (values[at] > values[best]) best = at;
      }
      from.mutable_data<int64_t>()[i] = best;
    }
    if (y_bskc.is_meta()) from = from.To(Device::kMeta);
    return Reshape(Embedding(Reshape(y_bskc, {batch * length * row_size, 1}), from),
                   {batch, runs, heads, channels});
  }
  Tensor whole = y_bskc;
  if (runs * stride_ > length) {
    const Shape missing = {batch, runs * stride_ - length, heads, channels};
    whole = Concat({y_bskc, Tensor::Zeros(missing, y_bskc.dtype(), y_bskc.device())}, 1);
  }
  const Tensor y = Reshape(whole, {batch, runs, stride_, heads, channels});
  Tensor share;  // of each row in its slot
  int64_t slot_heads = heads;
  if (config_.pooling() == LinformerConfig::MEAN) {
    std::vector<double> shares(batch * runs * stride_, 0.0);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t end = EndOf(rows, b, length);
      for (int64_t t = 0; t < end; ++t) {
        const int64_t run_end = std::min(end, (t / stride_ + 1) * stride_);
        shares[b * runs * stride_ + t] = 1 / static_cast<double>(run_end - t / stride_ * stride_);
      }
    }
    share = ConstantLike({batch, runs, stride_, 1, 1}, shares, y_bskc);
  } else if (mixture.rank() == 1) {
    share = Reshape(mixture, {1, 1, stride_, 1, 1});
  } else {
    share = Reshape(Transpose(mixture), {1, 1, stride_, kv_heads_, 1});
    slot_heads = kv_heads_;
  }
  return Reshape(SumTo(Mul(y, share), {batch, runs, 1, slot_heads, channels}),
                 {batch, runs, slot_heads, channels});
}

Tensor Linformer::Mixture(const char* name, const BuildArgs& args) const {
  if (config_.pooling() == LinformerConfig::MEAN || config_.pooling() == LinformerConfig::MAX)
    return Tensor();
  const bool convolution = config_.pooling() == LinformerConfig::CONVOLUTION;
  Shape shape;
  if (config_.sharing() == LinformerConfig::NONE) shape.Append(kv_heads_);
  if (!convolution) shape.Append(config_.rank());
  shape.Append(convolution ? stride_ : config_.n_max());
  const double std =
      config_.compression_std() > 0
          ? config_.compression_std()
          : 1 / std::sqrt(static_cast<double>(convolution ? stride_ : config_.rank()));
  const nn::Init init = nn::Normal(std);
  if (config_.sharing() == LinformerConfig::LAYERWISE) {
    const nn::Scope shared = args.shared.Child("linformer");
    return config_.freeze() ? shared.SharedBuffer(name, shape, init)
                            : shared.SharedParam(name, shape, init);
  }
  return config_.freeze() ? args.scope.Buffer(name, shape, init)
                          : args.scope.Param(name, shape, init);
}

absl::StatusOr<std::unique_ptr<Linformer>> Linformer::Create(const LinformerConfig& config,
                                                             const BuildArgs& args) {
  if (args.direction != nn::Direction::kBidirectional)
    return Refuse("direction", "causal", "bidirectional: a slot of linformer mixes all rows");
  LR_ASSIGN_OR_RETURN(const HeadSizes sizes, CheckHeads(config.heads(), config.kv_heads(),
                                                        config.head_width(), args.width));
  if (config.n_max() < 1 || config.n_max() > kMostRows)
    return Refuse("n_max", config.n_max(), absl::StrCat("1 to ", kMostRows, " rows"));
  if (args.max_tokens > config.n_max()) {
    return Refuse("n_max", config.n_max(),
                  absl::StrCat(args.max_tokens, " or more, the longest call planned"));
  }
  if (config.rank() < 1 || config.rank() > config.n_max())
    return Refuse("rank", config.rank(), absl::StrCat("1 to n_max, ", config.n_max()));
  const bool runs = config.pooling() != LinformerConfig::LINEAR;
  if (runs && config.n_max() % config.rank() != 0) {
    return Refuse("rank", config.rank(),
                  absl::StrCat("a divisor of n_max, ", config.n_max(), ": slots are runs of rows"));
  }
  if (config.freeze() &&
      (config.pooling() == LinformerConfig::MEAN || config.pooling() == LinformerConfig::MAX)) {
    return Refuse("freeze", "true", "false, as nothing of this pooling is learned");
  }
  if (!(config.init_std() >= 0)) return Refuse("init_std", config.init_std(), "0 or more");
  if (!(config.compression_std() >= 0))
    return Refuse("compression_std", config.compression_std(), "0 or more");

  auto mixer = std::make_unique<Linformer>();
  mixer->config_ = config;
  mixer->heads_ = sizes.heads;
  mixer->kv_heads_ = sizes.kv_heads;
  mixer->head_width_ = sizes.head_width;
  if (runs) mixer->stride_ = config.n_max() / config.rank();
  MixerTraits& traits = mixer->traits_;
  traits.direction = args.direction;
  traits.max_tokens = config.n_max();
  traits.padding = MixerTraits::kRight;

  const int64_t q_width = mixer->heads_ * mixer->head_width_,
                kv_width = mixer->kv_heads_ * mixer->head_width_;
  const nn::Init init = nn::Normal(config.init_std());
  const bool values = !config.values_are_keys();
  mixer->w_q_ = args.scope.Linear("w_q", {q_width, args.width}, init);
  mixer->w_k_ = args.scope.Linear("w_k", {kv_width, args.width}, init);
  if (values) mixer->w_v_ = args.scope.Linear("w_v", {kv_width, args.width}, init);
  mixer->w_o_ = args.scope.Linear(
      "w_o", {args.width, q_width},
      nn::Normal(config.init_std() / std::sqrt(2.0 * static_cast<double>(args.num_layers))));
  if (config.biases()) {
    const nn::Tags no_decay = {"default", /*decay=*/false};
    mixer->b_q_ = args.scope.Param("b_q", {q_width}, nn::Zeros(), no_decay);
    mixer->b_k_ = args.scope.Param("b_k", {kv_width}, nn::Zeros(), no_decay);
    if (values) mixer->b_v_ = args.scope.Param("b_v", {kv_width}, nn::Zeros(), no_decay);
    mixer->b_o_ = args.scope.Param("b_o", {args.width}, nn::Zeros(), no_decay);
  }
  mixer->e_ = mixer->Mixture("e", args);
  const bool two =
      config.sharing() == LinformerConfig::HEADWISE || config.sharing() == LinformerConfig::NONE;
  mixer->f_ = two && values ? mixer->Mixture("f", args) : mixer->e_;
  return mixer;
}

LR_REGISTER_PLUGIN(Mixer, LinformerConfig, Linformer::Create);

}  // namespace longrange::linformer
