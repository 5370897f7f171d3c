// Recompute (common/autograd/tape.h) for parts of a model, which have a call.

#ifndef LONGRANGE_COMMON_NN_RECOMPUTE_H_
#define LONGRANGE_COMMON_NN_RECOMPUTE_H_

#include <functional>
#include <vector>

#include "common/nn/call.h"
#include "common/tensor/tensor.h"

namespace longrange::nn {

// Runs fn(inputs, call) and keeps its inputs alone; on the way back it runs again. Its call has no
// memo, as the caller's is gone by then. The losses that it gives reach the call's sink once and
// with their gradients; what else the sink hears it hears twice.
Tensor RecomputePart(
    const std::function<Tensor(const std::vector<Tensor>& inputs, const Call& call)>& fn,
    const std::vector<Tensor>& inputs, const Call& call);

}  // namespace longrange::nn

#endif  // LONGRANGE_COMMON_NN_RECOMPUTE_H_
