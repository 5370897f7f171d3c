// The diagonal scan as a differentiable operation; see kernels/diagonal_scan.

#ifndef LONGRANGE_COMMON_AUTOGRAD_DIAGONAL_SCAN_H_
#define LONGRANGE_COMMON_AUTOGRAD_DIAGONAL_SCAN_H_

#include "common/tensor/tensor.h"

namespace longrange {

struct DiagonalScanResult {
  Tensor h_btp2;     // the state after every step
  Tensor final_bp2;  // after the last one
};

// h_t = a_t h_{t-1} + u_t over P complex channels, pairs (re, im) last: a [P, 2] or [B, T, P, 2], u
// [B, T, P, 2], the initial state [B, P, 2] (undefined: zero). reverse: from the last row to the
// first. Gradients flow to a, u and the initial state, from both results.
DiagonalScanResult DiagonalScan(const Tensor& a, const Tensor& u_btp2,
                                const Tensor& initial_bp2 = Tensor(), bool reverse = false);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_DIAGONAL_SCAN_H_
