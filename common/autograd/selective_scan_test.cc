#include "common/autograd/selective_scan.h"

#include <string>
#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

// x, delta, A, B, C, bias, skip, gate, state.
std::vector<Tensor> Inputs(DType dtype) {
  const int64_t b = 2, t = 7, d = 4, n = 3;
  const Rng rng(3);
  const auto normal = [&](const Shape& shape, const char* name) {
    return RandomNormal(shape, rng.Child(name), 1, dtype);
  };
  return {normal({b, t, d}, "x"),
          normal({b, t, d}, "delta"),
          RandomUniform({d, n}, rng.Child("a"), -3, -0.1, dtype),
          normal({b, t, 2, n}, "b"),
          normal({b, t, 2, n}, "c"),
          normal({d}, "bias"),
          normal({d}, "skip"),
          normal({b, t, d}, "gate"),
          normal({b, d, n}, "state")};
}

kernels::SelectiveScanInputs Named(const std::vector<Tensor>& in) {
  return {in[0], in[1], in[2], in[3], in[4], /*softplus=*/true, in[5], in[6], in[7], in[8]};
}

TEST(SelectiveScanOp, Gradients) {
  const auto run = [](const std::vector<Tensor>& in) {
    const SelectiveScanResult r = SelectiveScan(Named(in));
    return std::vector<Tensor>{r.y_btd, r.last_bdn};
  };
  EXPECT_EQ(GradCheck(run, Inputs(DType::kFloat64)), "");
}

// From one result alone, and with inputs left out.
TEST(SelectiveScanOp, GradientsOfOneResult) {
  const std::vector<Tensor> all = Inputs(DType::kFloat64);
  const auto last = [](const std::vector<Tensor>& in) {
    return std::vector<Tensor>{
        SelectiveScan({in[0], in[1], in[2], in[3], in[4], /*softplus=*/false}).last_bdn};
  };
  const Tensor delta = RandomUniform(all[1].shape(), Rng(6), 0.05, 1, DType::kFloat64);
  EXPECT_EQ(GradCheck(last, {all[0], delta, all[2], all[3], all[4]}), "");
}

// A stream in pieces, gradients through the state handed on, is the whole.
TEST(SelectiveScanOp, PiecesAreTheWhole) {
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    const auto gradients = [&](const std::vector<int64_t>& cuts) {
      std::vector<Tensor> in;
      for (const Tensor& t : Inputs(dtype)) in.push_back(Leaf(t));
      std::vector<Tensor> ys;
      Tensor state = in[8];
      int64_t begin = 0;
      for (const int64_t end : cuts) {
        std::vector<Tensor> piece = in;
        for (const int i : {0, 1, 3, 4, 7}) piece[i] = Narrow(in[i], 1, begin, end - begin);
        piece[8] = state;
        const SelectiveScanResult r = SelectiveScan(Named(piece));
        ys.push_back(r.y_btd);
        state = r.last_bdn;
        begin = end;
      }
      const Tensor y = Concat(ys, 1);
      Backward({y, state}, {RandomNormal(y.shape(), Rng(4), 1, dtype),
                            RandomNormal(state.shape(), Rng(5), 1, dtype)});
      std::vector<Tensor> all = {y.Detach()};
      for (const Tensor& t : in) all.push_back(Gradient(t));
      return all;
    };
    const std::vector<Tensor> whole = gradients({7}), pieces = gradients({1, 2, 5, 7});
    for (size_t i = 0; i < whole.size(); ++i) {
      EXPECT_THAT(pieces[i],
                  RmsClose(whole[i], dtype == DType::kFloat64 ? kFloat64Rms : kFloat32ForwardRms))
          << i;
    }
  }
}

// Nothing is kept where nothing is recorded.
TEST(SelectiveScanOp, RecordsOnlyWhereAsked) {
  const std::vector<Tensor> in = Inputs(DType::kFloat32);
  EXPECT_FALSE(NeedsGradient(SelectiveScan(Named(in)).y_btd));
}

}  // namespace
}  // namespace longrange
