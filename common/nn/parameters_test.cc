// Weights with low-rank adapters; buffers.

#include "common/nn/parameters.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/testing/matchers.h"

namespace longrange::nn {
namespace {

using ::testing::ElementsAre;

LowRank Adapters() {
  LowRank low_rank;
  low_rank.rank = 2;
  low_rank.alpha = 6;
  low_rank.target = {"*.w_q"};
  return low_rank;
}

std::vector<std::string> Names(const ParameterStore& store) {
  std::vector<std::string> names;
  for (const Parameter& p : store.all()) names.push_back(p.name);
  return names;
}

TEST(LowRankTest, AdaptsWhatIsNamedAndStartsAsTheWeight) {
  ParameterStore plain_store, store;
  const Scope plain = Scope(&plain_store, Rng(1)).Child("layer"),
              scope = Scope(&store, Rng(1)).With(Adapters()).Child("layer");
  const Weight w_q = scope.Linear("w_q", {5, 3}, Normal(1)),
               w_k = scope.Linear("w_k", {5, 3}, Normal(1));
  EXPECT_THAT(Names(store),
              ElementsAre("layer.w_q", "layer.w_q.lora_a", "layer.w_q.lora_b", "layer.w_k"));
  // Initial values are those of the model without adapters, to the bit.
  EXPECT_THAT(w_q(), BitEqual(plain.Linear("w_q", {5, 3}, Normal(1))()));
  EXPECT_THAT(w_k(), BitEqual(plain.Linear("w_k", {5, 3}, Normal(1))()));
  const Parameter &a = *store.Find("layer.w_q.lora_a"), &b = *store.Find("layer.w_q.lora_b");
  EXPECT_EQ(a.value.shape(), Shape({2, 3}));
  EXPECT_EQ(b.value.shape(), Shape({5, 2}));
  double largest = 0;
  for (const double value : a.value.ToDoubles()) largest = std::max(largest, std::abs(value));
  EXPECT_GT(largest, 0);
  EXPECT_LE(largest, 1 / std::sqrt(3.0));
}

TEST(LowRankTest, TheProductCountsAlphaOverRank) {
  ParameterStore store;
  const Weight w_q = Scope(&store, Rng(1), DType::kFloat64)
                         .With(Adapters())
                         .Child("layer")
                         .Linear("w_q", {5, 3}, Normal(1));
  const Tensor base = store.Find("layer.w_q")->value, a = store.Find("layer.w_q.lora_a")->value,
               b = store.Find("layer.w_q.lora_b")->value;
  Normal(1)(Rng(2), b);
  const Tensor weight = w_q();
  for (int64_t i = 0; i < 5; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      double expected = base.data<double>()[3 * i + j];
      for (int64_t r = 0; r < 2; ++r)
        expected += 3 * b.data<double>()[2 * i + r] * a.data<double>()[3 * r + j];
      EXPECT_NEAR(weight.data<double>()[3 * i + j], expected, 1e-12);
    }
  }
  Backward(Sum(Square(weight)));
  EXPECT_TRUE(Gradient(a).defined() && Gradient(b).defined() && Gradient(base).defined());
}

// Kept with the parameters, but no parameter.
TEST(BufferTest, IsSavedAndLoadedAndNotTrained) {
  ParameterStore store, other;
  for (ParameterStore* s : {&store, &other}) {
    const Scope scope = Scope(s, Rng(1)).Child("norm");
    scope.Param("weight", {3}, Constant(1));
    scope.Buffer("mean", {2}, Zeros());
  }
  EXPECT_THAT(Names(store), ElementsAre("norm.weight"));
  EXPECT_EQ(store.NumElements(), 3);
  const Tensor mean = store.buffers()[0].value;
  EXPECT_EQ(store.buffers()[0].name, "norm.mean");
  EXPECT_FALSE(NeedsGradient(mean));
  mean.Fill(7);
  EXPECT_THAT(other.Load(store.Values()), IsOk());
  EXPECT_THAT(other.buffers()[0].value, BitEqual(mean));
  EXPECT_EQ(store.Wanted().size(), 2u);
  TensorMap lacking = store.Values();
  lacking.erase("norm.mean");
  EXPECT_THAT(other.LoadBase(lacking),
              StatusIs(absl::StatusCode::kInvalidArgument, "missing norm.mean"));

  const Scope scope = Scope(&store, Rng(1)).Child("norm");
  EXPECT_TRUE(scope.SharedBuffer("mean", {2}, Zeros()).Is(mean));
  scope.SharedBuffer("variance", {2}, Zeros());
  EXPECT_EQ(store.buffers().size(), 2u);
}

}  // namespace
}  // namespace longrange::nn
