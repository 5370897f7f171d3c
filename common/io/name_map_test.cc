#include "common/io/name_map.h"

#include <numeric>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/io/glob.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "gtest/gtest.h"

namespace longrange {
namespace {

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// 0, 1, 2, ... so that every element says where it came from.
Tensor Iota(const Shape& shape, int64_t first = 0) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  std::iota(values.begin(), values.end(), static_cast<float>(first));
  return Tensor::FromVector<float>(shape, values);
}
Tensor Floats(const Shape& shape, const std::vector<float>& values) {
  return Tensor::FromVector<float>(shape, values);
}

// Import gives `ours`, and Export gives `theirs` back.
void ExpectBothWays(const NameMap& map, const TensorMap& theirs, const TensorMap& ours) {
  std::vector<WantedTensor> wanted;
  for (const auto& [name, tensor] : ours) wanted.push_back({name, tensor.shape(), tensor.dtype()});
  LR_ASSERT_OK_AND_ASSIGN(const TensorMap imported, map.Import(theirs, wanted));
  ASSERT_EQ(imported.size(), ours.size());
  for (const auto& [name, tensor] : ours) EXPECT_THAT(imported.at(name), BitEqual(tensor)) << name;
  LR_ASSERT_OK_AND_ASSIGN(const TensorMap exported, map.Export(ours));
  ASSERT_EQ(exported.size(), theirs.size());
  for (const auto& [name, tensor] : theirs)
    EXPECT_THAT(exported.at(name), BitEqual(tensor)) << name;
}

TEST(NameMapTest, RenamesWithSeveralNumbers) {
  NameMap map;
  map.Add("embed.weight", "embedding").Add("layers.*.fn.*.w", "stack/*/part*/w");
  ExpectBothWays(map,
                 {{"embed.weight", Iota({2, 3})},
                  {"layers.0.fn.1.w", Iota({2}, 10)},
                  {"layers.12.fn.0.w", Iota({2}, 20)}},
                 {{"embedding", Iota({2, 3})},
                  {"stack/0/part1/w", Iota({2}, 10)},
                  {"stack/12/part0/w", Iota({2}, 20)}});
}

TEST(NameMapTest, Transpose) {
  NameMap map;
  map.Add("a", "a", {Transform::Transpose()}).Add("b", "b", {Transform::Transpose(2, 0)});
  ExpectBothWays(map, {{"a", Iota({2, 3})}, {"b", Iota({2, 1, 3, 2})}},
                 {{"a", Floats({3, 2}, {0, 3, 1, 4, 2, 5})},
                  {"b", Floats({3, 1, 2, 2}, {0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11})}});
}

TEST(NameMapTest, ReshapeAndSqueeze) {
  NameMap map;
  map.Add("conv", "conv", {Transform::Squeeze(1)})
      .Add("flat", "grid", {Transform::Reshape({-1}, {2, -1})})
      // In order: [2, 1, 3] -> [2, 3] -> [3, 2].
      .Add("both", "both", {Transform::Squeeze(1), Transform::Transpose()});
  ExpectBothWays(map, {{"conv", Iota({2, 1, 4})}, {"flat", Iota({6})}, {"both", Iota({2, 1, 3})}},
                 {{"conv", Iota({2, 4})},
                  {"grid", Iota({2, 3})},
                  {"both", Floats({3, 2}, {0, 3, 1, 4, 2, 5})}});
}

TEST(NameMapTest, HeadRows) {
  NameMap map;
  map.Add("half", "half", {Transform::HalfToInterleaved(2)})
      .Add("back", "back", {Transform::InterleavedToHalf(2)})
      .Add("partial", "partial", {Transform::HalfToInterleaved(1, 4)});
  ExpectBothWays(map, {{"half", Iota({12})}, {"back", Iota({8, 1})}, {"partial", Iota({6})}},
                 {{"half", Floats({12}, {0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11})},
                  {"back", Floats({8, 1}, {0, 2, 1, 3, 4, 6, 5, 7})},
                  {"partial", Floats({6}, {0, 2, 1, 3, 4, 5})}});
}

TEST(NameMapTest, FusedQkvOfAllHeadsAndPerHead) {
  NameMap map;
  // Two query heads of two rows, one key and value head: rows q q q q k k v v.
  map.Add({{"h.*.qkv"}, {"l*/q", "l*/k", "l*/v"}});
  ExpectBothWays(map, {{"h.3.qkv", Iota({8, 2})}},
                 {{"l3/q", Iota({4, 2})}, {"l3/k", Iota({2, 2}, 8)}, {"l3/v", Iota({2, 2}, 12)}});

  // BLOOM: head by head, q, k, v of two rows each.
  NameMap bloom;
  NameMapRow row{{"qkv"}, {"q", "k", "v"}};
  row.groups = 2;
  bloom.Add(row);
  ExpectBothWays(bloom, {{"qkv", Iota({12})}},
                 {{"q", Floats({4}, {0, 1, 6, 7})},
                  {"k", Floats({4}, {2, 3, 8, 9})},
                  {"v", Floats({4}, {4, 5, 10, 11})}});

  // GPT-2 keeps [in, out]; the queries' heads are stored interleaved here.
  NameMap gpt2;
  NameMapRow conv1d{
      {"c_attn"}, {"q", "k"}, {Transform::Transpose()}, {{Transform::HalfToInterleaved(1)}}};
  gpt2.Add(conv1d);
  ExpectBothWays(
      gpt2, {{"c_attn", Iota({2, 6})}},
      {{"q", Floats({4, 2}, {0, 6, 2, 8, 1, 7, 3, 9})}, {"k", Floats({2, 2}, {4, 10, 5, 11})}});
}

TEST(NameMapTest, Merge) {
  NameMap map;
  map.Add({{"gate.*", "up.*"}, {"in.*"}});
  NameMapRow uneven{{"q", "k"}, {"qk"}};
  uneven.theirs_rows = {4, 2};
  uneven.groups = 2;
  map.Add(uneven);
  ExpectBothWays(
      map,
      {{"gate.0", Iota({2, 2})}, {"up.0", Iota({2, 2}, 4)}, {"q", Iota({4})}, {"k", Iota({2}, 4)}},
      {{"in.0", Iota({4, 2})}, {"qk", Floats({6}, {0, 1, 4, 2, 3, 5})}});
  EXPECT_THAT(map.Import({{"gate.0", Iota({1, 2})}, {"up.0", Iota({3, 2})}}, {{"in.0", {4, 2}}}),
              StatusIs(kInvalid, "up.0: got [3, 2], expected 1 rows"));
}

TEST(NameMapTest, EveryTransformRoundTripsOnRandomTensorsOfEveryType) {
  const Rng rng(3);
  const std::vector<Transform> transforms = {Transform::Transpose(),
                                             Transform::Transpose(0, 2),
                                             Transform::Transpose(1, 2),
                                             Transform::Reshape({12, 1, -1}, {6, -1}),
                                             Transform::Squeeze(1),
                                             Transform::HalfToInterleaved(3),
                                             Transform::InterleavedToHalf(2, 4)};
  for (const DType dtype :
       {DType::kFloat32, DType::kFloat64, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
    const Tensor t = IsFloating(dtype) ? RandomNormal({12, 1, 5}, rng, 1, dtype)
                                       : RandomIds({12, 1, 5}, rng, 200, dtype);
    for (const Transform& transform : transforms) {
      LR_ASSERT_OK_AND_ASSIGN(const Tensor there, transform.Apply(t, /*inverse=*/false));
      EXPECT_THAT(transform.ShapeAfter(t.shape(), /*inverse=*/false), IsOkAndHolds(there.shape()));
      EXPECT_THAT(transform.Apply(there, /*inverse=*/true), IsOkAndHolds(BitEqual(t)));
    }
  }
}

TEST(NameMapTest, TransformsRefuseWhatDoesNotFit) {
  EXPECT_THAT(Transform::Transpose().Apply(Iota({4}), false),
              StatusIs(kInvalid, "no dimension 1 to transpose in [4]"));
  EXPECT_THAT(Transform::Reshape({2, -1}, {-1}).Apply(Iota({3, 2}), false),
              StatusIs(kInvalid, "cannot reshape [3, 2]"));
  EXPECT_THAT(Transform::Reshape({6}, {4, -1}).Apply(Iota({6}), false),
              StatusIs(kInvalid, "cannot reshape [6]"));
  EXPECT_THAT(Transform::Squeeze(1).Apply(Iota({3, 2}), false),
              StatusIs(kInvalid, "expected size 1 at dimension 1"));
  EXPECT_THAT(Transform::Squeeze(2).Apply(Iota({3}), true),
              StatusIs(kInvalid, "no place for dimension 2"));
  EXPECT_THAT(Transform::HalfToInterleaved(4).Apply(Iota({6}), false),
              StatusIs(kInvalid, "are no 4 heads"));
  EXPECT_THAT(Transform::HalfToInterleaved(2).Apply(Iota({6}), false),
              StatusIs(kInvalid, "are no 2 heads"));
  EXPECT_THAT(Transform::HalfToInterleaved(2, 4).Apply(Iota({6}), false),
              StatusIs(kInvalid, "a rotation of 4"));
}

TEST(NameMapTest, EveryNameIsUsedExactlyOnce) {
  NameMap map;
  map.Add("a.*", "x/*").Add({{"f.*"}, {"y/*", "z/*"}});
  const std::vector<WantedTensor> wanted = {{"x/0", {1}}, {"x/1", {1}}, {"y/0", {1}}, {"z/0", {1}}};
  const TensorMap good = {{"a.0", Iota({1})}, {"a.1", Iota({1})}, {"f.0", Iota({2})}};
  EXPECT_THAT(map.Import(good, wanted), IsOk());

  TensorMap less = good;
  less.erase("a.1");
  less["b"] = less["f.1"] = Iota({1});
  EXPECT_THAT(map.Import(less, wanted),
              StatusIs(kInvalid, "missing in the file: a.1; unexpected in the file: b, f.1"));
  EXPECT_THAT(map.Import(good, {{"x/0", {1}}}),
              StatusIs(kInvalid, "unexpected in the file: a.1, f.0"));
  EXPECT_THAT(map.Import(good, {{"x/0", {1}}, {"w", {1}}}), StatusIs(kInvalid, "disagree on: w"));
  // One half of a fused tensor alone.
  EXPECT_THAT(map.Import(good, {{"x/0", {1}}, {"x/1", {1}}, {"y/0", {1}}}),
              StatusIs(kInvalid, "disagree on: z/0"));
  EXPECT_THAT(map.Import(good, {{"x/0", {1}}, {"x/0", {1}}}), StatusIs(kInvalid, "wanted twice"));
  EXPECT_THAT(map.Export({{"x/0", Iota({1})}, {"y/0", Iota({1})}}),
              StatusIs(kInvalid, "disagree on: z/0"));
  EXPECT_THAT(map.Export({{"q", Iota({1})}}), StatusIs(kInvalid, "disagree on: q"));
  // A `*` is a number and nothing else.
  EXPECT_THAT(map.Export({{"x/one", Iota({1})}}), StatusIs(kInvalid, "disagree on: x/one"));
  EXPECT_THAT(map.Export({{"x/", Iota({1})}}), StatusIs(kInvalid, "disagree on: x/"));

  TensorMap many;
  for (int i = 0; i < 12; ++i) many["n" + std::to_string(10 + i)] = Iota({1});
  EXPECT_THAT(
      map.Import(many, {}),
      StatusIs(kInvalid, "n10, n11, n12, n13, n14, n15, n16, n17, n18, n19, ... (12 in all)"));

  NameMap twice = map;
  twice.Add("a.0", "v");
  EXPECT_THAT(twice.Import(good, {{"x/0", {1}}, {"v", {1}}}),
              StatusIs(kInvalid, "uses \"a.0\" of the file twice"));
  EXPECT_THAT(twice.Export({{"x/0", Iota({1})}, {"v", Iota({1})}}),
              StatusIs(kInvalid, "writes \"a.0\" twice"));
  NameMap ambiguous = map;
  ambiguous.Add("c", "x/0");
  EXPECT_THAT(ambiguous.Import(good, wanted), StatusIs(kInvalid, "several rows for \"x/0\""));
}

TEST(NameMapTest, ShapesAndTypesAreChecked) {
  NameMap map;
  map.Add("a", "x").Add({{"qkv"}, {"q", "k"}});
  EXPECT_THAT(map.Import({{"a", Iota({2, 3})}}, {{"x", {3, 2}}}),
              StatusIs(kInvalid, "a as x: x: got shape [2, 3], expected [3, 2]"));
  EXPECT_THAT(map.Import({{"qkv", Iota({5, 2})}}, {{"q", {2, 2}}, {"k", {2, 2}}}),
              StatusIs(kInvalid, "qkv as q + k: got [5, 2], expected 4 rows: 2 + 2"));
  EXPECT_THAT(map.Import({{"qkv", Iota({4, 3})}}, {{"q", {2, 2}}, {"k", {2, 2}}}),
              StatusIs(kInvalid, "got shape [2, 3], expected [2, 2]"));
  EXPECT_THAT(map.Import({{"a", Tensor::Zeros({2}, DType::kInt64)}}, {{"x", {2}}}),
              StatusIs(kInvalid, "got int64, expected float32"));
  // Floating types are converted.
  const Tensor wide = Floats({2}, {1.5f, -2}).To(DType::kBFloat16);
  LR_ASSERT_OK_AND_ASSIGN(const TensorMap ours, map.Import({{"a", wide}}, {{"x", {2}}}));
  EXPECT_THAT(ours.at("x"), BitEqual(Floats({2}, {1.5f, -2})));
}

TEST(NameMapTest, TiedAndIgnored) {
  NameMap map;
  map.Add("embed", "embedding")
      .Add("w.*", "w/*")
      .Tie("head", "embedding")
      .Tie("copy.*", "w/*")
      .Ignore("*.inv_freq")
      .IgnoreOurs("buffer/*");
  const TensorMap theirs = {{"embed", Iota({2})}, {"w.7", Iota({3})}};
  const std::vector<WantedTensor> wanted = {
      {"embedding", {2}}, {"w/7", {3}}, {"buffer/steps", {1}}};
  LR_ASSERT_OK_AND_ASSIGN(const TensorMap ours, map.Import(theirs, wanted));
  EXPECT_EQ(ours.size(), 2u);

  TensorMap more = theirs;
  more["head"] = Iota({2});
  more["copy.7"] = Iota({3});
  more["layers.3.rotary.inv_freq"] = Iota({4});
  EXPECT_THAT(map.Import(more, wanted), IsOk());
  more["head"] = Iota({2}, 1);
  EXPECT_THAT(
      map.Import(more, wanted),
      StatusIs(kInvalid, "\"head\" and \"embed\" of the file are tied here, but they differ"));
  more["head"] = Iota({2});
  more["copy.8"] = Iota({3});
  EXPECT_THAT(map.Import(more, wanted), StatusIs(kInvalid, "unexpected in the file: copy.8"));

  TensorMap with_buffer = ours;
  with_buffer["buffer/steps"] = Iota({1});
  LR_ASSERT_OK_AND_ASSIGN(const TensorMap exported, map.Export(with_buffer));
  EXPECT_EQ(exported.size(), 2u);
}

TEST(NameMapTest, MapsThatMakeNoSenseAreRefusedAtOnce) {
  EXPECT_DEATH(NameMap().Add("a.*", "b"), "as many");
  EXPECT_DEATH(NameMap().Add("a.**", "b.**"), "where the number ends");
  EXPECT_DEATH(NameMap().Add("a.*2", "b.*2"), "where the number ends");
  EXPECT_DEATH(Transform::Reshape({-1, -1}, {2}), "more than one -1");
}

TEST(GlobTest, Matches) {
  EXPECT_TRUE(GlobMatch("*", ""));
  EXPECT_TRUE(GlobMatch("a*c", "abcbc"));
  EXPECT_TRUE(GlobMatch("*.inv_freq", "a.b.inv_freq"));
  EXPECT_TRUE(GlobMatch("a**b", "ab"));
  EXPECT_FALSE(GlobMatch("a*c", "abcb"));
  EXPECT_FALSE(GlobMatch("", "a"));
  EXPECT_FALSE(GlobMatch("a", "ab"));
}

}  // namespace
}  // namespace longrange
