// A backbone behind a shuffle of its input's rows: what is left of a model's accuracy where
// neighbours are no longer neighbours (Table 2). B batch, M rows, W width.

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/autograd/ops.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/perceiver/perceiver.pb.h"
#include "papers/perceiver/positions.h"
#include "plugins/backbone.h"

namespace longrange::perceiver {
namespace {

// Row t of the result is row from[t] of x [B, M, W].
Tensor Gathered(const Tensor& x_bmw, const std::vector<int64_t>& from) {
  const int64_t batch = x_bmw.dim(0), length = x_bmw.dim(1), width = x_bmw.dim(2);
  Tensor row_bm = Tensor::Empty({batch, length}, DType::kInt64);
  for (int64_t i = 0; i < batch * length; ++i)
    row_bm.mutable_data<int64_t>()[i] = i / length * length + from[i % length];
  return Embedding(Reshape(x_bmw, {batch * length, width}),
                   x_bmw.is_meta() ? row_bm.To(Device::kMeta) : row_bm);
}

class Permuted : public Backbone {
 public:
  static absl::StatusOr<std::unique_ptr<Backbone>> Create(const PerceiverPermutedConfig& config,
                                                          const BuildArgs& args) {
    if (args.direction != nn::Direction::kBidirectional) {
      return Refuse("direction", "causal",
                    "bidirectional: what comes before a row is another place's after a shuffle");
    }
    constexpr int64_t kMost = int64_t{1} << 31;
    if (config.permutation() < 1 || config.permutation() > kMost)
      return Refuse("permutation", config.permutation(), absl::StrCat("1 to ", kMost));
    auto made = std::make_unique<Permuted>();
    made->number_ = config.permutation();
    LR_ASSIGN_OR_RETURN(made->inner_, Registry<Backbone>::Get().Create(config.backbone(), args));
    made->traits_ = made->inner_->traits();
    BackboneTraits& traits = made->traits_;
    if (traits.direction != args.direction || traits.segment > 0)
      return absl::InvalidArgumentError("backbone: not bidirectional, or on a grid of segments");
    // Which rows are real, and which of them are special, is said of rows in their order.
    traits.padding = MixerTraits::kNoPadding;
    traits.documents = traits.frontier = traits.roles = false;
    return made;
  }

  const BackboneTraits& traits() const override { return traits_; }

  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const override {
    LR_RETURN_IF_ERROR(SupportedBy(traits_, tokens, rows, call));
    return inner_->Supports(batch, tokens, nn::Rows(), call);
  }

  Sequence Forward(const Sequence& in, const nn::Call& call) const override {
    const std::vector<int64_t> from = Permutation(in.x_btd.dim(1), number_);
    Sequence out = inner_->Forward({Gathered(in.x_btd, from), nn::Rows()}, call);
    if (traits_.output_rows > 0) return out;
    std::vector<int64_t> back(from.size());
    for (size_t t = 0; t < from.size(); ++t) back[from[t]] = static_cast<int64_t>(t);
    return {Gathered(out.x_btd, back), in.rows};
  }

  std::vector<std::pair<std::string, HeadMaps>> Heads() const override { return inner_->Heads(); }

 private:
  std::unique_ptr<Backbone> inner_;
  int64_t number_ = 0;
  BackboneTraits traits_;
};

LR_REGISTER_PLUGIN(Backbone, PerceiverPermutedConfig, Permuted::Create);

}  // namespace
}  // namespace longrange::perceiver
