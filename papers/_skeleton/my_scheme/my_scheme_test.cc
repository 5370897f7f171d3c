// The frequencies in closed form.

#include <memory>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/_skeleton/my_scheme/my_scheme.pb.h"
#include "plugins/position.h"

namespace longrange {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

TEST(MySchemeTest, FrequenciesAreScaled) {
  MySchemeConfig config;
  config.set_scale(0.5);
  config.set_theta(100);
  google::protobuf::Any any;
  any.PackFrom(config);
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(1))};
  args.width = 4;
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<PositionScheme> scheme,
                          Registry<PositionScheme>::Get().Create(any, args));
  EXPECT_THAT(scheme->RotaryFor(64, nn::Call()).inv_freq.ToDoubles(),
              ElementsAre(DoubleNear(0.5, 1e-15), DoubleNear(0.05, 1e-15)));
}

}  // namespace
}  // namespace longrange
