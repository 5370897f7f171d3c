// The backbone: landmark rows go in, the wrapped backbone runs, they come out again. N = block - 1
// rows stand between two landmarks. The landmark of a block goes in with the next block's first
// row: nobody sees it before. T rows of the caller, U rows of the wrapped backbone.

#include "plugins/backbone.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "papers/landmark_attention/landmark_attention.pb.h"

namespace longrange {
namespace {

using google::protobuf::Any;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Every mixer of this folder below `config` has to have blocks of `block` rows.
absl::Status CheckBlocks(const Message& config, int64_t block) {
  if (config.GetDescriptor() == LandmarkAttentionMixerConfig::descriptor()) {
    LandmarkAttentionMixerConfig mixer;
    mixer.CopyFrom(config);
    if (mixer.block() == block) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("block: ", block, " (expected that of the mixers, ", mixer.block(), ")"));
  }
  if (config.GetDescriptor() == Any::descriptor()) {
    Any any;
    any.CopyFrom(config);
    if (any.type_url().empty()) return absl::OkStatus();
    LR_ASSIGN_OR_RETURN(const std::unique_ptr<Message> inside, registry_internal::Unpack(any));
    return CheckBlocks(*inside, block);
  }
  const auto* reflection = config.GetReflection();
  std::vector<const FieldDescriptor*> fields;
  reflection->ListFields(config, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE) continue;
    const int count = field->is_repeated() ? reflection->FieldSize(config, field) : 1;
    for (int i = 0; i < count; ++i) {
      LR_RETURN_IF_ERROR(CheckBlocks(field->is_repeated()
                                         ? reflection->GetRepeatedMessage(config, field, i)
                                         : reflection->GetMessage(config, field),
                                     block));
    }
  }
  return absl::OkStatus();
}

// Streaming state: that of the wrapped backbone, and "seen" [B] (int64) rows of the caller.
class LandmarkBackbone : public Backbone {
 public:
  static absl::StatusOr<std::unique_ptr<Backbone>> Create(const LandmarkAttentionConfig& config,
                                                          const BuildArgs& args);

  const BackboneTraits& traits() const override { return traits_; }

  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const override {
    LR_RETURN_IF_ERROR(SupportedBy(traits_, tokens, rows, call));
    return inner_->Supports(batch, WithLandmarks(tokens), Inside(rows), Inside(call));
  }

  Sequence Forward(const Sequence& in, const nn::Call& call) const override {
    const Sequence inside = {Insert(in.x_btd, 0), Inside(in.rows)};
    return {Remove(inner_->Forward(inside, Inside(call)).x_btd, 0, in.x_btd.dim(1)), in.rows};
  }

  nn::State NewState(int64_t batch) const override {
    nn::State state = inner_->NewState(batch);
    state.Set("rows seen", Tensor::Zeros({batch}, DType::kInt64));
    return state;
  }

  Sequence Extend(const Sequence& in, const nn::Call& call, nn::State* state) const override {
    const int64_t seen = state->Get("rows seen").data<int64_t>()[0], rows = in.x_btd.dim(1);
    state->Set("rows seen",
               Tensor::Full({in.x_btd.dim(0)}, static_cast<double>(seen + rows), DType::kInt64));
    const Sequence inside = {Insert(in.x_btd, seen), in.rows};
    return {Remove(inner_->Extend(inside, Inside(call), state).x_btd, seen, rows), in.rows};
  }

 private:
  // How many rows the first `rows` become: a landmark before rows N, 2N, ...
  int64_t WithLandmarks(int64_t rows) const {
    return rows == 0 ? 0 : rows + (rows - 1) / (block_ - 1);
  }

  nn::Call Inside(nn::Call call) const {
    call.horizon = WithLandmarks(call.horizon);
    return call;
  }

  nn::Rows Inside(nn::Rows rows) const {
    if (!rows.end_b.defined()) return rows;
    const Tensor end_b = Tensor::EmptyLike(rows.end_b);
    for (int64_t b = 0; b < end_b.numel(); ++b)
      end_b.mutable_data<int64_t>()[b] = WithLandmarks(rows.end_b.data<int64_t>()[b]);
    rows.end_b = end_b;
    return rows;
  }

  // Cuts rows [seen, seen + rows) of the stream where landmarks stand: calls fn(landmark, begin,
  // size) for each run of rows, counted from `seen`, and says whether a landmark comes before it.
  template <typename Fn>
  void ForRuns(int64_t seen, int64_t rows, Fn fn) const {
    const int64_t between = block_ - 1;
    for (int64_t begin = 0; begin < rows;) {
      const int64_t at = seen + begin, size = std::min(rows - begin, between - at % between);
      fn(at > 0 && at % between == 0, begin, size);
      begin += size;
    }
  }

  // [B, T, D] -> [B, U, D]
  Tensor Insert(const Tensor& x_btd, int64_t seen) const {
    const Tensor landmark =
        BroadcastTo(Reshape(landmark_d_, {1, 1, x_btd.dim(2)}), {x_btd.dim(0), 1, x_btd.dim(2)});
    std::vector<Tensor> parts;
    ForRuns(seen, x_btd.dim(1), [&](bool comes, int64_t begin, int64_t size) {
      if (comes) parts.push_back(landmark);
      parts.push_back(Narrow(x_btd, 1, begin, size));
    });
    return parts.size() == 1 ? parts[0] : Concat(parts, 1);
  }

  // [B, U, D] -> [B, T, D]
  Tensor Remove(const Tensor& x_bud, int64_t seen, int64_t rows) const {
    std::vector<Tensor> parts;
    int64_t at = 0;
    ForRuns(seen, rows, [&](bool comes, int64_t, int64_t size) {
      at += comes ? 1 : 0;
      parts.push_back(Narrow(x_bud, 1, at, size));
      at += size;
    });
    return parts.size() == 1 ? parts[0] : Concat(parts, 1);
  }

  std::unique_ptr<Backbone> inner_;
  Tensor landmark_d_;
  int64_t block_ = 0;
  BackboneTraits traits_;
};

absl::StatusOr<std::unique_ptr<Backbone>> LandmarkBackbone::Create(
    const LandmarkAttentionConfig& config, const BuildArgs& args) {
  constexpr int64_t kLongestBlock = 1 << 20;
  if (config.block() < 2 || config.block() > kLongestBlock) {
    return absl::InvalidArgumentError(
        absl::StrCat("block: ", config.block(), " (expected 2 to ", kLongestBlock, " rows)"));
  }
  if (!(config.init_std() >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("init_std: ", config.init_std(), " (expected 0 or more)"));
  }
  LR_RETURN_IF_ERROR(CheckBlocks(config.backbone(), config.block()));
  auto backbone = std::make_unique<LandmarkBackbone>();
  backbone->block_ = config.block();
  BuildArgs inside = args;
  inside.max_tokens = backbone->WithLandmarks(args.max_tokens);
  LR_ASSIGN_OR_RETURN(backbone->inner_,
                      Registry<Backbone>::Get().Create(config.backbone(), inside));
  BackboneTraits& traits = backbone->traits_;
  traits = backbone->inner_->traits();
  if (traits.direction != nn::Direction::kCausal)
    return absl::InvalidArgumentError("backbone: landmarks need a causal one");
  if (traits.output_width > 0)
    return absl::InvalidArgumentError("backbone: gives back rows of another width");
  if (traits.multiple_of > 1 || traits.segment > 0) {
    return absl::UnimplementedError(absl::StrCat("backbone: one on a grid of ",
                                                 std::max(traits.multiple_of, traits.segment),
                                                 " rows does not take landmarks between them"));
  }
  // Rows that become as many as the wrapped backbone takes at least and at most.
  const auto without = [&](int64_t rows) { return rows - rows / config.block(); };
  traits.min_tokens = without(traits.min_tokens);
  if (traits.max_tokens > 0) traits.max_tokens = without(traits.max_tokens);
  traits.padding = std::min(traits.padding, MixerTraits::kRight);
  traits.documents = traits.frontier = traits.roles = false;
  nn::Tags tags;
  tags.may_be_new = true;
  backbone->landmark_d_ =
      args.scope.Param("landmark", {args.width}, nn::Normal(config.init_std()), tags);
  return backbone;
}

LR_REGISTER_PLUGIN(Backbone, LandmarkAttentionConfig, LandmarkBackbone::Create);

}  // namespace
}  // namespace longrange
