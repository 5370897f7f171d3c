// Perceiver: a few latents that attend to any number of rows (Jaegle et al., ICML 2021). B batch, M
// rows, C channels of a row, N latents of width D.

#ifndef LONGRANGE_PAPERS_PERCEIVER_PERCEIVER_H_
#define LONGRANGE_PAPERS_PERCEIVER_PERCEIVER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "papers/perceiver/perceiver.pb.h"
#include "plugins/backbone.h"

namespace longrange::perceiver {

struct BlockOptions {
  int64_t latent_width = 0;  // D
  int64_t input_width = 0;   // C of a cross-attend; 0: the latents attend to each other
  int64_t heads = 1, head_width = 0;
  bool qkv_biases = true;
  PerceiverConfig::FeedForward feed_forward = PerceiverConfig::GELU;
  int64_t widening = 1;
  double init_scale = 1;
};

// Attention of the latents, to rows or to each other, and the layer behind it:
//   z <- z + W_o softmax(q k^T / sqrt(P)) v + b_o,  q of LN(z), k and v of LN(x) (of the same
//   LN(z)) z <- z + W_2 gelu(W_1 LN(z) + b_1) + b_2
// Scores of all rows are never held.
class Block : public nn::Module {
 public:
  Block(const BlockOptions& options, const nn::Scope& scope);

  // What the latents attend to, of rows x [B, M, C]: it does not change with the latents, so that
  // cross-attends of one set of parameters share it.
  struct KeysAndValues {
    Tensor k_bmhp, v_bmhp;
  };
  KeysAndValues KeysOf(const Tensor& x_bmc) const;

  // A cross-attend: padding of `rows` is no key.
  Tensor Cross(const Tensor& z_bnd, const KeysAndValues& keys, const nn::Rows& rows) const;
  Tensor Self(const Tensor& z_bnd) const;

 private:
  struct Norm {
    Tensor weight, bias;
    Tensor operator()(const Tensor& x) const;
  };
  struct Map {
    nn::Weight weight;
    Tensor bias;  // undefined: none
    Tensor operator()(const Tensor& x) const;
  };
  Norm MakeNorm(const char* name, int64_t width, const nn::Scope& scope) const;
  Map MakeMap(const char* name, int64_t out, int64_t in, bool bias, const nn::Scope& scope) const;
  KeysAndValues KeysOfNormed(const Tensor& n_bmc) const;
  // The latents with what they see of `keys`, and through the layer behind.
  Tensor Attend(const Tensor& z_bnd, const Tensor& n_bnd, const KeysAndValues& keys,
                const nn::Rows& rows) const;

  BlockOptions options_;
  Norm norm_q_, norm_kv_, norm_ff_;
  Map q_, k_, v_, o_, up_, down_;
};

class Perceiver : public Backbone {
 public:
  static absl::StatusOr<std::unique_ptr<Perceiver>> Create(const PerceiverConfig& config,
                                                           const BuildArgs& args);

  const BackboneTraits& traits() const override { return traits_; }
  // The latents [B, N, D] after the last block.
  Sequence Forward(const Sequence& in, const nn::Call& call) const override;

  // Forward in its two parts: rows [B, M, W] with their codes behind their channels [B, M, C], and
  // the latents that have read such rows in any order.
  Tensor WithPositions(const Tensor& x_bmw, const nn::Rows& given) const;
  Tensor Read(const Tensor& given_bmc, const nn::Rows& rows) const;

 private:
  // Codes of places 0 .. places - 1, [R, E]; `lines` of the first axis.
  Tensor CodesOf(int64_t lines, int64_t places, const Tensor& like) const;
  // Which sets of parameters cross-attend `t`, and the block behind it, have.
  int64_t CrossSetOf(int64_t t) const;
  int64_t BlockSetOf(int64_t t) const;

  PerceiverConfig config_;
  std::vector<int64_t> axis_;           // the first may be 0
  std::vector<double> max_resolution_;  // of each axis; 0: its length
  std::vector<int64_t> place_;          // of row t; empty: t
  BackboneTraits traits_;
  Tensor latents_nd_, learned_re_;
  Tensor fixed_codes_re_;  // Fourier codes of a grid whose lengths are all known
  std::vector<std::unique_ptr<Block>> cross_;                // by set
  std::vector<std::vector<std::unique_ptr<Block>>> latent_;  // by set and layer
};

}  // namespace longrange::perceiver

#endif  // LONGRANGE_PAPERS_PERCEIVER_PERCEIVER_H_
