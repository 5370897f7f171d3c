// Differentiable arithmetic on complex tensors, whose last dimension holds (re, im), and on small
// matrices. Gradients are pairs too: that by the real part, that by the imaginary part.

#ifndef LONGRANGE_PAPERS_S4_COMPLEX_H_
#define LONGRANGE_PAPERS_S4_COMPLEX_H_

#include "common/tensor/tensor.h"

namespace longrange::s4 {

// Shapes broadcast in all dimensions but the last.
Tensor ComplexMul(const Tensor& a, const Tensor& b);
Tensor Conj(const Tensor& x);
// x + offset, a real number.
Tensor AddReal(const Tensor& x, double offset);
Tensor ComplexExp(const Tensor& x);
Tensor ComplexLog(const Tensor& x);  // of the principal branch
Tensor ComplexReciprocal(const Tensor& x);

Tensor Softplus(const Tensor& x);  // log(1 + e^x), of real numbers

// Of each matrix [G, N, N], float64.
Tensor Inverse(const Tensor& x_gnn);
// x^n, n >= 1.
Tensor MatrixPower(const Tensor& x_gnn, int64_t n);

}  // namespace longrange::s4

#endif  // LONGRANGE_PAPERS_S4_COMPLEX_H_
