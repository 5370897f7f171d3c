// Layers of gated running means: x += W_o (silu(W_g n) * m), m_t the mean of rows 0 .. t of W_v n,
// n = norm(x). B batch, T rows of a call, D width.

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "papers/_skeleton/my_backbone/my_backbone.pb.h"
#include "plugins/backbone.h"

namespace longrange {
namespace {

constexpr int64_t kBlock = 32;  // rows
constexpr double kEpsilon = 1e-5;

// Sums of rows 0 .. t, after `before` [B, 1, D]. Doubling inside blocks: after the pass with step s
// a row holds the sum of its last 2 s rows.
Tensor RunningSum(const Tensor& v_btd, const Tensor& before) {
  std::vector<Tensor> blocks;
  Tensor last = before;
  for (int64_t begin = 0; begin < v_btd.dim(1); begin += kBlock) {
    const int64_t rows = std::min(kBlock, v_btd.dim(1) - begin);
    Tensor sum = Narrow(v_btd, 1, begin, rows);
    for (int64_t step = 1; step < rows; step *= 2) {
      sum = Concat({Narrow(sum, 1, 0, step),
                    Add(Narrow(sum, 1, step, rows - step), Narrow(sum, 1, 0, rows - step))},
                   1);
    }
    blocks.push_back(Add(sum, last));
    last = Narrow(blocks.back(), 1, rows - 1, 1);
  }
  return Concat(blocks, 1);
}

class MyBackbone : public Backbone {
 public:
  MyBackbone(const MyBackboneConfig& config, const BuildArgs& args) : width_(args.width) {
    traits_.streams = true;
    const nn::Init in = nn::Normal(config.init_std()),
                   out = nn::Normal(config.init_std() /
                                    std::sqrt(static_cast<double>(config.layers())));
    nn::Tags no_decay;
    no_decay.decay = false;
    for (int64_t i = 0; i < config.layers(); ++i) {
      const nn::Scope scope = args.scope.Child(absl::StrCat("layers.", i));
      layers_.push_back({scope.Param("norm", {width_}, nn::Constant(1), no_decay),
                         scope.Linear("w_g", {width_, width_}, in),
                         scope.Linear("w_v", {width_, width_}, in),
                         scope.Linear("w_o", {width_, width_}, out)});
    }
  }

  const BackboneTraits& traits() const override { return traits_; }

  Sequence Forward(const Sequence& x, const nn::Call& call) const override {
    nn::State state = NewState(x.x_btd.dim(0));
    return Extend(x, call, &state);
  }

  // State: "seen" [B] (int64) rows so far; "layers.N/sum" [B, 1, D] of them.
  nn::State NewState(int64_t batch) const override {
    nn::State state;
    state.Set("seen", Tensor::Zeros({batch}, DType::kInt64));
    for (size_t i = 0; i < layers_.size(); ++i) {
      const nn::Weight& w = layers_[i].w_v;
      state.Child(absl::StrCat("layers.", i))
          ->Set("sum", Tensor::Zeros({batch, 1, width_}, w.dtype(), w.device()));
    }
    return state;
  }

  Sequence Extend(const Sequence& in, const nn::Call&, nn::State* state) const override {
    Tensor x = in.x_btd;
    const int64_t batch = x.dim(0), rows = x.dim(1);
    const int64_t seen = state->Get("seen").data<int64_t>()[0];
    std::vector<double> share(rows);
    for (int64_t t = 0; t < rows; ++t) share[t] = 1 / static_cast<double>(seen + t + 1);
    const Tensor share_t1 = Tensor::FromVector({rows, 1}, share).To(x.dtype()).To(x.device());
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Layer& layer = layers_[i];
      nn::State* mine = state->Child(absl::StrCat("layers.", i));
      const std::vector<Tensor> gv =
          Linears(RmsNorm(x, layer.norm, kEpsilon), {layer.w_g(), layer.w_v()});
      const Tensor sum = RunningSum(gv[1], mine->Get("sum"));
      mine->Set("sum", Narrow(sum, 1, rows - 1, 1));
      x = Add(x, Linear(SwiGlu(gv[0], Mul(sum, share_t1)), layer.w_o()));
    }
    state->Set("seen", Tensor::Full({batch}, static_cast<double>(seen + rows), DType::kInt64));
    return {x, in.rows};
  }

 private:
  struct Layer {
    Tensor norm;
    nn::Weight w_g, w_v, w_o;
  };

  int64_t width_;
  BackboneTraits traits_;
  std::vector<Layer> layers_;
};

absl::StatusOr<std::unique_ptr<Backbone>> CreateMyBackbone(const MyBackboneConfig& config,
                                                           const BuildArgs& args) {
  if (args.direction != nn::Direction::kCausal) {
    return absl::InvalidArgumentError("direction: bidirectional (expected causal)");
  }
  if (config.layers() < 1 || config.layers() > 1000) {
    return absl::InvalidArgumentError(
        absl::StrCat("layers: ", config.layers(), " (expected 1 to 1000)"));
  }
  if (!(config.init_std() >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("init_std: ", config.init_std(), " (expected a finite number >= 0)"));
  }
  return std::make_unique<MyBackbone>(config, args);
}

LR_REGISTER_PLUGIN(Backbone, MyBackboneConfig, CreateMyBackbone);

}  // namespace
}  // namespace longrange
