// Model: tokens in, token scores out. Embedding, any Backbone, output matrix.
// B batch, T rows of a call, D width, V vocabulary.

#ifndef LONGRANGE_PLUGINS_MODEL_MODEL_H_
#define LONGRANGE_PLUGINS_MODEL_MODEL_H_

#include <memory>
#include <vector>

#include "common/nn/parameters.h"
#include "common/train/trainable.h"
#include "plugins/backbone.h"
#include "plugins/model/model.pb.h"

namespace longrange {

struct ModelArgs {
  Rng init;  // of the parameters
  DType dtype = DType::kFloat32;
  Device device = Device::kCpu;
  int64_t max_tokens = 0;  // the longest call planned; 0: unknown
};

// Scores of targets; rows whose target is < 0 have nll 0.
struct TokenScores {
  Tensor nll_bt;     // negative log-likelihood, nats
  Tensor argmax_bt;  // int32: the most likely token
};

class Model : public train::Trainable {
 public:
  // InvalidArgument names the field that does not fit.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ModelConfig& config,
                                                       const ModelArgs& args);

  const nn::ParameterStore& parameters() const override { return store_; }
  const Backbone& backbone() const { return *backbone_; }
  int64_t vocabulary() const { return config_.vocabulary(); }
  const ModelConfig& config() const { return config_; }

  // Can ids of this size be scored? InvalidArgument says why not.
  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const;

  // Mean negative log-likelihood of the targets, weighted: sum w nll / sum w over rows with target
  // >= 0. On the tape.
  Tensor Loss(const Batch& batch, const nn::Call& call) const override;

  // ids int32 [B, T] -> [B, T, V].
  Tensor Logits(const Tensor& ids_bt, const nn::Rows& rows, const nn::Call& call) const;
  // Scores without holding logits; records nothing.
  TokenScores Score(const Tensor& ids_bt, const Tensor& target_bt, const nn::Rows& rows,
                    const nn::Call& call) const;

  // Streaming: the next rows of B streams, and the logits [B, V] after the last of them. Records
  // nothing.
  nn::State NewState(int64_t batch) const { return backbone_->NewState(batch); }
  Tensor Extend(const Tensor& ids_bt, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const;

 private:
  Model() = default;
  Tensor Hidden(const Tensor& ids_bt, const nn::Rows& rows, const nn::Call& call) const;

  ModelConfig config_;
  nn::ParameterStore store_;
  Tensor embedding_vd_, output_vd_;
  std::unique_ptr<Backbone> backbone_;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MODEL_MODEL_H_
