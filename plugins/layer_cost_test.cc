// A layer whose work and memory are known: a product with a square matrix.

#include "plugins/layer_cost.h"

#include <google/protobuf/empty.pb.h>

#include <memory>

#include "common/autograd/ops.h"
#include "gtest/gtest.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

using google::protobuf::Empty;

class Square : public Mixer {
 public:
  explicit Square(const BuildArgs& args)
      : w_(args.scope.Linear("w", {args.width, args.width}, nn::Normal(1))) {}
  const MixerTraits& traits() const override { return traits_; }
  Tensor Forward(const Tensor& x_btd, const nn::Rows&, const nn::Call&) const override {
    return Linear(x_btd, w_());
  }

 private:
  MixerTraits traits_;
  nn::Weight w_;
};

absl::StatusOr<std::unique_ptr<Mixer>> CreateSquare(const Empty&, const BuildArgs& args) {
  return std::make_unique<Square>(args);
}
LR_REGISTER_PLUGIN(Mixer, Empty, CreateSquare);

TEST(LayerCostTest, OfAProductWithAMatrix) {
  constexpr int64_t kWidth = 32, kRows = 512;
  for (const Device device : {Device::kCpu, Device::kMeta}) {
    const LayerCost cost = LayerCostOf(Empty(), kWidth, kRows, device);
    // Products of as many multiply-adds for the values and for either gradient.
    EXPECT_EQ(cost.flops, 3.0 * 2 * kWidth * kWidth * kRows);
    // The values and the input's gradient, as large as the input, and the matrix's gradient.
    const double bytes = sizeof(float) * kWidth * kRows;
    EXPECT_GE(cost.peak_bytes, 2 * bytes);
    EXPECT_LE(cost.peak_bytes, 4 * bytes);
  }
}

}  // namespace
}  // namespace longrange
