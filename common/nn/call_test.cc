#include "common/nn/call.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace longrange::nn {
namespace {

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
