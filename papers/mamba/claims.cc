// Numbers behind claims.textproto.

#include <memory>

#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/tensor/cost.h"
#include "common/testing/shapes.h"
#include "common/testing/tensor_peak.h"
#include "kernels/selective_scan/selective_scan.h"
#include "papers/claim_figure.h"
#include "papers/mamba/mamba.pb.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

// The most memory that a scan and its gradients hold beside the inputs, in [B, T, D] tensors:
// its results, which are five of them, and what it needs for itself.
double ScanMemoryAt64States() {
  const int64_t rows = 2048, channels = 256, states = 64;
  const Shape activation = {1, rows, channels}, map = {1, rows, 1, states};
  kernels::SelectiveScanInputs in;
  in.x_btd = RandomNormal(activation, Rng(1));
  in.delta_btd = RandomNormal(activation, Rng(2));
  in.a_dn = RandomUniform({channels, states}, Rng(3), -16, -1);
  in.b = RandomNormal(map, Rng(4));
  in.c = RandomNormal(map, Rng(5));
  in.gate_btd = RandomNormal(activation, Rng(6));
  const Tensor dy = RandomNormal(activation, Rng(7));
  const int64_t peak = PeakTensorBytes([&] {
    const kernels::SelectiveScanOutputs out = kernels::SelectiveScanForward(in, true);
    kernels::SelectiveScanBackward(in, out.borders, dy, Tensor());
  });
  return static_cast<double>(peak) / static_cast<double>(dy.bytes());
}

double StepFlopsGrowth() {
  const int64_t width = 64;
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(1))};
  args.width = width;
  google::protobuf::Any config;
  config.PackFrom(MambaConfig());
  const auto mixer = Registry<Mixer>::Get().Create(config, args);
  CHECK(mixer.ok()) << mixer.status();
  const NoGradScope no_grad;
  nn::State state = (*mixer)->NewState(1);
  const auto extend = [&](int64_t rows) {
    const CostScope scope;
    (*mixer)->Extend(RandomNormal({1, rows, width}, Rng(2)), nn::Rows(), nn::Call(), &state);
    return scope.cost().flops;
  };
  extend(1024);
  const double early = extend(1);
  extend(65536 - 1025);
  return extend(1) / early;
}

LR_REGISTER_CLAIM_FIGURE("mamba", ScanMemoryAt64States);
LR_REGISTER_CLAIM_FIGURE("mamba", StepFlopsGrowth);

}  // namespace
}  // namespace longrange
