#include "common/autograd/diagonal_scan.h"

#include <vector>

#include "common/autograd/tape.h"
#include "kernels/diagonal_scan/diagonal_scan.h"

namespace longrange {

DiagonalScanResult DiagonalScan(const Tensor& a, const Tensor& u_btp2, const Tensor& initial_bp2,
                                bool reverse) {
  const Shape state = {u_btp2.dim(0), u_btp2.dim(2), 2};
  DiagonalScanResult result{Tensor::EmptyLike(u_btp2),
                            Tensor::Empty(state, u_btp2.dtype(), u_btp2.device())};
  kernels::DiagonalScanForward(a, u_btp2, initial_bp2, reverse, result.h_btp2, result.final_bp2);
  if (WillRecord({a, u_btp2, initial_bp2})) {
    Record("DiagonalScan", {a, u_btp2, initial_bp2}, {result.h_btp2, result.final_bp2},
           [ka = a.Detach(), initial = initial_bp2.defined() ? initial_bp2.Detach() : initial_bp2,
            h = result.h_btp2.Detach(), reverse, want_a = NeedsGradient(a),
            want_initial = NeedsGradient(initial_bp2)](const std::vector<Tensor>& dy) {
             const Tensor dh = dy[0].defined() ? dy[0] : Tensor::ZerosLike(h);
             const Tensor du = Tensor::EmptyLike(h), da = want_a ? Tensor::EmptyLike(ka) : Tensor(),
                          dinitial = want_initial ? Tensor::EmptyLike(initial) : Tensor();
             kernels::DiagonalScanBackward(ka, initial, reverse, h, dh, dy[1], du, da, dinitial);
             return std::vector<Tensor>{da, du, dinitial};
           });
  }
  return result;
}

}  // namespace longrange
