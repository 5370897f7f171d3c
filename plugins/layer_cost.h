// What a mixer takes for its rows, counted, for the numbers behind claims. Test only.

#ifndef LONGRANGE_PLUGINS_LAYER_COST_H_
#define LONGRANGE_PLUGINS_LAYER_COST_H_

#include <google/protobuf/message.h>

#include <cstdint>

#include "common/tensor/tensor.h"

namespace longrange {

struct LayerCost {
  double flops = 0;
  double peak_bytes = 0;  // of tensors, beside the input and the parameters
};

// Of one bidirectional float32 layer of `width` channels on one sequence of `rows`, forward and
// backward; on Device::kMeta counted without running it. A config that the mixer refuses is fatal.
LayerCost LayerCostOf(const google::protobuf::Message& mixer, int64_t width, int64_t rows,
                      Device device);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_LAYER_COST_H_
