// Random tensors for tests.

#ifndef LONGRANGE_COMMON_TESTING_SHAPES_H_
#define LONGRANGE_COMMON_TESTING_SHAPES_H_

#include <cstdint>

#include "common/base/rng.h"
#include "common/tensor/tensor.h"

namespace longrange {

// Element i (row-major) is scale times normal draw number i of `rng`: the same numbers in every
// type, rounded.
Tensor RandomNormal(const Shape& shape, const Rng& rng, double scale = 1,
                    DType dtype = DType::kFloat32);

// Uniform in [low, high).
Tensor RandomUniform(const Shape& shape, const Rng& rng, double low, double high,
                     DType dtype = DType::kFloat32);

// Integers in [0, n), n > 0.
Tensor RandomIds(const Shape& shape, const Rng& rng, int64_t n, DType dtype = DType::kInt64);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TESTING_SHAPES_H_
