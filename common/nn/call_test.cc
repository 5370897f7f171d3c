#include "common/nn/call.h"

#include <string>
#include <vector>

#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"

namespace longrange::nn {
namespace {

// Rows [first, first + count) of a stream, as [1, count, 3].
Tensor Rows(float first, int64_t count) {
  Tensor rows = Tensor::Empty({1, count, 3});
  for (int64_t i = 0; i < rows.numel(); ++i)
    rows.mutable_data<float>()[i] = first + static_cast<float>(i / 3);
  return rows;
}

TEST(FormTest, IsNamedAsReportsNameIt) {
  EXPECT_EQ(Name(Form::kDefault), "default");
  EXPECT_EQ(Name(Form::kFft), "FFT");
}

TEST(State, AppendsRowByRow) {
  State state;
  for (int64_t t = 0; t < 40; ++t) {
    state.Append("k", Rows(static_cast<float>(t), 1));
    EXPECT_THAT(state.Get("k"), BitEqual(Rows(0, t + 1)));
    EXPECT_EQ(state.bytes(), (t + 1) * 3 * 4);  // not the room behind them
  }
}

TEST(State, CopiesNoMoreThanIsAdded) {
  State state;
  state.Append("k", Rows(0, 1));
  state.Append("k", Rows(1, 1));
  state.Append("k", Rows(2, 1));  // from here on there is room
  const void* memory = state.Get("k").raw_data();
  state.Append("k", Rows(3, 1));
  EXPECT_EQ(state.Get("k").raw_data(), memory);
}

TEST(State, WhatWasTakenOutStays) {
  State state;
  for (int64_t t = 0; t < 9; ++t) state.Append("k", Rows(static_cast<float>(t), 1));
  const Tensor nine = state.Get("k");
  State copy = state.Clone();
  state.Append("k", Rows(9, 1));
  EXPECT_THAT(nine, BitEqual(Rows(0, 9)));
  EXPECT_THAT(copy.Get("k"), BitEqual(Rows(0, 9)));
  // Back to nine rows, and on from there in another way: the first way keeps its rows.
  const Tensor ten = state.Get("k");
  state.Set("k", nine);
  state.Append("k", Rows(50, 1));
  EXPECT_THAT(ten, BitEqual(Rows(0, 10)));
  EXPECT_EQ(state.Get("k").data<float>()[27], 50);
}

TEST(State, WindowsAndBatches) {
  State state;
  for (int64_t t = 0; t < 9; ++t) {
    state.Append("k", Rows(static_cast<float>(t), 1));
    state.KeepLast("k", 4);
  }
  EXPECT_THAT(state.Get("k"), BitEqual(Rows(5, 4)));
  const Tensor two = RandomNormal({2, 1, 3}, Rng(1));
  for (int64_t t = 0; t < 5; ++t) state.Append("two", two);
  EXPECT_EQ(state.Get("two").shape(), Shape({2, 5, 3}));
  EXPECT_EQ(state.Get("two").data<float>()[15], two.data<float>()[3]);
}

// Where gradients flow, rows are joined on the tape.
TEST(State, GradientsFlowThroughAppendedRows) {
  State state;
  const Tensor leaf = Leaf(Rows(0, 1));
  for (int64_t t = 0; t < 4; ++t) state.Append("k", leaf);
  EXPECT_TRUE(NeedsGradient(state.Get("k")));
  Backward({state.Get("k")}, {Tensor::Full({1, 4, 3}, 1)});
  EXPECT_THAT(Gradient(leaf), BitEqual(Tensor::Full({1, 1, 3}, 4)));
}

constexpr State::Kind kDerived = State::Kind::kDerived;

std::vector<std::string> Visited(State* state) {
  std::vector<std::string> paths;
  state->Visit([&](const std::string& path, Tensor*) { paths.push_back(path); });
  return paths;
}

TEST(State, WhatIsDerivedIsNoPartOfTheStream) {
  State state;
  state.Set("x", Tensor::Zeros({1, 3}));
  state.Child("part")->Set("a", Tensor::Zeros({4, 4}), kDerived);
  EXPECT_TRUE(state.Child("part")->Has("a"));
  EXPECT_EQ(state.bytes(), 12);
  EXPECT_EQ(Visited(&state), std::vector<std::string>{"x"});
}

TEST(State, AClonesDerivedTensorsAreTheSame) {
  State state;
  state.Set("x", Tensor::Zeros({1, 3}));
  state.Set("a", Tensor::Zeros({4, 4}), kDerived);
  const State copy = state.Clone();
  EXPECT_TRUE(copy.Get("a").Is(state.Get("a")));
  EXPECT_FALSE(copy.Get("x").Is(state.Get("x")));
}

TEST(State, DetachDropsWhatIsDerived) {
  State state;
  state.Set("x", Tensor::Zeros({1, 3}));
  state.Child("part")->Set("a", Tensor::Zeros({4, 4}), kDerived);
  state.Detach();
  EXPECT_TRUE(state.Has("x"));
  EXPECT_FALSE(state.Child("part")->Has("a"));
}

TEST(StateDeathTest, AKindIsKept) {
  State state;
  state.Set("x", Tensor::Zeros({1, 3}));
  EXPECT_DEATH(state.Set("x", Tensor::Zeros({1, 3}), kDerived), "x is state of another kind");
}

}  // namespace
}  // namespace longrange::nn
