#include "common/autograd/gradcheck.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/autograd/tape.h"
#include "common/base/rng.h"

namespace longrange {
namespace {

// A central difference carries the rounding of two evaluations, about 1e-16 |f| / step, and the
// curvature. Both are far below rtol where f is of order 1; the extrapolated difference
// (Richardson) removes the curvature term.
double Difference(const std::function<double(double)>& f, double step) {
  const double coarse = (f(2 * step) - f(-2 * step)) / (4 * step);
  const double fine = (f(step) - f(-step)) / (2 * step);
  return (4 * fine - coarse) / 3;
}

}  // namespace

std::string GradCheck(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& fn,
                      const std::vector<Tensor>& inputs, const GradCheckOptions& options) {
  std::vector<Tensor> leaves;
  for (const Tensor& input : inputs) {
    CHECK(input.dtype() == DType::kFloat64) << "gradients are checked in float64";
    leaves.push_back(Leaf(input.Clone()));
  }
  const std::vector<Tensor> outputs = fn(leaves);
  std::vector<Tensor> cotangents;
  const Rng rng = Rng(1).Child("gradcheck");
  for (size_t i = 0; i < outputs.size(); ++i) {
    Tensor cotangent = Tensor::Empty(outputs[i].shape(), DType::kFloat64);
    for (int64_t j = 0; j < cotangent.numel(); ++j) {
      cotangent.mutable_data<double>()[j] = rng.Child(static_cast<int64_t>(i)).Normal(j);
    }
    cotangents.push_back(cotangent);
  }
  Backward(outputs, cotangents);

  const auto objective = [&] {
    NoGradScope no_grad;
    const std::vector<Tensor> out = fn(leaves);
    double sum = 0;
    for (size_t i = 0; i < out.size(); ++i) {
      for (int64_t j = 0; j < out[i].numel(); ++j)
        sum += out[i].data<double>()[j] * cotangents[i].data<double>()[j];
    }
    return sum;
  };
  for (size_t i = 0; i < leaves.size(); ++i) {
    const Tensor gradient = Gradient(leaves[i]);
    if (!gradient.defined() && leaves[i].numel() > 0)
      return absl::StrCat("input ", i, " got no gradient");
    double* x = leaves[i].mutable_data<double>();
    const int64_t stride = std::max<int64_t>(1, leaves[i].numel() / options.max_elements);
    for (int64_t j = 0; j < leaves[i].numel(); j += stride) {
      const double at = x[j];
      const double expected = Difference(
          [&](double offset) {
            x[j] = at + offset;
            const double value = objective();
            x[j] = at;
            return value;
          },
          options.step * std::max(1.0, std::fabs(at)));
      const double actual = gradient.data<double>()[j];
      const double tolerance = options.atol + options.rtol * std::fabs(expected);
      if (!(std::fabs(actual - expected) <= tolerance)) {
        return absl::StrCat("input ", i, " ", leaves[i].shape().ToString(), " element ", j,
                            ": gradient ", actual, ", central difference ", expected,
                            ", tolerance ", tolerance);
      }
    }
  }
  return "";
}

}  // namespace longrange
