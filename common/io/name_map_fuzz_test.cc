#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/io/glob.h"
#include "common/io/name_map.h"
#include "common/testing/fuzz.h"
#include "glog/logging.h"

namespace longrange {
namespace {

// A tensor for each line "NAME DIM DIM ...": what a safetensors file may hold.
TensorMap TensorsOf(absl::string_view text) {
  TensorMap tensors;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    Shape shape;
    for (size_t i = 1; i < words.size() && i < 5; ++i) {
      int64_t dim = 0;
      shape.Append(absl::SimpleAtoi(words[i], &dim) && dim >= 0 && dim <= 16 ? dim : 1);
    }
    tensors[std::string(words[0])] = Tensor::Full(shape, static_cast<double>(tensors.size()));
  }
  return tensors;
}

NameMap SomeNames() {
  NameMap names;
  names.Add("embed.weight", "embedding")
      .Add("layers.*.q.weight", "layers.*.w_q", {Transform::Transpose(0, 1)})
      .Add("layers.*.conv", "layers.*.conv", {Transform::Squeeze(1)})
      .Ignore("*.inv_freq")
      .IgnoreOurs("*.cache")
      .Tie("head.weight", "embedding");
  NameMapRow fused;
  fused.theirs = {"layers.*.k.weight", "layers.*.v.weight"};
  fused.ours = {"layers.*.w_kv"};
  names.Add(std::move(fused));
  return names;
}

const std::vector<WantedTensor>& Wanted() {
  static const auto* wanted =
      new std::vector<WantedTensor>{{"embedding", {8, 4}, DType::kFloat32},
                                    {"layers.0.w_q", {4, 6}, DType::kFloat32},
                                    {"layers.1.w_q", {4, 6}, DType::kFloat32},
                                    {"layers.0.w_kv", {8, 4}, DType::kFloat32},
                                    {"layers.0.conv", {4, 3}, DType::kFloat32}};
  return *wanted;
}

}  // namespace

// What is imported is what was wanted, and is exported under the names it had.
void FuzzOne(absl::string_view input) {
  static const auto* names = new NameMap(SomeNames());
  const TensorMap theirs = TensorsOf(input);
  const absl::StatusOr<TensorMap> ours = names->Import(theirs, Wanted());
  if (ours.ok()) {
    CHECK_EQ(ours->size(), Wanted().size());
    for (const WantedTensor& wanted : Wanted())
      CHECK(ours->at(wanted.name).shape() == wanted.shape) << wanted.name;
    const absl::StatusOr<TensorMap> back = names->Export(*ours);
    CHECK(back.ok()) << back.status();
    for (const auto& [name, tensor] : *back)
      CHECK(theirs.at(name).shape() == tensor.shape()) << name;
  }
  names->Export(theirs).status().IgnoreError();
  const size_t middle = input.size() / 2;
  GlobMatch(input.substr(0, middle), input.substr(middle));
}

std::vector<std::string> FuzzSeeds() {
  const std::string good =
      "embed.weight 8 4\nlayers.0.q.weight 6 4\nlayers.1.q.weight 6 4\nlayers.0.k.weight 4 4\n"
      "layers.0.v.weight 4 4\nlayers.0.conv 4 1 3";
  return {good, absl::StrCat(good, "\nlayers.0.inv_freq 2\nhead.weight 8 4"),
          "embedding 8 4\nlayers.0.w_q 4 6\nlayers.0.w_kv 8 4\nlayers.0.conv 4 3",
          "a*b*c*d*aabbccdd"};
}

}  // namespace longrange
