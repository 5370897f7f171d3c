// Numbers behind claims.textproto.

#include "papers/claim_figure.h"
#include "papers/linformer/linformer.pb.h"
#include "plugins/layer_cost.h"

namespace longrange {
namespace {

// 64 slots, whatever the number of rows: the work and the memory of a layer, forward and backward.
LayerCost CostOf(int64_t rows, Device device) {
  LinformerConfig config;
  config.set_heads(4);
  config.set_rank(64);
  config.set_n_max(rows);
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

LR_REGISTER_CLAIM_FIGURE("linformer", FlopsOfTwiceTheRows);
LR_REGISTER_CLAIM_FIGURE("linformer", MemoryOfTwiceTheRows);

}  // namespace
}  // namespace longrange
