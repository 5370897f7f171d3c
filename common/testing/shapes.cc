#include "common/testing/shapes.h"

namespace longrange {
namespace {

template <typename Draw>
Tensor Filled(const Shape& shape, DType dtype, Draw draw) {
  Tensor t = Tensor::Empty(shape, DType::kFloat64);
  double* data = t.mutable_data<double>();
  for (int64_t i = 0; i < t.numel(); ++i) data[i] = draw(i);
  return t.To(dtype);
}

}  // namespace

Tensor RandomNormal(const Shape& shape, const Rng& rng, double scale, DType dtype) {
  return Filled(shape, dtype, [&](int64_t i) { return scale * rng.Normal(i); });
}

Tensor RandomUniform(const Shape& shape, const Rng& rng, double low, double high, DType dtype) {
  return Filled(shape, dtype, [&](int64_t i) { return low + (high - low) * rng.Uniform(i); });
}

Tensor RandomIds(const Shape& shape, const Rng& rng, int64_t n, DType dtype) {
  CHECK_GT(n, 0);
  return Filled(shape, dtype, [&](int64_t i) { return static_cast<double>(rng.UniformInt(i, n)); });
}

}  // namespace longrange
