// One softmax over keys that several calls of attention see (attention.h), from the log-sum-exp of
// each.

#ifndef LONGRANGE_KERNELS_ATTENTION_JOINT_SOFTMAX_H_
#define LONGRANGE_KERNELS_ATTENTION_JOINT_SOFTMAX_H_

#include <vector>

#include "kernels/attention/attention.h"

namespace longrange::kernels {

// out = sum_p exp(lse_p - lse) out_p, lse = log sum_p exp(lse_p), of parts of the same shapes,
// whose keys differ. A row that sees no key in any part has output 0 and lse -inf.
// AttentionBackward of a part with what comes out gives that part of the gradients.
AttentionOutputs JoinSoftmax(const std::vector<AttentionOutputs>& parts);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_ATTENTION_JOINT_SOFTMAX_H_
