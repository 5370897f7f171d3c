#include "plugins/checkpoint/checkpoint.h"

#include <google/protobuf/wrappers.pb.h>

#include <string>
#include <vector>

#include "common/base/text_proto.h"
#include "common/io/atomic_file.h"
#include "common/io/safetensors.h"
#include "common/testing/matchers.h"
#include "gtest/gtest.h"
#include "plugins/hugging_face/hugging_face.h"
#include "plugins/stack/stack.pb.h"

namespace longrange {
namespace {

using google::protobuf::Int64Value;
using ::testing::ElementsAre;
using ::testing::StartsWith;

// Leaves rows as they are and has a parameter of as many numbers as its config says.
class Scales : public Mixer {
 public:
  explicit Scales(Tensor scale_n) : scale_n_(std::move(scale_n)) {}
  const MixerTraits& traits() const override { return traits_; }
  Tensor Forward(const Tensor& x, const nn::Rows&, const nn::Call&) const override { return x; }

 private:
  MixerTraits traits_;
  Tensor scale_n_;
};

absl::StatusOr<std::unique_ptr<Mixer>> CreateScales(const Int64Value& config,
                                                    const BuildArgs& args) {
  return std::make_unique<Scales>(
      args.scope.Param("scale", {std::max<int64_t>(1, config.value())}, nn::Normal(1)));
}

LR_REGISTER_PLUGIN(Mixer, Int64Value, CreateScales);

ModelConfig SmallConfig(int64_t scales = 3) {
  Int64Value mixer;
  mixer.set_value(scales);
  StackConfig stack;
  stack.set_layers(1);
  stack.mutable_mixer()->PackFrom(mixer);
  ModelConfig config;
  config.set_vocabulary(260);
  config.set_width(4);
  config.mutable_backbone()->PackFrom(stack);
  return config;
}

std::unique_ptr<Model> Make(const ModelConfig& config, uint64_t seed) {
  ModelArgs args;
  args.init = Rng(seed);
  auto model = Model::Create(config, args);
  CHECK(model.ok()) << model.status();
  return *std::move(model);
}

void ExpectSameWeights(const Model& a, const Model& b) {
  const TensorMap ours = a.parameters().Values(), theirs = b.parameters().Values();
  ASSERT_EQ(ours.size(), theirs.size());
  for (const auto& [name, value] : ours) EXPECT_THAT(theirs.at(name), BitEqual(value)) << name;
}

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    parent_ = ::testing::TempDir() + "/checkpoint_" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    ASSERT_THAT(RemoveAll(parent_), IsOk());
    ASSERT_THAT(MakeDirs(parent_), IsOk());
    folder_ = parent_ + "/model";
    config_.set_trained_length(128);
    config_.mutable_tokenizer()->set_kind("bytes");
    config_.mutable_tokenizer()->add_special_token("<mark>");
    config_.mutable_tokenizer()->add_special_token("<query>");
    config_.mutable_origin()->set_study("a_study");
    config_.mutable_training()->set_final_loss(0.1);
    config_.mutable_training()->set_steps(7);
  }
  std::string Text() const {
    const absl::StatusOr<std::string> text = ReadFile(folder_ + "/config.textproto");
    CHECK(text.ok()) << text.status();
    return *text;
  }
  // Without the line that the edited text no longer fits.
  void Rewrite(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << text;
    text.replace(at, from.size(), to);
    text.resize(text.find("# xxh3 of the lines above"));
    ASSERT_THAT(WriteFileAtomically(folder_ + "/config.textproto", text), IsOk());
  }

  std::string parent_, folder_;
  CheckpointConfig config_;
};

TEST_F(CheckpointTest, OpensAsItWasSaved) {
  const std::unique_ptr<Model> model = Make(SmallConfig(), 1);
  ASSERT_THAT(SaveCheckpoint(folder_, config_, *model), IsOk());
  EXPECT_THAT(Text(), StartsWith("# proto-file: plugins/checkpoint/checkpoint.proto\n"));
  LR_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, Checkpoint::Open(folder_));
  EXPECT_EQ(checkpoint.config().trained_length(), 128);
  EXPECT_EQ(checkpoint.config().origin().study(), "a_study");
  EXPECT_EQ(checkpoint.config().origin().tuning_seed(), -1);
  EXPECT_EQ(checkpoint.config().training().final_loss(), 0.1);  // every bit
  LR_ASSERT_OK_AND_ASSIGN(const auto again, checkpoint.CreateModel(ModelArgs()));
  ExpectSameWeights(*model, *again);
  EXPECT_EQ(Resolve(again->config()), Resolve(model->config()));

  // Other weights, another checksum; the same weights, the same one.
  ASSERT_THAT(SaveCheckpoint(parent_ + "/same", config_, *again), IsOk());
  ASSERT_THAT(SaveCheckpoint(parent_ + "/other", config_, *Make(SmallConfig(), 2)), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const Checkpoint same, Checkpoint::Open(parent_ + "/same"));
  LR_ASSERT_OK_AND_ASSIGN(const Checkpoint other, Checkpoint::Open(parent_ + "/other"));
  EXPECT_EQ(same.weights_checksum(), checkpoint.weights_checksum());
  EXPECT_NE(other.weights_checksum(), checkpoint.weights_checksum());
}

TEST_F(CheckpointTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(Checkpoint::Open(parent_ + "/none"),
              StatusIs(absl::StatusCode::kNotFound, "there is no folder"));
  EXPECT_THAT(Checkpoint::Open(parent_), StatusIs(absl::StatusCode::kNotFound, "no trained model"));
  ASSERT_THAT(MakeDirs(parent_ + "/models/base-1-abc"), IsOk());
  EXPECT_THAT(Checkpoint::Open(parent_),
              StatusIs(absl::StatusCode::kNotFound,
                       "its models are in " + parent_ + "/models: base-1-abc"));
  ASSERT_THAT(SaveCheckpoint(folder_, config_, *Make(SmallConfig(), 1)), IsOk());
  const std::string text = Text();

  Rewrite(text, "google.protobuf.Int64Value", "google.protobuf.Int64Valu");
  EXPECT_THAT(Checkpoint::Open(folder_), StatusIs(absl::StatusCode::kInvalidArgument,
                                                  "no message 'google.protobuf.Int64Valu'"));
  Rewrite(text, "google.protobuf.Int64Value", "google.protobuf.StringValue");
  EXPECT_THAT(Checkpoint::Open(folder_),
              StatusIs(absl::StatusCode::kInvalidArgument, "Expected string"));
  Rewrite(text, "trained_length: 128", "trained_lenth: 128");
  EXPECT_THAT(Checkpoint::Open(folder_),
              StatusIs(absl::StatusCode::kInvalidArgument, "did you mean 'trained_length'"));
  Rewrite(text, "value: 3", "value: 4");
  {
    LR_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, Checkpoint::Open(folder_));
    EXPECT_THAT(checkpoint.CreateModel(ModelArgs()),
                StatusIs(absl::StatusCode::kInvalidArgument,
                         "model: the weights do not fit the config: parameter layers.0.mixer.scale:"
                         " expected shape [4], got [3]"));
  }
  Rewrite(text, "width: 4", "width: 0");
  {
    LR_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, Checkpoint::Open(folder_));
    EXPECT_THAT(checkpoint.CreateModel(ModelArgs()),
                StatusIs(absl::StatusCode::kInvalidArgument, "model: width: 0"));
  }
  ASSERT_THAT(SaveCheckpoint(folder_, config_, *Make(SmallConfig(), 1)), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(std::string weights, ReadFile(folder_ + "/weights.safetensors"));
  weights.back() = static_cast<char>(weights.back() ^ 1);
  ASSERT_THAT(WriteFileAtomically(folder_ + "/weights.safetensors", weights), IsOk());
  EXPECT_THAT(Checkpoint::Open(folder_), StatusIs(absl::StatusCode::kDataLoss, "damaged"));
}

TEST_F(CheckpointTest, TokensMustMeanTheSame) {
  const auto check = [&](std::vector<std::string> specials) {
    return CheckTokenizer(config_, ByteTokenizer(std::move(specials)));
  };
  EXPECT_THAT(check({"<mark>", "<query>"}), IsOk());
  EXPECT_THAT(check({}), IsOk());
  EXPECT_THAT(check({"<query>", "<mark>"}),
              StatusIs(absl::StatusCode::kInvalidArgument,
                       "token 256 is '<query>' here and '<mark>' to the checkpoint"));
  EXPECT_THAT(check({"<mark>", "<query>", "<v0>"}),
              StatusIs(absl::StatusCode::kInvalidArgument, "token 258 is '<v0>' here and unknown"));
  EXPECT_THAT(CheckTokenizer(config_, SymbolTokenizer({"<mark>"})),
              StatusIs(absl::StatusCode::kInvalidArgument, "kind: 'bytes' (expected 'symbols')"));
  config_.mutable_tokenizer()->set_kind("symbols");
  EXPECT_THAT(CheckTokenizer(config_, SymbolTokenizer({"<mark>"})), IsOk());
  EXPECT_THAT(CheckTokenizer(config_, SymbolTokenizer({"<query>"})),
              StatusIs(absl::StatusCode::kInvalidArgument, "token 0 is '<query>' here"));
  config_.mutable_tokenizer()->set_kind("words");
  EXPECT_THAT(check({}), StatusIs(absl::StatusCode::kInvalidArgument, "kind: 'words'"));
  config_.clear_tokenizer();
  EXPECT_THAT(check({}), StatusIs(absl::StatusCode::kInvalidArgument, "does not say"));
}

absl::StatusOr<HuggingFaceModel> ImportScales(JsonFields* config, const HuggingFaceOptions&) {
  config->Skip({"max_position_embeddings"});
  HuggingFaceModel model;
  LR_ASSIGN_OR_RETURN(const int64_t scales, config->Integer("scales"));
  model.config = SmallConfig(scales);
  StackConfig stack;
  model.config.mutable_backbone()->UnpackTo(&stack);
  stack.mutable_feed_forward()->set_kind(FeedForwardConfig::NONE);
  model.config.mutable_backbone()->PackFrom(stack);
  model.names.Add("embed.weight", "embedding")
      .Add("head.weight", "output")
      .Add("norm.weight", "norm.weight")
      .Add("h.*.norm.weight", "layers.*.mixer_norm.weight")
      .Add("h.*.scale", "layers.*.mixer.scale");
  return model;
}

LR_REGISTER_HUGGING_FACE_MODEL("scales", ImportScales);

TEST_F(CheckpointTest, AHuggingFaceFolderOpens) {
  ASSERT_THAT(MakeDirs(folder_), IsOk());
  ASSERT_THAT(WriteFileAtomically(
                  folder_ + "/config.json",
                  R"({"model_type": "scales", "scales": 2, "max_position_embeddings": 32})"),
              IsOk());
  EXPECT_THAT(Checkpoint::Open(folder_),
              StatusIs(absl::StatusCode::kNotFound, "expected model*.safetensors"));
  const TensorMap one = {{"embed.weight", Tensor::Full({260, 4}, 1)},
                         {"head.weight", Tensor::Full({260, 4}, 2)}},
                  two = {{"norm.weight", Tensor::Full({4}, 3)},
                         {"h.0.norm.weight", Tensor::Full({4}, 4)},
                         {"h.0.scale", Tensor::Full({2}, 5)}};
  ASSERT_THAT(WriteSafetensors(folder_ + "/model-00001-of-00002.safetensors", one), IsOk());
  ASSERT_THAT(WriteSafetensors(folder_ + "/model-00002-of-00002.safetensors", two), IsOk());
  LR_ASSERT_OK_AND_ASSIGN(const Checkpoint checkpoint, Checkpoint::Open(folder_));
  EXPECT_EQ(checkpoint.config().trained_length(), 32);
  LR_ASSERT_OK_AND_ASSIGN(const auto model, checkpoint.CreateModel(ModelArgs()));
  EXPECT_THAT(model->parameters().Values().at("layers.0.mixer.scale"),
              BitEqual(two.at("h.0.scale")));
  EXPECT_THAT(CheckTokenizer(checkpoint.config(), ByteTokenizer()),
              StatusIs(absl::StatusCode::kInvalidArgument, "does not say what its tokens are"));

  ASSERT_THAT(WriteSafetensors(folder_ + "/model-00003.safetensors", two), IsOk());
  EXPECT_THAT(checkpoint.CreateModel(ModelArgs()),
              StatusIs(absl::StatusCode::kInvalidArgument, "is in two files"));
  ASSERT_THAT(RemoveAll(folder_ + "/model-00003.safetensors"), IsOk());
  ASSERT_THAT(RemoveAll(folder_ + "/model-00002-of-00002.safetensors"), IsOk());
  EXPECT_THAT(checkpoint.CreateModel(ModelArgs()),
              StatusIs(absl::StatusCode::kInvalidArgument, "norm.weight"));
  ASSERT_THAT(WriteFileAtomically(folder_ + "/config.json", R"({"model_type": "other"})"), IsOk());
  EXPECT_THAT(Checkpoint::Open(folder_),
              StatusIs(absl::StatusCode::kInvalidArgument, "unknown 'other'"));
}

}  // namespace
}  // namespace longrange
