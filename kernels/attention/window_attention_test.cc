// The window and the keys that all see against one softmax over the same keys by the plain double
// form, with all gradients; and what must not change a bit.

#include "kernels/attention/window_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "common/base/rng.h"
#include "kernels/attention/reference.h"
#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

Tensor Normal(const Shape& shape, const char* name) {
  return RandomNormal(shape, Rng(9).Child(name));
}

Tensor Ints(const std::vector<int64_t>& values) {
  return values.empty() ? Tensor()
                        : Tensor::FromVector({static_cast<int64_t>(values.size())}, values);
}

struct Case {
  std::string name;
  int64_t batch, queries, keys, heads, width, value_width;
  int64_t back, ahead;
  std::vector<int64_t> dilation = {1};
  std::vector<std::vector<int64_t>> global;
  std::vector<int64_t> begin, end, query_begin, query_end;
};

std::vector<Case> Cases() {
  std::vector<Case> cases = {
      {"window", 2, 130, 130, 2, 16, 16, 12, 12},
      {"one_side", 1, 210, 210, 2, 32, 20, 63, 0},
      {"itself_alone", 1, 40, 40, 1, 8, 8, 0, 0},
      {"wider_than_the_text", 1, 30, 30, 2, 8, 8, 60, 60},
      {"dilated", 2, 101, 101, 3, 8, 12, 5, 5, {3}},
      {"dilation_by_head", 1, 200, 200, 4, 16, 16, 9, 9, {1, 2, 1, 7}},
      {"dilated_causal", 2, 97, 97, 3, 16, 16, 8, 0, {1, 2, 5}},
      {"dilated_beyond_the_text", 1, 5, 5, 2, 4, 4, 2, 2, {9, 1}},
      {"behind_a_cache", 1, 7, 40, 2, 8, 8, 6, 0, {1, 4}},
      {"a_step", 2, 1, 33, 3, 16, 8, 10, 0, {1, 2, 3}},
      {"more_queries_than_keys", 1, 40, 25, 2, 8, 8, 4, 3, {1, 2}},
      {"first_key_for_all", 2, 150, 150, 2, 16, 16, 6, 6, {1}, {{0}, {0}}},
      {"keys_by_sample", 3, 90, 90, 2, 8, 8, 4, 4, {1}, {{0, 3}, {}, {7, 45, 89}}},
      {"keys_for_all_and_dilation", 2, 80, 80, 3, 8, 12, 3, 3, {1, 2, 4}, {{2, 50}, {2, 50}}},
      {"all_keys_for_all", 1, 9, 9, 1, 4, 4, 1, 1, {1}, {{0, 1, 2, 3, 4, 5, 6, 7, 8}}},
      {"no_keys", 1, 5, 0, 2, 4, 4, 3, 3},
      {"no_queries", 1, 0, 5, 2, 4, 4, 3, 3, {2}},
  };
  Case padded = {"padding", 3, 70, 70, 2, 8, 8, 5, 5, {1, 3}, {{0, 9}, {9, 69}, {30}}};
  padded.begin = padded.query_begin = {0, 10, 3};
  padded.end = padded.query_end = {70, 61, 20};
  cases.push_back(padded);
  padded.name = "padded_keys";
  padded.query_begin = padded.query_end = {};
  cases.push_back(padded);
  return cases;
}

WindowAttentionInputs InputsOf(const Case& c) {
  WindowAttentionInputs in;
  in.q_bthd = Normal({c.batch, c.queries, c.heads, c.width}, "q");
  in.k_bshd = Normal({c.batch, c.keys, c.heads, c.width}, "k");
  in.v_bshe = Normal({c.batch, c.keys, c.heads, c.value_width}, "v");
  in.back = c.back;
  in.ahead = c.ahead;
  in.dilation_h = c.dilation;
  in.global_b = c.global;
  in.begin_b = Ints(c.begin);
  in.end_b = Ints(c.end);
  in.query_begin_b = Ints(c.query_begin);
  in.query_end_b = Ints(c.query_end);
  return in;
}

WindowAttentionInputs InDouble(WindowAttentionInputs in) {
  for (Tensor* t : {&in.q_bthd, &in.k_bshd, &in.v_bshe}) *t = Double(*t);
  return in;
}

std::vector<Tensor> Everything(const WindowAttentionInputs& in) {
  const AttentionOutputs out = WindowAttentionForward(in);
  const Tensor dout = Normal(out.out_bthe.shape(), "dout").To(out.out_bthe.dtype());
  const AttentionGradients g = WindowAttentionBackward(in, out, dout);
  return {out.out_bthe, out.lse_bht, g.dq_bthd, g.dk_bshd, g.dv_bshe};
}

// Does query i see key j, by the definition?
bool Sees(const WindowAttentionInputs& in, int64_t b, int64_t h, int64_t i, int64_t j) {
  const int64_t dilation = in.dilation_h[in.dilation_h.size() == 1 ? 0 : h],
                p = in.k_bshd.dim(1) - in.q_bthd.dim(1) + i;
  for (int64_t t = -in.back; t <= in.ahead; ++t) {
    if (p + dilation * t == j) return true;
  }
  return !in.global_b.empty() && std::count(in.global_b[b].begin(), in.global_b[b].end(), j) > 0;
}

// Sample by sample, by the plain double form.
std::vector<Tensor> Expected(const WindowAttentionInputs& in) {
  const int64_t batch = in.q_bthd.dim(0), queries = in.q_bthd.dim(1), keys = in.k_bshd.dim(1),
                heads = in.q_bthd.dim(2);
  const Tensor dout = Normal({batch, queries, heads, in.v_bshe.dim(3)}, "dout");
  std::vector<Tensor> all = {Tensor::Empty(dout.shape(), DType::kFloat64),
                             Tensor::Empty({batch, heads, queries}, DType::kFloat64),
                             Tensor::Empty(in.q_bthd.shape(), DType::kFloat64),
                             Tensor::Empty(in.k_bshd.shape(), DType::kFloat64),
                             Tensor::Empty(in.v_bshe.shape(), DType::kFloat64)};
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<SpanPlan> plans;
    for (int64_t h = 0; h < heads; ++h) {
      std::vector<std::vector<KeySpan>> rows(static_cast<size_t>(queries));
      for (int64_t i = 0; i < queries; ++i) {
        for (int64_t j = 0; j < keys; ++j) {
          if (Sees(in, b, h, i, j)) rows[i].push_back({j, j + 1});
        }
      }
      plans.push_back(SpanPlan::FromSpans(keys, rows));
    }
    AttentionInputs one;
    for (const SpanPlan& plan : plans) one.plans.push_back(&plan);
    const auto sample = [b](const Tensor& t) {
      return t.defined() ? t.ViewRows(b, b + 1).Clone() : t;
    };
    one.q_bthd = sample(in.q_bthd);
    one.k_bshd = sample(in.k_bshd);
    one.v_bshe = sample(in.v_bshe);
    one.begin_b = sample(in.begin_b);
    one.end_b = sample(in.end_b);
    one.query_begin_b = sample(in.query_begin_b);
    one.query_end_b = sample(in.query_end_b);
    one.scale = in.scale;
    const AttentionOutputs out = ReferenceAttentionForward(one);
    const AttentionGradients g = ReferenceAttentionBackward(one, out, sample(dout));
    const std::vector<Tensor> got = {out.out_bthe, out.lse_bht, g.dq_bthd, g.dk_bshd, g.dv_bshe};
    for (size_t i = 0; i < all.size(); ++i) all[i].ViewRows(b, b + 1).CopyFrom(got[i]);
  }
  return all;
}

// Rows without a key have -inf on both sides, or on neither.
std::pair<Tensor, Tensor> FiniteLse(const Tensor& got, const Tensor& want) {
  std::vector<double> a = got.ToDoubles(), b = want.ToDoubles();
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i] == -kInfinity, b[i] == -kInfinity) << "lse " << i;
    if (b[i] == -kInfinity) b[i] = 0;
    if (a[i] == -kInfinity) a[i] = 0;
  }
  return {Tensor::FromVector(got.shape(), a), Tensor::FromVector(want.shape(), b)};
}

std::ostream& operator<<(std::ostream& out, const Case& c) { return out << c.name; }

class WindowAttentionCase : public testing::TestWithParam<Case> {};

TEST_P(WindowAttentionCase, MatchesReference) {
  const WindowAttentionInputs in = InputsOf(GetParam());
  const std::vector<Tensor> want = Expected(in), wide = Everything(InDouble(in)),
                            got = Everything(in);
  // The weight of a row's only key is 1 whatever its score.
  const bool alone = GetParam().name == "itself_alone";
  for (size_t i = 0; i < want.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "result " << i);
    if (i == 1) {
      const auto [wide_lse, want_wide] = FiniteLse(wide[1], want[1]);
      EXPECT_THAT(wide_lse, RmsClose(want_wide, kFloat64Rms));
      const auto [lse, want_lse] = FiniteLse(got[1], want[1]);
      EXPECT_THAT(lse, RmsClose(want_lse, kFloat32ForwardRms));
      continue;
    }
    if (alone && (i == 2 || i == 3)) {
      EXPECT_THAT(Double(got[i]), AllClose(want[i], Tolerance{0, kFloat32GradientRms}));
      continue;
    }
    EXPECT_THAT(wide[i], RmsClose(want[i], kFloat64Rms));
    EXPECT_THAT(got[i], RmsClose(want[i], i == 0 ? kFloat32ForwardRms : kFloat32GradientRms));
  }
}

TEST_P(WindowAttentionCase, MetaGivesShapesAndTheSameCost) {
  const WindowAttentionInputs in = InputsOf(GetParam());
  WindowAttentionInputs meta = in;
  for (Tensor* t : {&meta.q_bthd, &meta.k_bshd, &meta.v_bshe}) *t = Meta(*t);
  std::vector<Tensor> real_results, meta_results;
  const Cost real = CostOf([&] { real_results = Everything(in); });
  const Cost dry = CostOf([&] {
    const AttentionOutputs out = WindowAttentionForward(meta);
    const AttentionGradients g =
        WindowAttentionBackward(meta, out, Tensor::EmptyLike(out.out_bthe));
    meta_results = {out.out_bthe, out.lse_bht, g.dq_bthd, g.dk_bshd, g.dv_bshe};
  });
  EXPECT_EQ(real.flops, dry.flops);
  EXPECT_EQ(real.bytes, dry.bytes);
  for (size_t i = 0; i < real_results.size(); ++i) {
    EXPECT_EQ(meta_results[i].shape(), real_results[i].shape()) << i;
    EXPECT_TRUE(meta_results[i].is_meta()) << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Table, WindowAttentionCase, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<Case>& info) { return info.param.name; });

TEST(WindowAttention, PaddingIsNeverRead) {
  for (const Case& c : Cases()) {
    if (c.query_begin.empty()) continue;
    const WindowAttentionInputs in = InputsOf(c);
    const std::vector<Tensor> want = Everything(in);
    for (const Tensor* t : {&in.q_bthd, &in.k_bshd, &in.v_bshe}) {
      const int64_t row = t->dim(2) * t->dim(3);
      for (int64_t i = 0; i < t->dim(0) * t->dim(1); ++i) {
        const int64_t b = i / t->dim(1), place = i % t->dim(1);
        if (place >= c.begin[b] && place < c.end[b]) continue;
        std::fill_n(t->mutable_data<float>() + i * row, row, std::nanf(""));
      }
    }
    const std::vector<Tensor> got = Everything(in);
    for (size_t i = 0; i < want.size(); ++i) EXPECT_THAT(got[i], BitEqual(want[i])) << i;
  }
}

TEST(WindowAttention, OwnScale) {
  WindowAttentionInputs in = InputsOf(Cases()[13]);
  in.scale = 0.9;
  EXPECT_THAT(Everything(in)[0], RmsClose(Expected(in)[0], kFloat32ForwardRms));
}

TEST(WindowAttention, BitsDoNotDependOnThreads) {
  for (const Case& c : Cases()) {
    const WindowAttentionInputs in = InputsOf(c);
    ExpectSameBits([&] { return Everything(in); });
  }
}

// What is counted is what is seen: twice the rows, twice the work, and no more for a dilation.
TEST(WindowAttention, CostGrowsWithTheKeysSeen) {
  const auto flops = [](int64_t rows, std::vector<int64_t> dilation,
                        std::vector<std::vector<int64_t>> global) {
    WindowAttentionInputs in = InputsOf({"", 1, rows, rows, 2, 8, 8, 16, 16});
    in.dilation_h = std::move(dilation);
    in.global_b = std::move(global);
    return CostOf([&] { WindowAttentionForward(in); }).flops;
  };
  const double at_512 = flops(512, {1}, {}), at_1024 = flops(1024, {1}, {});
  EXPECT_NEAR(flops(2048, {1}, {}) - at_1024, 2 * (at_1024 - at_512), 1);
  EXPECT_LE(flops(1024, {1, 4}, {}), at_1024);
  // A key that all see costs its row of scores and its value, and the joining.
  EXPECT_LT(flops(1024, {1}, {{0}}), at_1024 * (1 + 4.0 / 33));
}

TEST(WindowAttentionDeathTest, GlobalKeysAreAscending) {
  WindowAttentionInputs in = InputsOf({"", 1, 8, 8, 1, 4, 4, 1, 1});
  in.global_b = {{5, 5}};
  EXPECT_DEATH(WindowAttentionForward(in), "global key 5 of 8");
  in.global_b = {{8}};
  EXPECT_DEATH(WindowAttentionForward(in), "global key 8 of 8");
}

}  // namespace
}  // namespace longrange::kernels
