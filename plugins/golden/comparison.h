// What most golden adapters do with the results of layers and models. Test only.

#ifndef LONGRANGE_PLUGINS_GOLDEN_COMPARISON_H_
#define LONGRANGE_PLUGINS_GOLDEN_COMPARISON_H_

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/io/name_map.h"
#include "common/nn/parameters.h"
#include "common/testing/golden_file.h"

namespace longrange {

// Takes a result under its full name: "out.y", "grad.in.x".
using GoldenCompare = std::function<void(const std::string& name, const Tensor& actual)>;

// float64 elementwise; float32, whose rounding fills the tolerance of a case, by RMS ratio. `check`
// must outlive it.
GoldenCompare CompareByType(GoldenChecker* check, DType dtype, absl::string_view path);

// Hands the gradient of each parameter for which the case has one ("grad.param.THEIRS") to
// `compare`; zeros where none came to it. InvalidArgument: `names` do not fit the parameters.
absl::Status CheckParameterGradients(const GoldenCase& golden, const nn::ParameterStore& store,
                                     const NameMap& names, const GoldenCompare& compare);

// Unimplemented: a config's value that the adapter does not know.
absl::Status UnknownValue(absl::string_view field, const absl::AlphaNum& got,
                          absl::string_view expected);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_GOLDEN_COMPARISON_H_
