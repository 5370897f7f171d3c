#include "papers/long_range_arena/listops.h"

#include <map>
#include <string>

#include "common/testing/matchers.h"

namespace longrange::long_range_arena {
namespace {

int32_t ValueOf(absl::string_view text) {
  const auto tokens = ParseListops(text);
  EXPECT_THAT(tokens.status(), IsOk());
  const auto value = EvaluateListops(*tokens);
  EXPECT_THAT(value.status(), IsOk()) << text;
  return value.value_or(-1);
}

TEST(Listops, Operators) {
  EXPECT_EQ(ValueOf("[MIN 4 2 9 X"), 2);
  EXPECT_EQ(ValueOf("[MAX 4 2 9 X"), 9);
  EXPECT_EQ(ValueOf("[SM 4 2 9 X"), 5);
  EXPECT_EQ(ValueOf("[MED 4 2 9 X"), 4);
  EXPECT_EQ(ValueOf("[MED 9 0 X"), 4) << "the mean of the two in the middle, rounded down";
  EXPECT_EQ(ValueOf("[MAX 2 [MIN 4 7 ] 0 ]"), 4);
  EXPECT_EQ(ValueOf("7"), 7);
}

TEST(Listops, TheNestedFormIsTheSame) {
  EXPECT_EQ(ValueOf("( ( ( [MAX ( ( ( [SM 9 ) 4 ) ] ) ) 2 ) ] )"), 3);
}

TEST(Listops, WhatIsNoExpressionIsRefused) {
  EXPECT_THAT(ParseListops("[MAX 4 10 X").status(),
              StatusIs(absl::StatusCode::kInvalidArgument, "'10'"));
  for (const char* text : {"", "[MAX 4 2", "[MAX X", "X", "3 4", "[MAX 1 2 X 3"}) {
    const auto tokens = ParseListops(text);
    ASSERT_THAT(tokens.status(), IsOk());
    EXPECT_THAT(EvaluateListops(*tokens).status(),
                StatusIs(absl::StatusCode::kInvalidArgument, "token"))
        << text;
  }
}

// The benchmark's card of 600 samples of its own generator: mean length about 1040, 0 and 9 the
// most frequent answers with about 18 and 16 percent, the others 7 to 9.
TEST(Listops, LooksLikeTheBenchmarks) {
  const ListopsGrammar grammar;
  double total = 0;
  std::map<int32_t, int> values;
  constexpr int kCount = 2000;
  for (int i = 0; i < kCount; ++i) {
    LR_ASSERT_OK_AND_ASSIGN(const ListopsExpression made, MakeListops(grammar, Rng(1).Child(i)));
    ASSERT_GE(made.tokens.size(), 501u);
    ASSERT_LE(made.tokens.size(), 1999u);
    LR_ASSERT_OK_AND_ASSIGN(const int32_t value, EvaluateListops(made.tokens));
    ASSERT_EQ(value, made.value);
    total += static_cast<double>(made.tokens.size());
    ++values[made.value];
  }
  EXPECT_NEAR(total / kCount, 1040, 40);
  EXPECT_NEAR(values[0] / double{kCount}, 0.185, 0.03);
  EXPECT_NEAR(values[9] / double{kCount}, 0.163, 0.03);
  for (int v = 1; v < 9; ++v) EXPECT_NEAR(values[v] / double{kCount}, 0.08, 0.03) << v;
}

TEST(Listops, LimitsHold) {
  ListopsGrammar grammar;
  grammar.max_depth = 3;
  grammar.max_args = 2;
  grammar.min_length = 4;
  grammar.max_length = 10;
  for (int i = 0; i < 300; ++i) {
    LR_ASSERT_OK_AND_ASSIGN(const ListopsExpression made, MakeListops(grammar, Rng(2).Child(i)));
    int depth = 0, deepest = 0;
    for (const int32_t token : made.tokens) {
      depth += token == kClose ? -1 : token >= kMin ? 1 : 0;
      deepest = std::max(deepest, depth);
    }
    EXPECT_LE(deepest, 2) << "an operator at depth 3 would have none below max_depth";
    EXPECT_GE(made.tokens.size(), 4u);
    EXPECT_LE(made.tokens.size(), 10u);
  }
}

TEST(Listops, AnImpossibleLengthEnds) {
  ListopsGrammar grammar;
  grammar.max_depth = 2;
  grammar.min_length = 100;
  grammar.max_length = 200;
  EXPECT_THAT(MakeListops(grammar, Rng(3)).status(),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "min_length: no expression of 100 to 200 tokens"));
}

}  // namespace
}  // namespace longrange::long_range_arena
