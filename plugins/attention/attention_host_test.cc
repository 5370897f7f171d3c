// The host's promises: streaming equals one shot over any cut, both paths agree, padding changes
// nothing, in values and gradients, in double.

#include "plugins/attention/attention_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/tolerance.h"
#include "plugins/attention/rope.h"

namespace longrange {
namespace {

class Rope : public PositionScheme {
 public:
  // `stretch`: frequencies fall with the length, as dynamic schemes do.
  Rope(int64_t dims, bool stretch) : dims_(dims), stretch_(stretch) {}
  uint32_t uses() const override { return kRotary; }
  bool depends_on_length() const override { return stretch_; }
  RotaryAngles RotaryFor(int64_t length, const nn::Call&) const override {
    const double factor = stretch_ ? 1 + 0.1 * static_cast<double>(length) : 1;
    std::vector<double> f = RopeFrequencies(dims_, 100);
    for (double& v : f) v /= factor;
    return {FrequencyTensor(f), 1.1, false};
  }

 private:
  int64_t dims_;
  bool stretch_;
};

class Slopes : public PositionScheme {
 public:
  uint32_t uses() const override { return kBias; }
  ScoreBias BiasFor(int64_t heads, const nn::Call&) const override {
    Tensor slope = Tensor::Empty({heads}, DType::kFloat64);
    for (int64_t h = 0; h < heads; ++h)
      slope.mutable_data<double>()[h] = 0.1 * static_cast<double>(h + 1);
    return {slope};
  }
};

// A learned bias for each of the first distances.
class Table : public PositionScheme {
 public:
  Table(const nn::Scope& scope, int64_t heads)
      : table_hr_(scope.Param("table", {heads, 5}, nn::Normal(1))) {}
  uint32_t uses() const override { return kBias; }
  ScoreBias BiasFor(int64_t, const nn::Call&) const override { return {Tensor(), table_hr_}; }

 private:
  Tensor table_hr_;
};

// A learned vector for each of the first places, added to what queries and keys are made of.
class Places : public PositionScheme {
 public:
  Places(const nn::Scope& scope, int64_t width)
      : places_nd_(scope.Param("places", {20, width}, nn::Normal(1))) {}
  uint32_t uses() const override { return kAtQk; }
  int64_t max_positions() const override { return 20; }
  Tensor AddTo(const Tensor& x_btd, const std::vector<int64_t>& first_b,
               const nn::Call&) const override {
    Tensor place_bt = Tensor::Empty({x_btd.dim(0), x_btd.dim(1)}, DType::kInt64);
    for (int64_t i = 0; i < place_bt.numel(); ++i) {
      place_bt.mutable_data<int64_t>()[i] =
          std::max<int64_t>(0, first_b[i / x_btd.dim(1)] + i % x_btd.dim(1));
    }
    return Add(x_btd, Embedding(places_nd_, place_bt));
  }

 private:
  Tensor places_nd_;
};

// A key and half of each of the two before it.
class Trailing : public KeyFilter {
 public:
  int64_t reach() const override { return 2; }
  Tensor Filter(const Tensor& k_bskp, const std::vector<int64_t>& first_b) const override {
    const int64_t rows = k_bskp.dim(1) - 2;
    Tensor y = Narrow(k_bskp, 1, 2, rows);
    for (const int64_t back : {1, 2}) {
      const Tensor before = Narrow(k_bskp, 1, 2 - back, rows);
      Tensor none = Tensor::Zeros(before.shape(), DType::kUInt8);
      const int64_t size = none.numel() / (none.dim(0) * rows);
      for (int64_t i = 0; i < none.numel(); ++i) {
        none.mutable_data<uint8_t>()[i] =
            first_b[i / (size * rows)] + i / size % rows < back ? 1 : 0;
      }
      y = Add(y, Scale(MaskedFill(before, none, 0), 0.5));
    }
    return y;
  }
};

// The last `window` rows; head 1 sees every second of them less.
class Window : public AttentionRule {
 public:
  explicit Window(int64_t window) : window_(window) {}
  std::pair<int64_t, int64_t> Keep() const override { return {0, window_}; }
  bool by_head() const override { return true; }
  void Spans(int64_t head, int64_t query, int64_t keys, const nn::Call&,
             std::vector<Span>* out) const override {
    const int64_t reach = head == 1 ? window_ / 2 + 1 : window_;
    out->push_back({std::max<int64_t>(0, query - reach + 1), keys});
  }

 private:
  int64_t window_;
};

// The first two rows and the last three at other positions than their own: in branch 1 the first
// rows stand at 0.5 and 1, and every query at 7.25; the others are near.
class Moved : public AttentionRule {
 public:
  int32_t branches() const override { return 2; }
  double QueryAt(int32_t branch, int64_t query) const override {
    return branch == 0 ? static_cast<double>(query) : 7.25;
  }
  double KeyAt(int32_t branch, int64_t key) const override {
    return static_cast<double>(key) * (branch == 0 ? 1 : 0.5) + (branch == 0 ? 0 : 0.5);
  }
  std::pair<int64_t, int64_t> Keep() const override { return {2, 3}; }
  void Spans(int64_t, int64_t query, int64_t, const nn::Call&,
             std::vector<Span>* out) const override {
    const int64_t near = std::max<int64_t>(0, query - 2), far = std::min<int64_t>(2, near);
    if (far > 0) out->push_back({0, far, 1});
    out->push_back({near, query + 1});
  }
};

struct Made {
  nn::ParameterStore store;
  std::unique_ptr<AttentionHost> host;
};

constexpr int64_t kWidth = 12, kHeads = 4, kHeadWidth = 6;

std::unique_ptr<Made> Make(const std::string& kind, int64_t kv_heads = 2,
                           nn::Direction direction = nn::Direction::kCausal,
                           DType dtype = DType::kFloat64) {
  auto made = std::make_unique<Made>();
  AttentionHostOptions options;
  options.heads = kHeads;
  options.kv_heads = kv_heads;
  options.head_width = kHeadWidth;
  options.init_std = 0.4;
  if (kind == "rope" || kind == "window" || kind == "moved")
    options.position = std::make_unique<Rope>(kHeadWidth, false);
  if (kind == "dynamic" || kind == "moved dynamic")
    options.position = std::make_unique<Rope>(4, true);
  if (kind == "slopes") options.position = std::make_unique<Slopes>();
  if (kind == "window") options.rule = std::make_unique<Window>(3);
  if (kind == "moved" || kind == "moved dynamic") options.rule = std::make_unique<Moved>();
  if (kind == "trailing" || kind == "trailing window") {
    options.position = std::make_unique<Rope>(kHeadWidth, false);
    options.key_filter = std::make_unique<Trailing>();
  }
  if (kind == "trailing window") options.rule = std::make_unique<Window>(3);
  BuildArgs args{nn::Scope(&made->store, Rng(5), dtype)};
  args.width = kWidth;
  args.direction = direction;
  if (kind == "places") options.position = std::make_unique<Places>(args.scope, kWidth);
  if (kind == "table") options.position = std::make_unique<Table>(args.scope, kHeads);
  auto host = AttentionHost::Create(std::move(options), args);
  CHECK(host.ok()) << host.status();
  made->host = *std::move(host);
  return made;
}

Tensor Random(const Shape& shape, int64_t seed) {
  Tensor t = Tensor::Empty(shape, DType::kFloat64);
  for (int64_t i = 0; i < t.numel(); ++i)
    t.mutable_data<double>()[i] = Rng(11).Child(seed).Normal(i);
  return t;
}

class Kinds : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, Kinds,
                         testing::Values("none", "rope", "dynamic", "slopes", "table", "window",
                                         "moved", "moved dynamic", "places", "trailing",
                                         "trailing window"));

TEST_P(Kinds, ExtendOverAnyCutEqualsForward) {
  const auto made = Make(GetParam());
  const int64_t tokens = 11;
  const Tensor x = Random({2, tokens, kWidth}, 1), dy = Random({2, tokens, kWidth}, 2);
  nn::Call call;
  call.horizon = tokens;
  const Tensor leaf = Leaf(x);
  const Tensor expected = made->host->Forward(leaf, nn::Rows(), call);
  Backward({expected}, {dy});
  const Tensor expected_dx = Gradient(leaf), expected_dw = Gradient(made->store.all()[1].value);
  for (const std::vector<int64_t>& cuts : std::vector<std::vector<int64_t>>{
           {11}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {5, 6}, {1, 7, 3}, {10, 1}}) {
    made->store.ClearGradients();
    const Tensor again = Leaf(x);
    nn::State state = made->host->NewState(2);
    std::vector<Tensor> parts;
    int64_t at = 0;
    for (const int64_t size : cuts) {
      parts.push_back(made->host->Extend(Narrow(again, 1, at, size), nn::Rows(), call, &state));
      at += size;
    }
    const Tensor y = Concat(parts, 1);
    EXPECT_THAT(y, RmsClose(expected, kFloat64Rms)) << testing::PrintToString(cuts);
    Backward({y}, {dy});
    EXPECT_THAT(Gradient(again), RmsClose(expected_dx, kFloat64Rms))
        << testing::PrintToString(cuts);
    EXPECT_THAT(Gradient(made->store.all()[1].value), RmsClose(expected_dw, kFloat64Rms));
  }
}

// A stream copied, detached and gone on with is the same stream.
TEST(AttentionHost, StateIsAValue) {
  const auto made = Make("dynamic");
  const Tensor x = Random({1, 6, kWidth}, 1);
  nn::Call call;
  call.horizon = 6;
  NoGradScope no_grad;
  nn::State state = made->host->NewState(1);
  made->host->Extend(Narrow(x, 1, 0, 4), nn::Rows(), call, &state);
  nn::State copy = state.Clone();
  const Tensor a = made->host->Extend(Narrow(x, 1, 4, 2), nn::Rows(), call, &state);
  copy.Detach();
  const Tensor b = made->host->Extend(Narrow(x, 1, 4, 2), nn::Rows(), call, &copy);
  EXPECT_THAT(a, BitEqual(b));
  EXPECT_EQ(state.bytes(), 2 * 6 * 2 * kHeadWidth * 8 + 16);
}

TEST(AttentionHost, AWindowBoundsTheCache) {
  const auto made = Make("window");
  nn::State state = made->host->NewState(1);
  NoGradScope no_grad;
  for (int i = 0; i < 9; ++i)
    made->host->Extend(Random({1, 1, kWidth}, i), nn::Rows(), nn::Call(), &state);
  EXPECT_EQ(state.Get("k").dim(1), 3);
}

TEST(AttentionHost, FirstRowsStayInABoundedCache) {
  const auto made = Make("moved");
  nn::State state = made->host->NewState(1);
  NoGradScope no_grad;
  for (int i = 0; i < 9; ++i)
    made->host->Extend(Random({1, 1, kWidth}, i), nn::Rows(), nn::Call(), &state);
  EXPECT_EQ(state.Get("k").dim(1), 5);
  EXPECT_EQ(made->host->traits().state, Growth::kConstant);
}

// softmax over the pairs that the rule names, each at the distance of its branch, in loops.
TEST(AttentionHost, ABranchMovesItsRows) {
  const auto made = Make("moved", /*kv_heads=*/4);
  const int64_t tokens = 9;
  const Tensor x = Random({1, tokens, kWidth}, 1);
  NoGradScope no_grad;
  const TensorMap weights = made->store.Values();
  const auto project = [&](const char* name) {
    return Reshape(Linear(x, weights.at(name)), {tokens, kHeads, kHeadWidth});
  };
  const Tensor q = project("w_q"), k = project("w_k"), v = project("w_v");
  const std::vector<double> f = RopeFrequencies(kHeadWidth, 100);
  const Moved rule;
  Tensor mixed = Tensor::Zeros({1, tokens, kHeads * kHeadWidth}, DType::kFloat64);
  for (int64_t h = 0; h < kHeads; ++h) {
    for (int64_t i = 0; i < tokens; ++i) {
      std::vector<double> weight(tokens, 0);
      double sum = 0;
      for (int64_t j = 0; j <= i; ++j) {
        const bool near = i - j < 3;
        if (!near && j >= 2) continue;
        const double distance = near ? static_cast<double>(i - j) : 7.25 - (0.5 * j + 0.5);
        double score = 0;
        for (int64_t c = 0; c < kHeadWidth / 2; ++c) {
          const double* a = q.data<double>() + (i * kHeads + h) * kHeadWidth + c;
          const double* b = k.data<double>() + (j * kHeads + h) * kHeadWidth + c;
          const double cos = std::cos(distance * f[c]), sin = std::sin(distance * f[c]);
          const double re = a[0] * cos - a[kHeadWidth / 2] * sin,
                       im = a[0] * sin + a[kHeadWidth / 2] * cos;
          score += 1.1 * 1.1 * (re * b[0] + im * b[kHeadWidth / 2]);
        }
        sum += weight[j] = std::exp(score / std::sqrt(static_cast<double>(kHeadWidth)));
      }
      for (int64_t j = 0; j <= i; ++j) {
        for (int64_t c = 0; c < kHeadWidth; ++c) {
          mixed.mutable_data<double>()[(i * kHeads + h) * kHeadWidth + c] +=
              weight[j] / sum * v.data<double>()[(j * kHeads + h) * kHeadWidth + c];
        }
      }
    }
  }
  EXPECT_THAT(made->host->Forward(x, nn::Rows(), nn::Call()),
              RmsClose(Linear(mixed, weights.at("w_o")), kFloat64Rms));
}

class RecordingSink : public nn::Sink {
 public:
  explicit RecordingSink(std::vector<std::string> taps = {"mixer/attention"})
      : taps_(std::move(taps)) {}
  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view path) const override {
    return std::find(taps_.begin(), taps_.end(), path) != taps_.end();
  }
  Tensor Tap(absl::string_view path, const Tensor& value) override {
    seen = value;
    all[std::string(path)] = value;
    return value;
  }
  Tensor seen;
  std::map<std::string, Tensor> all;

 private:
  std::vector<std::string> taps_;
};

// softmax(q k / sqrt(P)) v with q and k of rows that know their place and v of rows that do not,
// from the maps of the heads; each head's output is what its side output says, and the layer's is
// the sum of what the heads write.
TEST(AttentionHost, PlacesReachQueriesAndKeysAndHeadsAreTheirMaps) {
  for (const char* kind : {"places", "none"}) {
    const auto made = Make(kind);
    const int64_t tokens = 7;
    const Tensor x = Random({1, tokens, kWidth}, 1);
    NoGradScope no_grad;
    const HeadMaps maps = made->host->Heads();
    ASSERT_EQ(maps.w_k_hpd.shape(), (Shape{kHeads, kHeadWidth, kWidth}));
    ASSERT_EQ(maps.w_o_hdp.shape(), (Shape{kHeads, kWidth, kHeadWidth}));
    Tensor placed = Reshape(x, {tokens, kWidth});
    if (std::string(kind) == "places")
      placed = Add(placed, Narrow(made->store.Values().at("places"), 0, 0, tokens));
    RecordingSink sink({"mixer/head_out", "mixer/attention"});
    nn::Call call;
    call.path = "mixer";
    call.sink = &sink;
    const Tensor y = made->host->Forward(x, nn::Rows(), call);
    Tensor sum = Tensor::Zeros({tokens, kWidth}, DType::kFloat64);
    for (int64_t h = 0; h < kHeads; ++h) {
      const auto map = [&](const Tensor& maps_of) {
        return Reshape(Narrow(maps_of, 0, h, 1), {maps_of.dim(1), maps_of.dim(2)});
      };
      const Tensor q = Linear(placed, map(maps.w_q_hpd)), k = Linear(placed, map(maps.w_k_hpd)),
                   v = Linear(Reshape(x, {tokens, kWidth}), map(maps.w_v_hpd));
      Tensor hidden = Tensor::Zeros({tokens, tokens}, DType::kUInt8);
      for (int64_t i = 0; i < hidden.numel(); ++i)
        hidden.mutable_data<uint8_t>()[i] = i % tokens > i / tokens ? 1 : 0;
      const Tensor p = Softmax(MaskedFill(
          Scale(MatMul(q, k, false, true), 1 / std::sqrt(kHeadWidth * 1.0)), hidden, -INFINITY));
      const Tensor out = MatMul(p, v);
      EXPECT_THAT(Reshape(Narrow(sink.all.at("mixer/head_out"), 2, h, 1), out.shape()),
                  RmsClose(out, kFloat64Rms));
      EXPECT_THAT(Reshape(Narrow(sink.all.at("mixer/attention"), 1, h, 1), p.shape()),
                  RmsClose(p, kFloat64Rms));
      sum = Add(sum, Linear(out, map(maps.w_o_hdp)));
    }
    EXPECT_THAT(Reshape(y, sum.shape()), RmsClose(sum, kFloat64Rms)) << kind;
  }
}

TEST(AttentionHost, TakesNoMoreRowsThanTheSchemePlaces) {
  EXPECT_EQ(Make("places")->host->traits().max_tokens, 20);
  EXPECT_EQ(Make("rope")->host->traits().max_tokens, 0);
}

TEST_P(Kinds, ALookAtTheProbabilitiesChangesNothing) {
  const auto made = Make(GetParam());
  const Tensor x = Leaf(Random({2, 7, kWidth}, 3)), dy = Random({2, 7, kWidth}, 4);
  nn::Call call;
  call.path = "mixer";
  nn::Rows rows;
  rows.begin_b = Tensor::FromVector<int64_t>({2}, {0, 2});
  rows.end_b = Tensor::FromVector<int64_t>({2}, {6, 7});
  const Tensor fused = made->host->Forward(x, rows, call);
  Backward({fused}, {dy});
  const Tensor fused_dx = Gradient(x);
  ClearGradient(x);
  RecordingSink sink;
  call.sink = &sink;
  const Tensor plain = made->host->Forward(x, rows, call);
  Backward({plain}, {dy});
  EXPECT_THAT(plain, RmsClose(fused, kFloat64Rms));
  EXPECT_THAT(Gradient(x), RmsClose(fused_dx, kFloat64Rms));
  EXPECT_EQ(sink.seen.shape(), (Shape{2, kHeads, 7, 7}));
}

TEST_P(Kinds, PaddingOnTheLeftIsAShift) {
  const auto made = Make(GetParam());
  NoGradScope no_grad;
  const Tensor x = Random({1, 5, kWidth}, 3);
  const Tensor padded = Concat({Random({1, 3, kWidth}, 9), x}, 1);
  nn::Call call;
  call.horizon = 8;
  nn::Rows rows;
  rows.begin_b = Tensor::FromVector<int64_t>({1}, {3});
  const Tensor expected = made->host->Forward(x, nn::Rows(), call);
  EXPECT_THAT(Narrow(made->host->Forward(padded, rows, call), 1, 3, 5),
              RmsClose(expected, kFloat64Rms));
  // The same in a stream.
  nn::State state = made->host->NewState(1);
  made->host->Extend(Narrow(padded, 1, 0, 4), rows, call, &state);
  const Tensor last = made->host->Extend(Narrow(padded, 1, 4, 4), nn::Rows(), call, &state);
  EXPECT_THAT(last, RmsClose(Narrow(expected, 1, 1, 4), kFloat64Rms));
}

TEST(AttentionHost, MetaCallsCountWorkAndGiveShapes) {
  nn::ParameterStore store;
  AttentionHostOptions options;
  options.heads = options.kv_heads = 2;
  options.head_width = 6;
  options.position = std::make_unique<Rope>(6, false);
  BuildArgs args{nn::Scope(&store, Rng(5), DType::kFloat32, Device::kMeta)};
  args.width = kWidth;
  LR_ASSERT_OK_AND_ASSIGN(const auto host, AttentionHost::Create(std::move(options), args));
  const Tensor y = host->Forward(Tensor::Empty({2, 9, kWidth}, DType::kFloat32, Device::kMeta),
                                 nn::Rows(), nn::Call());
  EXPECT_EQ(y.shape(), (Shape{2, 9, kWidth}));
  EXPECT_TRUE(y.is_meta());
}

// Samples whose texts begin at different rows, together and alone, in one call and streamed.
TEST_P(Kinds, RaggedPaddingOnTheLeft) {
  const auto made = Make(GetParam());
  NoGradScope no_grad;
  const int64_t tokens = 14;
  const std::vector<int64_t> begin = {5, 0, 0, 2};
  const Tensor x = Random({4, tokens, kWidth}, 3);
  nn::Call call;
  call.horizon = tokens;
  nn::Rows rows;
  rows.begin_b = Tensor::FromVector<int64_t>({4}, begin);
  const Tensor together = made->host->Forward(x, rows, call);
  nn::State state = made->host->NewState(4);
  std::vector<Tensor> parts;
  for (const auto& [at, size] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 6}, {6, 1}, {7, 1}, {8, 3}, {11, 1}, {12, 2}}) {
    parts.push_back(
        made->host->Extend(Narrow(x, 1, at, size), at == 0 ? rows : nn::Rows(), call, &state));
  }
  const Tensor streamed = Concat(parts, 1);
  for (int64_t b = 0; b < 4; ++b) {
    const int64_t size = tokens - begin[b];
    const auto own = [&](const Tensor& y) { return Narrow(Narrow(y, 0, b, 1), 1, begin[b], size); };
    const Tensor alone = made->host->Forward(own(x), nn::Rows(), call);
    EXPECT_THAT(own(together), RmsClose(alone, kFloat64Rms)) << b;
    EXPECT_THAT(own(streamed), RmsClose(alone, kFloat64Rms)) << b;
  }
}

class FrontierKinds : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(All, FrontierKinds,
                         testing::Values("none", "rope", "dynamic", "slopes", "table"));

nn::Rows UpTo(const std::vector<int32_t>& frontier) {
  nn::Rows rows;
  rows.frontier_t = Tensor::FromVector<int32_t>({static_cast<int64_t>(frontier.size())}, frontier);
  return rows;
}

// Three rows that see each other, a text, two rows that see everything.
const std::vector<int32_t> kMemory = {3, 3, 3, 4, 5, 6, 7, 9, 9};

// A row whose frontier is f is a row of attention in both directions over the first f.
TEST_P(FrontierKinds, ARowSeesAllUpToItsFrontier) {
  const auto made = Make(GetParam()),
             both_ways = Make(GetParam(), 2, nn::Direction::kBidirectional);
  const int64_t tokens = 9;
  const Tensor x = Random({2, tokens, kWidth}, 1), dy = Random({2, tokens, kWidth}, 2);
  nn::Call call;
  call.horizon = tokens;
  nn::Memo memo;  // holds what a call without a frontier has planned
  call.memo = &memo;
  made->host->Forward(x, nn::Rows(), call);
  const Tensor leaf = Leaf(x), expected_leaf = Leaf(x);
  const Tensor y = made->host->Forward(leaf, UpTo(kMemory), call);
  call.memo = nullptr;
  std::vector<Tensor> parts;
  for (int64_t t = 0; t < tokens; ++t) {
    const Tensor seen = Narrow(expected_leaf, 1, 0, kMemory[t]);
    parts.push_back(Narrow(both_ways->host->Forward(seen, nn::Rows(), call), 1, t, 1));
  }
  const Tensor expected = Concat(parts, 1);
  EXPECT_THAT(y, RmsClose(expected, kFloat64Rms));
  Backward({y}, {dy});
  Backward({expected}, {dy});
  EXPECT_THAT(Gradient(leaf), RmsClose(Gradient(expected_leaf), kFloat64Rms));
  for (size_t i = 0; i < made->store.all().size(); ++i) {
    EXPECT_THAT(Gradient(made->store.all()[i].value),
                RmsClose(Gradient(both_ways->store.all()[i].value), kFloat64Rms));
  }
}

TEST_P(FrontierKinds, TheKernelIsThePlainForm) {
  const auto wide = Make(GetParam()),
             narrow = Make(GetParam(), 2, nn::Direction::kCausal, DType::kFloat32);
  TensorMap values = wide->store.Values();
  for (auto& [name, value] : values) value = value.To(DType::kFloat32);
  ASSERT_TRUE(narrow->store.Load(values).ok());
  const int64_t tokens = 150, memory = 20;  // more than a tile
  std::vector<int32_t> frontier(tokens);
  for (int64_t t = 0; t < tokens; ++t) {
    frontier[t] = static_cast<int32_t>(t < memory ? memory : t < tokens - memory ? t + 1 : tokens);
  }
  const Tensor x = Random({2, tokens, kWidth}, 1), dy = Random({2, tokens, kWidth}, 2);
  const auto run = [&](Made* made, DType dtype) {
    const Tensor leaf = Leaf(x.To(dtype));
    const Tensor y = made->host->Forward(leaf, UpTo(frontier), nn::Call());
    Backward({y}, {dy.To(dtype)});
    return std::make_pair(y.Detach(), Gradient(leaf));
  };
  const auto [y, dx] = run(narrow.get(), DType::kFloat32);
  const auto [expected, expected_dx] = run(wide.get(), DType::kFloat64);
  EXPECT_THAT(y, RmsClose(expected, kFloat32ForwardRms));
  EXPECT_THAT(dx, RmsClose(expected_dx, kFloat32GradientRms));
}

// In pieces that no frontier reaches beyond, the text row by row; with padding in front of one
// sample.
TEST_P(FrontierKinds, AStreamHasAFrontierToo) {
  const auto made = Make(GetParam());
  const int64_t tokens = 9;
  const Tensor x = Random({2, tokens, kWidth}, 1), dy = Random({2, tokens, kWidth}, 2);
  nn::Call call;
  call.horizon = tokens;
  for (const bool padded : {false, true}) {
    nn::Rows rows = UpTo(kMemory);
    if (padded) rows.begin_b = Tensor::FromVector<int64_t>({2}, {0, 2});
    const Tensor leaf = Leaf(x);
    const Tensor real =  // what stands at padding is nobody's
        padded ? Concat({Tensor::Zeros({2, 2, kWidth}, DType::kFloat64), Narrow(dy, 1, 2, 7)}, 1)
               : dy;
    const Tensor expected = made->host->Forward(leaf, rows, call);
    Backward({expected}, {real});
    for (const std::vector<int64_t>& cuts :
         std::vector<std::vector<int64_t>>{{9}, {3, 1, 1, 1, 1, 2}, {3, 4, 2}, {5, 2, 2}, {4, 5}}) {
      const Tensor again = Leaf(x);
      nn::State state = made->host->NewState(2);
      std::vector<Tensor> parts;
      int64_t at = 0;
      for (const int64_t size : cuts) {
        nn::Rows piece;
        piece.frontier_t = rows.frontier_t.ViewRows(at, at + size);
        if (at == 0) piece.begin_b = rows.begin_b;
        parts.push_back(made->host->Extend(Narrow(again, 1, at, size), piece, call, &state));
        at += size;
      }
      const Tensor y = Concat(parts, 1);
      EXPECT_THAT(Narrow(y, 1, 2, 7), RmsClose(Narrow(expected, 1, 2, 7), kFloat64Rms))
          << testing::PrintToString(cuts);
      Backward({y}, {real});
      EXPECT_THAT(Gradient(again), RmsClose(Gradient(leaf), kFloat64Rms))
          << testing::PrintToString(cuts);
    }
  }
}

TEST(AttentionHost, AFrontierMayHideARowFromItself) {
  const auto made = Make("none");
  const Tensor x = Leaf(Random({1, 4, kWidth}, 1));
  const Tensor y = made->host->Forward(x, UpTo({0, 1, 4, 2}), nn::Call());
  EXPECT_THAT(Narrow(y, 1, 0, 1), BitEqual(Tensor::Zeros({1, 1, kWidth}, DType::kFloat64)));
  // Row 3 asks rows 0 and 1, and is asked by row 2. What row 1 asks does not matter where there is
  // one answer.
  const std::vector<std::vector<bool>> sees = {{}, {1, 0, 0, 0}, {1, 1, 1, 1}, {1, 1, 0, 1}};
  for (int64_t t = 1; t < 4; ++t) {
    ClearGradient(x);
    Backward(Sum(Narrow(made->host->Forward(x, UpTo({0, 1, 4, 2}), nn::Call()), 1, t, 1)));
    for (int64_t s = 0; s < 4; ++s) {
      double size = 0;
      for (const double g : Narrow(Gradient(x), 1, s, 1).ToDoubles()) size += std::abs(g);
      EXPECT_EQ(size > 1e-9, sees[t][s]) << t << " " << s;
    }
  }
}

TEST(AttentionHost, TakesAFrontierWhereItHasNoRule) {
  EXPECT_TRUE(Make("rope")->host->traits().frontier);
  EXPECT_FALSE(Make("window")->host->traits().frontier);
  EXPECT_FALSE(Make("rope", 2, nn::Direction::kBidirectional)->host->traits().frontier);
}

class AtInput : public PositionScheme {
 public:
  uint32_t uses() const override { return kAtInput; }
};

TEST(AttentionHost, RefusesWhatItCannotHost) {
  nn::ParameterStore store;
  BuildArgs args{nn::Scope(&store, Rng(5))};
  args.width = kWidth;
  AttentionHostOptions options;
  options.heads = 4;
  options.kv_heads = 3;
  options.head_width = 3;
  EXPECT_THAT(AttentionHost::Create(std::move(options), args),
              StatusIs(absl::StatusCode::kInvalidArgument, "kv_heads: 3"));
  AttentionHostOptions moved;
  moved.head_width = 3;
  moved.position = std::make_unique<Slopes>();
  moved.rule = std::make_unique<Moved>();
  EXPECT_THAT(AttentionHost::Create(std::move(moved), args),
              StatusIs(absl::StatusCode::kInvalidArgument, "score bias"));
  AttentionHostOptions placed;
  placed.head_width = 3;
  placed.position = std::make_unique<Places>(args.scope, kWidth);
  placed.rule = std::make_unique<Moved>();
  EXPECT_THAT(AttentionHost::Create(std::move(placed), args),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "which positions added to what queries and keys are made of go by"));
  AttentionHostOptions frozen;
  frozen.head_width = 4;
  frozen.position = std::make_unique<Rope>(4, true);
  frozen.rule = std::make_unique<Moved>();
  frozen.freeze_cached_keys = true;
  EXPECT_THAT(AttentionHost::Create(std::move(frozen), args),
              StatusIs(absl::StatusCode::kInvalidArgument, "freeze_cached_keys"));
  AttentionHostOptions input;
  input.head_width = 3;
  input.position = std::make_unique<AtInput>();
  EXPECT_THAT(AttentionHost::Create(std::move(input), args),
              StatusIs(absl::StatusCode::kInvalidArgument, "position"));
}

}  // namespace
}  // namespace longrange
