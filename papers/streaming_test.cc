// Position schemes in the control arm's attention: streaming over any cut equals one call at an
// equal horizon, in values and gradients; and only schemes that say so depend on the horizon.

#include <google/protobuf/text_format.h>

#include <memory>
#include <string>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/base/rng.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "plugins/mixer.h"
#include "plugins/position.h"

namespace longrange {
namespace {

struct Scheme {
  const char* name;
  const char* config;  // for a model trained at 8 tokens, heads of 8 channels
  bool depends_on_length;
};

constexpr Scheme kSchemes[] = {
    {"Alibi", "[type.googleapis.com/longrange.AlibiConfig] {}", false},
    {"Rope", "[type.googleapis.com/longrange.TransformerRopeConfig] {}", false},
    {"RopeInterleavedPartial",
     "[type.googleapis.com/longrange.TransformerRopeConfig] { interleaved: true partial: 0.5 }",
     false},
    {"Pi",
     "[type.googleapis.com/longrange.PositionInterpolationConfig] { factor: 4 interleaved: true }",
     false},
    {"PiDynamic",
     "[type.googleapis.com/longrange.PositionInterpolationConfig] { dynamic: true original_length: "
     "8 }",
     true},
    {"Ntk", "[type.googleapis.com/longrange.RopeExtensionNtkConfig] { alpha: 4 interleaved: true }",
     false},
    {"NtkDynamic",
     "[type.googleapis.com/longrange.RopeExtensionDynamicNtkConfig] { original_length: 8 partial: "
     "0.5 }",
     true},
    {"NtkDynamicMinimum",
     "[type.googleapis.com/longrange.RopeExtensionDynamicNtkConfig] { original_length: 8 "
     "minimum_length: 12 factor: 4 }",
     true},
    {"ByParts", "[type.googleapis.com/longrange.RopeExtensionByPartsConfig] { original_length: 8 }",
     false},
    {"Yarn",
     "[type.googleapis.com/longrange.RopeExtensionYarnConfig] { original_length: 8 factor: 4 }",
     false},
    {"YarnDynamic",
     "[type.googleapis.com/longrange.RopeExtensionYarnConfig] { original_length: 8 dynamic: true "
     "interleaved: true }",
     true},
    {"LongRope",
     "[type.googleapis.com/longrange.RopeExtensionLongRopeConfig] { original_length: 16 factor: 4 "
     "short_factor: [1, 1, 1.5, 2] long_factor: [1, 2, 3, 4] }",
     true},
    {"Llama3", "[type.googleapis.com/longrange.RopeExtensionLlama3Config] { original_length: 8 }",
     false},
};

constexpr int64_t kBatch = 2, kTokens = 21, kWidth = 12;

struct Made {
  nn::ParameterStore store;
  std::unique_ptr<Mixer> mixer;
};

std::unique_ptr<Made> Make(const Scheme& scheme) {
  auto made = std::make_unique<Made>();
  google::protobuf::Any any;
  CHECK(google::protobuf::TextFormat::ParseFromString(
      std::string("[type.googleapis.com/longrange.TransformerConfig] { heads: 2 kv_heads: 1 "
                  "head_width: 8 init_std: 0.5 "
                  "position { ") +
          scheme.config + " } }",
      &any));
  BuildArgs args{nn::Scope(&made->store, Rng(1), DType::kFloat64)};
  args.width = kWidth;
  auto mixer = Registry<Mixer>::Get().Create(any, args);
  CHECK(mixer.ok()) << mixer.status();
  made->mixer = *std::move(mixer);
  return made;
}

Tensor Input() { return RandomNormal({kBatch, kTokens, kWidth}, Rng(2), 1, DType::kFloat64); }

// y, dx and the gradients of all parameters.
std::vector<Tensor> Evaluate(const Made& made, const std::vector<int64_t>& pieces,
                             int64_t horizon) {
  const Tensor x = Leaf(Input());
  nn::Call call;
  call.horizon = horizon;
  Tensor y;
  if (pieces.empty()) {
    y = made.mixer->Forward(x, nn::Rows(), call);
  } else {
    nn::State state = made.mixer->NewState(kBatch);
    std::vector<Tensor> parts;
    int64_t at = 0;
    for (const int64_t rows : pieces) {
      parts.push_back(made.mixer->Extend(Narrow(x, 1, at, rows), nn::Rows(), call, &state));
      at += rows;
    }
    y = Concat(parts, 1);
  }
  made.store.ClearGradients();
  Backward({y}, {RandomNormal(y.shape(), Rng(3), 1, DType::kFloat64)});
  std::vector<Tensor> all = {y, Gradient(x)};
  for (const nn::Parameter& p : made.store.all()) all.push_back(Gradient(p.value));
  return all;
}

class StreamingTest : public testing::TestWithParam<Scheme> {};

TEST_P(StreamingTest, AnyCutEqualsOneCall) {
  const std::unique_ptr<Made> made = Make(GetParam());
  std::vector<std::vector<int64_t>> cuts = {
      {kTokens}, std::vector<int64_t>(kTokens, 1), {kTokens / 2, kTokens - kTokens / 2}};
  for (int64_t trial = 0; trial < 3; ++trial) {
    RngStream rng(Rng(4).Child(trial));
    cuts.emplace_back();
    for (int64_t left = kTokens; left > 0; left -= cuts.back().back())
      cuts.back().push_back(1 + rng.UniformInt(left));
  }
  for (const int64_t horizon : {kTokens, 2 * kTokens}) {
    const std::vector<Tensor> whole = Evaluate(*made, {}, horizon);
    for (const std::vector<int64_t>& pieces : cuts) {
      const std::vector<Tensor> streamed = Evaluate(*made, pieces, horizon);
      ASSERT_EQ(streamed.size(), whole.size());
      for (size_t i = 0; i < whole.size(); ++i) {
        EXPECT_THAT(streamed[i], RmsClose(whole[i], kFloat64Rms))
            << i << " of cuts " << testing::PrintToString(pieces);
      }
    }
  }
}

TEST_P(StreamingTest, TheHorizonMattersWhereTheSchemeSaysSo) {
  const std::unique_ptr<Made> made = Make(GetParam());
  const Tensor near = Evaluate(*made, {}, 8)[0], far = Evaluate(*made, {}, kTokens)[0],
               unset = Evaluate(*made, {}, 0)[0];
  if (GetParam().depends_on_length) {
    EXPECT_GT(RmsRatio(near, far), 1e-3);
  } else {
    EXPECT_THAT(near, BitEqual(far));
  }
  EXPECT_THAT(unset, BitEqual(far));  // without a horizon the call's own length counts
}

INSTANTIATE_TEST_SUITE_P(Schemes, StreamingTest, testing::ValuesIn(kSchemes),
                         [](const testing::TestParamInfo<Scheme>& info) {
                           return std::string(info.param.name);
                         });

}  // namespace
}  // namespace longrange
