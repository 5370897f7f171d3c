// Attention with zero weights looks at all earlier rows alike: query t at t / 2 rows on average.

#include <google/protobuf/empty.pb.h>

#include <memory>
#include <utility>
#include <vector>

#include "common/testing/matchers.h"
#include "gtest/gtest.h"
#include "papers/_skeleton/my_probe/my_probe.pb.h"
#include "plugins/attention/attention_host.h"
#include "plugins/model/model.h"
#include "plugins/probe.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

class Flat : public Mixer {
 public:
  explicit Flat(std::unique_ptr<AttentionHost> host) : host_(std::move(host)) {}
  const MixerTraits& traits() const override { return host_->traits(); }
  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call& call) const override {
    return host_->Forward(x_btd, rows, call);
  }

 private:
  std::unique_ptr<AttentionHost> host_;
};

using google::protobuf::Empty;

absl::StatusOr<std::unique_ptr<Mixer>> CreateFlat(const Empty&, const BuildArgs& args) {
  AttentionHostOptions options;
  options.heads = options.kv_heads = 2;
  options.head_width = 4;
  options.init_std = 0;
  LR_ASSIGN_OR_RETURN(std::unique_ptr<AttentionHost> host,
                      AttentionHost::Create(std::move(options), args));
  return std::make_unique<Flat>(std::move(host));
}
LR_REGISTER_PLUGIN(Mixer, Empty, CreateFlat);

TEST(MyProbeTest, FlatAttentionLooksHalfwayBack) {
  StackConfig stack;
  stack.set_layers(2);
  stack.mutable_mixer()->PackFrom(Empty());
  ModelConfig config;
  config.set_vocabulary(8);
  config.set_width(8);
  config.mutable_backbone()->PackFrom(stack);
  LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Model> model,
                          Model::Create(config, ModelArgs{Rng(1)}));
  ProbeArgs args;
  args.ids_bt = Tensor::Zeros({3, 9}, DType::kInt32);
  for (const auto& [skip, expected] : {std::pair(0, 2.0), std::pair(8, 4.0)}) {
    MyProbeConfig probe_config;
    probe_config.set_skip(skip);
    google::protobuf::Any any;
    any.PackFrom(probe_config);
    LR_ASSERT_OK_AND_ASSIGN(const std::unique_ptr<Probe> probe,
                            Registry<Probe>::Get().Create(any, Probe::Args()));
    LR_ASSERT_OK_AND_ASSIGN(const std::vector<Row> rows, probe->Measure(*model, args));
    ASSERT_EQ(rows.size(), 4u);  // of each layer and head
    for (const Row& row : rows) EXPECT_NEAR(*row.Number("value"), expected, 1e-6) << row.ToJson();
  }
}

}  // namespace
}  // namespace longrange
