// What the formula says in closed form: an impulse fades by the factor a at every row.

#include <cmath>
#include <memory>
#include <vector>

#include "common/testing/matchers.h"
#include "gtest/gtest.h"
#include "papers/_skeleton/my_mixer/my_mixer.pb.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

TEST(MyMixerTest, AnImpulseFadesByTheDecay) {
  MyMixerConfig config;
  config.set_shortest(2);
  config.set_longest(50);
  google::protobuf::Any any;
  any.PackFrom(config);
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(1), DType::kFloat64)};
  args.width = 2;
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Mixer> mixer,
                          Registry<Mixer>::Get().Create(any, args));
  store.Find("w_o")->value.CopyFrom(Tensor::FromVector<double>({2, 2}, {1, 0, 0, 1}));

  constexpr int64_t kRows = 70;  // more than two blocks
  const Tensor x_btd = Tensor::Zeros({1, kRows, 2}, DType::kFloat64);
  x_btd.mutable_data<double>()[0] = x_btd.mutable_data<double>()[1] = 1;
  std::vector<double> expected;
  for (int64_t t = 0; t < kRows; ++t) {
    for (const double tau : {2.0, 50.0})
      expected.push_back((1 - std::exp(-1 / tau)) * std::exp(-static_cast<double>(t) / tau));
  }
  EXPECT_THAT(mixer->Forward(x_btd, nn::Rows(), nn::Call()),
              RmsClose(Tensor::FromVector({1, kRows, 2}, expected), kFloat64Rms));
}

}  // namespace
}  // namespace longrange
