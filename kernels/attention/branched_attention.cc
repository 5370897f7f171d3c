#include "kernels/attention/branched_attention.h"

#include <algorithm>

#include "kernels/attention/joint_softmax.h"
#include "kernels/elementwise/elementwise.h"

namespace longrange::kernels {
namespace {

void CheckBranches(const std::vector<AttentionInputs>& branches) {
  CHECK(!branches.empty());
  const AttentionInputs& first = branches[0];
  size_t plans = 1;
  for (const AttentionInputs& branch : branches) {
    CHECK(branch.q_bthd.shape() == first.q_bthd.shape() &&
          branch.k_bshd.shape() == first.k_bshd.shape() &&
          branch.v_bshe.shape() == first.v_bshe.shape())
        << "attention: branches of different shapes";
    plans = std::max(plans, branch.plans.size());
  }
  // A key in two branches would get weight twice, and silently.
  std::vector<KeySpan> spans;
  for (size_t head = 0; head < plans; ++head) {
    for (int64_t i = 0; i < first.q_bthd.dim(1); ++i) {
      spans.clear();
      for (const AttentionInputs& branch : branches) {
        const auto row = branch.plans[branch.plans.size() == 1 ? 0 : head]->row(i);
        spans.insert(spans.end(), row.begin(), row.end());
      }
      std::sort(spans.begin(), spans.end(),
                [](const KeySpan& a, const KeySpan& b) { return a.begin < b.begin; });
      for (size_t s = 1; s < spans.size(); ++s) {
        CHECK(spans[s - 1].end <= spans[s].begin)
            << "attention: query " << i << " sees key " << spans[s].begin << " in two branches";
      }
    }
  }
}

}  // namespace

AttentionOutputs BranchedAttentionForward(const std::vector<AttentionInputs>& branches) {
  CheckBranches(branches);
  std::vector<AttentionOutputs> parts;
  for (const AttentionInputs& branch : branches) parts.push_back(AttentionForward(branch));
  return JoinSoftmax(parts);
}

BranchedAttentionGradients BranchedAttentionBackward(const std::vector<AttentionInputs>& branches,
                                                     const AttentionOutputs& outputs,
                                                     const Tensor& dout_bthe) {
  BranchedAttentionGradients gradients;
  for (const AttentionInputs& branch : branches) {
    const AttentionGradients g = AttentionBackward(branch, outputs, dout_bthe);
    gradients.dq_bthd.push_back(g.dq_bthd);
    gradients.dk_bshd.push_back(g.dk_bshd);
    gradients.dv_bshe = gradients.dv_bshe.defined()
                            ? Binary(BinaryOp::kAdd, gradients.dv_bshe, g.dv_bshe)
                            : g.dv_bshe;
  }
  return gradients;
}

}  // namespace longrange::kernels
