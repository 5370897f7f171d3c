// Perceiver: blocks and whole models against the plain reference, codes by hand, what a shuffle of
// the input changes and what sharing shares, work, padding, and what is refused. The numbers of
// other implementations are in the golden cases (//papers:goldens_test).

#include "papers/perceiver/perceiver.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/tensor/cost.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "common/testing/tolerance.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "papers/perceiver/positions.h"
#include "plugins/conformance/reference.h"
#include "plugins/model/model.h"

namespace longrange::perceiver {
namespace {

using ::testing::ElementsAre;
using ::testing::Not;
using ::testing::Pointwise;

constexpr int64_t kWidth = 5, kRows = 12;

PerceiverConfig Small(int64_t cross_attends = 2, int64_t latent_layers = 1) {
  PerceiverConfig config;
  config.set_latents(3);
  config.set_latent_width(8);
  config.set_cross_attends(cross_attends);
  config.set_latent_layers(latent_layers);
  config.set_latent_heads(2);
  config.set_bands(2);
  return config;
}

// A backbone and its parameters, which are jostled: biases that start at 0 would hide mistakes.
struct Made {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Backbone> backbone;

  const Tensor& Parameter(const std::string& name) const { return store->Find(name)->value; }
  Tensor operator()(const Tensor& x, const nn::Rows& rows = nn::Rows()) const {
    return backbone->Forward({x, rows}, nn::Call()).x_btd;
  }
};

template <typename Config>
Made Make(const Config& config, DType dtype = DType::kFloat64, Device device = Device::kCpu,
          int64_t width = kWidth, double jostle = 0.2) {
  Made made;
  BuildArgs args{nn::Scope(made.store.get(), Rng(5), dtype, device)};
  args.width = width;
  args.direction = nn::Direction::kBidirectional;
  google::protobuf::Any any;
  any.PackFrom(config);
  auto backbone = Registry<Backbone>::Get().Create(any, args);
  CHECK(backbone.ok()) << backbone.status();
  made.backbone = *std::move(backbone);
  if (device == Device::kMeta) return made;
  for (const nn::Parameter& p : made.store->all()) {
    const NoGradScope no_grad;
    p.value.CopyFrom(
        Add(p.value.Detach(), RandomNormal(p.value.shape(), Rng(6).Child(p.name), jostle, dtype)));
  }
  return made;
}

Tensor Input(int64_t batch = 2, int64_t rows = kRows, int64_t width = kWidth) {
  return RandomNormal({batch, rows, width}, Rng(7), 1, DType::kFloat64);
}

Tensor Int64s(const std::vector<int64_t>& values) {
  return Tensor::FromVector<int64_t>({static_cast<int64_t>(values.size())}, values);
}

Tensor Reference(const PerceiverConfig& config, const Made& made, const Tensor& x) {
  nn::ParameterStore none;
  BuildArgs args{nn::Scope(&none, Rng(1), DType::kFloat64)};
  args.width = x.dim(2);
  TensorMap parameters = made.store->Values();
  for (auto& [name, value] : parameters) value = value.To(DType::kFloat64);
  return (*conformance::FindMixerReference("perceiver"))(config, args, parameters, x);
}

// ImageNet's widths: 3 colours and 258 numbers of position, in one head of 261.
TEST(Perceiver, CrossBlock) {
  PerceiverConfig config = Small(1, 0);
  config.add_axis(5);
  config.add_axis(7);
  config.set_bands(64);
  config.add_max_resolution(224);
  config.set_cross_width(PerceiverConfig::OF_INPUTS);
  const Tensor x = Input(2, 35, 3);
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    const Made made = Make(config, dtype, Device::kCpu, 3);
    ASSERT_EQ(made.Parameter("cross.0.w_q").shape(), Shape({261, 8}));
    EXPECT_THAT(made(x.To(dtype)),
                RmsClose(Reference(config, made, x),
                         dtype == DType::kFloat64 ? kFloat64Rms : kFloat32ForwardRms));
  }
}

// Two real rows of many, and NaN in the place of the others: the latents and all gradients are
// those of the two alone.
TEST(Perceiver, CrossBlockPadding) {
  const Made made = Make(Small());
  const Tensor x = Input(1, 2);
  Tensor padded =
      Tensor::Full({1, kRows, kWidth}, std::numeric_limits<double>::quiet_NaN(), DType::kFloat64);
  padded.View({kRows, kWidth}).ViewRows(4, 6).CopyFrom(x.View({2, kWidth}));
  nn::Rows rows;
  rows.begin_b = Int64s({4});
  rows.end_b = Int64s({6});
  const auto gradients = [&](const Tensor& in, const nn::Rows& r) {
    made.store->ClearGradients();
    const Tensor y = made(in, r);
    Backward({y}, {RandomNormal(y.shape(), Rng(8), 1, DType::kFloat64)});
    std::vector<Tensor> all = {y.Detach()};
    for (const nn::Parameter& p : made.store->all()) all.push_back(Gradient(p.value));
    made.store->ClearGradients();
    return all;
  };
  const std::vector<Tensor> alone = gradients(x, nn::Rows()), among = gradients(padded, rows);
  for (size_t i = 0; i < alone.size(); ++i) {
    const std::string name = i == 0 ? "the latents" : made.store->all()[i - 1].name;
    if (name.find(".b_k") != std::string::npos) continue;  // 0 but for rounding
    EXPECT_THAT(among[i], RmsClose(alone[i], kFloat64Rms)) << name;
  }
}

// Latents that are equal stay equal, and which of them is which does not matter.
TEST(Perceiver, LatentBlock) {
  const BlockOptions options = {8, 0, 2, 4};
  nn::ParameterStore store;
  const Block block(options, nn::Scope(&store, Rng(5), DType::kFloat64));
  const Tensor z = Input(1, 3, 8);
  const auto swapped = [](const Tensor& t) {
    return Concat({Narrow(t, 1, 2, 1), Narrow(t, 1, 1, 1), Narrow(t, 1, 0, 1)}, 1);
  };
  EXPECT_THAT(block.Self(swapped(z)), RmsClose(swapped(block.Self(z)), kFloat64Rms));
  const Tensor same = block.Self(BroadcastTo(Narrow(z, 1, 0, 1), z.shape()));
  EXPECT_THAT(Narrow(same, 1, 1, 1), RmsClose(Narrow(same, 1, 0, 1), kFloat64Rms));
  for (const char* name : {"w_o", "b_o", "w_down", "b_down"}) store.Find(name)->value.Fill(0);
  EXPECT_THAT(block.Self(z), BitEqual(z));
}

// Three places, two bands up to half of 4: f = 1 and 2, p = -1, 0, 1.
TEST(Perceiver, Fourier1d) {
  const std::vector<double> p = GridCoordinates({3}, 3);
  EXPECT_THAT(p, ElementsAre(-1, 0, 1));
  EXPECT_THAT(FourierCodes(p, {4}, 2, PerceiverConfig::BY_KIND),
              Pointwise(testing::DoubleNear(1e-12),
                        {-1., 0., 0., -1., 1., 0., 0., 0., 1., 1., 1., 0., 0., -1., 1.}));
  EXPECT_THAT(FourierCodes(p, {4}, 2, PerceiverConfig::BY_AXIS),
              Pointwise(testing::DoubleNear(1e-12),
                        {0., 0., -1., 1., -1., 0., 0., 1., 1., 0., 0., 0., -1., 1., 1.}));
  EXPECT_THAT(GridCoordinates({1}, 1), ElementsAre(-1));
  // The highest frequency turns by almost half a circle from a place to the next: what a grid of so
  // many places can still tell from none.
  constexpr int64_t kPlaces = 200, kBands = 3;
  const std::vector<double> codes = FourierCodes(GridCoordinates({kPlaces}, kPlaces), {kPlaces},
                                                 kBands, PerceiverConfig::BY_KIND);
  constexpr int64_t kCode = 2 * kBands + 1;
  const double* one = codes.data() + 70 * kCode;
  const double* next = one + kCode;
  EXPECT_NEAR(one[3] * next[3] + one[6] * next[6],
              std::cos(std::acos(-1.0) * kPlaces / (kPlaces - 1)), 1e-9);
}

// Row 4 of lines of three: second line, in the middle.
TEST(Perceiver, Fourier2d) {
  EXPECT_THAT(GridCoordinates({2, 3}, 5), ElementsAre(-1, -1, -1, 0, -1, 1, 1, -1, 1, 0));
  const std::vector<double> codes =
      FourierCodes({1, 0.5}, {2, 6}, 2, PerceiverConfig::BY_KIND);  // f = 1, 1 and 1, 3
  EXPECT_THAT(codes,
              Pointwise(testing::DoubleNear(1e-12), {1., .5, 0., 0., 1., -1., -1., -1., 0., 0.}));
  EXPECT_THAT(FourierCodes({1, 0.5}, {2, 6}, 2, PerceiverConfig::BY_AXIS),
              Pointwise(testing::DoubleNear(1e-12), {0., 0., -1., -1., 1., 1., -1., 0., 0., .5}));
  EXPECT_EQ(FourierWidth(2, 64), 258);
}

// Rows and their codes in another order: nothing changes beyond rounding. Rows in another order
// under the codes of theirs: something does.
TEST(Perceiver, PermutationInvariance) {
  PerceiverConfig config = Small(3, 1);
  config.add_axis(3);
  config.add_axis(4);
  const Tensor x = Input();
  const Made raw = Make(config);
  PerceiverPermutedConfig shuffled;
  shuffled.set_permutation(9);
  shuffled.mutable_backbone()->PackFrom(config);
  const Made unaware = Make(shuffled);
  config.set_permutation(9);
  shuffled.mutable_backbone()->PackFrom(config);
  const Made aware = Make(shuffled);
  ASSERT_NE(Permutation(kRows, 9), Permutation(kRows, 8));
  EXPECT_THAT(aware(x), RmsClose(raw(x), kFloat64Rms));
  EXPECT_THAT(unaware(x), Not(RmsClose(raw(x), 0.01)));
  // A set has no order.
  config.set_positions(PerceiverConfig::NOWHERE);
  shuffled.mutable_backbone()->PackFrom(config);
  EXPECT_THAT(Make(shuffled)(x), RmsClose(Make(config)(x), kFloat64Rms));
}

// The same model with parameters of its own at each depth has the shared ones' gradient in parts.
TEST(Perceiver, TiedDepthGradientAccumulates) {
  PerceiverConfig config = Small(4, 1);
  config.set_sharing(PerceiverConfig::ALL_BUT_FIRST);
  const Made tied = Make(config);
  config.set_sharing(PerceiverConfig::NONE);
  const Made apart = Make(config);
  const auto name_in = [](const std::string& name, int64_t set) {
    std::string other = name;
    const size_t at = other.find(".1.");
    if (at != std::string::npos) other[at + 1] = static_cast<char>('0' + set);
    return other;
  };
  std::set<std::string> found;
  for (const nn::Parameter& p : tied.store->all()) {
    for (const int64_t set : {1, 2, 3}) {
      apart.Parameter(name_in(p.name, set)).CopyFrom(p.value.Detach());
      found.insert(name_in(p.name, set));
    }
  }
  ASSERT_EQ(found.size(), apart.store->all().size());
  const Tensor x = Input();
  const Tensor cotangent = RandomNormal({2, 3, 8}, Rng(8), 1, DType::kFloat64);
  for (const Made* made : {&tied, &apart}) Backward({(*made)(x)}, {cotangent});
  EXPECT_THAT(tied(x), RmsClose(apart(x), kFloat64Rms));
  for (const nn::Parameter& p : tied.store->all()) {
    if (p.name.find(".b_k") != std::string::npos) continue;  // 0 but for rounding
    const bool shared = p.name.find(".1.") != std::string::npos;
    Tensor sum = Gradient(apart.Parameter(name_in(p.name, 1)));
    for (const int64_t set : {2, 3}) {
      if (shared) sum = Add(sum, Gradient(apart.Parameter(name_in(p.name, set))));
    }
    EXPECT_THAT(Gradient(p.value), RmsClose(sum, 1e-11)) << p.name;
  }
}

double Flops(const PerceiverConfig& config, int64_t rows) {
  const Made made = Make(config, DType::kFloat32, Device::kMeta);
  const CostScope scope;
  made(Tensor::Empty({1, rows, kWidth}, DType::kFloat32, Device::kMeta));
  return scope.cost().flops;
}

TEST(Perceiver, CostIndependentOfM) {
  const auto latent_layer = [](int64_t rows) {
    return Flops(Small(1, 3), rows) - Flops(Small(1, 2), rows);
  };
  EXPECT_GT(latent_layer(32), 0);
  EXPECT_EQ(latent_layer(32), latent_layer(4096));
  // Of a shared set, only the first cross-attend makes keys and values.
  const auto cross = [](int64_t t) {
    return Flops(Small(t, 0), 4096) - Flops(Small(t - 1, 0), 4096);
  };
  EXPECT_EQ(cross(4), cross(3));
  EXPECT_LT(cross(3), cross(2) / 2);
}

// Each length of a free first axis has its own codes, from -1 to 1 along the lines that it fills.
TEST(Perceiver, LinesAsManyAsRowsFill) {
  PerceiverConfig config = Small();
  config.add_axis(0);
  config.add_axis(5);
  const Made free = Make(config);
  config.set_axis(0, 3);
  const Made three = Make(config);
  EXPECT_THAT(free(Input(2, 11)), RmsClose(three(Input(2, 11)), kFloat64Rms));
  EXPECT_THAT(free(Input(2, 10)), Not(RmsClose(three(Input(2, 10)), 1e-3)));
  EXPECT_EQ(free.backbone->traits().max_tokens, 0);
  EXPECT_EQ(three.backbone->traits().max_tokens, 15);
}

// Table 7's models: 44.9 million parameters with sharing and 326.2 without, of which 1.0 are the
// classes' output matrix.
TEST(Perceiver, HasAsManyParametersAsThePapersModels) {
  PerceiverConfig config;
  config.add_axis(224);
  config.add_axis(224);
  const auto millions = [&](PerceiverConfig::Sharing sharing) {
    config.set_sharing(sharing);
    const Made made = Make(config, DType::kFloat32, Device::kMeta, 3);
    return static_cast<double>(made.store->NumElements() + 1000 * 1025) / 1e6;
  };
  EXPECT_NEAR(millions(PerceiverConfig::ALL_BUT_FIRST_CROSS), 44.9, 0.05);
  EXPECT_NEAR(millions(PerceiverConfig::NONE), 326.2, 0.05);
}

TEST(Perceiver, LatentsStartNearNothing) {
  PerceiverConfig config = Small();
  config.set_latents(64);
  config.set_latent_width(64);
  const auto latents = [&](double std) {
    config.set_latent_std(std);
    return Make(config, DType::kFloat64, Device::kCpu, kWidth, 0).Parameter("latents").ToDoubles();
  };
  double square = 0;
  for (const double z : latents(0.02)) square += z * z / 4096;
  EXPECT_NEAR(std::sqrt(square), 0.02, 0.002);
  const std::vector<double> cut = latents(3);
  EXPECT_LE(*std::max_element(cut.begin(), cut.end()), 2);
  EXPECT_GE(*std::min_element(cut.begin(), cut.end()), -2);
  EXPECT_GT(*std::max_element(cut.begin(), cut.end()), 1.9);
}

TEST(Perceiver, RefusesWhatLatentsCannotDo) {
  ModelConfig config;
  config.set_vocabulary(7);
  config.set_width(kWidth);
  config.mutable_backbone()->PackFrom(Small());
  const auto refused = [&](const std::string& why) {
    EXPECT_THAT(Model::Create(config, ModelArgs()),
                StatusIs(absl::StatusCode::kInvalidArgument, why));
  };
  refused("direction: causal (expected bidirectional");
  config.set_direction(ModelConfig::BIDIRECTIONAL);
  refused("pooling: EACH_ROW (expected MEAN: the backbone gives back 3 rows of its own");
  config.set_pooling(ModelConfig::MEAN);
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> model, Model::Create(config, ModelArgs()));
  EXPECT_EQ(model->parameters().Find("output")->value.shape(), Shape({7, 8}));
  const Tensor ids = Tensor::Zeros({2, 9}, DType::kInt32);
  EXPECT_EQ(model->Logits(ids, nn::Rows(), nn::Call()).shape(), Shape({2, 1, 7}));
}

}  // namespace
}  // namespace longrange::perceiver
