#include "common/autograd/glu.h"

#include <vector>

#include "common/autograd/tape.h"
#include "kernels/gated/gated.h"

namespace longrange {

Tensor Glu(const Tensor& gate, const Tensor& value) {
  const Tensor y = Tensor::EmptyLike(gate);
  kernels::GluForward(gate, value, y);
  if (WillRecord({gate, value})) {
    Record("Glu", {gate, value}, {y},
           [a = gate.Detach(), b = value.Detach()](const std::vector<Tensor>& dy) {
             const Tensor da = Tensor::EmptyLike(a), db = Tensor::EmptyLike(b);
             kernels::GluBackward(a, b, dy[0], da, db);
             return std::vector<Tensor>{da, db};
           });
  }
  return y;
}

}  // namespace longrange
