#include "kernels/relative_softmax/relative_softmax.h"

#include <cmath>
#include <limits>

#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(5);

struct Case {
  int64_t queries, keys, distances, offset, window;
};

// Without memory, with memory longer and shorter than the queries, one query, distances that end
// early (clamped), windows of one key and more, keys behind all queries, none at all.
constexpr Case kCases[] = {{7, 7, 7, 0, 0},       {5, 16, 16, 11, 0}, {9, 12, 12, 3, 0},
                           {1, 40, 40, 39, 0},    {1, 1, 1, 0, 0},    {6, 20, 5, 14, 0},
                           {6, 20, 1, 14, 0},     {9, 12, 12, 3, 4},  {33, 70, 40, 37, 1},
                           {8, 30, 9, 22, 20},    {3, 9, 9, 2, 0},    {3, 4, 7, -2, 0},
                           {40, 100, 120, 60, 50}};

struct Results {
  Tensor p, dcontent, dposition;
};

Results Compute(const Tensor& content, const Tensor& position, const Tensor& dp,
                const RelativeSoftmaxOptions& options) {
  const Results out = {Tensor::EmptyLike(content), Tensor::EmptyLike(content),
                       Tensor::EmptyLike(position)};
  RelativeSoftmaxForward(content, position, options, out.p);
  RelativeSoftmaxBackward(out.p, dp, options, out.dcontent, out.dposition);
  return out;
}

RelativeSoftmaxOptions OptionsOf(const Case& c) { return {c.offset, c.window, 0.7}; }

TEST(RelativeSoftmax, EqualsReference) {
  for (const Case& c : kCases) {
    SCOPED_TRACE(testing::Message() << c.queries << " " << c.keys << " " << c.distances << " "
                                    << c.offset << " " << c.window);
    const Tensor content = RandomNormal({3, c.queries, c.keys}, kRng.Child("content"), 3),
                 position = RandomNormal({3, c.queries, c.distances}, kRng.Child("position"), 3),
                 dp = RandomNormal({3, c.queries, c.keys}, kRng.Child("dp"));
    const Results out = Compute(content, position, dp, OptionsOf(c)),
                  want = Compute(Double(content), Double(position), Double(dp), OptionsOf(c));
    EXPECT_THAT(out.p, RmsClose(want.p, kFloat32ForwardRms));
    if (c.keys == 1 || c.window == 1) continue;  // gradients are 0
    EXPECT_THAT(out.dcontent, RmsClose(want.dcontent, kFloat32GradientRms));
    if (c.distances == 1) continue;
    EXPECT_THAT(out.dposition, RmsClose(want.dposition, kFloat32GradientRms));
  }
}

TEST(RelativeSoftmax, GradientOfReference) {
  for (const Case& c : kCases) {
    if (c.keys > 30) continue;
    const auto normal = [&](int64_t width, const char* name) {
      return RandomNormal({2, c.queries, width}, kRng.Child(name), 1, DType::kFloat64);
    };
    const Tensor content = normal(c.keys, "content"), position = normal(c.distances, "position"),
                 dp = normal(c.keys, "dp");
    const auto loss = [&] { return Dot(Compute(content, position, dp, OptionsOf(c)).p, dp); };
    const Results out = Compute(content, position, dp, OptionsOf(c));
    ExpectGradient(content, out.dcontent, loss);
    ExpectGradient(position, out.dposition, loss);
  }
}

// The reference implementation's way: one column of zeros in front, the matrix read as one of
// another width, its first row dropped.
TEST(RelativeSoftmax, IsTheShiftedMatrix) {
  for (const int64_t memory : {0, 3, 11}) {
    for (const int64_t queries : {1, 5}) {
      const int64_t keys = memory + queries;
      const Tensor content = Tensor::Zeros({1, queries, keys}, DType::kFloat64);
      const Tensor position =
          RandomNormal({1, queries, keys}, kRng.Child("position"), 1, DType::kFloat64);
      std::vector<double> padded(queries * (keys + 1), 0.0);
      for (int64_t i = 0; i < queries; ++i) {
        for (int64_t j = 0; j < keys; ++j)
          padded[i * (keys + 1) + j + 1] = position.data<double>()[i * keys + j];
      }
      const std::vector<double> shifted(padded.begin() + queries, padded.end());
      const Tensor p = Tensor::EmptyLike(content);
      RelativeSoftmaxForward(content, position, {memory, 0, 1}, p);
      for (int64_t i = 0; i < queries; ++i) {
        double sum = 0;
        for (int64_t j = 0; j <= i + memory; ++j) sum += std::exp(shifted[i * keys + j]);
        for (int64_t j = 0; j < keys; ++j) {
          EXPECT_NEAR(p.data<double>()[i * keys + j],
                      j <= i + memory ? std::exp(shifted[i * keys + j]) / sum : 0, 1e-12)
              << memory << " " << i << " " << j;
        }
      }
    }
  }
}

// Not even a NaN is noticed where a key is not seen.
TEST(RelativeSoftmax, ReadsWhatIsSeenAlone) {
  const Case c = {4, 12, 6, 8, 7};
  const Tensor content = RandomNormal({1, 4, 12}, kRng.Child("content")),
               position = RandomNormal({1, 4, 6}, kRng.Child("position")),
               dp = RandomNormal({1, 4, 12}, kRng.Child("dp"));
  const Results before = Compute(content, position, dp, OptionsOf(c));
  for (int64_t i = 0; i < 4; ++i) {
    for (int64_t j = 0; j < 12; ++j) {
      const int64_t distance = 8 + i - j;
      if (distance >= 0 && distance < 7) continue;
      for (const Tensor& t : {content, dp})
        t.mutable_data<float>()[i * 12 + j] = std::numeric_limits<float>::quiet_NaN();
    }
  }
  const Results after = Compute(content, position, dp, OptionsOf(c));
  EXPECT_THAT(after.p, BitEqual(before.p));
  EXPECT_THAT(after.dcontent, BitEqual(before.dcontent));
  EXPECT_THAT(after.dposition, BitEqual(before.dposition));
}

TEST(RelativeSoftmax, ExtremeScores) {
  const Tensor content = Tensor::FromVector<float>({1, 1, 3}, {1e4, -1e4, 1e4}),
               position = Tensor::FromVector<float>({1, 1, 3}, {-1e4, 1e4, 1e4});
  const Tensor p = Tensor::EmptyLike(content);
  RelativeSoftmaxForward(content, position, {2, 0, 1}, p);
  EXPECT_THAT(p, AllClose(Tensor::FromVector<float>({1, 1, 3}, {0, 0, 1}), Tolerance{1e-6, 0}));
}

TEST(RelativeSoftmax, SameBitsForAnyThreadCount) {
  const Tensor content = RandomNormal({6, 50, 200}, kRng.Child("content")),
               position = RandomNormal({6, 50, 120}, kRng.Child("position")),
               dp = RandomNormal({6, 50, 200}, kRng.Child("dp"));
  ExpectSameBits([&] {
    const Results out = Compute(content, position, dp, {150, 0, 0.5});
    return std::vector<Tensor>{out.p, out.dcontent, out.dposition};
  });
}

TEST(RelativeSoftmax, MetaCountsWhatTheCpuCounts) {
  const Tensor content = Tensor::Zeros({2, 3, 5}), position = Tensor::Zeros({2, 3, 4});
  const RelativeSoftmaxOptions options = {2, 3, 1};
  const Cost cpu = CostOf([&] { Compute(content, position, content, options); }),
             meta = CostOf([&] { Compute(Meta(content), Meta(position), Meta(content), options); });
  EXPECT_GT(cpu.flops, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

}  // namespace
}  // namespace longrange::kernels
