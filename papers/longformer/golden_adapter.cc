// Golden cases of longformer: the self-attention layer with global rows and padding, and dilated
// attention of given queries, keys and values.

#include "plugins/golden/golden_adapter.h"

#include <google/protobuf/any.pb.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/autograd/window_attention.h"
#include "common/base/status_macros.h"
#include "common/io/name_map.h"
#include "papers/longformer/longformer.pb.h"
#include "plugins/golden/attention_tap.h"
#include "plugins/golden/comparison.h"
#include "plugins/hugging_face/json_fields.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

// float64 elementwise, float32 by RMS ratio. A bias of all keys changes no weight: its gradient is
// rounding alone, which has no ratio.
GoldenCompare Comparison(GoldenChecker* check, DType dtype, absl::string_view path) {
  return
      [=, path = absl::StrCat(path, Name(dtype))](const std::string& name, const Tensor& actual) {
        const bool rounding = name == "grad.param.key.bias" || name == "grad.param.key_global.bias";
        dtype == DType::kFloat64 || rounding ? check->Check(name, actual, path)
                                             : check->CheckRms(name, actual, path);
      };
}

// A list of integers; `otherwise` where there is none.
absl::StatusOr<std::vector<int64_t>> Integers(JsonFields* fields, absl::string_view key,
                                              std::vector<int64_t> otherwise = {}) {
  if (!fields->Has(key) && !otherwise.empty()) return otherwise;
  LR_ASSIGN_OR_RETURN(const std::vector<double> numbers, fields->Numbers(key));
  std::vector<int64_t> integers;
  for (const double number : numbers) {
    if (number != std::floor(number) || std::abs(number) > 1e6) {
      return absl::InvalidArgumentError(
          absl::StrCat("config.", key, ": ", number, " (expected an integer)"));
    }
    integers.push_back(static_cast<int64_t>(number));
  }
  return integers;
}

// [B, H, N, D] and [B, N, H, D].
Tensor SwapHeads(const Tensor& x) { return Permute(x, {0, 2, 1, 3}); }

// The keys of `in`, for queries from row `begin` on, as far back as any of them looks.
kernels::WindowAttentionInputs Piece(const kernels::WindowAttentionInputs& in, int64_t begin,
                                     int64_t rows) {
  const int64_t widest = *std::max_element(in.dilation_h.begin(), in.dilation_h.end()),
                first = std::max<int64_t>(0, begin - in.back * widest);
  kernels::WindowAttentionInputs piece = in;
  piece.q_bthd = Narrow(in.q_bthd, 1, begin, rows);
  piece.k_bshd = Narrow(in.k_bshd, 1, first, begin + rows - first);
  piece.v_bshe = Narrow(in.v_bshe, 1, first, begin + rows - first);
  return piece;
}

// in.{q, k, v} [B, H, N, D] -> out.y; in.mask [H, N, N] is the pattern.
absl::Status RunBand(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  kernels::WindowAttentionInputs window;
  LR_ASSIGN_OR_RETURN(window.back, fields.Integer("one_sided_window"));
  LR_ASSIGN_OR_RETURN(window.dilation_h, Integers(&fields, "dilation_per_head"));
  LR_ASSIGN_OR_RETURN(const bool causal, fields.Bool("causal"));
  fields.Skip({"batch", "heads", "n", "d"});  // stated by the tensors
  LR_RETURN_IF_ERROR(fields.Done());
  window.ahead = causal ? 0 : window.back;
  TensorMap given;
  for (const char* name : {"q", "k", "v"}) {
    LR_ASSIGN_OR_RETURN(given[name], golden.In(name));
    if (given[name].rank() != 4 || given[name].shape() != given["q"].shape())
      return absl::InvalidArgumentError(absl::StrCat("in.", name, ": expected [B, H, N, D]"));
  }
  const int64_t heads = given["q"].dim(1), rows = given["q"].dim(2);
  if (static_cast<int64_t>(window.dilation_h.size()) != heads ||
      std::any_of(window.dilation_h.begin(), window.dilation_h.end(),
                  [](int64_t d) { return d < 1; })) {
    return absl::InvalidArgumentError("config.dilation_per_head: expected one a head, 1 or more");
  }
  if (window.back < 0)
    return absl::InvalidArgumentError("config.one_sided_window: expected 0 or more");
  std::vector<int64_t> mask;
  for (int64_t i = 0; i < heads * rows * rows; ++i) {
    const int64_t dilation = window.dilation_h[i / (rows * rows)],
                  away = i % rows - i / rows % rows;
    mask.push_back(away % dilation == 0 && away >= -window.back * dilation &&
                   away <= window.ahead * dilation);
  }
  LR_ASSIGN_OR_RETURN(const Tensor theirs, golden.In("mask"));
  if (theirs.ToInts() != mask)
    check->Fail("in.mask", "is not the pattern of this window and these dilations");

  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    for (const int64_t piece : causal ? std::vector<int64_t>{rows, 1, 5} : std::vector{rows}) {
      const GoldenCompare compare =
          Comparison(check, dtype, absl::StrCat("pieces of ", piece, ", "));
      TensorMap leaves;
      for (const auto& [name, tensor] : given)
        leaves[absl::StrCat("in.", name)] = Leaf(tensor.To(dtype).Clone());
      kernels::WindowAttentionInputs in = window;
      in.q_bthd = SwapHeads(leaves["in.q"]);
      in.k_bshd = SwapHeads(leaves["in.k"]);
      in.v_bshe = SwapHeads(leaves["in.v"]);
      std::vector<Tensor> parts;
      for (int64_t begin = 0; begin < rows; begin += piece) {
        parts.push_back(piece == rows
                            ? WindowAttention(in)
                            : WindowAttention(Piece(in, begin, std::min(piece, rows - begin))));
      }
      const Tensor y = SwapHeads(parts.size() == 1 ? parts[0] : Concat(parts, 1));
      compare("out.y", y);
      LR_RETURN_IF_ERROR(CheckGradients(golden, {{"y", y}}, leaves, compare));
    }
  }
  return absl::OkStatus();
}

// The reference's names of our projections: query.weight and so on; it has none behind the heads.
struct NamedProjection {
  const char *theirs, *ours;
};
constexpr NamedProjection kProjections[] = {{"query", "q"},
                                            {"key", "k"},
                                            {"value", "v"},
                                            {"query_global", "global_q"},
                                            {"key_global", "global_k"},
                                            {"value_global", "global_v"}};

// Parameter names here for those there, by the projections that the case has.
NameMap NamesOf(const TensorMap& theirs) {
  NameMap names;
  for (const NamedProjection& projection : kProjections) {
    if (theirs.count(absl::StrCat(projection.theirs, ".weight")) == 0) continue;
    names.Add(absl::StrCat(projection.theirs, ".weight"), absl::StrCat("w_", projection.ours));
    names.Add(absl::StrCat(projection.theirs, ".bias"), absl::StrCat("b_", projection.ours));
  }
  names.IgnoreOurs("*_o");
  return names;
}

// in.attention_kind [B, N]: 0 padding behind, 1 local, 2 global.
absl::StatusOr<nn::Rows> RowsOf(const GoldenCase& golden, int64_t batch, int64_t length) {
  LR_ASSIGN_OR_RETURN(const Tensor kind, golden.In("attention_kind"));
  if (kind.shape() != Shape({batch, length}))
    return absl::InvalidArgumentError("in.attention_kind: expected [B, N]");
  const std::vector<int64_t> kinds = kind.ToInts();
  nn::Rows rows;
  rows.role_bt = Tensor::Zeros({batch, length}, DType::kInt32);
  rows.end_b = Tensor::Empty({batch}, DType::kInt64);
  for (int64_t b = 0; b < batch; ++b) {
    int64_t end = 0;
    for (int64_t t = 0; t < length; ++t) {
      const int64_t here = kinds[b * length + t];
      if (here < 0 || here > 2 || (here > 0 && t > end)) {
        return absl::UnimplementedError(
            absl::StrCat("in.attention_kind: ", here, " at [", b, ", ", t,
                         "] (expected 1, local, or 2, global, and behind these 0, padding)"));
      }
      if (here > 0) ++end;
      rows.role_bt.mutable_data<int32_t>()[b * length + t] = here == 2 ? nn::kGlobalRole : 0;
    }
    rows.end_b.mutable_data<int64_t>()[b] = end;
  }
  return rows;
}

// in.x [B, N, D] -> out.y.
absl::Status RunLayer(const GoldenCase& golden, GoldenChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(golden.config(), "config"));
  LongformerConfig config;
  LR_ASSIGN_OR_RETURN(const int64_t heads, fields.Integer("heads"));
  LR_ASSIGN_OR_RETURN(const int64_t window, fields.Integer("attention_window"));
  LR_ASSIGN_OR_RETURN(const std::vector<int64_t> dilation,
                      Integers(&fields, "dilation_per_head", {1}));
  fields.Skip({"hidden_size", "one_sided", "n", "batch", "lengths", "global_positions"});
  LR_RETURN_IF_ERROR(fields.Done());
  config.set_heads(heads);
  config.add_window(window);
  LongformerDilation* by_head = config.add_dilation();
  for (const int64_t d : dilation) by_head->add_head(d);
  config.set_biases(true);
  const TensorMap theirs = golden.Group("param.");
  config.set_global_projections(theirs.count("query_global.weight") > 0);
  LR_ASSIGN_OR_RETURN(const Tensor given, golden.In("x"));
  if (given.rank() != 3) return absl::InvalidArgumentError("in.x: expected [B, N, D]");
  const int64_t width = given.dim(2);
  LR_ASSIGN_OR_RETURN(const nn::Rows rows, RowsOf(golden, given.dim(0), given.dim(1)));
  google::protobuf::Any any;
  any.PackFrom(config);
  const NameMap names = NamesOf(theirs);

  for (const auto& [dtype, plain] :
       {std::pair{DType::kFloat64, false}, {DType::kFloat32, false}, {DType::kFloat64, true}}) {
    const GoldenCompare compare = Comparison(check, dtype, plain ? "plain, " : "");
    nn::ParameterStore store;
    BuildArgs args{nn::Scope(&store, Rng(), dtype)};
    args.width = width;
    args.direction = nn::Direction::kBidirectional;
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Mixer> mixer,
                        Registry<Mixer>::Get().Create(any, args));
    LR_ASSIGN_OR_RETURN(TensorMap values, names.Import(theirs, store.Wanted()));
    // Nothing stands behind the heads: the identity.
    const Tensor identity = Tensor::Zeros({width, width}, DType::kFloat64);
    for (int64_t i = 0; i < width; ++i) identity.mutable_data<double>()[i * (width + 1)] = 1;
    values["w_o"] = identity.To(dtype);
    values["b_o"] = Tensor::Zeros({width}, dtype);
    LR_RETURN_IF_ERROR(store.Load(values));
    const Tensor x = Leaf(given.To(dtype).Clone());
    AttentionTap tap;
    nn::Call call;
    if (plain) call.sink = &tap;
    const Tensor y = mixer->Forward(x, rows, call);
    compare("out.y", y);
    LR_ASSIGN_OR_RETURN(const Tensor dy, golden.Cotangent("y"));
    Backward({y}, {dy.To(dtype)});
    compare("grad.in.x", Gradient(x));
    LR_RETURN_IF_ERROR(CheckParameterGradients(golden, store, names, compare));
  }
  return absl::OkStatus();
}

absl::Status RunLongformer(const GoldenCase& golden, GoldenChecker* check) {
  return golden.Has("in.x") ? RunLayer(golden, check) : RunBand(golden, check);
}

LR_REGISTER_GOLDEN_ADAPTER("longformer", RunLongformer);

}  // namespace
}  // namespace longrange
