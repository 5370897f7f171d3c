// Numbers behind claims.textproto.

#include <memory>

#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/tensor/allocator.h"
#include "common/tensor/cost.h"
#include "common/testing/shapes.h"
#include "papers/claim_figure.h"
#include "papers/linformer/linformer.pb.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

constexpr int64_t kWidth = 64;

// 64 slots, whatever the number of rows: the work and the memory of a layer, forward and backward.
struct Layer {
  Layer(int64_t rows, Device device) {
    LinformerConfig config;
    config.set_heads(4);
    config.set_rank(64);
    config.set_n_max(rows);
    google::protobuf::Any any;
    any.PackFrom(config);
    BuildArgs args{nn::Scope(&store, Rng(1), DType::kFloat32, device)};
    args.width = kWidth;
    args.direction = nn::Direction::kBidirectional;
    auto made = Registry<Mixer>::Get().Create(any, args);
    CHECK(made.ok()) << made.status();
    mixer = *std::move(made);
  }

  void Run(const Tensor& x) const {
    const Tensor y = mixer->Forward(Leaf(x), nn::Rows(), nn::Call());
    Backward({y}, {y.Detach()});
    store.ClearGradients();
  }

  nn::ParameterStore store;
  std::unique_ptr<Mixer> mixer;
};

// Counted flops of 32768 rows over those of 16384.
double FlopsOfTwiceTheRows() {
  const auto flops = [](int64_t rows) {
    const Layer layer(rows, Device::kMeta);
    const CostScope scope;
    layer.Run(Tensor::Empty({1, rows, kWidth}, DType::kFloat32, Device::kMeta));
    return scope.cost().flops;
  };
  return flops(32768) / flops(16384);
}

// The most memory that tensors hold beside the input: 16384 rows over 8192.
double MemoryOfTwiceTheRows() {
  const auto bytes = [](int64_t rows) {
    const Layer layer(rows, Device::kCpu);
    const Tensor x = RandomNormal({1, rows, kWidth}, Rng(2));
    const int64_t before = GetMemoryStats(Device::kCpu).live_bytes;
    ResetPeak(Device::kCpu);
    layer.Run(x);
    return static_cast<double>(GetMemoryStats(Device::kCpu).peak_bytes - before);
  };
  return bytes(16384) / bytes(8192);
}

LR_REGISTER_CLAIM_FIGURE("linformer", FlopsOfTwiceTheRows);
LR_REGISTER_CLAIM_FIGURE("linformer", MemoryOfTwiceTheRows);

}  // namespace
}  // namespace longrange
