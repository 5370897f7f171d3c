// Numbers behind claims.textproto: one layer of random weights, width 128, 4 heads, one stream.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <vector>

#include "common/autograd/ops.h"
#include "common/tensor/cost.h"
#include "papers/claim_figure.h"
#include "papers/retnet/retnet.pb.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

constexpr int64_t kWidth = 128;

class Layer {
 public:
  Layer() {
    RetnetConfig config;
    google::protobuf::Any any;
    any.PackFrom(config);
    BuildArgs args{nn::Scope(&store_, Rng(1))};
    args.width = kWidth;
    auto mixer = Registry<Mixer>::Get().Create(any, args);
    CHECK(mixer.ok()) << mixer.status();
    mixer_ = *std::move(mixer);
  }
  const Mixer& operator*() const { return *mixer_; }

 private:
  nn::ParameterStore store_;
  std::unique_ptr<Mixer> mixer_;
};

Tensor Input(int64_t rows) {
  Tensor x = Tensor::Empty({1, rows, kWidth});
  for (int64_t i = 0; i < x.numel(); ++i)
    x.mutable_data<float>()[i] = static_cast<float>(Rng(2).Normal(i));
  return x;
}

nn::Call CallOf(nn::Form form) {
  nn::Call call;
  call.form = form;
  return call;
}

// RMS ratio of the outputs of the other forms, and of a stream in three pieces, to those of the
// parallel one, at 2048 rows.
double LargestDifferenceOfForms() {
  const NoGradScope no_grad;
  const Layer layer;
  const Tensor x = Input(2048);
  const Tensor expected = (*layer).Forward(x, nn::Rows(), CallOf(nn::Form::kParallel));
  nn::State state = (*layer).NewState(1);
  std::vector<Tensor> pieces;
  for (const auto& [begin, rows] : {std::pair<int64_t, int64_t>{0, 1000}, {1000, 1}, {1001, 1047}})
    pieces.push_back((*layer).Extend(Narrow(x, 1, begin, rows), nn::Rows(), nn::Call(), &state));
  double largest = 0;
  for (const Tensor& y :
       {(*layer).Forward(x, nn::Rows(), CallOf(nn::Form::kChunked)),
        (*layer).Forward(x, nn::Rows(), CallOf(nn::Form::kRecurrent)), Concat(pieces, 1)}) {
    double error = 0, norm = 0;
    for (int64_t i = 0; i < y.numel(); ++i) {
      const double want = expected.data<float>()[i];
      error += (y.data<float>()[i] - want) * (y.data<float>()[i] - want);
      norm += want * want;
    }
    const double off = std::sqrt(error / norm);
    if (!(off <= largest)) largest = off;  // NaN stays
  }
  return largest;
}

// Operations of a form at 8192 rows over those at 4096, the projections among them.
double Growth(nn::Form form) {
  const NoGradScope no_grad;
  const Layer layer;
  double flops[2];
  for (int i = 0; i < 2; ++i) {
    const CostScope scope;
    (*layer).Forward(Input(4096 << i), nn::Rows(), CallOf(form));
    flops[i] = scope.cost().flops;
  }
  return flops[1] / flops[0];
}
double ChunkedGrowthPerDoubling() { return Growth(nn::Form::kChunked); }
double ParallelGrowthPerDoubling() { return Growth(nn::Form::kParallel); }

// Operations of a step behind 65536 rows over those behind 1024, times the same of the state's
// bytes.
double StepAndStateGrowth() {
  const NoGradScope no_grad;
  const Layer layer;
  const Tensor piece = Input(1024), row = Input(1);
  nn::State state = (*layer).NewState(1);
  double flops[2], bytes[2];
  for (int i = 0; i < 2; ++i) {
    for (int n = 0; n < (i == 0 ? 1 : 63); ++n)
      (*layer).Extend(piece, nn::Rows(), nn::Call(), &state);
    nn::State copy = state.Clone();
    const CostScope scope;
    (*layer).Extend(row, nn::Rows(), nn::Call(), &copy);
    flops[i] = scope.cost().flops;
    bytes[i] = static_cast<double>(state.bytes());
  }
  return flops[1] / flops[0] * bytes[1] / bytes[0];
}

LR_REGISTER_CLAIM_FIGURE("retnet", LargestDifferenceOfForms);
LR_REGISTER_CLAIM_FIGURE("retnet", ChunkedGrowthPerDoubling);
LR_REGISTER_CLAIM_FIGURE("retnet", ParallelGrowthPerDoubling);
LR_REGISTER_CLAIM_FIGURE("retnet", StepAndStateGrowth);

}  // namespace
}  // namespace longrange
