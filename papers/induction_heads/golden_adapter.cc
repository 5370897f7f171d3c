// Golden cases of induction heads: scores of attention maps, copying of a head's weights, the
// in-context-learning score, and attention with smeared keys and learned positions.

#include "plugins/golden/golden_adapter.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/status_macros.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "papers/induction_heads/scores.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

using induction_heads::Detector;
using induction_heads::Pattern;

Tensor Numbers(const Shape& shape, const std::vector<double>& values) {
  return Tensor::FromVector<double>(shape, values);
}

absl::StatusOr<std::vector<int32_t>> TokensOf(const GoldenCase& golden) {
  LR_ASSIGN_OR_RETURN(const Tensor tokens, golden.In("tokens"));
  std::vector<int32_t> ids;
  for (const int64_t token : tokens.ToInts()) ids.push_back(static_cast<int32_t>(token));
  return ids;
}

// in.attention [H, n, n]; the map of a head in double.
absl::StatusOr<Tensor> AttentionOf(const GoldenCase& golden, size_t tokens) {
  LR_ASSIGN_OR_RETURN(const Tensor attention, golden.In("attention"));
  const auto n = static_cast<int64_t>(tokens);
  if (attention.rank() != 3 || attention.dim(1) != n || attention.dim(2) != n)
    return absl::InvalidArgumentError("in.attention: expected [H, n, n] of n tokens");
  return attention.To(DType::kFloat64);
}

absl::Span<const double> MapOf(const Tensor& attention_hnn, int64_t head) {
  const int64_t size = attention_hnn.dim(1) * attention_hnn.dim(2);
  return {attention_hnn.data<double>() + head * size, static_cast<size_t>(size)};
}

// in.tokens [n], in.attention [H, n, n] -> patterns [n, n] and scores [H].
absl::Status RunHeadScores(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  fields.Skip({"pattern_length", "repeats", "heads", "bos_token"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TokensOf(golden));
  LR_ASSIGN_OR_RETURN(const Tensor attention, AttentionOf(golden, ids.size()));
  const auto n = static_cast<int64_t>(ids.size());
  const int64_t heads = attention.dim(0);
  const auto each = [&](const std::string& name,
                        const std::function<double(absl::Span<const double>)>& score) {
    std::vector<double> score_h;
    for (int64_t head = 0; head < heads; ++head) score_h.push_back(score(MapOf(attention, head)));
    check->Check(absl::StrCat("out.", name), Numbers({heads}, score_h));
  };
  const auto drawn = [&](const std::string& name, const Pattern& pattern) {
    check->Check(absl::StrCat("out.", name),
                 Numbers({n, n}, std::vector<double>(pattern.at.begin(), pattern.at.end())));
  };
  const Pattern previous = induction_heads::PreviousToken(n),
                induction = induction_heads::Induction(ids);
  const std::pair<const char*, Pattern> patterns[] = {
      {"previous_token", previous},
      {"duplicate_token", induction_heads::DuplicateToken(ids)},
      {"induction", induction}};
  for (const auto& [name, pattern] : patterns) {
    drawn(absl::StrCat(name, ".pattern"), pattern);
    for (const bool first : {false, true}) {
      for (const bool self : {false, true}) {
        const Detector detector = {first, self};
        const std::string which = absl::StrCat(".bos", first ? 1 : 0, ".cur", self ? 1 : 0);
        each(absl::StrCat(name, ".mul", which),
             [&, &pattern = pattern](auto map) { return detector.Share(map, pattern); });
        each(absl::StrCat(name, ".abs", which),
             [&, &pattern = pattern](auto map) { return detector.Closeness(map, pattern); });
      }
    }
  }
  drawn("prefix_matching.mask", induction);
  each("prefix_matching.mean_entry",
       [&](auto map) { return induction_heads::MeanEntry(map, induction); });
  each("prefix_matching.mean_row_mass",
       [&](auto map) { return induction_heads::MeanRowMass(map, induction); });
  const Pattern preceding = induction_heads::Preceding(ids);
  each("preceding.mean_entry",
       [&](auto map) { return induction_heads::MeanEntry(map, preceding); });
  each("previous_token.mean_entry",
       [&](auto map) { return induction_heads::MeanEntry(map, previous); });
  return absl::OkStatus();
}

// in.{tokens [n], attention [H, n, n], W_E [V, d], W_U [d, V], W_V [H, d, p], W_O [H, p, d]} ->
// what heads raise and the signs of their eigenvalues, [H] each.
absl::Status RunCopying(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  fields.Skip({"H", "V", "n", "d", "d_head"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, TokensOf(golden));
  LR_ASSIGN_OR_RETURN(const Tensor attention, AttentionOf(golden, ids.size()));
  Tensor weight[4];
  const char* names[] = {"W_E", "W_U", "W_V", "W_O"};
  for (int i = 0; i < 4; ++i) {
    LR_ASSIGN_OR_RETURN(const Tensor given, golden.In(names[i]));
    weight[i] = given.To(DType::kFloat64);
  }
  const NoGradScope no_grad;
  const int64_t heads = attention.dim(0), n = static_cast<int64_t>(ids.size());
  const Tensor x_nd = Embedding(weight[0], Tensor::FromVector<int32_t>({n}, ids));
  std::vector<double> own, sample, ratio, eigenvalues;
  for (int64_t head = 0; head < heads; ++head) {
    const auto of = [&](const Tensor& all) {
      return Reshape(Narrow(all, 0, head, 1), {all.dim(1), all.dim(2)});
    };
    const Tensor w_v = of(weight[2]), w_o = of(weight[3]);
    const Tensor written = MatMul(MatMul(MatMul(x_nd, w_v), w_o), weight[1]);
    const induction_heads::Copying copying = induction_heads::CopyingOf(
        MapOf(attention, head), ids, written.ToDoubles(), weight[1].dim(1));
    own.push_back(copying.own);
    sample.push_back(copying.sample);
    ratio.push_back(copying.Ratio());
    eigenvalues.push_back(
        induction_heads::PositiveEigenvalues(MatMul(w_o, w_v).ToDoubles(), w_o.dim(0)));
  }
  check->Check("out.raised_own", Numbers({heads}, own));
  check->Check("out.raised_sample", Numbers({heads}, sample));
  check->Check("out.ratio", Numbers({heads}, ratio));
  check->Check("out.ov_eig_sum_over_abs", Numbers({heads}, eigenvalues));
  return absl::OkStatus();
}

// in.token_loss [E, n] -> scores [1], and [n] by position.
absl::Status RunInContext(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  fields.Skip({"examples", "length"});  // stated by the tensor
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("token_loss"));
  if (given.rank() != 2 || given.dim(1) < 501)
    return absl::InvalidArgumentError("in.token_loss: expected [examples, 501 tokens or more]");
  const int64_t n = given.dim(1);
  const std::vector<double> loss = given.ToDoubles();
  std::vector<double> mean(n, 0.0);
  for (size_t i = 0; i < loss.size(); ++i)
    mean[i % n] += loss[i] / static_cast<double>(given.dim(0));
  check->Check("out.mean_by_position", Numbers({n}, mean));
  check->Check("out.icl_score", Numbers({1}, {induction_heads::InContextScore(mean, 500, 50)}));
  check->Check("out.icl_score_zero_based",
               Numbers({1}, {induction_heads::InContextScore(mean, 501, 51)}));
  check->Check("out.dloss_dlog_index", Numbers({n}, induction_heads::LossByLogIndex(mean)));
  return absl::OkStatus();
}

// [H, D, P] <-> [H P, D], and W_O [H, P, D] <-> [D, H P].
Tensor FromHeads(const Tensor& w_hdp) {
  return Reshape(Permute(w_hdp, {0, 2, 1}), {w_hdp.dim(0) * w_hdp.dim(2), w_hdp.dim(1)});
}
Tensor ToHeads(const Tensor& w, int64_t heads) {
  return Permute(Reshape(w, {heads, w.dim(0) / heads, w.dim(1)}), {0, 2, 1});
}
Tensor OutFromHeads(const Tensor& w_hpd) {
  return Transpose(Reshape(w_hpd, {w_hpd.dim(0) * w_hpd.dim(1), w_hpd.dim(2)}));
}
Tensor OutToHeads(const Tensor& w, int64_t heads) {
  return Reshape(Transpose(w), {heads, w.dim(1) / heads, w.dim(0)});
}

class HeadOutputs : public nn::Sink {
 public:
  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override {
    return path == "mixer/head_out" || path == "mixer/attention";
  }
  Tensor Tap(absl::string_view path, const Tensor& value) override {
    (path == "mixer/head_out" ? head_out_bthp : attention_bhts) = value;
    return value;
  }
  Tensor head_out_bthp, attention_bhts;
};

// in.x [B, T, D], param.{W_Q, W_K, W_V [H, D, P], W_O [H, P, D], alpha [H]}, W_pos [N, D] where
// there are positions -> y, the heads' outputs and attention; gradients of all of it.
absl::Status RunSmeared(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  fields.Skip({"B", "T", "D", "H", "H_kv", "d_head"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("x"));
  TensorMap theirs = golden.Group("param.");
  for (const char* name : {"W_Q", "W_K", "W_V", "W_O", "alpha"})
    LR_RETURN_IF_ERROR(golden.Param(name).status());
  InductionHeadsSmearedConfig config;
  const int64_t heads = theirs.at("W_Q").dim(0), kv_heads = theirs.at("W_K").dim(0);
  config.set_heads(heads);
  config.set_kv_heads(kv_heads);
  config.set_head_width(theirs.at("W_Q").dim(2));
  if (theirs.count("W_pos") > 0) {
    InductionHeadsPositionsConfig positions;
    positions.set_positions(theirs.at("W_pos").dim(0));
    config.mutable_position()->PackFrom(positions);
  }
  google::protobuf::Any any;
  any.PackFrom(config);
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng(), dtype)};
    args.width = given.dim(2);
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> mixer,
                        Registry<Mixer>::Get().Create(any, args));
    constexpr char kTable[] = "shared.induction_heads_positions.table";
    TensorMap ours = {{"w_q", FromHeads(theirs.at("W_Q"))},
                      {"w_k", FromHeads(theirs.at("W_K"))},
                      {"w_v", FromHeads(theirs.at("W_V"))},
                      {"w_o", OutFromHeads(theirs.at("W_O"))},
                      {"smear", Reshape(theirs.at("alpha"), {kv_heads, 1})}};
    if (theirs.count("W_pos") > 0) ours[kTable] = theirs.at("W_pos");
    for (auto& [name, value] : ours) value = value.To(dtype);
    LR_RETURN_IF_ERROR(store.Load(ours));
    for (const std::string path : {"fused", "plain", "in pieces"}) {
      const auto compare = [&](const std::string& name, const Tensor& actual) {
        if (dtype == DType::kFloat64) {
          check->Check(name, actual, path);
        } else {
          check->CheckRms(name, actual, absl::StrCat(path, ", float32"));
        }
      };
      const Tensor x = Leaf(given.To(dtype).Clone());
      HeadOutputs sink;
      nn::Call call;
      call.path = "mixer";
      if (path == "plain") call.sink = &sink;
      Tensor y;
      if (path == "in pieces") {
        nn::State state = mixer->NewState(x.dim(0));
        std::vector<Tensor> parts;
        for (int64_t at = 0, size = 1; at < x.dim(1); at += size, size = 2) {
          size = std::min(size, x.dim(1) - at);
          parts.push_back(mixer->Extend(Narrow(x, 1, at, size), nn::Rows(), call, &state));
        }
        y = Concat(parts, 1);
      } else {
        y = mixer->Forward(x, nn::Rows(), call);
      }
      compare("out.y", y);
      if (path == "plain") {
        compare("out.head_out", sink.head_out_bthp);
        compare("out.attention", sink.attention_bhts);
      }
      store.ClearGradients();
      LR_RETURN_IF_ERROR(CheckGradients(golden, {{"y", y}}, {{"in.x", x}}, compare));
      const auto gradient = [&](const char* name) { return Gradient(store.Find(name)->value); };
      compare("grad.param.W_Q", ToHeads(gradient("w_q"), heads));
      compare("grad.param.W_K", ToHeads(gradient("w_k"), kv_heads));
      compare("grad.param.W_V", ToHeads(gradient("w_v"), kv_heads));
      compare("grad.param.W_O", OutToHeads(gradient("w_o"), heads));
      compare("grad.param.alpha", Reshape(gradient("smear"), {kv_heads}));
      if (theirs.count("W_pos") > 0) compare("grad.param.W_pos", gradient(kTable));
    }
  }
  return absl::OkStatus();
}

absl::Status RunInductionHeads(const GoldenCase& golden, GoldenChecker* check) {
  if (golden.Has("in.token_loss")) return RunInContext(golden, check);
  if (golden.Has("in.W_E")) return RunCopying(golden, check);
  if (golden.Has("in.attention")) return RunHeadScores(golden, check);
  if (golden.Has("param.alpha")) return RunSmeared(golden, check);
  return absl::InvalidArgumentError(
      "not a form that is known: token_loss, W_E, attention or alpha are missing");
}

LR_REGISTER_GOLDEN_ADAPTER("induction_heads", RunInductionHeads);

}  // namespace
}  // namespace longrange
