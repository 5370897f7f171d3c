// A part that is run again is the part: value, gradients, and the losses that it gives.

#include "common/nn/recompute.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "common/autograd/ops.h"
#include "common/testing/matchers.h"

namespace longrange::nn {
namespace {

class LossSink : public Sink {
 public:
  void Loss(absl::string_view path, const Tensor& scalar, double weight) override {
    paths.push_back(std::string(path));
    sum = sum.defined() ? Add(sum, Scale(scalar, weight)) : Scale(scalar, weight);
  }
  bool Wants(absl::string_view path) const override { return path == "part/tap"; }
  Tensor Tap(absl::string_view, const Tensor& value) override { return Scale(value, 3); }

  std::vector<std::string> paths;
  Tensor sum;
};

struct Outcome {
  Tensor y, dx, dw;
  std::vector<std::string> paths;
};

Outcome RunPart(bool again) {
  const Tensor x = Leaf(Tensor::FromVector<double>({3}, {1, -2, 0.5})),
               w = Leaf(Tensor::FromVector<double>({3}, {0.3, 0.7, -1.1}));
  const auto part = [w](const std::vector<Tensor>& inputs, const Call& call) {
    const Tensor y = call.Tap("tap", Mul(w, Square(inputs[0])));
    call.sink->Loss("a", Sum(y), 0.5);
    call.sink->Loss("b", Sum(Mul(y, w)), 0.25);
    return y;
  };
  LossSink sink;
  Memo memo;
  Call call;
  call.sink = &sink;
  call.memo = &memo;
  call.path = "part";
  const Tensor y = again ? RecomputePart(part, {x}, call) : part({x}, call);
  Backward(Add(Sum(Square(y)), sink.sum));
  return {y.Detach(), Gradient(x), Gradient(w), sink.paths};
}

TEST(RecomputePart, IsThePart) {
  const Outcome once = RunPart(false), again = RunPart(true);
  EXPECT_THAT(again.y, BitEqual(once.y));
  EXPECT_THAT(again.dx, BitEqual(once.dx));
  EXPECT_THAT(again.dw, BitEqual(once.dw));
  EXPECT_EQ(again.paths, (std::vector<std::string>{"a", "b"}));
}

TEST(RecomputePart, BringsNoMemoAndNeedsNoSink) {
  Memo memo;
  Call call;
  call.memo = &memo;
  const auto part = [](const std::vector<Tensor>& inputs, const Call& inner) {
    EXPECT_EQ(inner.memo, nullptr);
    EXPECT_EQ(inner.sink, nullptr);
    return Square(inputs[0]);
  };
  const Tensor x = Leaf(Tensor::Full({2}, 3, DType::kFloat64));
  Backward(Sum(RecomputePart(part, {x}, call)));
  EXPECT_THAT(Gradient(x), BitEqual(Tensor::Full({2}, 6, DType::kFloat64)));
}

}  // namespace
}  // namespace longrange::nn
