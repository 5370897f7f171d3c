// Float memory that one task of a kernel carves up.

#ifndef LONGRANGE_KERNELS_SCRATCH_H_
#define LONGRANGE_KERNELS_SCRATCH_H_

#include <glog/logging.h>

#include <cstdint>

#include "common/tensor/tensor.h"

namespace longrange::kernels {

class Scratch {
 public:
  // Room for the pieces taken from it, each rounded up to a multiple of 16.
  explicit Scratch(int64_t floats)
      : memory_(Tensor::Empty({floats})), next_(memory_.mutable_data<float>()) {}

  // 64-byte aligned, its content unspecified.
  float* Take(int64_t floats) {
    float* taken = next_;
    next_ += (floats + 15) / 16 * 16;
    DCHECK(next_ <= memory_.data<float>() + memory_.numel());
    return taken;
  }

 private:
  Tensor memory_;
  float* next_;
};

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_SCRATCH_H_
