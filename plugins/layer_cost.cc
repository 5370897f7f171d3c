#include "plugins/layer_cost.h"

#include <glog/logging.h>

#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/tensor/cost.h"
#include "common/testing/shapes.h"
#include "common/testing/tensor_peak.h"
#include "plugins/mixer.h"

namespace longrange {

LayerCost LayerCostOf(const google::protobuf::Message& mixer, int64_t width, int64_t rows,
                      Device device) {
  google::protobuf::Any any;
  any.PackFrom(mixer);
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(1), DType::kFloat32, device)};
  args.width = width;
  args.direction = nn::Direction::kBidirectional;
  const auto layer = Registry<Mixer>::Get().Create(any, args);
  CHECK(layer.ok()) << layer.status();
  const Tensor x_btd = device == Device::kMeta
                           ? Tensor::Empty({1, rows, width}, DType::kFloat32, device)
                           : RandomNormal({1, rows, width}, Rng(2));
  LayerCost cost;
  const CostScope scope;
  cost.peak_bytes = static_cast<double>(PeakTensorBytes(
      [&] {
        const Tensor y_btd = (*layer)->Forward(Leaf(x_btd), nn::Rows(), nn::Call());
        Backward({y_btd}, {y_btd.Detach()});
      },
      device));
  cost.flops = scope.cost().flops;
  return cost;
}

}  // namespace longrange
