// Batch norm in a stack: what it normalises by, and what it would have its buffers become. Where
// the norms of a block stand.

#include "plugins/stack/stack.h"

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "common/autograd/ops.h"
#include "common/testing/matchers.h"
#include "common/testing/shapes.h"
#include "plugins/conformance/conformance.pb.h"

namespace longrange {
namespace {

struct Built {
  nn::ParameterStore store;
  std::unique_ptr<Backbone> backbone;

  Tensor Buffer(const std::string& name) const {
    for (const nn::Buffer& b : store.buffers()) {
      if (b.name == name) return b.value;
    }
    LOG(FATAL) << "no buffer " << name;
    return Tensor();
  }
};

void Build(bool recompute, Built* built) {
  StackConfig config;
  config.set_layers(2);
  config.mutable_mixer()->PackFrom(ConformanceHostConfig());
  config.mutable_feed_forward()->set_kind(FeedForwardConfig::NONE);
  config.mutable_norm()->set_kind(NormConfig::BATCH);
  config.mutable_norm()->set_momentum(0.75);
  config.set_recompute(recompute);
  BuildArgs args{nn::Scope(&built->store, Rng(1), DType::kFloat64)};
  args.width = 16;
  LR_ASSERT_OK_AND_ASSIGN(built->backbone, CreateStack(config, args));
}

class BufferSink : public nn::Sink {
 public:
  explicit BufferSink(const nn::ParameterStore* store) : store_(store) {}
  void Loss(absl::string_view, const Tensor&, double) override {}
  bool Wants(absl::string_view) const override { return false; }
  Tensor Tap(absl::string_view, const Tensor& value) override { return value; }
  void Buffer(const Tensor& buffer, const Tensor& value) override {
    for (const nn::Buffer& b : store_->buffers()) {
      if (b.value.Is(buffer)) next[b.name] = value;
    }
  }

  std::map<std::string, Tensor> next;

 private:
  const nn::ParameterStore* store_;
};

// The mean of each channel over the first `rows` rows of each sample of x [B, T, D].
Tensor MeanOver(const Tensor& x, const std::vector<int64_t>& rows) {
  const Tensor mean = Tensor::Zeros({x.dim(2)}, DType::kFloat64);
  double count = 0;
  for (int64_t b = 0; b < x.dim(0); ++b) count += static_cast<double>(rows[b]);
  for (int64_t b = 0; b < x.dim(0); ++b) {
    for (int64_t i = 0; i < rows[b] * x.dim(2); ++i) {
      mean.mutable_data<double>()[i % x.dim(2)] +=
          x.data<double>()[b * x.dim(1) * x.dim(2) + i] / count;
    }
  }
  return mean;
}

TEST(BatchNormOfAStack, OffersRunningStatisticsOfRealRows) {
  for (const bool recompute : {false, true}) {
    Built built;
    Build(recompute, &built);
    ASSERT_EQ(built.store.buffers().size(), 6u);
    const Tensor x = RandomNormal({3, 7, 16}, Rng(2), 1, DType::kFloat64);
    BufferSink sink(&built.store);
    nn::Call call;
    call.training = true;
    call.sink = &sink;
    built.backbone->Forward({x, nn::Rows()}, call);
    EXPECT_EQ(sink.next.size(), 6u);
    const Tensor mean = MeanOver(x, {7, 7, 7});
    const auto quarter = [](const Tensor& t) {
      const Tensor q = t.Clone();
      for (int64_t i = 0; i < q.numel(); ++i) q.mutable_data<double>()[i] *= 0.25;
      return q;
    };
    EXPECT_THAT(sink.next.at("layers.0.mixer_norm.running_mean"),
                RmsClose(quarter(mean), kFloat64Rms));
    // The buffers themselves stay; with the others than the first sample's rows as padding, those
    // do not count.
    EXPECT_THAT(built.Buffer("layers.0.mixer_norm.running_mean"),
                BitEqual(Tensor::Zeros({16}, DType::kFloat64)));
    nn::Rows rows;
    rows.end_b = Tensor::FromVector<int64_t>({3}, {7, 1, 2});
    built.backbone->Forward({x, rows}, call);
    EXPECT_THAT(sink.next.at("layers.0.mixer_norm.running_mean"),
                RmsClose(quarter(MeanOver(x, {7, 1, 2})), kFloat64Rms));
    // Evaluation offers nothing.
    sink.next.clear();
    call.training = false;
    built.backbone->Forward({x, nn::Rows()}, call);
    EXPECT_TRUE(sink.next.empty());
  }
}

// Evaluated by the statistics of a batch, that batch comes out as in training.
TEST(BatchNormOfAStack, EvaluatesByItsBuffers) {
  Built built;
  Build(false, &built);
  const Tensor x = RandomNormal({3, 7, 16}, Rng(2), 1, DType::kFloat64);
  BufferSink sink(&built.store);
  nn::Call training;
  training.training = true;
  training.sink = &sink;
  const Tensor expected = built.backbone->Forward({x, nn::Rows()}, training).x_btd;
  for (const nn::Buffer& b : built.store.buffers()) {
    // From 0.75 old + 0.25 of the batch.
    for (int64_t i = 0; i < 16; ++i) {
      double& at = b.value.mutable_data<double>()[i];
      at = 4 * (sink.next.at(b.name).data<double>()[i] - 0.75 * at);
    }
  }
  EXPECT_THAT(built.backbone->Forward({x, nn::Rows()}, nn::Call()).x_btd,
              RmsClose(expected, kFloat64Rms));
}

// One block, put together again from its parts: a mixer of the same parameters, and ops.
TEST(BlockOfAStack, NormsStandWhereTheConfigSays) {
  for (const StackConfig::NormPlace place :
       {StackConfig::PRE, StackConfig::POST, StackConfig::PRE_WITHOUT_LAST}) {
    for (const FeedForwardConfig::Kind kind : {FeedForwardConfig::RELU, FeedForwardConfig::GELU}) {
      StackConfig config;
      config.set_layers(1);
      config.mutable_mixer()->PackFrom(ConformanceHostConfig());
      config.mutable_feed_forward()->set_kind(kind);
      config.mutable_feed_forward()->set_width(24);
      config.mutable_feed_forward()->set_biases(true);
      config.mutable_norm()->set_kind(NormConfig::LAYER);
      config.set_norm_place(place);
      config.set_init_std(0.3);
      Built built;
      BuildArgs args{nn::Scope(&built.store, Rng(1), DType::kFloat64)};
      args.width = 16;
      LR_ASSERT_OK_AND_ASSIGN(built.backbone, CreateStack(config, args));
      TensorMap values = built.store.Values(), of_mixer;
      for (const auto& [name, value] : values) {
        const Tensor noise = RandomNormal(value.shape(), Rng(2).Child(name), 0.2, DType::kFloat64);
        value.CopyFrom(Add(value.Detach(), noise));
        constexpr absl::string_view kMixer = "layers.0.mixer.";
        if (absl::StartsWith(name, kMixer)) of_mixer[name.substr(kMixer.size())] = value;
      }
      nn::ParameterStore store;
      BuildArgs mixer_args{nn::Scope(&store, Rng(1), DType::kFloat64)};
      mixer_args.width = 16;
      LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Mixer> mixer,
                              Registry<Mixer>::Get().Create(config.mixer(), mixer_args));
      ASSERT_THAT(store.Load(of_mixer), IsOk());

      const auto at = [&](const std::string& name) { return values.at(name).Detach(); };
      const auto norm = [&](const Tensor& x, const std::string& name) {
        return LayerNorm(x, at(name + ".weight"), at(name + ".bias"), 1e-5);
      };
      const auto mix = [&](const Tensor& x) { return mixer->Forward(x, nn::Rows(), nn::Call()); };
      const auto feed = [&](const Tensor& x) {
        const std::string ff = "layers.0.feed_forward.";
        const Tensor h = Linear(x, at(ff + "w_up"), at(ff + "b_up"));
        return Linear(kind == FeedForwardConfig::RELU ? Relu(h) : Gelu(h), at(ff + "w_down"),
                      at(ff + "b_down"));
      };
      const std::string first = "layers.0.mixer_norm", second = "layers.0.feed_forward_norm";
      const Tensor x = RandomNormal({2, 7, 16}, Rng(3), 1, DType::kFloat64);
      Tensor y;
      if (place == StackConfig::POST) {
        y = norm(Add(x, mix(x)), first);
        y = norm(Add(y, feed(y)), second);
      } else {
        y = Add(x, mix(norm(x, first)));
        y = Add(y, feed(norm(y, second)));
      }
      EXPECT_EQ(values.count("norm.weight"), place == StackConfig::PRE ? 1u : 0u);
      if (place == StackConfig::PRE) y = norm(y, "norm");
      EXPECT_THAT(built.backbone->Forward({x, nn::Rows()}, nn::Call()).x_btd,
                  RmsClose(y, kFloat64Rms))
          << StackConfig::NormPlace_Name(place);
    }
  }
}

}  // namespace
}  // namespace longrange
