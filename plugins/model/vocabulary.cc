#include "plugins/model/vocabulary.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

constexpr int64_t kBlock = 256;  // rows whose scores of all tokens are held at once

int64_t ClusterWidth(const ModelConfig& config, int64_t cluster) {
  const AdaptiveConfig& adaptive = config.adaptive();
  int64_t width = adaptive.width() > 0 ? adaptive.width() : config.width();
  for (int64_t i = 0; i < cluster; ++i) width /= adaptive.divisor();
  return width;
}

bool Projects(const ModelConfig& config) {
  return Vocabulary::IsAdaptive(config) &&
         (config.adaptive().divisor() > 1 || ClusterWidth(config, 0) != config.width());
}

nn::Tags NoDecay() {
  nn::Tags tags;
  tags.decay = false;
  return tags;
}

// x weightᵀ + bias as one product: the bias is a further column, of rows that have a 1 there.
struct Widened {
  Tensor x_rw, weight_vw;
};
Widened WithBias(const Tensor& x_rw, const Tensor& weight_vw, const Tensor& bias_v) {
  if (!bias_v.defined()) return {x_rw, weight_vw};
  const Tensor ones = Tensor::Full({x_rw.dim(0), 1}, 1, x_rw.dtype(), x_rw.device());
  return {Concat({x_rw, ones}, 1), Concat({weight_vw, Reshape(bias_v, {bias_v.dim(0), 1})}, 1)};
}

Tensor NllOf(const Tensor& x_rw, const Tensor& weight_vw, const Tensor& bias_v,
             const Tensor& target_r) {
  const Widened in = WithBias(x_rw, weight_vw, bias_v);
  return LinearCrossEntropy(in.x_rw, in.weight_vw, target_r).nll_r;
}

Tensor LogSoftmax(const Tensor& logits_rv) {
  const int64_t rows = logits_rv.dim(0);
  const Tensor first = Tensor::Zeros({rows}, DType::kInt32, logits_rv.device());
  // log of the sum of exp = first score + its negative log-likelihood
  const Tensor log_sum =
      Add(Narrow(logits_rv, 1, 0, 1), Reshape(CrossEntropy(logits_rv, first), {rows, 1}));
  return Sub(logits_rv, log_sum);
}

Tensor Int64s(const std::vector<int64_t>& values, Device device) {
  return Tensor::FromVector<int64_t>({static_cast<int64_t>(values.size())}, values).To(device);
}

Tensor Projected(const Tensor& x_rd, const Tensor& projection_dw) {
  return projection_dw.defined() ? MatMul(x_rd, projection_dw) : x_rd;
}

// Ids of any integer type; those of meta tensors are 0.
std::vector<int64_t> Read(const Tensor& ids) {
  return ids.is_meta() ? std::vector<int64_t>(ids.numel(), 0) : ids.ToInts();
}

}  // namespace

absl::Status Vocabulary::Check(const ModelConfig& config) {
  if (!(config.embedding_scale() >= 0 && std::isfinite(config.embedding_scale()))) {
    return Refuse("embedding_scale", config.embedding_scale(),
                  "0, for the root of the width, or a finite number above");
  }
  const AdaptiveConfig& adaptive = config.adaptive();
  if (config.features() > 0) {
    if (IsAdaptive(config))
      return Refuse("adaptive", "set", "nothing where rows are features: there is no embedding");
    if (config.embedding_scale() != 1)
      return Refuse("embedding_scale", config.embedding_scale(),
                    "1 where rows are features: there is no embedding");
  }
  if (!IsAdaptive(config)) {
    if (adaptive.divisor() != 1)
      return Refuse("adaptive.divisor", adaptive.divisor(), "1 without cutoff and width");
    if (adaptive.tied_projection_size() > 0)
      return Refuse("adaptive.tied_projection", "set", "nothing without cutoff and width");
    return absl::OkStatus();
  }
  int64_t before = 0;
  for (const int64_t cutoff : adaptive.cutoff()) {
    if (cutoff <= before || cutoff >= config.vocabulary()) {
      return Refuse("adaptive.cutoff", cutoff,
                    absl::StrCat("ascending, ", before + 1, " to ", config.vocabulary() - 1));
    }
    before = cutoff;
  }
  constexpr int64_t kMost = int64_t{1} << 20;
  if (adaptive.divisor() < 1 || adaptive.divisor() > kMost)
    return Refuse("adaptive.divisor", adaptive.divisor(), absl::StrCat("1 to ", kMost));
  if (adaptive.width() < 0 || adaptive.width() > kMost)
    return Refuse("adaptive.width", adaptive.width(),
                  absl::StrCat("0, for the model's, to ", kMost));
  if (ClusterWidth(config, adaptive.cutoff_size()) < 1) {
    return Refuse("adaptive.divisor", adaptive.divisor(),
                  absl::StrCat("so few that the last of ", adaptive.cutoff_size() + 1,
                               " clusters has rows of 1 number or more"));
  }
  if (adaptive.tied_projection_size() > adaptive.cutoff_size() + 1) {
    return Refuse("adaptive.tied_projection",
                  absl::StrCat(adaptive.tied_projection_size(), " values"),
                  absl::StrCat(adaptive.cutoff_size() + 1, " at most, one a cluster"));
  }
  if (adaptive.tied_projection_size() > 0 && !Projects(config)) {
    return Refuse("adaptive.tied_projection",
                  absl::StrCat(adaptive.tied_projection_size(), " values"),
                  "none where rows have the model's width and there are no projections");
  }
  if (!(adaptive.projection_init_std() >= 0 && std::isfinite(adaptive.projection_init_std()))) {
    return Refuse("adaptive.projection_init_std", adaptive.projection_init_std(),
                  "a finite number >= 0");
  }
  return absl::OkStatus();
}

void Vocabulary::CreateInput(const ModelConfig& config, const nn::Scope& scope) {
  width_ = config.width();
  embedding_scale_ = config.embedding_scale() > 0 ? config.embedding_scale()
                                                  : std::sqrt(static_cast<double>(config.width()));
  std::vector<int64_t> ends(config.adaptive().cutoff().begin(), config.adaptive().cutoff().end());
  ends.push_back(config.vocabulary());
  const nn::Init init = nn::Normal(config.init_std()),
                 projection_init = nn::Normal(config.adaptive().projection_init_std());
  Tensor shared;
  for (size_t i = 0; i < ends.size(); ++i) {
    Cluster cluster;
    cluster.begin = i == 0 ? 0 : ends[i - 1];
    cluster.end = ends[i];
    const int64_t width = ClusterWidth(config, static_cast<int64_t>(i));
    if (config.features() == 0) {
      const std::string name = IsAdaptive(config) ? absl::StrCat("embedding.", i) : "embedding";
      cluster.input_nw = scope.Param(name, {cluster.end - cluster.begin, width}, init);
    }
    if (Projects(config) && config.adaptive().divisor() > 1) {
      cluster.projection_dw =
          scope.Param(absl::StrCat("projection.", i), {width_, width}, projection_init);
    } else if (Projects(config)) {
      if (i == 0) shared = scope.Param("projection", {width_, width}, projection_init);
      cluster.projection_dw = shared;
    }
    clusters_.push_back(cluster);
  }
}

void Vocabulary::CreateOutput(const ModelConfig& config, int64_t read, const nn::Scope& scope) {
  const AdaptiveConfig& adaptive = config.adaptive();
  const nn::Init init = nn::Normal(config.init_std());
  for (size_t i = 0; i < clusters_.size(); ++i) {
    Cluster& cluster = clusters_[i];
    const std::string suffix = IsAdaptive(config) ? absl::StrCat(".", i) : "";
    const int64_t words = cluster.end - cluster.begin,
                  width = IsAdaptive(config) ? ClusterWidth(config, static_cast<int64_t>(i)) : read;
    cluster.output_nw = config.tied()
                            ? cluster.input_nw
                            : scope.Param(absl::StrCat("output", suffix), {words, width}, init);
    if (config.output_bias()) {
      cluster.output_bias_n =
          scope.Param(absl::StrCat("output_bias", suffix), {words}, nn::Zeros(), NoDecay());
    }
    if (!Projects(config)) continue;
    const bool tied = static_cast<int>(i) < adaptive.tied_projection_size() &&
                      adaptive.tied_projection(static_cast<int>(i));
    cluster.output_projection_dw =
        tied ? cluster.projection_dw
             : scope.Param(absl::StrCat("output_projection", suffix), {width_, width},
                           nn::Normal(adaptive.projection_init_std()));
  }
  const auto others = static_cast<int64_t>(clusters_.size()) - 1;
  if (others == 0) return;
  cluster_weight_ = scope.Param("cluster", {others, ClusterWidth(config, 0)}, init);
  if (config.output_bias())
    cluster_bias_ = scope.Param("cluster_bias", {others}, nn::Zeros(), NoDecay());
}

Tensor Vocabulary::Embed(const Tensor& ids) const {
  Tensor rows;
  if (clusters_.size() == 1) {
    rows = Embedding(clusters_[0].input_nw, ids);
    if (clusters_[0].projection_dw.defined()) rows = Linear(rows, clusters_[0].projection_dw);
  } else {
    const std::vector<int64_t> id = Read(ids);
    std::vector<Tensor> parts;              // cluster by cluster
    std::vector<int64_t> place(id.size());  // of each id in them
    int64_t placed = 0;
    for (const Cluster& cluster : clusters_) {
      std::vector<int64_t> mine;
      for (size_t i = 0; i < id.size(); ++i) {
        if (id[i] < cluster.begin || id[i] >= cluster.end) continue;
        mine.push_back(id[i] - cluster.begin);
        place[i] = placed++;
      }
      if (mine.empty()) continue;
      const Tensor part = Embedding(cluster.input_nw, Int64s(mine, ids.device()));
      parts.push_back(cluster.projection_dw.defined() ? Linear(part, cluster.projection_dw) : part);
    }
    CHECK_EQ(placed, static_cast<int64_t>(id.size())) << "ids outside the vocabulary";
    Shape shape = ids.shape();
    shape.Append(width_);
    rows = parts.empty() ? Tensor::Empty(shape, clusters_[0].input_nw.dtype(), ids.device())
                         : Reshape(Embedding(Concat(parts, 0), Int64s(place, ids.device())), shape);
  }
  return embedding_scale_ == 1 ? rows : Scale(rows, embedding_scale_);
}

Vocabulary::Choices Vocabulary::Head() const {
  const Cluster& first = clusters_[0];
  if (clusters_.size() == 1) return {first.output_nw, first.output_bias_n};
  return {
      Concat({first.output_nw, cluster_weight_}, 0),
      first.output_bias_n.defined() ? Concat({first.output_bias_n, cluster_bias_}, 0) : Tensor()};
}

int64_t Vocabulary::ColumnOf(size_t cluster) const {
  return clusters_[0].end + static_cast<int64_t>(clusters_.size() - 1 - cluster);
}

Tensor Vocabulary::Nll(const Tensor& x_rd, const Tensor& target_r) const {
  const Choices head = Head();
  const Tensor x_head = Projected(x_rd, clusters_[0].output_projection_dw);
  if (clusters_.size() == 1) return NllOf(x_head, head.weight_cw, head.bias_c, target_r);

  const std::vector<int64_t> target = Read(target_r);
  for (const int64_t token : target)
    CHECK_LT(token, clusters_.back().end) << "target outside the vocabulary";
  Tensor choice_r = Tensor::Empty(target_r.shape(), DType::kInt32, target_r.device());
  // Row r finds what its cluster adds at entry place[r] of: a zero, then cluster by cluster.
  std::vector<int64_t> place(target.size(), 0);
  std::vector<Tensor> added = {Tensor::Zeros({1}, x_rd.dtype(), x_rd.device())};
  int64_t placed = 1;
  for (size_t c = 0; c < clusters_.size(); ++c) {
    const Cluster& cluster = clusters_[c];
    std::vector<int64_t> row, word;
    for (size_t r = 0; r < target.size(); ++r) {
      if (target[r] < cluster.begin || target[r] >= cluster.end) continue;
      row.push_back(static_cast<int64_t>(r));
      word.push_back(target[r] - cluster.begin);
      if (c > 0) place[r] = placed++;
    }
    if (!choice_r.is_meta()) {
      for (size_t i = 0; i < row.size(); ++i) {
        choice_r.mutable_data<int32_t>()[row[i]] =
            static_cast<int32_t>(c == 0 ? word[i] : ColumnOf(c));
      }
    }
    if (c == 0 || row.empty()) continue;
    const Tensor x =
        Projected(Embedding(x_rd, Int64s(row, x_rd.device())), cluster.output_projection_dw);
    added.push_back(NllOf(x, cluster.output_nw, cluster.output_bias_n,
                          Int64s(word, x_rd.device()).To(DType::kInt32)));
  }
  if (!choice_r.is_meta()) {
    for (size_t r = 0; r < target.size(); ++r) {
      if (target[r] < 0) choice_r.mutable_data<int32_t>()[r] = -1;
    }
  }
  const Tensor nll_r = NllOf(x_head, head.weight_cw, head.bias_c, choice_r);
  if (added.size() == 1) return nll_r;
  const Tensor table = Reshape(Concat(added, 0), {placed, 1});
  return Add(nll_r, Reshape(Embedding(table, Int64s(place, x_rd.device())), nll_r.shape()));
}

Tensor Vocabulary::Logits(const Tensor& x) const {
  const Choices head = Head();
  if (clusters_.size() == 1) {
    const Tensor& projection = clusters_[0].output_projection_dw;
    return Linear(projection.defined() ? Linear(x, Transpose(projection)) : x, head.weight_cw,
                  head.bias_c);
  }
  const Tensor x_rd = Reshape(x, {-1, width_});
  const auto log_probabilities = [&](const Tensor& projection, const Tensor& weight,
                                     const Tensor& bias) {
    return LogSoftmax(Linear(Projected(x_rd, projection), weight, bias));
  };
  const Tensor choice_rc =
      log_probabilities(clusters_[0].output_projection_dw, head.weight_cw, head.bias_c);
  std::vector<Tensor> parts = {Narrow(choice_rc, 1, 0, clusters_[0].end)};
  for (size_t c = 1; c < clusters_.size(); ++c) {
    const Cluster& cluster = clusters_[c];
    parts.push_back(Add(
        log_probabilities(cluster.output_projection_dw, cluster.output_nw, cluster.output_bias_n),
        Narrow(choice_rc, 1, ColumnOf(c), 1)));
  }
  Shape shape = x.shape();
  shape.set(-1, clusters_.back().end);
  return Reshape(Concat(parts, 1), shape);
}

Vocabulary::Scores Vocabulary::Score(const Tensor& x_rd, const Tensor& target_r) const {
  const NoGradScope no_grad;
  if (clusters_.size() == 1) {
    const Choices head = Head();
    const Widened in =
        WithBias(Projected(x_rd, clusters_[0].output_projection_dw), head.weight_cw, head.bias_c);
    const LinearCrossEntropyResult result =
        LinearCrossEntropy(in.x_rw, in.weight_vw, target_r, /*want_argmax=*/true);
    return {result.nll_r, result.argmax_r};
  }
  Scores scores = {Nll(x_rd, target_r),
                   Tensor::Empty(target_r.shape(), DType::kInt32, target_r.device())};
  for (int64_t begin = 0; begin < x_rd.dim(0); begin += kBlock) {
    const int64_t end = std::min(x_rd.dim(0), begin + kBlock);
    const Tensor logits = Logits(x_rd.ViewRows(begin, end));
    if (logits.is_meta()) continue;
    const std::vector<double> values = logits.ToDoubles();
    const int64_t tokens = logits.dim(1);
    for (int64_t r = begin; r < end; ++r) {
      const auto row = values.begin() + (r - begin) * tokens;
      scores.argmax_r.mutable_data<int32_t>()[r] =
          static_cast<int32_t>(std::max_element(row, row + tokens) - row);
    }
  }
  return scores;
}

}  // namespace longrange
