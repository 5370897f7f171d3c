// One layer by hand: with identities for weights, rows grow by silu(n) times the running mean of n.

#include <cmath>
#include <memory>
#include <vector>

#include "common/testing/matchers.h"
#include "gtest/gtest.h"
#include "papers/_skeleton/my_backbone/my_backbone.pb.h"
#include "plugins/backbone.h"

namespace longrange {
namespace {

TEST(MyBackboneTest, AddsTheGatedRunningMean) {
  MyBackboneConfig config;
  config.set_layers(1);
  google::protobuf::Any any;
  any.PackFrom(config);
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(1), DType::kFloat64)};
  args.width = 1;
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Backbone> backbone,
                          Registry<Backbone>::Get().Create(any, args));
  for (const char* name : {"layers.0.w_g", "layers.0.w_v", "layers.0.w_o"})
    store.Find(name)->value.Fill(1);

  constexpr int64_t kRows = 70;  // more than two blocks
  std::vector<double> x, expected;
  double sum = 0;
  for (int64_t t = 0; t < kRows; ++t) {
    x.push_back(t % 3 == 0 ? 2 : -3);
    const double n = x.back() / std::sqrt(x.back() * x.back() + 1e-5);
    sum += n;
    expected.push_back(x.back() + n / (1 + std::exp(-n)) * sum / static_cast<double>(t + 1));
  }
  EXPECT_THAT(
      backbone->Forward({Tensor::FromVector({1, kRows, 1}, x), nn::Rows()}, nn::Call()).x_btd,
      RmsClose(Tensor::FromVector({1, kRows, 1}, expected), kFloat64Rms));
}

}  // namespace
}  // namespace longrange
