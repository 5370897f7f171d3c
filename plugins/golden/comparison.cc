#include "plugins/golden/comparison.h"

#include "common/autograd/tape.h"
#include "common/base/status_macros.h"

namespace longrange {

GoldenCompare CompareByType(GoldenChecker* check, DType dtype, absl::string_view path) {
  const std::string full = absl::StrCat(path, path.empty() ? "" : ", ", Name(dtype));
  return [=](const std::string& name, const Tensor& actual) {
    dtype == DType::kFloat64 ? check->Check(name, actual, full)
                             : check->CheckRms(name, actual, full);
  };
}

absl::Status CheckParameterGradients(const GoldenCase& golden, const nn::ParameterStore& store,
                                     const NameMap& names, const GoldenCompare& compare) {
  TensorMap gradients;
  for (const nn::Parameter& p : store.all()) {
    const Tensor gradient = Gradient(p.value);
    gradients[p.name] = gradient.defined() ? gradient : Tensor::ZerosLike(p.value);
  }
  LR_ASSIGN_OR_RETURN(const TensorMap theirs, names.Export(gradients));
  for (const auto& [name, gradient] : theirs) {
    const std::string full = absl::StrCat("grad.param.", name);
    if (golden.Has(full)) compare(full, gradient);
  }
  return absl::OkStatus();
}

absl::Status UnknownValue(absl::string_view field, const absl::AlphaNum& got,
                          absl::string_view expected) {
  return absl::UnimplementedError(
      absl::StrCat("config.", field, ": ", got, " (expected ", expected, ")"));
}

}  // namespace longrange
