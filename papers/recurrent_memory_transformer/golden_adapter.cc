// Golden cases of the Recurrent Memory Transformer, around the two backbones that its authors used:
// GPT-2, and Transformer-XL in the form of the paper's code. B batch, T rows of the sequence, R
// rows of the wrapped backbone, M rows of memory, H heads, P head width, D width, V vocabulary.

#include "plugins/golden/golden_adapter.h"

#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/autograd/ops.h"
#include "common/base/status_macros.h"
#include "papers/recurrent_memory_transformer/recurrent_memory_transformer.h"
#include "plugins/hugging_face/json_fields.h"

namespace longrange {
namespace {

using Config = RecurrentMemoryTransformerConfig;

// The parameters of a case as leaves, under the reference's names.
class Leaves {
 public:
  Leaves(const GoldenCase& golden, DType dtype) {
    for (const auto& [name, value] : golden.Group("param."))
      leaves_[absl::StrCat("param.", name)] = Leaf(value.To(dtype).Clone());
  }

  Tensor operator()(absl::string_view name) const {
    const auto it = leaves_.find(absl::StrCat("param.", name));
    CHECK(it != leaves_.end()) << "no param." << name;
    return it->second;
  }
  // To be called by this name, in the place of the case's own.
  void Put(absl::string_view name, const Tensor& leaf) {
    leaves_[absl::StrCat("param.", name)] = leaf;
  }
  const TensorMap& all() const { return leaves_; }

 private:
  TensorMap leaves_;
};

// x [B, R, N] weight [N, K] + bias: a Conv1D of GPT-2.
Tensor Conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const int64_t batch = x.dim(0), rows = x.dim(1), width = weight.dim(1);
  return Reshape(Add(MatMul(Reshape(x, {batch * rows, x.dim(2)}), weight), bias),
                 {batch, rows, width});
}

// Part i of so many equal ones of the last dimension, [B, R, H, P].
Tensor PartByHead(const Tensor& x, int64_t i, int64_t parts, int64_t heads) {
  const int64_t width = x.dim(2) / parts;
  return Reshape(Narrow(x, 2, i * width, width), {x.dim(0), x.dim(1), heads, width / heads});
}

// GPT-2 (Radford et al. 2019) as in transformers: pre-norm, learned positions at the entry. A
// stream keeps its rows and runs all of them again.
class Gpt2 : public Backbone {
 public:
  Gpt2(const Leaves& leaves, int64_t layers, int64_t heads, double epsilon)
      : leaves_(leaves), layers_(layers), heads_(heads), epsilon_(epsilon) {
    traits_.streams = true;
    traits_.state = Growth::kLinear;
    traits_.flops = Growth::kQuadratic;
  }

  const BackboneTraits& traits() const override { return traits_; }

  Sequence Forward(const Sequence& in, const nn::Call&) const override {
    const int64_t rows = in.x_btd.dim(1);
    Tensor x = Add(in.x_btd, Narrow(At("wpe.weight"), 0, 0, rows));
    for (int64_t i = 0; i < layers_; ++i) {
      const auto at = [&](const char* name) { return At(absl::StrCat("h.", i, ".", name)); };
      const Tensor qkv = Conv1d(LayerNorm(x, at("ln_1.weight"), at("ln_1.bias"), epsilon_),
                                at("attn.c_attn.weight"), at("attn.c_attn.bias"));
      const auto plan = std::make_shared<kernels::SpanPlan>(kernels::SpanPlan::Causal(rows, rows));
      kernels::AttentionInputs inputs;
      inputs.q_bthd = PartByHead(qkv, 0, 3, heads_);
      inputs.k_bshd = PartByHead(qkv, 1, 3, heads_);
      inputs.v_bshe = PartByHead(qkv, 2, 3, heads_);
      inputs.plans = {plan.get()};
      const Tensor mixed = Reshape(Attention(inputs, plan).out_bthe, x.shape());
      x = Add(x, Conv1d(mixed, at("attn.c_proj.weight"), at("attn.c_proj.bias")));
      const Tensor hidden = Gelu(Conv1d(LayerNorm(x, at("ln_2.weight"), at("ln_2.bias"), epsilon_),
                                        at("mlp.c_fc.weight"), at("mlp.c_fc.bias")),
                                 /*tanh_approximation=*/true);
      x = Add(x, Conv1d(hidden, at("mlp.c_proj.weight"), at("mlp.c_proj.bias")));
    }
    return {LayerNorm(x, At("ln_f.weight"), At("ln_f.bias"), epsilon_), in.rows};
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state;
    const Tensor like = At("wpe.weight");
    state.Set("rows", Tensor::Empty({batch, 0, like.dim(1)}, like.dtype()));
    return state;
  }

  Sequence Extend(const Sequence& in, const nn::Call& call, nn::State* state) const override {
    state->Append("rows", in.x_btd);
    const Tensor all = Forward({state->Get("rows"), nn::Rows()}, call).x_btd;
    const int64_t rows = in.x_btd.dim(1);
    return {Narrow(all, 1, all.dim(1) - rows, rows), in.rows};
  }

 private:
  Tensor At(absl::string_view name) const {
    return leaves_(absl::StrCat("memory_cell.model.transformer.", name));
  }

  const Leaves& leaves_;
  int64_t layers_, heads_;
  double epsilon_;
  BackboneTraits traits_;
};

// Row i moves i places to the left of the last one's: [G, R, R] by distance R - 1 .. 0 -> by key
// (Dai et al. 2019, appendix B). What comes in from the right of a row belongs to the next one.
Tensor RelativeShift(const Tensor& x_grr) {
  const int64_t groups = x_grr.dim(0), rows = x_grr.dim(1);
  const Tensor zero = Tensor::Zeros({groups, rows, 1}, x_grr.dtype());
  const Tensor shifted = Reshape(Concat({zero, x_grr}, 2), {groups, rows + 1, rows});
  return Narrow(shifted, 1, 1, rows);
}

// [B, R, H, P] -> [B * H, R, P]
Tensor HeadsFirst(const Tensor& x) {
  return Reshape(Permute(x, {0, 2, 1, 3}), {x.dim(0) * x.dim(2), x.dim(1), x.dim(3)});
}

// Transformer-XL without a cache, as in the paper's code: post-norm, relative positions.
class TransformerXl : public Backbone {
 public:
  TransformerXl(const Leaves& leaves, int64_t layers, double epsilon)
      : leaves_(leaves), layers_(layers), epsilon_(epsilon) {
    traits_.frontier = true;
    traits_.flops = Growth::kQuadratic;
  }

  const BackboneTraits& traits() const override { return traits_; }

  Sequence Forward(const Sequence& in, const nn::Call&) const override {
    Tensor x = in.x_btd;
    const int64_t batch = x.dim(0), rows = x.dim(1), width = x.dim(2),
                  heads = leaves_("r_w_bias").dim(0), p = leaves_("r_w_bias").dim(1);
    CHECK(in.rows.frontier_t.defined());
    Tensor hidden = Tensor::Empty({rows, rows}, DType::kUInt8);
    Tensor table = Tensor::Empty({rows, width}, DType::kFloat64);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t s = 0; s < rows; ++s) {
        hidden.mutable_data<uint8_t>()[t * rows + s] =
            s >= in.rows.frontier_t.data<int32_t>()[t] ? 1 : 0;
      }
      // Sines, then cosines, of distance rows - 1 - t.
      for (int64_t i = 0; i < width / 2; ++i) {
        const double angle =
            static_cast<double>(rows - 1 - t) /
            std::pow(10000.0, 2.0 * static_cast<double>(i) / static_cast<double>(width));
        table.mutable_data<double>()[t * width + i] = std::sin(angle);
        table.mutable_data<double>()[t * width + width / 2 + i] = std::cos(angle);
      }
    }
    const Tensor position_rd = table.To(x.dtype());
    for (int64_t i = 0; i < layers_; ++i) {
      const auto at = [&](const char* name) {
        return leaves_(absl::StrCat("layers.", i, ".", name));
      };
      const Tensor qkv = Linear(x, at("dec_attn.qkv_net.weight"));
      const Tensor q = PartByHead(qkv, 0, 3, heads), k = HeadsFirst(PartByHead(qkv, 1, 3, heads)),
                   v = HeadsFirst(PartByHead(qkv, 2, 3, heads));
      const Tensor r =
          Reshape(Linear(position_rd, at("dec_attn.r_net.weight")), {1, rows, heads, p});
      const Tensor by_distance = HeadsFirst(BroadcastTo(r, {batch, rows, heads, p}));
      const Tensor content = MatMul(HeadsFirst(Add(q, leaves_("r_w_bias"))), k, false, true);
      const Tensor place =
          RelativeShift(MatMul(HeadsFirst(Add(q, leaves_("r_r_bias"))), by_distance, false, true));
      const Tensor scores = Scale(Add(content, place), 1 / std::sqrt(static_cast<double>(p)));
      const Tensor mixed = MatMul(Softmax(MaskedFill(scores, hidden, -INFINITY)), v);
      const Tensor joined = Reshape(Permute(Reshape(mixed, {batch, heads, rows, p}), {0, 2, 1, 3}),
                                    {batch, rows, heads * p});
      x = LayerNorm(Add(x, Linear(joined, at("dec_attn.o_net.weight"))),
                    at("dec_attn.layer_norm.weight"), at("dec_attn.layer_norm.bias"), epsilon_);
      const Tensor inner =
          Relu(Linear(x, at("pos_ff.CoreNet.0.weight"), at("pos_ff.CoreNet.0.bias")));
      x = LayerNorm(
          Add(x, Linear(inner, at("pos_ff.CoreNet.3.weight"), at("pos_ff.CoreNet.3.bias"))),
          at("pos_ff.layer_norm.weight"), at("pos_ff.layer_norm.bias"), epsilon_);
    }
    return {x, in.rows};
  }

 private:
  const Leaves& leaves_;
  int64_t layers_;
  double epsilon_;
  BackboneTraits traits_;
};

// Hears what each segment writes.
class WrittenMemories : public nn::Sink {
 public:
  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override { return path == "memory/written"; }
  Tensor Tap(absl::string_view, const Tensor& value) override {
    written.push_back(value);
    return value;
  }

  std::vector<Tensor> written;  // [B, M, D] each
};

// The ways to run a case. Float32 follows float64, on the way that every model has.
struct Way {
  const char* name;
  DType dtype = DType::kFloat64;
  bool streamed = false, recomputed = false;
};

constexpr Way kWays[] = {{"at once"},
                         {"recomputed", DType::kFloat64, false, true},
                         {"streamed", DType::kFloat64, true},
                         {"float32", DType::kFloat32}};

// The rows of the sequence and the memories, from embedded rows.
struct Run {
  Tensor y_btd;
  std::vector<Tensor> memories;
};

Run RunIn(const Way& way, const Backbone& backbone, const Tensor& x_btd) {
  WrittenMemories sink;
  nn::Call call;
  call.sink = &sink;
  call.training = way.recomputed;
  if (!way.streamed) {
    const Tensor y = backbone.Forward({x_btd, nn::Rows()}, call).x_btd;
    return {y, sink.written};
  }
  nn::State state = backbone.NewState(x_btd.dim(0));
  std::vector<Tensor> parts;
  // Over the borders and within segments.
  for (int64_t at = 0, size = 1; at < x_btd.dim(1); at += size, size = size % 7 + 3) {
    size = std::min(size, x_btd.dim(1) - at);
    parts.push_back(backbone.Extend({Narrow(x_btd, 1, at, size), nn::Rows()}, call, &state).x_btd);
  }
  return {Concat(parts, 1), sink.written};
}

// Compares outputs and, where they are all there, gradients.
absl::Status CompareAll(const GoldenCase& golden, const TensorMap& outputs, const Leaves& leaves,
                        const Way& way, GoldenChecker* check) {
  const auto compare = [&](const std::string& name, const Tensor& actual) {
    const auto expected = golden.Get(name);
    Tensor shaped = actual;  // the reference's memory has a dimension of 1 for the batch
    if (expected.ok() && expected->numel() == actual.numel())
      shaped = actual.View(expected->shape());
    way.dtype == DType::kFloat64 ? check->Check(name, shaped, way.name)
                                 : check->CheckRms(name, shaped, way.name);
  };
  bool whole = true;
  for (const auto& [name, cotangent] : golden.Group("cotangent."))
    whole = whole && outputs.count(name) > 0;
  for (const auto& [name, output] : outputs) compare(absl::StrCat("out.", name), output);
  if (!whole) return absl::OkStatus();
  return CheckGradients(golden, outputs, leaves.all(), compare);
}

// The wrapped backbone with the case's initial memory, its parameter standing for `memory_name`.
absl::StatusOr<std::unique_ptr<Backbone>> Wrapped(const Config& config,
                                                  std::unique_ptr<Backbone> inner,
                                                  const char* memory_name, Leaves* leaves,
                                                  nn::ParameterStore* store) {
  const Tensor memory = (*leaves)(memory_name).Detach();
  const int64_t width = memory.dim(-1);
  BuildArgs args{nn::Scope(store, Rng(), memory.dtype())};
  args.width = width;
  LR_ASSIGN_OR_RETURN(std::unique_ptr<Backbone> made,
                      WrapInRecurrentMemory(config, std::move(inner), args));
  LR_RETURN_IF_ERROR(store->Load({{"memory", memory.View({config.memory_tokens(), width})}}));
  leaves->Put(memory_name, store->Find("memory")->value);
  return made;
}

// "full", "none (BPTT-0)", "depth 2"
absl::StatusOr<int64_t> DepthOf(const std::string& bptt) {
  if (bptt == "full") return -1;
  if (bptt == "none (BPTT-0)") return 0;
  int64_t depth = 0;
  absl::string_view number = bptt;
  if (absl::ConsumePrefix(&number, "depth ") && absl::SimpleAtoi(number, &depth)) return depth;
  return absl::UnimplementedError(absl::StrCat("config.bptt: '", bptt, "' is not known"));
}

absl::StatusOr<Config::Alignment> AlignmentOf(const std::string& name) {
  if (name == "left") return Config::LEFT;
  if (name == "right") return Config::RIGHT;
  if (name == "center") return Config::CENTER;
  return absl::UnimplementedError(absl::StrCat("config.segment_alignment: '", name, "'"));
}

// in.input_ids (B, T) -> out.logits (B, T, V), out.loss, out.memory0 .. (B, M, D).
absl::Status RunGpt2(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t layers, fields.Integer("n_layer"));
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("n_head"));
  LR_ASSIGN_OR_RETURN(const int64_t memory, fields.Integer("num_mem_tokens"));
  LR_ASSIGN_OR_RETURN(const int64_t segment, fields.Integer("segment_size"));
  LR_ASSIGN_OR_RETURN(const std::string bptt, fields.String("bptt"));
  LR_ASSIGN_OR_RETURN(const std::string alignment, fields.String("segment_alignment"));
  LR_ASSIGN_OR_RETURN(const std::string activation, fields.String("activation"));
  LR_ASSIGN_OR_RETURN(const double epsilon, fields.Number("ln_eps"));
  fields.Skip({"batch", "n_embd", "total_length", "vocab"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  if (!absl::StartsWith(activation, "gelu tanh"))
    return absl::UnimplementedError(absl::StrCat("config.activation: '", activation, "'"));
  Config config;
  config.set_segment(segment);
  config.set_memory_tokens(memory);
  config.set_mask(Config::CAUSAL);
  LR_ASSIGN_OR_RETURN(const int64_t depth, DepthOf(bptt));
  config.set_depth(depth);
  LR_ASSIGN_OR_RETURN(const Config::Alignment aligned, AlignmentOf(alignment));
  config.set_alignment(aligned);
  LR_ASSIGN_OR_RETURN(const Tensor ids_bt, golden.In("input_ids"));
  const int64_t batch = ids_bt.dim(0), rows = ids_bt.dim(1);

  for (const Way& way : kWays) {
    if (way.streamed && config.alignment() != Config::LEFT) continue;
    config.set_recompute(way.recomputed);
    Leaves leaves(golden, way.dtype);
    nn::ParameterStore store;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Backbone> backbone,
                        Wrapped(config, std::make_unique<Gpt2>(leaves, layers, heads, epsilon),
                                "memory_cell.memory", &leaves, &store));
    const Tensor embedding_vd = leaves("memory_cell.model.transformer.wte.weight");
    const Run run = RunIn(way, *backbone, Embedding(embedding_vd, ids_bt));
    const Tensor logits = Linear(run.y_btd, embedding_vd);
    const int64_t vocabulary = embedding_vd.dim(0);
    const Tensor target =
        Narrow(ids_bt.To(DType::kInt32), 1, 1, rows - 1).View({batch * (rows - 1)});
    const Tensor nll_r = CrossEntropy(
        Reshape(Narrow(logits, 1, 0, rows - 1), {batch * (rows - 1), vocabulary}), target);
    TensorMap outputs = {{"logits", logits}, {"loss", Mean(nll_r)}};
    for (size_t s = 0; s < run.memories.size(); ++s)
      outputs[absl::StrCat("memory", s)] = run.memories[s];
    LR_RETURN_IF_ERROR(CompareAll(golden, outputs, leaves, way, check));
  }
  return absl::OkStatus();
}

// in.ids0, in.target0 .. (T, B) -> out.loss0 .. (T, B), out.memory0 .. (M, B, D).
absl::Status RunTransformerXl(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LR_ASSIGN_OR_RETURN(const int64_t layers, fields.Integer("n_layer"));
  LR_ASSIGN_OR_RETURN(const int64_t memory, fields.Integer("num_mem_tokens"));
  LR_ASSIGN_OR_RETURN(const int64_t segments, fields.Integer("segments"));
  LR_ASSIGN_OR_RETURN(const int64_t segment, fields.Integer("tgt_len"));
  LR_ASSIGN_OR_RETURN(const double epsilon, fields.Number("ln_eps"));
  LR_ASSIGN_OR_RETURN(const int64_t cache, fields.Integer("mem_len"));
  LR_ASSIGN_OR_RETURN(const int64_t kind, fields.Integer("attn_type"));
  LR_ASSIGN_OR_RETURN(const bool pre_norm, fields.Bool("pre_lnorm"));
  LR_ASSIGN_OR_RETURN(const bool from_cache, fields.Bool("read_mem_from_cache"));
  LR_ASSIGN_OR_RETURN(const bool at_end, fields.Bool("mem_at_end"));
  fields.Skip({"batch", "d_head", "d_inner", "d_model", "n_head", "n_token"});
  LR_RETURN_IF_ERROR(fields.Done());
  if (cache != 0 || kind != 0 || pre_norm || from_cache || !at_end) {
    return absl::UnimplementedError(
        "config: expected mem_len 0, attn_type 0, pre_lnorm and read_mem_from_cache false, "
        "mem_at_end true");
  }
  Config config;
  config.set_segment(segment);
  config.set_memory_tokens(memory);
  std::vector<Tensor> ids, targets;
  for (int64_t s = 0; s < segments; ++s) {
    LR_ASSIGN_OR_RETURN(const Tensor ids_tb, golden.In(absl::StrCat("ids", s)));
    LR_ASSIGN_OR_RETURN(const Tensor target_tb, golden.In(absl::StrCat("target", s)));
    ids.push_back(Permute(ids_tb, {1, 0}));
    targets.push_back(Permute(target_tb, {1, 0}).To(DType::kInt32));
  }
  const Tensor ids_bt = Concat(ids, 1);
  const int64_t batch = ids_bt.dim(0);

  for (const Way& way : kWays) {
    if (way.streamed) continue;  // where its keys stand goes by all rows of the segment
    config.set_recompute(way.recomputed);
    Leaves leaves(golden, way.dtype);
    nn::ParameterStore store;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Backbone> backbone,
                        Wrapped(config, std::make_unique<TransformerXl>(leaves, layers, epsilon),
                                "mem_tokens", &leaves, &store));
    const Tensor embedding_vd = leaves("word_emb.emb_layers.0.weight");
    const int64_t width = embedding_vd.dim(1);
    const Run run =
        RunIn(way, *backbone,
              Scale(Embedding(embedding_vd, ids_bt), std::sqrt(static_cast<double>(width))));
    TensorMap outputs;
    for (int64_t s = 0; s < segments; ++s) {
      const Tensor rows =
          Reshape(Narrow(run.y_btd, 1, s * segment, segment), {batch * segment, width});
      const Tensor nll = CrossEntropy(Linear(rows, embedding_vd, leaves("crit.out_layers.0.bias")),
                                      targets[s].View({batch * segment}));
      outputs[absl::StrCat("loss", s)] = Permute(Reshape(nll, {batch, segment}), {1, 0});
      outputs[absl::StrCat("memory", s)] = Permute(run.memories[s], {1, 0, 2});
    }
    LR_RETURN_IF_ERROR(CompareAll(golden, outputs, leaves, way, check));
  }
  return absl::OkStatus();
}

absl::Status RunRecurrentMemory(const GoldenCase& golden, GoldenChecker* check) {
  return golden.config().contains("n_embd") ? RunGpt2(golden, check)
                                            : RunTransformerXl(golden, check);
}

LR_REGISTER_GOLDEN_ADAPTER("recurrent_memory_transformer", RunRecurrentMemory);

}  // namespace
}  // namespace longrange
