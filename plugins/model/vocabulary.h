// Vocabulary: tokens in, as rows; rows out, as scores of tokens. One table, or words by falling
// frequency in clusters (Grave et al., ICML 2017; Baevski and Auli, ICLR 2019). R rows, D width of
// the model, V tokens.

#ifndef LONGRANGE_PLUGINS_MODEL_VOCABULARY_H_
#define LONGRANGE_PLUGINS_MODEL_VOCABULARY_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/nn/parameters.h"
#include "plugins/model/model.pb.h"

namespace longrange {

// Parameters of one table: "embedding", "output" (untied) and "output_bias". Of clusters i = 0, 1,
// ..: "embedding.i" [words, width_i], "output.i" (untied), "output_bias.i"; "projection.i" [D,
// width_i] where width_i is not D or there is a divisor ("projection", of all clusters, where there
// is none), "output_projection.i" (untied); and "cluster" [clusters - 1, width_0], "cluster_bias",
// the rows of the softmax of the first cluster that stand for the others, the last one first, as
// the authors' code has it.
class Vocabulary {
 public:
  Vocabulary() = default;

  // Is it in clusters? An AdaptiveConfig of defaults alone is one table.
  static bool IsAdaptive(const ModelConfig& config) {
    return config.adaptive().cutoff_size() > 0 || config.adaptive().width() > 0;
  }
  // Can a vocabulary be made of this config? InvalidArgument names the field that does not fit.
  static absl::Status Check(const ModelConfig& config);

  // Create what is read, and what scores are made of; the order of a store's parameters is that of
  // their creation, and between the two come the backbone's. Scores are made of rows of `read`
  // channels: the model's width, but for one table that a head stands in front of.
  void CreateInput(const ModelConfig& config, const nn::Scope& scope);
  void CreateOutput(const ModelConfig& config, int64_t read, const nn::Scope& scope);

  // ids [..] -> [.., D], times the embedding's scale.
  Tensor Embed(const Tensor& ids) const;

  // Negative log-likelihood of the targets, nats, [R]; 0 where the target is < 0. Scores of all
  // tokens are never held; those of a cluster are made for the rows that need them. On meta tensors
  // all tokens are of the first cluster.
  Tensor Nll(const Tensor& x_rd, const Tensor& target_r) const;
  struct Scores {
    Tensor nll_r;
    Tensor argmax_r;  // int32: the most likely token
  };
  // The same with the most likely token. Records nothing.
  Scores Score(const Tensor& x_rd, const Tensor& target_r) const;
  // x [.., D] -> [.., V], scores before the softmax; of clusters log-probabilities.
  Tensor Logits(const Tensor& x) const;

 private:
  struct Cluster {
    int64_t begin = 0, end = 0;       // its tokens
    Tensor input_nw, projection_dw;   // read; no projection: the table has the model's width
    Tensor output_nw, output_bias_n;  // scored; no bias: none
    Tensor output_projection_dw;
  };
  // What the first cluster's softmax chooses among: its own words, then the other clusters.
  struct Choices {
    Tensor weight_cw, bias_c;
  };
  Choices Head() const;
  int64_t ColumnOf(size_t cluster) const;  // of a cluster behind the first

  std::vector<Cluster> clusters_;  // one table: one
  Tensor cluster_weight_, cluster_bias_;
  double embedding_scale_ = 1;
  int64_t width_ = 0;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_MODEL_VOCABULARY_H_
