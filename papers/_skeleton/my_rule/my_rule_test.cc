// The spans, listed.

#include <memory>
#include <utility>
#include <vector>

#include "common/testing/matchers.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/_skeleton/my_rule/my_rule.pb.h"
#include "plugins/position.h"

namespace longrange {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

TEST(MyRuleTest, SeesRowsThatAreDilationApart) {
  MyRuleConfig config;
  config.set_window(3);
  config.set_dilation(2);
  google::protobuf::Any any;
  any.PackFrom(config);
  nn::ParameterStore store;
  LR_ASSERT_OK_AND_ASSIGN(
      const std::unique_ptr<AttentionRule> rule,
      Registry<AttentionRule>::Get().Create(any, BuildArgs{nn::Scope(&store, Rng(1))}));
  const auto spans = [&](int64_t query) {
    std::vector<Span> out;
    rule->Spans(0, query, /*keys=*/10, nn::Call(), &out);
    std::vector<std::pair<int64_t, int64_t>> pairs;
    for (const Span& span : out) pairs.emplace_back(span.begin, span.end);
    return pairs;
  };
  EXPECT_THAT(spans(0), ElementsAre(Pair(0, 1)));
  EXPECT_THAT(spans(3), ElementsAre(Pair(1, 2), Pair(3, 4)));
  EXPECT_THAT(spans(9), ElementsAre(Pair(5, 6), Pair(7, 8), Pair(9, 10)));
}

}  // namespace
}  // namespace longrange
