// The selective scan of Mamba on the tape; the equations and the shapes are those of
// kernels/selective_scan/selective_scan.h.

#ifndef LONGRANGE_COMMON_AUTOGRAD_SELECTIVE_SCAN_H_
#define LONGRANGE_COMMON_AUTOGRAD_SELECTIVE_SCAN_H_

#include "common/tensor/tensor.h"
#include "kernels/selective_scan/selective_scan.h"

namespace longrange {

struct SelectiveScanResult {
  Tensor y_btd;     // [B, T, D]
  Tensor last_bdn;  // [B, D, N], the state to go on from
};

// Gradients flow to every input, the state before the first token among them, and from both
// results: a scan cut anywhere, its state handed on, has the gradients of the whole.
SelectiveScanResult SelectiveScan(const kernels::SelectiveScanInputs& inputs);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_SELECTIVE_SCAN_H_
