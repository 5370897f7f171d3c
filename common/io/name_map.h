// NameMap: the names and layouts of somebody else's parameters in terms of ours, read both ways.
//
//   NameMap map;
//   map.Add("model.embed_tokens.weight", "embedding/weight")
//      .Add("h.*.attn.c_proj.weight", "layers.*/mixer/w_o", {Transform::Transpose()})
//      .Add({{"h.*.attn.qkv.weight"}, {"layers.*/mixer/w_q", "layers.*/mixer/w_k",
//      "layers.*/mixer/w_v"}}) .Tie("lm_head.weight", "embedding/weight")
//      .Ignore("*.rotary_emb.inv_freq");
//
// "Theirs" are the names of a file, "ours" those of a parameter tree. In the names of a row each
// `*` stands for a number (a layer's index); the first `*` is the same number in all names of the
// row, and so is the second. Every tensor of the file and every wanted parameter is used exactly
// once; anything else is an error that lists the names.

#ifndef LONGRANGE_COMMON_IO_NAME_MAP_H_
#define LONGRANGE_COMMON_IO_NAME_MAP_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/tensor_map.h"
#include "common/tensor/tensor.h"

namespace longrange {

// A rearrangement of one tensor's elements that can be undone: nothing is computed, so every type
// keeps its bits and gradients map like the values. Descriptions are from theirs to ours.
class Transform {
 public:
  // Swaps two dimensions.
  static Transform Transpose(int dim_a = 0, int dim_b = 1);
  // Theirs has shape `theirs`, ours `ours`; a -1 in each is found out from the number of elements.
  static Transform Reshape(const Shape& theirs, const Shape& ours);
  // Theirs has a dimension of size 1 at `dim` that ours lacks (a depthwise convolution's [C, 1, K]
  // as [C, K]).
  static Transform Squeeze(int dim);
  // Dimension 0 is heads * head_dim. In each head the first rotary_dim rows (all of them where it
  // is 0) go from the half-split order of a rotation's pairs (i, i + rotary_dim/2) to the
  // interleaved one (2i, 2i + 1).
  static Transform HalfToInterleaved(int64_t num_heads, int64_t rotary_dim = 0);
  // The other way round.
  static Transform InterleavedToHalf(int64_t num_heads, int64_t rotary_dim = 0);

  // Theirs to ours, or ours to theirs (inverse); new memory or a view. InvalidArgument where the
  // shape does not fit.
  absl::StatusOr<Tensor> Apply(const Tensor& t, bool inverse) const;
  // What Apply does to the shape.
  absl::StatusOr<Shape> ShapeAfter(const Shape& shape, bool inverse) const;

 private:
  enum class Kind { kTranspose, kReshape, kSqueeze, kPermuteHeads };
  explicit Transform(Kind kind) : kind_(kind) {}

  Kind kind_;
  int dim_a_ = 0, dim_b_ = 0;
  Shape theirs_, ours_;
  int64_t num_heads_ = 0, rotary_dim_ = 0;
  bool to_interleaved_ = false;
};

// One row: theirs -> `before`, each -> joined along dimension 0 -> cut along dimension 0 ->
// `after`, each -> ours.
struct NameMapRow {
  std::vector<std::string> theirs;
  std::vector<std::string> ours;
  std::vector<Transform> before;
  // By index in `ours`; may be shorter.
  std::vector<std::vector<Transform>> after;
  // Joining and cutting happen within each of `groups` equal blocks of dimension 0: 1 for [all q,
  // all k, all v], the number of heads for rows that go [q, k, v] head by head.
  int64_t groups = 1;
  // Rows (dimension 0, after `before`) of each of theirs where these are several; empty: equal
  // parts.
  std::vector<int64_t> theirs_rows;
};

// What is wanted under one of our names.
struct WantedTensor {
  std::string name;
  Shape shape;
  DType dtype = DType::kFloat32;
};

class NameMap {
 public:
  // One of theirs is one of ours.
  NameMap& Add(absl::string_view theirs, absl::string_view ours,
               std::vector<Transform> transforms = {});
  // Fused and split tensors.
  NameMap& Add(NameMapRow row);
  // The file may hold, under the name `theirs`, a second copy of what another row reads into `ours`
  // (tied weights). Where it does, it must be equal, and nothing is written for it.
  NameMap& Tie(absl::string_view theirs, absl::string_view ours);
  // Names in files that nothing is read from and that need not be there; here `*` stands for any
  // characters.
  NameMap& Ignore(absl::string_view theirs_pattern);
  // Parameters of ours that files do not have and that keep their values; `*` stands for any
  // characters.
  NameMap& IgnoreOurs(absl::string_view ours_pattern);

  // Their tensors as ours: exactly the wanted ones (those of IgnoreOurs left out), each with the
  // wanted shape and type; floating types are converted. InvalidArgument lists the names that are
  // missing and unexpected, at most ten of each, or names the tensor whose shape does not fit.
  // Results may share memory with `theirs`.
  absl::StatusOr<TensorMap> Import(const TensorMap& theirs,
                                   const std::vector<WantedTensor>& wanted) const;

  // Ours as theirs, under the same conditions. Types stay. Gradients go the same way.
  absl::StatusOr<TensorMap> Export(const TensorMap& ours) const;

 private:
  struct Tied {
    std::string theirs, ours;
  };
  // A row with every `*` filled in.
  struct Bound {
    const NameMapRow* row;
    std::vector<std::string> theirs, ours;
  };

  absl::StatusOr<std::vector<Bound>> Bind(const std::vector<std::string>& our_names,
                                          std::vector<std::string>* unmatched) const;

  std::vector<NameMapRow> rows_;
  std::vector<Tied> tied_;
  std::vector<std::string> ignored_, ignored_ours_;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_NAME_MAP_H_
