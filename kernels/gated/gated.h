// Activations of feed-forward layers: SiLU, GELU and the gates of GLU (Dauphin et al. 2017) and
// SwiGLU (Shazeer 2020), element by element. Tensors of one call have one shape and type (float32
// or float64). Outputs may be any of the inputs.

#ifndef LONGRANGE_KERNELS_GATED_GATED_H_
#define LONGRANGE_KERNELS_GATED_GATED_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// y = silu(a) · b, silu(a) = a / (1 + exp(-a)).
void SwiGluForward(const Tensor& a, const Tensor& b, const Tensor& y);
void SwiGluBackward(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da,
                    const Tensor& db);

// y = sigmoid(a) · b.
void GluForward(const Tensor& a, const Tensor& b, const Tensor& y);
void GluBackward(const Tensor& a, const Tensor& b, const Tensor& dy, const Tensor& da,
                 const Tensor& db);

void SiluForward(const Tensor& x, const Tensor& y);
void SiluBackward(const Tensor& x, const Tensor& dy, const Tensor& dx);

// y = x Φ(x), Φ the normal distribution function; with tanh_approximation y = x/2 (1 +
// tanh(sqrt(2/π)(x + 0.044715 x³))) (Hendrycks & Gimpel 2016).
void GeluForward(const Tensor& x, const Tensor& y, bool tanh_approximation);
void GeluBackward(const Tensor& x, const Tensor& dy, const Tensor& dx, bool tanh_approximation);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_GATED_GATED_H_
