// What the paper says of the layer, beyond what conformance and goldens hold.

#include <google/protobuf/any.pb.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "papers/s4/s4.pb.h"
#include "papers/s4/system.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

constexpr int64_t kWidth = 16;

struct Layer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Mixer> mixer;

  Tensor Parameter(const char* name) const { return store->Find(name)->value.Detach(); }

  // Its systems, in another type.
  s4::System System(const S4Config& config, DType dtype) const {
    s4::System system;
    system.dt_raw_h = Parameter("dt_raw").To(dtype);
    system.a_real_sm = Parameter("a_real").To(dtype);
    system.a_imag_sm = Parameter("a_imag").To(dtype);
    system.b_sm2 = Parameter("b").To(dtype);
    if (store->Find("p") != nullptr) system.p_rsm2 = Parameter("p").To(dtype);
    system.c_chm2 = Parameter("c").To(dtype);
    system.softplus = config.dt_transform() == S4Config::SOFTPLUS;
    system.rate = config.rate();
    system.length = config.kernel_length();
    return system;
  }
};

Layer Make(const S4Config& config) {
  Layer layer;
  BuildArgs args{nn::Scope(layer.store.get(), Rng(5))};
  args.width = kWidth;
  google::protobuf::Any any;
  any.PackFrom(config);
  auto mixer = Registry<Mixer>::Get().Create(any, args);
  CHECK(mixer.ok()) << mixer.status();
  layer.mixer = *std::move(mixer);
  return layer;
}

// C dA^l dB, the answer to a single 1, [1, rows, H] by the recurrence in double.
Tensor Impulse(const s4::System& system, int64_t rows) {
  const Tensor u = Tensor::Zeros({1, rows, kWidth}, DType::kFloat64);
  for (int64_t h = 0; h < kWidth; ++h) u.mutable_data<double>()[h] = 1;
  const int64_t modes = system.c_chm2.dim(2);
  return s4::Recur(s4::Discretise(system), u, Tensor::Zeros({1, modes, 2, kWidth}, DType::kFloat64))
      .y_btch.View({1, rows, kWidth});
}

// Section 3.3: the kernel by Cauchy sums is that of the recurrence. N = 64 as in the paper. Where
// modes are hardly damped, rounding dt Λ to float32 alone turns them by that many times 1024 steps.
TEST(S4, KernelEqualsRecurrence) {
  for (const auto& [init, float32] :
       std::vector<std::pair<S4Config::Init, double>>{{S4Config::LEGS, 1e-6},
                                                      {S4Config::LEGT, 5e-5},
                                                      {S4Config::FOURIER, 5e-5},
                                                      {S4Config::S4D_LIN, 5e-5},
                                                      {S4Config::S4D_LEGS, 5e-5}}) {
    S4Config config;
    config.set_init(init);
    const Layer layer = Make(config);
    const s4::System wide = layer.System(config, DType::kFloat64),
                     narrow = layer.System(config, DType::kFloat32);
    const Tensor expected = Impulse(wide, 1024);
    EXPECT_LE(RmsRatio(s4::KernelOf(wide, 1024), expected), 1e-10) << S4Config::Init_Name(init);
    EXPECT_LE(RmsRatio(s4::KernelOf(narrow, 1024), expected), float32) << S4Config::Init_Name(init);
  }
}

TEST(S4, KernelIsTheSameSystemsAtAnyLength) {
  S4Config config;
  config.set_kernel_length(100);
  config.set_dt_min(0.01);
  const Layer layer = Make(config);
  const s4::System system = layer.System(config, DType::kFloat64);
  for (const int64_t rows : {1, 63, 100, 101, 200, 777}) {
    EXPECT_LE(RmsRatio(s4::KernelOf(system, rows), Impulse(system, rows)), 1e-10) << rows;
  }
}

// Table 5: at half the sampling rate the same model takes steps of twice the time; C~ then belongs
// to half as many rows.
TEST(S4, RateIsAnotherStep) {
  S4Config config;
  config.set_kernel_length(200);
  config.set_rate(2);
  const Layer layer = Make(config);
  const s4::System twice = layer.System(config, DType::kFloat64);
  s4::System other = twice;
  other.rate = 1;
  other.length = 100;
  other.dt_raw_h = Affine(other.dt_raw_h, 1, std::log(2.0));
  EXPECT_LE(RmsRatio(s4::KernelOf(twice, 80), s4::KernelOf(other, 80)), 1e-12);
}

TEST(S4, StartsAsThePaperSays) {
  for (const bool softplus : {false, true}) {
    S4Config config;
    if (softplus) config.set_dt_transform(S4Config::SOFTPLUS);
    const Layer layer = Make(config);
    const std::vector<double> dt = s4::StepOf(layer.System(config, DType::kFloat64)).ToDoubles();
    for (const double step : dt) {
      EXPECT_GE(step, 0.999e-3);
      EXPECT_LE(step, 1.001e-1);
    }
    for (const double log_decay : layer.Parameter("a_real").ToDoubles())
      EXPECT_NEAR(log_decay, std::log(0.5), 1e-6);
    // What the recurrence multiplies by is 2 C, C of variance 1: half for each part.
    double square = 0;
    const std::vector<double> c =
        s4::Discretise(layer.System(config, DType::kFloat64)).c_cm2h.ToDoubles();
    for (const double value : c) square += value * value / 4;
    EXPECT_NEAR(square / static_cast<double>(c.size()), 0.5, 0.05);
  }
}

TEST(S4, StateParametersAreOfTheirOwnGroupAndNotDecayed) {
  const Layer layer = Make(S4Config());
  for (const nn::Parameter& p : layer.store->all()) {
    const bool state = p.name == "dt_raw" || p.name == "a_real" || p.name == "a_imag" ||
                       p.name == "b" || p.name == "p";
    EXPECT_EQ(p.tags.group, state ? "ssm" : "default") << p.name;
    EXPECT_EQ(p.tags.decay, !state) << p.name;
  }
}

TEST(S4, CopiesAreSharedRoundTheFeatures) {
  S4Config config;
  config.set_n_ssm(4);
  const Layer layer = Make(config);
  EXPECT_EQ(layer.Parameter("a_imag").shape(), Shape({4, 32}));
  s4::System shared = layer.System(config, DType::kFloat64);
  // The fifth feature is like the first when its own parameters are.
  for (Tensor* t : {&shared.dt_raw_h, &shared.c_chm2}) {
    *t = t->Clone();
    const int64_t size = t->numel() / kWidth;
    for (int64_t i = 0; i < size; ++i)
      t->mutable_data<double>()[4 * size + i] = t->data<double>()[i];
  }
  shared.a_imag_sm = RandomNormal({4, 32}, Rng(1), 5, DType::kFloat64);
  const std::vector<double> k = s4::KernelOf(shared, 50).ToDoubles();
  for (int64_t l = 0; l < 50; ++l) {
    EXPECT_EQ(k[l * kWidth], k[l * kWidth + 4]);
    if (l > 0) {
      EXPECT_NE(k[l * kWidth], k[l * kWidth + 1]);
    }
  }
}

TEST(S4, DropoutDropsFeaturesForWholeSequencesInTraining) {
  S4Config config;
  config.set_dropout(0.5);
  config.set_output(S4Config::NONE);
  const Layer layer = Make(config);
  const int64_t batch = 8, rows = 5;
  const Tensor x = RandomNormal({batch, rows, kWidth}, Rng(2), 1);
  nn::Call call;
  const std::vector<double> kept = layer.mixer->Forward(x, nn::Rows(), call).ToDoubles();
  call.training = true;
  const std::vector<double> some = layer.mixer->Forward(x, nn::Rows(), call).ToDoubles();
  int64_t dropped = 0;
  for (int64_t i = 0; i < batch * kWidth; ++i) {
    const int64_t first = i / kWidth * rows * kWidth + i % kWidth;
    const bool zero = some[first] == 0;
    dropped += zero ? 1 : 0;
    for (int64_t t = 0; t < rows; ++t) {
      const int64_t at = first + t * kWidth;
      EXPECT_FLOAT_EQ(some[at], zero ? 0 : 2 * kept[at]);
    }
  }
  EXPECT_GT(dropped, batch * kWidth / 3);
  EXPECT_LT(dropped, 2 * batch * kWidth / 3);
}

TEST(S4, AStreamMakesItsStepOnce) {
  const Layer layer = Make(S4Config());
  const Tensor x = RandomNormal({1, 1, kWidth}, Rng(2), 1);
  nn::State state = layer.mixer->NewState(1);
  const int64_t bytes = state.bytes();
  {
    const NoGradScope no_grad;
    layer.mixer->Extend(x, nn::Rows(), nn::Call(), &state);
    const Tensor made = state.Get("delta");
    layer.mixer->Extend(x, nn::Rows(), nn::Call(), &state);
    EXPECT_TRUE(state.Get("delta").Is(made));
    EXPECT_EQ(state.bytes(), bytes);
  }
  // Where gradients are recorded, they reach the parameters all the same.
  const Tensor y = layer.mixer->Extend(x, nn::Rows(), nn::Call(), &state);
  Backward({y}, {Tensor::Full(y.shape(), 1)});
  EXPECT_TRUE(Gradient(layer.store->Find("dt_raw")->value).defined());
}

}  // namespace
}  // namespace longrange
