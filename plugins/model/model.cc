#include "plugins/model/model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "common/io/glob.h"

namespace longrange {
namespace {

// A call's own memo where the caller brought none.
struct WithMemo {
  explicit WithMemo(const nn::Call& outer) : call(outer) {
    if (call.memo == nullptr) call.memo = &memo;
  }
  nn::Memo memo;
  nn::Call call;
};

absl::StatusOr<nn::LowRank> LowRankOf(const LowRankConfig& config) {
  constexpr int64_t kMostRank = 1 << 16;
  if (config.rank() < 1 || config.rank() > kMostRank) {
    return absl::InvalidArgumentError(absl::StrCat("low_rank.rank: ", config.rank(),
                                                   " (expected 0, for none, to ", kMostRank, ")"));
  }
  if (!(config.alpha() > 0 && std::isfinite(config.alpha()))) {
    return absl::InvalidArgumentError(
        absl::StrCat("low_rank.alpha: ", config.alpha(), " (expected a finite number > 0)"));
  }
  nn::LowRank low_rank;
  low_rank.rank = config.rank();
  low_rank.alpha = config.alpha();
  low_rank.target = {config.target().begin(), config.target().end()};
  if (low_rank.target.empty()) low_rank.target = {"*.w_q", "*.w_k", "*.w_v", "*.w_o"};
  return low_rank;
}

// Has each pattern found a weight?
absl::Status CheckTargets(const nn::LowRank& low_rank, const nn::ParameterStore& store) {
  for (const std::string& target : low_rank.target) {
    const std::string adapter = absl::StrCat(target, ".lora_a");
    if (std::none_of(store.all().begin(), store.all().end(),
                     [&](const nn::Parameter& p) { return GlobMatch(adapter, p.name); })) {
      return absl::InvalidArgumentError(absl::StrCat(
          "low_rank.target: '", target, "' matches no weight of a linear map in this model"));
    }
  }
  return absl::OkStatus();
}

// Do the fields that say how a sequence is answered fit together?
absl::Status CheckHead(const ModelConfig& config) {
  constexpr int64_t kWidest = 1 << 20;
  for (const int64_t width : config.head_width()) {
    if (width < 1 || width > kWidest) {
      return absl::InvalidArgumentError(
          absl::StrCat("head_width: ", width, " (expected 1 to ", kWidest, ")"));
    }
  }
  if (config.pooling() == ModelConfig::EACH_ROW) {
    if (config.head_width_size() > 0)
      return absl::InvalidArgumentError(absl::StrCat(
          "head_width: ", config.head_width(0), " (expected none where each row is answered)"));
    if (config.two_towers())
      return absl::InvalidArgumentError(
          "two_towers: true (expected false where each row is answered)");
  }
  if (config.pooling() == ModelConfig::CLS && config.direction() == ModelConfig::CAUSAL)
    return absl::InvalidArgumentError(
        "pooling: CLS (expected MEAN in a causal model, whose first row sees itself alone)");
  if (config.two_towers() && config.features() > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("two_towers: true (expected false where rows are ", config.features(),
                     " features: documents are ids)"));
  }
  if (Vocabulary::IsAdaptive(config) && (config.head_width_size() > 0 || config.two_towers()))
    return absl::InvalidArgumentError(
        "adaptive: set (expected unset with head_width or two_towers: clusters are of the model's "
        "width)");
  if (config.tied() && (config.head_width_size() > 0 || config.two_towers()))
    return absl::InvalidArgumentError(
        "tied: true (expected false with head_width or two_towers: the output matrix reads rows of "
        "another width)");
  return absl::OkStatus();
}

// The row of each sequence that has a target; of meta tensors the first.
std::vector<int64_t> RowsWithTarget(const Tensor& target_bt) {
  const int64_t batch = target_bt.dim(0), length = target_bt.dim(1);
  std::vector<int64_t> rows(batch, 0);
  if (target_bt.is_meta()) return rows;
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t* target = target_bt.data<int32_t>() + b * length;
    const auto is_target = [](int32_t t) { return t >= 0; };
    const int32_t* found = std::find_if(target, target + length, is_target);
    CHECK(found != target + length && std::none_of(found + 1, target + length, is_target))
        << "a model that pools has one answer for a sequence; sequence " << b
        << " wants another number of them";
    rows[b] = found - target;
  }
  return rows;
}

// Column row_b[b] of row b, [B, 1].
Tensor Picked(const Tensor& values_bt, const std::vector<int64_t>& row_b) {
  Tensor picked = Tensor::Empty({values_bt.dim(0), 1}, values_bt.dtype(), values_bt.device());
  if (values_bt.is_meta()) return picked;
  const int64_t length = values_bt.dim(1);
  const auto* from = static_cast<const char*>(values_bt.raw_data());
  auto* to = static_cast<char*>(picked.mutable_raw_data());
  const int64_t size = SizeOf(values_bt.dtype());
  for (size_t b = 0; b < row_b.size(); ++b) {
    std::memcpy(to + static_cast<int64_t>(b) * size,
                from + (static_cast<int64_t>(b) * length + row_b[b]) * size, size);
  }
  return picked;
}

// The rows with roles, none of them special, where the backbone honours roles and they have none.
nn::Rows RolesOf(const Backbone& backbone, nn::Rows rows, int64_t batch, int64_t tokens) {
  if (backbone.traits().roles && !rows.role_bt.defined())
    rows.role_bt = Tensor::Zeros({batch, tokens}, DType::kInt32);
  return rows;
}

// Can the rows that this backbone gives back be answered from so?
absl::Status CheckRowsBack(const ModelConfig& config, const BackboneTraits& backbone) {
  if (backbone.output_rows > 0 && config.pooling() != ModelConfig::MEAN) {
    return absl::InvalidArgumentError(absl::StrCat(
        "pooling: ", ModelConfig::Pooling_Name(config.pooling()),
        " (expected MEAN: the backbone gives back ", backbone.output_rows,
        " rows of its own a sequence, and none for each row that it read",
        config.pooling() == ModelConfig::EACH_ROW ? ", so that there is no next token to tell"
                                                  : ", the one of CLS among them",
        ")"));
  }
  const int64_t width = backbone.WidthBack(config.width());
  if (width == config.width() || !(config.tied() || Vocabulary::IsAdaptive(config)))
    return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(config.tied() ? "tied: true (expected false" : "adaptive: set (expected unset",
                   ": the backbone gives back rows of ", width,
                   " channels, and the model's width is ", config.width(), ")"));
}

}  // namespace

Tensor InputOf(const Batch& batch) {
  if (batch.second_bt.defined()) return Concat({batch.ids_bt, batch.second_bt}, 0);
  return batch.features_btf.defined() ? batch.features_btf : batch.ids_bt;
}

nn::Rows RowsOf(const Batch& batch) {
  nn::Rows rows;
  rows.end_b = batch.end_b;
  rows.role_bt = batch.role_bt;
  CHECK(!batch.role_bt.defined() || !batch.second_bt.defined())
      << "rows of two documents have no roles";
  if (batch.second_bt.defined() && (batch.end_b.defined() || batch.second_end_b.defined())) {
    const auto end_of = [&](const Tensor& end_b) {
      return end_b.defined()
                 ? end_b
                 : Tensor::Full({batch.ids_bt.dim(0)}, static_cast<double>(batch.ids_bt.dim(1)),
                                DType::kInt64);
    };
    rows.end_b = Concat({end_of(batch.end_b), end_of(batch.second_end_b)}, 0);
  }
  return rows;
}

absl::StatusOr<std::unique_ptr<Model>> Model::Create(const ModelConfig& config,
                                                     const ModelArgs& args) {
  if (config.vocabulary() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("vocabulary: ", config.vocabulary(), " (expected 1 or more)"));
  }
  if (config.width() < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("width: ", config.width(), " (expected 1 or more)"));
  }
  if (!(config.init_std() >= 0 && std::isfinite(config.init_std()))) {
    return absl::InvalidArgumentError(
        absl::StrCat("init_std: ", config.init_std(), " (expected a finite number >= 0)"));
  }
  if (config.features() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("features: ", config.features(), " (expected 0, for ids, or more)"));
  }
  if (config.features() > 0 && config.tied()) {
    return absl::InvalidArgumentError(absl::StrCat("tied: true (expected false where rows are ",
                                                   config.features(),
                                                   " features: there is no embedding)"));
  }
  LR_RETURN_IF_ERROR(Vocabulary::Check(config));
  LR_RETURN_IF_ERROR(CheckHead(config));
  std::unique_ptr<Model> model(new Model);
  model->config_ = config;
  const nn::Scope scope(&model->store_, args.init.Child("init"), args.dtype, args.device);
  nn::Tags no_decay;
  no_decay.decay = false;
  model->vocabulary_.CreateInput(config, scope);
  if (config.features() > 0) {
    const nn::Scope input = scope.Child("input");
    const double std = 1 / std::sqrt(static_cast<double>(config.features()));
    model->input_weight_df_ =
        input.Param("weight", {config.width(), config.features()}, nn::Normal(std));
    model->input_bias_d_ = input.Param("bias", {config.width()}, nn::Zeros(), no_decay);
  }
  const bool cls = config.pooling() == ModelConfig::CLS;
  if (cls) model->cls_d_ = scope.Param("cls", {config.width()}, nn::Normal(config.init_std()));
  nn::LowRank low_rank;
  BuildArgs build{scope};
  if (config.low_rank().rank() == 0 && !config.low_rank().target().empty()) {
    return absl::InvalidArgumentError(
        "low_rank.rank: 0 (expected 1 or more where a target is given)");
  }
  if (config.low_rank().rank() != 0) {
    LR_ASSIGN_OR_RETURN(low_rank, LowRankOf(config.low_rank()));
    build.scope = scope.With(low_rank);
  }
  build.width = config.width();
  build.max_tokens = args.max_tokens + (cls && args.max_tokens > 0 ? 1 : 0);
  const bool both_ways = config.direction() == ModelConfig::BIDIRECTIONAL;
  build.direction = both_ways ? nn::Direction::kBidirectional : nn::Direction::kCausal;
  LR_ASSIGN_OR_RETURN(model->backbone_, Registry<Backbone>::Get().Create(config.backbone(), build));
  if (model->backbone_->traits().direction != build.direction) {
    return absl::InvalidArgumentError(absl::StrCat(
        "direction: ", ModelConfig::Direction_Name(config.direction()), " (expected ",
        ModelConfig::Direction_Name(both_ways ? ModelConfig::CAUSAL : ModelConfig::BIDIRECTIONAL),
        ", as the backbone knows no other)"));
  }
  LR_RETURN_IF_ERROR(CheckRowsBack(config, model->backbone_->traits()));
  LR_RETURN_IF_ERROR(CheckTargets(low_rank, model->store_));
  int64_t read = config.two_towers() ? 4 * model->hidden_width() : model->hidden_width();
  for (const int64_t width : config.head_width()) {
    const nn::Scope layer = scope.Child("head").Child(absl::StrCat(model->head_.size()));
    const double std = 1 / std::sqrt(static_cast<double>(read));
    model->head_.emplace_back(layer.Param("weight", {width, read}, nn::Normal(std)),
                              layer.Param("bias", {width}, nn::Zeros(), no_decay));
    read = width;
  }
  model->vocabulary_.CreateOutput(config, read, scope);
  return model;
}

absl::Status Model::Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                             const nn::Call& call) const {
  if (!cls_d_.defined()) return backbone_->Supports(batch, tokens, rows, call);
  return Annotate(backbone_->Supports(batch, tokens + 1,
                                      Framed(RolesOf(*backbone_, rows, batch, tokens)), call),
                  absl::StrCat(tokens, " rows and the one of CLS"));
}

Tensor Model::Embedded(const Tensor& input) const {
  if (config_.features() == 0) return vocabulary_.Embed(input);
  CHECK(input.rank() == 3 && input.dim(2) == config_.features())
      << "features " << input.shape() << " for a model of " << config_.features() << " a row";
  return Linear(
      input.dtype() == input_weight_df_.dtype() ? input : input.To(input_weight_df_.dtype()),
      input_weight_df_, input_bias_d_);
}

Tensor Model::Hidden(const Tensor& input, const nn::Rows& rows, const nn::Call& call) const {
  const WithMemo with(call);
  Tensor x_btd = Embedded(input);
  if (!cls_d_.defined()) return backbone_->Forward({x_btd, rows}, with.call).x_btd;
  const int64_t batch = x_btd.dim(0), tokens = x_btd.dim(1), width = config_.width();
  x_btd = Concat({BroadcastTo(Reshape(cls_d_, {1, 1, width}), {batch, 1, width}), x_btd}, 1);
  const nn::Rows framed = Framed(RolesOf(*backbone_, rows, batch, tokens));
  return backbone_->Forward({x_btd, framed}, with.call).x_btd;
}

nn::Rows Model::Framed(const nn::Rows& rows) const {
  if (!cls_d_.defined()) return rows;
  CHECK(!rows.begin_b.defined() && !rows.document_bt.defined() && !rows.frontier_t.defined())
      << "a row in front of each sequence knows of padding behind it alone";
  nn::Rows framed = rows;
  if (rows.end_b.defined() && !rows.end_b.is_meta()) {
    framed.end_b = rows.end_b.Clone();
    for (int64_t b = 0; b < framed.end_b.numel(); ++b) ++framed.end_b.mutable_data<int64_t>()[b];
  }
  // The answer's row is one that all see.
  if (rows.role_bt.defined()) {
    const Tensor first = Tensor::Full({rows.role_bt.dim(0), 1}, nn::kGlobalRole, DType::kInt32);
    framed.role_bt = Concat({first.To(rows.role_bt.device()), rows.role_bt}, 1);
  }
  return framed;
}

Tensor Model::Read(const Tensor& hidden_btd, const nn::Rows& rows) const {
  if (!pools()) return hidden_btd;
  const bool own_rows = backbone_->traits().output_rows > 0;  // all of them real
  Tensor read = cls_d_.defined() ? Narrow(hidden_btd, 1, 0, 1)
                                 : MeanOfRows(hidden_btd, own_rows ? nn::Rows() : rows);
  if (config_.two_towers()) {
    CHECK_EQ(read.dim(0) % 2, 0) << "sequences of two documents each";
    const int64_t batch = read.dim(0) / 2;
    const Tensor one = Narrow(read, 0, 0, batch), two = Narrow(read, 0, batch, batch);
    read = Concat({one, two, Mul(one, two), Sub(one, two)}, 2);
  }
  for (const auto& [weight, bias] : head_) read = Relu(Linear(read, weight, bias));
  return read;
}

Tensor Model::MeanOfRows(const Tensor& hidden_btd, const nn::Rows& rows) const {
  const int64_t batch = hidden_btd.dim(0), length = hidden_btd.dim(1);
  Tensor share_b1t = Tensor::Empty({batch, 1, length}, hidden_btd.dtype(), hidden_btd.device());
  if (!share_b1t.is_meta()) {
    std::vector<double> share(batch * length, 0.0);
    for (int64_t b = 0; b < batch; ++b) {
      const int64_t begin = rows.begin_b.defined() ? rows.begin_b.data<int64_t>()[b] : 0,
                    end = rows.end_b.defined() ? rows.end_b.data<int64_t>()[b] : length;
      CHECK_LT(begin, end) << "sequence " << b << " has no rows";
      std::fill(share.begin() + b * length + begin, share.begin() + b * length + end,
                1 / static_cast<double>(end - begin));
    }
    share_b1t = Tensor::FromVector<double>({batch, 1, length}, share).To(hidden_btd.dtype());
  }
  return MatMul(share_b1t, hidden_btd);
}

Tensor Model::Loss(const Batch& batch, const nn::Call& call) const {
  return LossOf(Hidden(InputOf(batch), RowsOf(batch), call), batch);
}

Tensor Model::StreamLoss(const Batch& batch, const nn::Call& call, nn::State* state) const {
  return LossOf(ExtendHidden(InputOf(batch), RowsOf(batch), call, state), batch);
}

Tensor Model::LossOf(const Tensor& hidden_btd, const Batch& batch) const {
  const Tensor read = Read(hidden_btd, RowsOf(batch));
  const Tensor flat = Reshape(read, {-1, read.dim(2)});
  const int64_t rows = flat.dim(0);
  Tensor target_bt = batch.target_bt, given_bt = batch.weight_bt;
  if (pools()) {
    const std::vector<int64_t> answer_b = RowsWithTarget(batch.target_bt);
    target_bt = Picked(batch.target_bt, answer_b);
    if (given_bt.defined()) given_bt = Picked(given_bt, answer_b);
  }
  const Tensor nll_r = vocabulary_.Nll(flat, target_bt.View({rows}));
  if (nll_r.is_meta()) return Scale(Sum(Mul(nll_r, Tensor::EmptyLike(nll_r))), 1);
  // Weights are exact in float64 sums, so the loss does not depend on how rows are grouped.
  Tensor weight_r = Tensor::Zeros({rows}, nll_r.dtype());
  double total = 0;
  const int32_t* target = target_bt.data<int32_t>();
  for (int64_t r = 0; r < rows; ++r) {
    const double w = target[r] < 0 ? 0.0 : given_bt.defined() ? given_bt.data<float>()[r] : 1.0;
    total += w;
    if (weight_r.dtype() == DType::kFloat64) {
      weight_r.mutable_data<double>()[r] = w;
    } else {
      weight_r.mutable_data<float>()[r] = static_cast<float>(w);
    }
  }
  CHECK(!(total <= 0)) << "a batch without targets";  // NaN is the trainer's to report
  return Scale(Sum(Mul(nll_r, weight_r)), 1 / total);
}

Tensor Model::Logits(const Tensor& input, const nn::Rows& rows, const nn::Call& call) const {
  return vocabulary_.Logits(Read(Hidden(input, rows, call), rows));
}

TokenScores Model::Score(const Tensor& input, const Tensor& target_bt, const nn::Rows& rows,
                         const nn::Call& call) const {
  NoGradScope no_grad;
  const Tensor read = Read(Hidden(input, rows, call), rows);
  const Tensor flat = Reshape(read, {-1, read.dim(2)});
  if (!pools()) {
    const Vocabulary::Scores result = vocabulary_.Score(flat, target_bt.View({flat.dim(0)}));
    return {result.nll_r.View(target_bt.shape()), result.argmax_r.View(target_bt.shape())};
  }
  std::vector<int64_t> rows_with_target = RowsWithTarget(target_bt);
  for (size_t b = 0; b < rows_with_target.size(); ++b)
    rows_with_target[b] += static_cast<int64_t>(b) * target_bt.dim(1);
  return ScoresAt(flat, rows_with_target, target_bt);
}

TokenScores Model::ScoresAt(const Tensor& read_rd, const std::vector<int64_t>& row_r,
                            const Tensor& target_bt) const {
  TokenScores scores = {Tensor::Zeros(target_bt.shape(), read_rd.dtype(), read_rd.device()),
                        Tensor::Zeros(target_bt.shape(), DType::kInt32, read_rd.device())};
  const int64_t count = static_cast<int64_t>(row_r.size());
  if (count == 0) return scores;
  Tensor target_r = Tensor::Empty({count}, DType::kInt32, read_rd.device());
  if (!read_rd.is_meta()) {
    for (int64_t i = 0; i < count; ++i)
      target_r.mutable_data<int32_t>()[i] = target_bt.data<int32_t>()[row_r[i]];
  }
  const Vocabulary::Scores result = vocabulary_.Score(read_rd, target_r);
  if (read_rd.is_meta()) return scores;
  const int64_t size = SizeOf(result.nll_r.dtype());
  for (int64_t i = 0; i < count; ++i) {
    std::memcpy(static_cast<char*>(scores.nll_bt.mutable_raw_data()) + row_r[i] * size,
                static_cast<const char*>(result.nll_r.raw_data()) + i * size, size);
    scores.argmax_bt.mutable_data<int32_t>()[row_r[i]] = result.argmax_r.data<int32_t>()[i];
  }
  return scores;
}

Tensor Model::ExtendHidden(const Tensor& input, const nn::Rows& rows, const nn::Call& call,
                           nn::State* state) const {
  CHECK(!pools()) << "a model that pools reads a sequence at once";
  const WithMemo with(call);
  return backbone_->Extend({Embedded(input), rows}, with.call, state).x_btd;
}

Tensor Model::Extend(const Tensor& input, const nn::Rows& rows, const nn::Call& call,
                     nn::State* state) const {
  NoGradScope no_grad;
  const Tensor hidden = ExtendHidden(input, rows, call, state);
  const Tensor last = Narrow(hidden, 1, hidden.dim(1) - 1, 1);
  return vocabulary_.Logits(Reshape(last, {hidden.dim(0), hidden_width()}));
}

TokenScores Model::ExtendScores(const Tensor& input, const Tensor& target_bt, const nn::Rows& rows,
                                const nn::Call& call, nn::State* state) const {
  NoGradScope no_grad;
  const Tensor flat = Reshape(ExtendHidden(input, rows, call, state), {-1, hidden_width()});
  std::vector<int64_t> wanted;
  for (int64_t r = 0; r < target_bt.numel(); ++r) {
    if (target_bt.is_meta() || target_bt.data<int32_t>()[r] >= 0) wanted.push_back(r);
  }
  Tensor index = Tensor::FromVector<int64_t>({static_cast<int64_t>(wanted.size())}, wanted);
  if (flat.is_meta()) index = index.To(Device::kMeta);
  return ScoresAt(wanted.empty() ? flat.ViewRows(0, 0) : Embedding(flat, index), wanted, target_bt);
}

}  // namespace longrange
