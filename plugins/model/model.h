// Model: tokens in, token scores out. Embedding, any Backbone, output matrix. With
// ModelConfig.features a row is F numbers and not a token; with ModelConfig.pooling a sequence is
// answered once. B batch, T rows of a call, D width, V vocabulary; an input is ids int32 [B, T] or
// features [B, T, F]. With ModelConfig.two_towers an input is ids [2B, T]: the first documents,
// then the second ones; targets and answers are B.

#ifndef LONGRANGE_PLUGINS_MODEL_MODEL_H_
#define LONGRANGE_PLUGINS_MODEL_MODEL_H_

#include <memory>
#include <utility>
#include <vector>

#include "common/nn/parameters.h"
#include "common/train/trainable.h"
#include "plugins/backbone.h"
#include "plugins/model/model.pb.h"
#include "plugins/model/vocabulary.h"

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

// What a model reads of a batch, and which rows of it are real.
Tensor InputOf(const Batch& batch);
nn::Rows RowsOf(const Batch& batch);

class Model : public train::Trainable {
 public:
  // InvalidArgument names the field that does not fit.
  static absl::StatusOr<std::unique_ptr<Model>> Create(const ModelConfig& config,
                                                       const ModelArgs& args);

  const nn::ParameterStore& parameters() const override { return store_; }
  const Backbone& backbone() const { return *backbone_; }
  int64_t vocabulary() const { return config_.vocabulary(); }
  const ModelConfig& config() const { return config_; }

  // Can an input of this size be scored? InvalidArgument says why not.
  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const;

  // Does it answer once for a whole sequence? Then exactly one row of each sequence has a target
  // >= 0, and the answer counts as that row's.
  bool pools() const { return config_.pooling() != ModelConfig::EACH_ROW; }

  // Mean negative log-likelihood of the targets, weighted: sum w nll / sum w over rows with target
  // >= 0. On the tape.
  Tensor Loss(const Batch& batch, const nn::Call& call) const override;
  // The same where the rows go on from those that the state has seen. Not of a model that pools.
  Tensor StreamLoss(const Batch& batch, const nn::Call& call, nn::State* state) const override;

  // [B, T, V], or [B, 1, V] where it pools.
  Tensor Logits(const Tensor& input, const nn::Rows& rows, const nn::Call& call) const;
  // Scores without holding logits; records nothing.
  TokenScores Score(const Tensor& input, const Tensor& target_bt, const nn::Rows& rows,
                    const nn::Call& call) const;

  // Streaming: the next rows of B streams, and the logits [B, V] after the last of them. Records
  // nothing. A model that pools has no next rows.
  nn::State NewState(int64_t batch) const { return backbone_->NewState(batch); }
  Tensor Extend(const Tensor& input, const nn::Rows& rows, const nn::Call& call,
                nn::State* state) const;
  // The same, and the scores of those of the rows that have a target >= 0; argmax is 0 elsewhere.
  TokenScores ExtendScores(const Tensor& input, const Tensor& target_bt, const nn::Rows& rows,
                           const nn::Call& call, nn::State* state) const;

 private:
  Model() = default;
  Tensor Embedded(const Tensor& input) const;
  Tensor Hidden(const Tensor& input, const nn::Rows& rows, const nn::Call& call) const;
  // Channels of the rows that the backbone gives back.
  int64_t hidden_width() const { return backbone_->traits().WidthBack(config_.width()); }
  // The same rows behind the one that CLS puts in front.
  nn::Rows Framed(const nn::Rows& rows) const;
  Tensor MeanOfRows(const Tensor& hidden_btd, const nn::Rows& rows) const;  // [B, 1, D]
  // What the output matrix reads: the hidden rows, or what is pooled of them and has gone through
  // the head, [B, 1, width of the output matrix].
  Tensor Read(const Tensor& hidden_btd, const nn::Rows& rows) const;
  // The loss of the targets, from the hidden rows.
  Tensor LossOf(const Tensor& hidden_btd, const Batch& batch) const;
  // Scores of rows row_r of the flattened targets, whose hidden rows are read_rd.
  TokenScores ScoresAt(const Tensor& read_rd, const std::vector<int64_t>& row_r,
                       const Tensor& target_bt) const;
  Tensor ExtendHidden(const Tensor& input, const nn::Rows& rows, const nn::Call& call,
                      nn::State* state) const;

  ModelConfig config_;
  nn::ParameterStore store_;
  Vocabulary vocabulary_;
  Tensor input_weight_df_, input_bias_d_;        // where rows are features
  Tensor cls_d_;                                 // undefined: no such row
  std::vector<std::pair<Tensor, Tensor>> head_;  // weight and bias of each hidden layer
  std::unique_ptr<Backbone> backbone_;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MODEL_MODEL_H_
