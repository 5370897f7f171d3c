// The attention of every layer of one call, and small views of what heads do. B sequences, H heads,
// T rows.

#ifndef LONGRANGE_PAPERS_INDUCTION_HEADS_MAPS_H_
#define LONGRANGE_PAPERS_INDUCTION_HEADS_MAPS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/tensor/tensor.h"
#include "papers/induction_heads/behaviour.h"

namespace longrange::induction_heads {

class AttentionMaps {
 public:
  AttentionMaps() = default;
  AttentionMaps(const AttentionMaps&) = delete;
  AttentionMaps& operator=(const AttentionMaps&) = delete;

  // Keeps every map that it sees; the maps must outlive it.
  std::function<Tensor(absl::string_view path, const Tensor& value)> See();
  // InvalidArgument: a map is not of these sequences' rows.
  absl::Status Check(const Sequences& sequences) const;

  bool empty() const { return layers_.empty(); }
  size_t size() const { return layers_.size(); }
  const std::string& path(size_t layer) const { return layers_[layer].path; }
  int64_t heads(size_t layer) const { return layers_[layer].shape.dim(1); }
  // [T, T] of a sequence.
  absl::Span<const double> Of(size_t layer, int64_t sequence, int64_t head) const;
  // The layer whose side outputs have this path; nullopt: it was not seen.
  std::optional<size_t> Find(absl::string_view path) const;

 private:
  struct Layer {
    std::string path;  // "layers.0.mixer/attention"
    Tensor shape;      // of the map
    std::vector<double> values;
  };
  std::vector<Layer> layers_;
};

// The matrix of one head of [H, M, N].
Tensor OfHead(const Tensor& x_hmn, int64_t head);
// [B, T, P] of one head of [B, T, H, P].
Tensor OfHeadAt(const Tensor& x_bthp, int64_t head);
// Maps [B, H, T, T] that look at their own row alone.
Tensor IdentityLike(const Tensor& p_bhtt);

}  // namespace longrange::induction_heads

#endif  // LONGRANGE_PAPERS_INDUCTION_HEADS_MAPS_H_
