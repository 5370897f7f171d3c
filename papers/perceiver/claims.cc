// Numbers behind claims.textproto.

#include <cstdint>
#include <memory>

#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/tensor/allocator.h"
#include "common/tensor/cost.h"
#include "common/testing/shapes.h"
#include "papers/claim_figure.h"
#include "papers/perceiver/perceiver.pb.h"
#include "plugins/backbone.h"

namespace longrange {
namespace {

struct Made {
  Made(const PerceiverConfig& config, int64_t width, Device device) {
    google::protobuf::Any any;
    any.PackFrom(config);
    BuildArgs args{nn::Scope(&store, Rng(1), DType::kFloat32, device)};
    args.width = width;
    args.direction = nn::Direction::kBidirectional;
    auto made = Registry<Backbone>::Get().Create(any, args);
    CHECK(made.ok()) << made.status();
    backbone = *std::move(made);
  }
  Tensor Forward(const Tensor& x) const {
    return backbone->Forward({x, nn::Rows()}, nn::Call()).x_btd;
  }

  nn::ParameterStore store;
  std::unique_ptr<Backbone> backbone;
};

// The paper's ImageNet model, of 224 x 224 pixels.
PerceiverConfig ImageNet(PerceiverConfig::Sharing sharing) {
  PerceiverConfig config;
  config.set_sharing(sharing);
  config.add_axis(224);
  config.add_axis(224);
  return config;
}

// Millions, with the output matrix of 1000 classes and its bias.
double Parameters(PerceiverConfig::Sharing sharing) {
  const Made made(ImageNet(sharing), 3, Device::kMeta);
  return static_cast<double>(made.store.NumElements() + 1000 * 1025) / 1e6;
}

double SharedParameters() { return Parameters(PerceiverConfig::ALL_BUT_FIRST_CROSS); }
double UnsharedParameters() { return Parameters(PerceiverConfig::NONE); }

// Billions for one image, forward; a multiply-add counts two.
double Flops(PerceiverConfig::Sharing sharing) {
  const Made made(ImageNet(sharing), 3, Device::kMeta);
  const CostScope scope;
  made.Forward(Tensor::Empty({1, 224 * 224, 3}, DType::kFloat32, Device::kMeta));
  return scope.cost().flops / 1e9;
}

double UnsharedFlops() { return Flops(PerceiverConfig::NONE); }
double SharedFlops() { return Flops(PerceiverConfig::ALL_BUT_FIRST_CROSS); }

PerceiverConfig Small(int64_t latents, int64_t latent_layers) {
  PerceiverConfig config;
  config.set_latents(latents);
  config.set_latent_width(32);
  config.set_cross_attends(1);
  config.set_latent_layers(latent_layers);
  config.set_latent_heads(4);
  config.set_bands(8);
  return config;
}

// Work of a latent layer behind 65536 rows over that behind 64.
double LatentFlopsOfMoreRows() {
  const auto layer = [](int64_t rows) {
    const auto flops = [&](int64_t layers) {
      const Made made(Small(64, layers), 16, Device::kMeta);
      const CostScope scope;
      made.Forward(Tensor::Empty({1, rows, 16}, DType::kFloat32, Device::kMeta));
      return scope.cost().flops;
    };
    return flops(2) - flops(1);
  };
  return layer(65536) / layer(64);
}

// The most memory that tensors hold beside the input, forward and backward, over that of the scores
// of 2048 latents and 16384 rows in float32.
double MemoryOverScores() {
  constexpr int64_t kLatents = 2048, kRows = 16384;
  const Made made(Small(kLatents, 0), 16, Device::kCpu);
  const Tensor x = RandomNormal({1, kRows, 16}, Rng(2));
  const int64_t before = GetMemoryStats(Device::kCpu).live_bytes;
  ResetPeak(Device::kCpu);
  const Tensor z = made.Forward(Leaf(x));
  Backward({z}, {z.Detach()});
  made.store.ClearGradients();
  return static_cast<double>(GetMemoryStats(Device::kCpu).peak_bytes - before) /
         static_cast<double>(kLatents * kRows * 4);
}

LR_REGISTER_CLAIM_FIGURE("perceiver", LatentFlopsOfMoreRows);
LR_REGISTER_CLAIM_FIGURE("perceiver", MemoryOverScores);
LR_REGISTER_CLAIM_FIGURE("perceiver", SharedFlops);
LR_REGISTER_CLAIM_FIGURE("perceiver", SharedParameters);
LR_REGISTER_CLAIM_FIGURE("perceiver", UnsharedFlops);
LR_REGISTER_CLAIM_FIGURE("perceiver", UnsharedParameters);

}  // namespace
}  // namespace longrange
