// Linformer: attention to rows that a learned projection of the length has compressed (Wang, Li,
// Khabsa, Fang, Ma 2020). B batch, T rows that ask, S rows that are asked, R slots, H query heads,
// K key-value heads, P head width, D width.

#ifndef LONGRANGE_PAPERS_LINFORMER_LINFORMER_H_
#define LONGRANGE_PAPERS_LINFORMER_LINFORMER_H_

#include <memory>

#include "papers/linformer/linformer.pb.h"
#include "plugins/mixer.h"

namespace longrange::linformer {

class Linformer : public Mixer {
 public:
  static absl::StatusOr<std::unique_ptr<Linformer>> Create(const LinformerConfig& config,
                                                           const BuildArgs& args);

  const MixerTraits& traits() const override { return traits_; }
  // Names n_max where there are more rows.
  absl::Status Supports(int64_t batch, int64_t tokens, const nn::Rows& rows,
                        const nn::Call& call) const override;
  Tensor Forward(const Tensor& x_btd, const nn::Rows& rows, const nn::Call&) const override {
    return Attend(x_btd, rows, x_btd, rows);
  }

  // The rows of x ask those of `context` [B, S, D], S at most n_max.
  Tensor Attend(const Tensor& x_btd, const nn::Rows& rows, const Tensor& context_bsd,
                const nn::Rows& context_rows) const;

 private:
  // What makes slots of rows: a matrix [R, n_max], of one head or [K, R, n_max]; the weights of a
  // convolution, [stride] or [K, stride]; undefined where there is nothing to learn.
  Tensor Mixture(const char* name, const BuildArgs& args) const;
  // Keys or values [B, R, K, P] of the context's rows.
  Tensor Slots(const Tensor& context_bsd, const nn::Rows& rows, const nn::Weight& weight,
               const Tensor& bias, const Tensor& mixture) const;
  // y [B, S, K, C] -> [B, R, K, C]; of y [B, S, 1, C] and a mixture by head too.
  Tensor Compress(const Tensor& y_bskc, const nn::Rows& rows, const Tensor& mixture) const;
  Tensor CompressLinear(const Tensor& y_bskc, const Tensor& mixture) const;
  Tensor Pool(const Tensor& y_bskc, const nn::Rows& rows, const Tensor& mixture) const;

  LinformerConfig config_;
  MixerTraits traits_;
  int64_t heads_ = 0, kv_heads_ = 0, head_width_ = 0;
  int64_t stride_ = 0;  // rows of a slot, where they are runs
  nn::Weight w_q_, w_k_, w_v_, w_o_;
  Tensor b_q_, b_k_, b_v_, b_o_;  // undefined without biases
  Tensor e_, f_;
};

}  // namespace longrange::linformer

#endif  // LONGRANGE_PAPERS_LINFORMER_LINFORMER_H_
