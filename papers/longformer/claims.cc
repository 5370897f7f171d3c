// Numbers behind claims.textproto.

#include "papers/claim_figure.h"
#include "papers/longformer/longformer.pb.h"
#include "plugins/layer_cost.h"

namespace longrange {
namespace {

// Windows of 64 rows, one of four heads dilated, a global row: the work and the memory of a layer,
// forward and backward.
LayerCost CostOf(int64_t rows, Device device) {
  LongformerConfig config;
  config.set_heads(4);
  config.add_window(64);
  LongformerDilation* dilation = config.add_dilation();
  for (const int64_t step : {1, 1, 1, 4}) dilation->add_head(step);
  config.add_global_row(0);
  return LayerCostOf(config, /*width=*/64, rows, device);
}

// Counted flops of 32768 rows over those of 16384.
double FlopsOfTwiceTheRows() {
  return CostOf(32768, Device::kMeta).flops / CostOf(16384, Device::kMeta).flops;
}

// The most memory that tensors hold beside the input: 16384 rows over 8192.
double MemoryOfTwiceTheRows() {
  return CostOf(16384, Device::kCpu).peak_bytes / CostOf(8192, Device::kCpu).peak_bytes;
}

LR_REGISTER_CLAIM_FIGURE("longformer", FlopsOfTwiceTheRows);
LR_REGISTER_CLAIM_FIGURE("longformer", MemoryOfTwiceTheRows);

}  // namespace
}  // namespace longrange
