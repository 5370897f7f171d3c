// What the paper and its released code say of S5, in closed form.

#include <gmock/gmock.h>

#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/autograd/gradcheck.h"
#include "common/autograd/ops.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "papers/s5/discretise.h"
#include "papers/s5/s5.pb.h"
#include "plugins/mixer.h"

namespace longrange {
namespace {

struct Layer {
  std::unique_ptr<nn::ParameterStore> store = std::make_unique<nn::ParameterStore>();
  std::unique_ptr<Mixer> mixer;

  Tensor operator()(const Tensor& x, bool training = false) const {
    nn::Call call;
    call.training = training;
    call.rng = Rng(3);
    return mixer->Forward(x, nn::Rows(), call);
  }
  Tensor Value(const char* name) const { return store->Find(name)->value; }
};

Layer Build(const S5Config& config, int64_t width, bool bidirectional = false,
            DType dtype = DType::kFloat64) {
  Layer layer;
  BuildArgs args{nn::Scope(layer.store.get(), Rng(1), dtype)};
  args.width = width;
  if (bidirectional) args.direction = nn::Direction::kBidirectional;
  google::protobuf::Any any;
  any.PackFrom(config);
  absl::StatusOr<std::unique_ptr<Mixer>> mixer = Registry<Mixer>::Get().Create(any, args);
  CHECK(mixer.ok()) << mixer.status();
  layer.mixer = *std::move(mixer);
  return layer;
}

S5Config Linear(int64_t state, int64_t blocks) {
  S5Config config;
  config.set_state(state);
  config.set_blocks(blocks);
  config.set_gate(S5Config::NONE);
  return config;
}

Tensor Random(const Shape& shape, int64_t seed = 1) {
  return RandomNormal(shape, Rng(2).Child(seed), 1, DType::kFloat64);
}

// J copies of HiPPO-N, whose eigenvalues have the real part -1/2; of each conjugate
// pair the one below the axis.
TEST(S5, StartsFromBlocksOfHippoN) {
  const Layer layer = Build(Linear(24, 3), 4);
  const std::vector<double> re = layer.Value("lambda_re").ToDoubles(),
                            im = layer.Value("lambda_im").ToDoubles(),
                            log_step = layer.Value("log_step").ToDoubles();
  ASSERT_EQ(re.size(), 12u);
  double low = 1, high = -20;
  for (size_t p = 0; p < re.size(); ++p) {
    EXPECT_NEAR(re[p], -0.5, 1e-12);
    EXPECT_LT(im[p], 0);
    EXPECT_EQ(im[p], im[p % 4]);
    low = std::min(low, log_step[p]);
    high = std::max(high, log_step[p]);
  }
  EXPECT_GE(low, std::log(0.001));
  EXPECT_LE(high, std::log(0.1));
  EXPECT_GT(high - low, 1);
  // A + P Pᵀ of size 8 is skew but for its diagonal, so its squares sum up to -‖skew‖².
  double squares = 0, expected = 0;
  for (size_t p = 0; p < 4; ++p) squares += 2 * im[p] * im[p];
  for (int n = 0; n < 8; ++n) {
    for (int k = 0; k < n; ++k) expected += 2 * (n + 0.5) * (k + 0.5);
  }
  EXPECT_NEAR(squares, expected, 1e-9 * expected);
}

// Options of similar names whose variances differ by the width.
TEST(S5, InitialMatricesHaveTheVariancesOfTheReleasedCode) {
  constexpr int64_t kState = 32, kWidth = 64;
  const auto power = [](const Tensor& t) {  // of a complex entry
    double sum = 0;
    for (const double v : t.ToDoubles()) sum += v * v;
    return 2 * sum / static_cast<double>(t.numel());
  };
  S5Config config = Linear(kState, 2);
  // V* of a real matrix of variance 1 / P.
  EXPECT_NEAR(power(Build(config, kWidth).Value("b")) * kState, 1, 0.15);
  // A complex one, whose parts have this variance each, times V.
  EXPECT_NEAR(power(Build(config, kWidth).Value("c")) * kState, 2, 0.3);
  config.set_output_init(S5Config::LECUN_NORMAL);
  EXPECT_NEAR(power(Build(config, kWidth).Value("c")) * kState * kWidth, 2, 0.3);
  config.set_output_init(S5Config::COMPLEX_NORMAL);
  EXPECT_NEAR(power(Build(config, kWidth).Value("c")), 1, 0.15);
}

// With conjugate symmetry, twice the real part of half the modes is the whole system.
TEST(S5, HalfTheModesAreTheWholeSystem) {
  const Layer half = Build(Linear(8, 1), 3);
  S5Config config = Linear(8, 1);
  config.set_conjugate_symmetry(false);
  const Layer whole = Build(config, 3);
  const auto conjugate = [](const Tensor& t) {
    const Tensor sign = Tensor::FromVector<double>({2}, {1, -1});
    return Mul(t.Detach(), sign);
  };
  for (const char* name : {"lambda_re", "log_step", "lambda_im"}) {
    const Tensor value = half.Value(name).Detach();
    const double sign = name == std::string("lambda_im") ? -1 : 1;
    whole.Value(name).CopyFrom(Concat({value, Scale(value, sign)}, 0));
  }
  const Tensor b = half.Value("b").Detach(), c = half.Value("c").Detach();
  whole.Value("b").CopyFrom(Concat({b, conjugate(b)}, 0));
  whole.Value("c").CopyFrom(Concat({c, conjugate(c)}, 1));
  whole.Value("d").CopyFrom(half.Value("d"));
  const Tensor x = Random({2, 40, 3});
  EXPECT_THAT(whole(x), RmsClose(half(x), kFloat64Rms));
}

// Zero-order hold is exact for inputs that are held: twice the sampling rate with every input
// twice, at every second row, is the same as steps of twice the size.
TEST(S5, RescaledStepsAreAnotherSamplingRate) {
  S5Config config = Linear(16, 2);
  const Layer fine = Build(config, 4);
  config.set_step_rescale(2);
  const Layer coarse = Build(config, 4);
  const Tensor x = Random({1, 30, 4});
  const Tensor twice =
      Reshape(Concat({Reshape(x, {1, 30, 1, 4}), Reshape(x, {1, 30, 1, 4})}, 2), {1, 60, 4});
  const Tensor y = Reshape(Narrow(Reshape(fine(twice), {1, 30, 2, 4}), 2, 1, 1), {1, 30, 4});
  EXPECT_THAT(coarse(x), RmsClose(y, kFloat64Rms));
}

// Both directions see the current row, and differ by their output matrix alone: what is read
// backwards with the matrices exchanged comes out backwards, once D is counted.
TEST(S5, BothDirectionsAreAlike) {
  const Layer layer = Build(Linear(8, 1), 3, /*bidirectional=*/true),
              exchanged = Build(Linear(8, 1), 3, /*bidirectional=*/true);
  exchanged.Value("c").CopyFrom(layer.Value("c_reverse"));
  exchanged.Value("c_reverse").CopyFrom(layer.Value("c"));
  const auto backwards = [](const Tensor& x) {
    std::vector<Tensor> rows;
    for (int64_t t = x.dim(1); t-- > 0;) rows.push_back(Narrow(x, 1, t, 1));
    return Concat(rows, 1);
  };
  const Tensor x = Random({2, 9, 3});
  EXPECT_THAT(backwards(exchanged(backwards(x))), RmsClose(layer(x), kFloat64Rms));
}

// Padding at the start of a stream, before its first cut.
TEST(S5, StreamsBehindPadding) {
  const Layer layer = Build(Linear(8, 1), 3);
  const Tensor x = Random({2, 12, 3});
  nn::State state = layer.mixer->NewState(2);
  nn::Rows rows;
  rows.begin_b = Tensor::FromVector<int64_t>({2}, {0, 2});
  std::vector<Tensor> pieces;
  for (const auto& [at, size] : {std::pair<int64_t, int64_t>{0, 3}, {3, 4}, {7, 5}}) {
    pieces.push_back(layer.mixer->Extend(Narrow(x, 1, at, size), rows, nn::Call(), &state));
    rows = nn::Rows();
  }
  const Tensor y = Concat(pieces, 1);
  const auto sample = [](const Tensor& t, int64_t b, int64_t first) {
    return Narrow(Narrow(t, 0, b, 1), 1, first, t.dim(1) - first);
  };
  EXPECT_THAT(sample(y, 0, 0), RmsClose(layer(sample(x, 0, 0)), kFloat64Rms));
  EXPECT_THAT(sample(y, 1, 2), RmsClose(layer(sample(x, 1, 2)), kFloat64Rms));
}

TEST(S5, DropsChannelsAtAllRows) {
  S5Config config = Linear(8, 1);
  const Tensor x = Random({3, 5, 40});
  const Tensor kept = Build(config, 40)(x);
  config.set_dropout(0.25);
  const Layer layer = Build(config, 40);
  EXPECT_THAT(layer(x), BitEqual(kept));
  const Tensor y = layer(x, /*training=*/true);
  int dropped = 0;
  for (int64_t b = 0; b < 3; ++b) {
    for (int64_t d = 0; d < 40; ++d) {
      const bool zero = y.data<double>()[b * 200 + d] == 0;
      dropped += zero ? 1 : 0;
      for (int64_t t = 0; t < 5; ++t) {
        const int64_t i = (b * 5 + t) * 40 + d;
        EXPECT_DOUBLE_EQ(y.data<double>()[i], zero ? 0 : kept.data<double>()[i] / 0.75);
      }
    }
  }
  EXPECT_NEAR(dropped, 30, 14);
}

// The released code's opt_config: group and decay by parameter.
TEST(S5, GroupsOfTheReleasedCode) {
  const std::map<S5Config::Groups, std::string> expected = {
      {S5Config::STANDARD, "b:ssm c:default+ c_reverse:default+ d:default+"},
      {S5Config::B_AND_C_DECAY, "b:ssm+ c:default+ c_reverse:default+ d:default+"},
      {S5Config::B_FAST_AND_C_DECAY, "b:default+ c:default+ c_reverse:default+ d:default+"},
      {S5Config::NO_B_C_DECAY, "b:ssm c:ssm c_reverse:ssm d:ssm"}};
  for (const auto& [groups, line] : expected) {
    for (const bool dt_global : {false, true}) {
      S5Config config = Linear(8, 1);
      config.set_groups(groups);
      config.set_dt_global(dt_global);
      std::string got;
      const Layer layer = Build(config, 3, true);
      for (const nn::Parameter& p : layer.store->all())
        got += (got.empty() ? "" : " ") + p.name + ":" + p.tags.group + (p.tags.decay ? "+" : "");
      EXPECT_EQ(got, std::string("lambda_re:ssm lambda_im:ssm log_step:") +
                         (dt_global ? "default+ " : "ssm ") + line);
    }
  }
}

TEST(Discretise, Gradient) {
  const Tensor im = Random({4}, 2), step = Random({4}, 3), b = Random({4, 3, 2}, 4);
  // Far from 0 and near it, where the quotient of zero-order hold is a series.
  for (const double size : {1.0, 1e-2}) {
    for (const bool bilinear : {false, true}) {
      const auto fn = [&](const std::vector<Tensor>& x) {
        const s5::Discrete made =
            s5::Discretise(x[0], Scale(x[1], size), x[2], x[3], {bilinear, 1.5, false});
        return std::vector<Tensor>{made.a_p2, made.b_ph2};
      };
      EXPECT_EQ(GradCheck(fn, {Scale(Random({4}), size), im, step, b}), "");
    }
  }
}

// Of an integrator: A = 1, B = Δ B. The paper's form divides by the eigenvalue.
TEST(Discretise, EigenvalueZero) {
  const Tensor zero = Tensor::Zeros({1}, DType::kFloat64),
               b = Tensor::FromVector<double>({1, 1, 2}, {3, -1});
  for (const bool bilinear : {false, true}) {
    const s5::Discrete made = s5::Discretise(zero, zero, zero, b, {bilinear, 0.5, false});
    EXPECT_THAT(made.a_p2, AllClose(Tensor::FromVector<double>({1, 2}, {1, 0}), kExact));
    EXPECT_THAT(made.b_ph2, AllClose(Scale(b, 0.5), kExact));
  }
}

// Continuous at the border of the series.
TEST(Discretise, SeriesMeetsTheQuotient) {
  const Tensor b = Tensor::FromVector<double>({1, 1, 2}, {1, 0}),
               zero = Tensor::Zeros({1}, DType::kFloat64);
  const auto at = [&](double im) {
    return s5::Discretise(zero, Tensor::Full({1}, im, DType::kFloat64), zero, b, {}).b_ph2;
  };
  EXPECT_THAT(at(0.5 - 1e-13), AllClose(at(0.5), Tolerance{0, 1e-12}));
}

}  // namespace
}  // namespace longrange
