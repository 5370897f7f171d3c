// Golden cases of transformer_xl: one attention sublayer with a given memory, and language models
// over segments, with adaptive vocabularies too.

#include "plugins/golden/golden_adapter.h"

#include <google/protobuf/any.pb.h>

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
#include "common/io/name_map.h"
#include "papers/transformer_xl/relative_attention.h"
#include "papers/transformer_xl/transformer_xl.pb.h"
#include "plugins/backbone.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/model/vocabulary.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

// [L, B, ..] and [B, L, ..].
Tensor BatchFirst(const Tensor& x) {
  return x.rank() == 2 ? Permute(x, {1, 0}) : Permute(x, {1, 0, 2});
}

// w [L, B, D], mems [M, B, D], r [M + L, 1, D] -> y [L, B, D], gradients to everything.
absl::Status RunSublayer(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("n_head"));
  LR_ASSIGN_OR_RETURN(const int64_t channels, fields.Integer("d_head"));
  LR_ASSIGN_OR_RETURN(const int64_t width, fields.Integer("d_model"));
  LR_ASSIGN_OR_RETURN(const bool pre_norm, fields.Bool("pre_lnorm"));
  fields.Skip({"mlen", "qlen"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  TensorMap given = golden.Group("in.");
  for (const char* name : {"w", "mems", "r", "r_w_bias", "r_r_bias", "mask"}) {
    if (given.count(name) == 0)
      return absl::InvalidArgumentError(absl::StrCat("in.", name, ": missing"));
  }
  const int64_t rows = given.at("w").dim(0), memory = given.at("mems").dim(0);
  const std::vector<int64_t> mask = given.at("mask").ToInts();
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < memory + rows; ++j) {
      if ((mask[i * (memory + rows) + j] != 0) != (j > i + memory))
        return absl::UnimplementedError("in.mask: expected all keys up to the query");
    }
  }
  given.erase("mask");
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    TensorMap leaves;
    for (const auto& [name, tensor] : given)
      leaves[absl::StrCat("in.", name)] = Leaf(tensor.To(dtype).Clone());
    for (const auto& [name, tensor] : golden.Group("param."))
      leaves[absl::StrCat("param.", name)] = Leaf(tensor.To(dtype).Clone());
    const auto normed = [&](const Tensor& x) {
      return LayerNorm(x, leaves.at("param.layer_norm.weight"), leaves.at("param.layer_norm.bias"),
                       1e-5);
    };
    const Tensor w_btd = BatchFirst(leaves.at("in.w"));
    const Tensor all = Concat({BatchFirst(leaves.at("in.mems")), w_btd}, 1);
    const Tensor seen = pre_norm ? normed(all) : all;
    const Tensor weight = leaves.at("param.qkv_net.weight");
    const auto projected = [&](const Tensor& x, int64_t which) {
      const int64_t size = heads * channels;
      return transformer_xl::ByHead(Linear(x, Narrow(weight, 0, which * size, size)), heads);
    };
    transformer_xl::RelativeAttentionInputs in;
    in.q_hbtp = projected(Narrow(seen, 1, memory, rows), 0);
    in.k_hbsp = projected(seen, 1);
    in.v_hbsp = projected(seen, 2);
    in.r_hrp = transformer_xl::ByHead(
        Linear(Reshape(leaves.at("in.r"), {memory + rows, width}), leaves.at("param.r_net.weight")),
        heads);
    in.u_hp = leaves.at("in.r_w_bias");
    in.v_hp = leaves.at("in.r_r_bias");
    in.offset = memory;
    const Tensor sum = Add(w_btd, Linear(RelativeAttention(in), leaves.at("param.o_net.weight")));
    const Tensor y = BatchFirst(pre_norm ? sum : normed(sum));
    const GoldenCompare compare = CompareByType(check, dtype, "sublayer");
    compare("out.y", y);
    LR_RETURN_IF_ERROR(CheckGradients(golden, {{"y", y}}, leaves, compare));
  }
  return absl::OkStatus();
}

google::protobuf::Any Packed(const google::protobuf::Message& message) {
  google::protobuf::Any any;
  any.PackFrom(message);
  return any;
}

struct LanguageModelCase {
  ModelConfig model;
  NameMap names;
  std::vector<int64_t> segments;
  int64_t layers = 0, memory = 0;
};

absl::StatusOr<LanguageModelCase> ReadCase(const GoldenCase& golden) {
  LanguageModelCase c;
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("n_head"));
  LR_ASSIGN_OR_RETURN(const int64_t channels, fields.Integer("d_head"));
  LR_ASSIGN_OR_RETURN(const int64_t width, fields.Integer("d_model"));
  LR_ASSIGN_OR_RETURN(const int64_t hidden, fields.Integer("d_inner"));
  LR_ASSIGN_OR_RETURN(const int64_t embedded, fields.Integer("d_embed", width));
  LR_ASSIGN_OR_RETURN(const int64_t divisor, fields.Integer("div_val"));
  LR_ASSIGN_OR_RETURN(const int64_t clamp, fields.Integer("clamp_len"));
  LR_ASSIGN_OR_RETURN(const int64_t extended, fields.Integer("ext_len"));
  LR_ASSIGN_OR_RETURN(const int64_t vocabulary, fields.Integer("vocab"));
  LR_ASSIGN_OR_RETURN(c.layers, fields.Integer("n_layer"));
  LR_ASSIGN_OR_RETURN(c.memory, fields.Integer("mem_len"));
  LR_ASSIGN_OR_RETURN(const bool pre_norm, fields.Bool("pre_lnorm"));
  LR_ASSIGN_OR_RETURN(const bool same_length, fields.Bool("same_length"));
  LR_ASSIGN_OR_RETURN(const bool untie, fields.Bool("untie_r", false));
  LR_ASSIGN_OR_RETURN(const std::vector<double> segments, fields.Numbers("segments"));
  LR_ASSIGN_OR_RETURN(const std::vector<double> cutoffs, fields.Numbers("cutoffs"));
  std::vector<bool> tied;
  if (const nlohmann::json* values = fields.Find("tie_projs"); values != nullptr) {
    for (const nlohmann::json& value : *values) {
      if (!value.is_boolean()) return UnknownValue("tie_projs", value.dump(), "true or false");
      tied.push_back(value.get<bool>());
    }
  }
  LR_RETURN_IF_ERROR(fields.Done());
  if (extended != 0) return UnknownValue("ext_len", extended, "0");
  for (const double size : segments) c.segments.push_back(static_cast<int64_t>(size));
  // A grid, whose last segment may be shorter.
  if (c.segments.empty() || c.segments[0] < 1)
    return UnknownValue("segments", "none", "one or more, of one row or more");
  for (size_t s = 0; s < c.segments.size(); ++s) {
    const bool last = s + 1 == c.segments.size();
    if (last ? c.segments[s] < 1 || c.segments[s] > c.segments[0] : c.segments[s] != c.segments[0])
      return UnknownValue("segments", c.segments[s], "all alike, the last one no longer");
  }

  TransformerXlConfig mixer;
  mixer.set_heads(heads);
  mixer.set_head_width(channels);
  mixer.set_segment(c.segments[0]);
  mixer.set_memory(c.memory);
  mixer.set_same_length(same_length);
  mixer.set_clamp(std::max<int64_t>(0, clamp));
  mixer.set_pre_norm(pre_norm);
  mixer.set_untie(untie);
  StackConfig stack;
  stack.set_layers(c.layers);
  *stack.mutable_mixer() = Packed(mixer);
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::RELU);
  stack.mutable_feed_forward()->set_width(hidden);
  stack.mutable_feed_forward()->set_biases(true);
  stack.mutable_norm()->set_kind(NormConfig::LAYER);
  stack.set_norm_place(pre_norm ? StackConfig::PRE_WITHOUT_LAST : StackConfig::POST);
  c.model.set_vocabulary(vocabulary);
  c.model.set_width(width);
  c.model.set_tied(true);
  c.model.set_embedding_scale(0);
  c.model.set_output_bias(true);
  *c.model.mutable_backbone() = Packed(stack);

  const std::string ff = "layers.*.pos_ff.CoreNet.", attention = "layers.*.dec_attn.";
  c.names.Add({{attention + "qkv_net.weight"},
               {"layers.*.mixer.w_q", "layers.*.mixer.w_k", "layers.*.mixer.w_v"}});
  c.names.Add(attention + "r_net.weight", "layers.*.mixer.w_r")
      .Add(attention + "o_net.weight", "layers.*.mixer.w_o")
      .Add(attention + "layer_norm.weight", "layers.*.mixer.norm.weight")
      .Add(attention + "layer_norm.bias", "layers.*.mixer.norm.bias")
      .Add(ff + "0.weight", "layers.*.feed_forward.w_up")
      .Add(ff + "0.bias", "layers.*.feed_forward.b_up")
      .Add(ff + "3.weight", "layers.*.feed_forward.w_down")
      .Add(ff + "3.bias", "layers.*.feed_forward.b_down")
      .Add("layers.*.pos_ff.layer_norm.weight", "layers.*.feed_forward_norm.weight")
      .Add("layers.*.pos_ff.layer_norm.bias", "layers.*.feed_forward_norm.bias");
  if (untie) {
    c.names.Add("layers.*.dec_attn.r_w_bias", "layers.*.mixer.u")
        .Add("layers.*.dec_attn.r_r_bias", "layers.*.mixer.v");
  } else {
    c.names.Add("r_w_bias", "shared.transformer_xl.u").Add("r_r_bias", "shared.transformer_xl.v");
  }
  const bool adaptive = !cutoffs.empty() || embedded != width || divisor > 1;
  const auto clusters = static_cast<int64_t>(cutoffs.size()) + 1;
  const bool projects = divisor > 1 || embedded != width;
  if (!adaptive) {
    c.names.Add("word_emb.emb_layers.0.weight", "embedding")
        .Add("crit.out_layers.0.bias", "output_bias");
    return c;
  }
  AdaptiveConfig* words = c.model.mutable_adaptive();
  for (const double cutoff : cutoffs) words->add_cutoff(static_cast<int64_t>(cutoff));
  words->set_divisor(divisor);
  words->set_width(embedded);
  if (projects) {
    for (int64_t i = 0; i < clusters; ++i)
      words->add_tied_projection(i < static_cast<int64_t>(tied.size()) && tied[i]);
  }
  if (divisor > 1) {
    c.names.Add("word_emb.emb_layers.*.weight", "embedding.*")
        .Add("crit.out_layers.*.bias", "output_bias.*")
        .Add("word_emb.emb_projs.*", "projection.*");
  } else {  // one table and one projection for all clusters
    NameMapRow table, bias;
    table.theirs = {"word_emb.emb_layers.0.weight"};
    bias.theirs = {"crit.out_layers.0.bias"};
    for (int64_t i = 0; i < clusters; ++i) {
      table.ours.push_back(absl::StrCat("embedding.", i));
      bias.ours.push_back(absl::StrCat("output_bias.", i));
    }
    c.names.Add(table).Add(bias);
    if (projects) c.names.Add("word_emb.emb_projs.0", "projection");
  }
  if (projects) c.names.Add("crit.out_projs.*", "output_projection.*");
  if (clusters > 1)
    c.names.Add("crit.cluster_weight", "cluster").Add("crit.cluster_bias", "cluster_bias");
  return c;
}

// A language model as the reference makes it: vocabulary and backbone, so that hidden rows can be
// asked for.
struct LanguageModel {
  nn::ParameterStore store;
  Vocabulary vocabulary;
  std::unique_ptr<Backbone> backbone;
};

absl::Status Build(const LanguageModelCase& c, const GoldenCase& golden, DType dtype,
                   LanguageModel* model) {
  LR_RETURN_IF_ERROR(Vocabulary::Check(c.model));
  const nn::Scope scope(&model->store, Rng(), dtype);
  model->vocabulary.CreateInput(c.model, scope);
  BuildArgs args{scope};
  args.width = c.model.width();
  LR_ASSIGN_OR_RETURN(model->backbone, Registry<Backbone>::Get().Create(c.model.backbone(), args));
  model->vocabulary.CreateOutput(c.model, c.model.width(), scope);
  LR_ASSIGN_OR_RETURN(const TensorMap values,
                      c.names.Import(golden.Group("param."), model->store.Wanted()));
  return model->store.Load(values);
}

// The newest rows of every layer's memory and open segment, and of what the last layer put out, as
// out.mems has them: [layers + 1, M, B, D].
Tensor Memories(nn::State* state, const std::vector<Tensor>& hidden_btd,
                const LanguageModelCase& c) {
  const NoGradScope no_grad;
  std::vector<Tensor> layers;
  const auto add = [&](const Tensor& rows_bsd) {
    const int64_t count = std::min(c.memory, rows_bsd.dim(1));
    const Tensor newest = BatchFirst(Narrow(rows_bsd, 1, rows_bsd.dim(1) - count, count));
    layers.push_back(Reshape(newest, {1, count, newest.dim(1), newest.dim(2)}));
  };
  for (int64_t i = 0; i < c.layers; ++i) {
    nn::State* mixer = state->Child(absl::StrCat("layers.", i))->Child("mixer");
    add(Concat({mixer->Get("memory"), mixer->Get("open")}, 1));
  }
  add(Concat(hidden_btd, 1));
  return Concat(layers, 0);
}

absl::Status RunLanguageModel(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(const LanguageModelCase c, ReadCase(golden));
  std::vector<Tensor> ids, targets;
  for (size_t s = 0; s < c.segments.size(); ++s) {
    for (auto& [name, list] : {std::pair("ids", &ids), {"targets", &targets}}) {
      LR_ASSIGN_OR_RETURN(const Tensor given, golden.In(absl::StrCat(name, s)));
      if (given.rank() != 2 || given.dim(0) != c.segments[s])
        return absl::InvalidArgumentError(absl::StrCat("in.", name, s, ": expected [L, B]"));
      for (const int64_t id : given.ToInts()) {
        if (id < 0 || id >= c.model.vocabulary()) {
          return absl::InvalidArgumentError(
              absl::StrCat("in.", name, s, ": ", id, " (expected 0 to vocab - 1)"));
        }
      }
      list->push_back(BatchFirst(given.To(DType::kInt32)));
    }
  }
  enum Way { kSegments, kAtOnce, kRowByRow };
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const Way way : {kSegments, kAtOnce, kRowByRow}) {
      LanguageModel model;
      LR_RETURN_IF_ERROR(Build(c, golden, dtype, &model));
      const GoldenCompare compare = CompareByType(check, dtype,
                                                  way == kSegments ? "by segments"
                                                  : way == kAtOnce ? "all rows at once"
                                                                   : "row by row");
      const int64_t batch = ids[0].dim(0);
      nn::State state = model.backbone->NewState(batch);
      Tensor all;
      if (way == kAtOnce) {
        all = model.backbone
                  ->Forward({model.vocabulary.Embed(Concat(ids, 1)), nn::Rows()}, nn::Call())
                  .x_btd;
      }
      std::vector<Tensor> roots, cotangents, hidden;
      int64_t begin = 0;
      for (size_t s = 0; s < ids.size(); ++s) {
        const int64_t rows = ids[s].dim(1);
        if (way == kAtOnce) {
          hidden.push_back(Narrow(all, 1, begin, rows));
        } else {
          const Tensor x = model.vocabulary.Embed(ids[s]);
          std::vector<Tensor> parts;
          const int64_t step = way == kSegments ? rows : 1;
          for (int64_t t = 0; t < rows; t += step) {
            parts.push_back(
                model.backbone->Extend({Narrow(x, 1, t, step), nn::Rows()}, nn::Call(), &state)
                    .x_btd);
          }
          hidden.push_back(Concat(parts, 1));
          compare(absl::StrCat("out.mems", s), Memories(&state, hidden, c));
        }
        begin += rows;
        const Tensor loss = model.vocabulary.Nll(Reshape(hidden[s], {-1, c.model.width()}),
                                                 targets[s].View({targets[s].numel()}));
        const TensorMap outputs = {
            {absl::StrCat("hidden", s), BatchFirst(hidden[s])},
            {absl::StrCat("loss", s), BatchFirst(Reshape(loss, targets[s].shape()))}};
        for (const auto& [name, output] : outputs) {
          compare(absl::StrCat("out.", name), output);
          if (!golden.Has(absl::StrCat("cotangent.", name))) continue;
          LR_ASSIGN_OR_RETURN(const Tensor cotangent, golden.Cotangent(name));
          roots.push_back(output);
          cotangents.push_back(cotangent.To(dtype));
        }
      }
      Backward(roots, cotangents);
      LR_RETURN_IF_ERROR(CheckParameterGradients(golden, model.store, c.names, compare));
    }
  }
  return absl::OkStatus();
}

absl::Status RunTransformerXl(const GoldenCase& golden, GoldenChecker* check) {
  return golden.Has("in.w") ? RunSublayer(golden, check) : RunLanguageModel(golden, check);
}

LR_REGISTER_GOLDEN_ADAPTER("transformer_xl", RunTransformerXl);

}  // namespace
}  // namespace longrange
