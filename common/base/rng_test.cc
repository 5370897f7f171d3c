#include "common/base/rng.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <set>
#include <vector>

namespace longrange {
namespace {

using ::testing::ElementsAre;
using Words = std::array<uint32_t, 4>;

// Philox4x32-10 over all four counter words, as section 4 of the paper writes a round: (L, R) ->
// (mulhi, mullo).
Words Reference(Words c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t a = uint64_t{0xD2511F53} * c[0], b = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(b >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(b),
         static_cast<uint32_t>(a >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(a)};
    k[0] += 0x9E3779B9;
    k[1] += 0xBB67AE85;
  }
  return c;
}

// Known answers of Random123's kat_vectors, "philox4x32 10".
TEST(RngTest, PhiloxGivesTheKnownAnswers) {
  EXPECT_THAT(Reference({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  EXPECT_THAT(Reference({~0u, ~0u, ~0u, ~0u}, {~0u, ~0u}),
              ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
  EXPECT_THAT(Reference({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
              ElementsAre(0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1));
  EXPECT_THAT(rng_internal::Philox(0, 0),
              ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  for (const uint64_t key : {0x0ull, 0x1ull, 0x123456789abcdef0ull, ~0ull}) {
    for (const uint64_t counter : {0x0ull, 0x1ull, 0x100000000ull, 0xfedcba9876543210ull}) {
      EXPECT_EQ(
          rng_internal::Philox(key, counter),
          Reference({static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0},
                    {static_cast<uint32_t>(key), static_cast<uint32_t>(key >> 32)}));
    }
  }
}

TEST(RngTest, DrawsAreFunctionsOfKeyAndNumber) {
  const Rng rng = Rng(5).Child("data");
  EXPECT_EQ(rng.Bits(3), Rng(5).Child("data").Bits(3));
  EXPECT_NE(rng.Bits(3), rng.Bits(4));
  EXPECT_NE(rng.Bits(3), Rng(6).Child("data").Bits(3));
  RngStream stream(rng);
  EXPECT_EQ(stream.Uniform(), rng.Uniform(0));
  EXPECT_EQ(stream.Normal(), rng.Normal(1));
  EXPECT_EQ(stream.UniformInt(10), rng.UniformInt(2, 10));
}

// Bounds are five standard errors.
TEST(RngTest, MomentsAreRight) {
  const Rng rng(1);
  constexpr int64_t kCount = 200000;
  const double root = std::sqrt(static_cast<double>(kCount));
  double uniform = 0, uniform2 = 0, normal = 0, normal2 = 0, normal3 = 0, normal4 = 0, lag = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double u = rng.Uniform(i), x = rng.Normal(i);
    ASSERT_TRUE(u >= 0 && u < 1);
    ASSERT_TRUE(std::isfinite(x));
    uniform += u;
    uniform2 += u * u;
    normal += x;
    normal2 += x * x;
    normal3 += x * x * x;
    normal4 += x * x * x * x;
    lag += x * rng.Normal(i + 1);
  }
  EXPECT_NEAR(uniform / kCount, 0.5, 5 * std::sqrt(1.0 / 12) / root);
  EXPECT_NEAR(uniform2 / kCount, 1.0 / 3, 5 * std::sqrt(4.0 / 45) / root);
  EXPECT_NEAR(normal / kCount, 0, 5 / root);
  EXPECT_NEAR(normal2 / kCount, 1, 5 * std::sqrt(2.0) / root);
  EXPECT_NEAR(normal3 / kCount, 0, 5 * std::sqrt(15.0) / root);
  EXPECT_NEAR(normal4 / kCount, 3, 5 * std::sqrt(96.0) / root);
  EXPECT_NEAR(lag / kCount, 0, 5 / root);
}

TEST(RngTest, UniformIntCoversItsRangeEvenly) {
  const Rng rng(2);
  constexpr int64_t kBins = 7, kCount = 70000;
  std::vector<int64_t> bins(kBins);
  for (int64_t i = 0; i < kCount; ++i) {
    const int64_t value = rng.UniformInt(i, kBins);
    ASSERT_TRUE(value >= 0 && value < kBins);
    ++bins[static_cast<size_t>(value)];
  }
  double chi2 = 0;
  for (const int64_t n : bins)
    chi2 += static_cast<double>((n - kCount / kBins) * (n - kCount / kBins)) / (kCount / kBins);
  EXPECT_LT(chi2, 22.5);  // 6 degrees of freedom, p = 0.001
  EXPECT_GT(chi2, 0.38);  // as improbably even
  EXPECT_EQ(rng.UniformInt(0, 1), 0);
  EXPECT_LT(rng.UniformInt(0, int64_t{1} << 62), int64_t{1} << 62);
}

TEST(RngTest, ChildrenDiffer) {
  const Rng root(1);
  std::set<uint64_t> keys = {root.key()};
  size_t count = 1;
  for (int64_t i = -1000; i < 1000; ++i) {
    keys.insert(root.Child(i).key());
    keys.insert(root.Child("layers").Child(i).key());
    keys.insert(
        Rng(static_cast<uint64_t>(i)).Child(i).key());  // a seed equal to the child's number
    count += 3;
  }
  for (const char* name : {"", "a", "b", "ab", "ba", "1", "init", "data"}) {
    keys.insert(root.Child(name).key());
    ++count;
  }
  keys.insert(root.Child("a").Child("b").key());
  keys.insert(root.Child("b").Child("a").key());
  keys.insert(root.Child("a").Child("a").key());
  count += 3;
  // Rng(1).Child(1) is root.Child(1).
  EXPECT_EQ(keys.size(), count - 1);
  EXPECT_EQ(root.Child(7).key(), root.Child(int64_t{7}).key());
  // A number equal to a purpose's hash (FNV-1a of nothing) is not that purpose.
  EXPECT_NE(root.Child("").key(), root.Child(static_cast<int64_t>(0xCBF29CE484222325)).key());
}

TEST(RngTest, ChildrenAreIndependent) {
  constexpr int64_t kCount = 100000;
  const Rng root(3);
  const std::vector<Rng> streams = {root,          root.Child("a"), root.Child("b"),
                                    root.Child(0), root.Child(1),   root.Child(0).Child(0)};
  for (size_t a = 0; a < streams.size(); ++a) {
    for (size_t b = a + 1; b < streams.size(); ++b) {
      double product = 0;
      for (int64_t i = 0; i < kCount; ++i) product += streams[a].Normal(i) * streams[b].Normal(i);
      EXPECT_NEAR(product / kCount, 0, 5 / std::sqrt(static_cast<double>(kCount)))
          << a << " and " << b;
    }
  }
  // The first draws of neighbouring children, as batches use them.
  double sum = 0, product = 0;
  for (int64_t i = 0; i < kCount; ++i) {
    const double x = root.Child(i).Normal(0);
    sum += x;
    product += x * root.Child(i + 1).Normal(0);
  }
  EXPECT_NEAR(sum / kCount, 0, 5 / std::sqrt(static_cast<double>(kCount)));
  EXPECT_NEAR(product / kCount, 0, 5 / std::sqrt(static_cast<double>(kCount)));
}

}  // namespace
}  // namespace longrange
