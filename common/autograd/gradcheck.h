// Gradients against central differences, in double.

#ifndef LONGRANGE_COMMON_AUTOGRAD_GRADCHECK_H_
#define LONGRANGE_COMMON_AUTOGRAD_GRADCHECK_H_

#include <functional>
#include <string>
#include <vector>

#include "common/tensor/tensor.h"

namespace longrange {

struct GradCheckOptions {
  double step = 1e-4;  // of the central difference, times max(1, |x|)
  double rtol = 1e-6, atol = 1e-8;
  int64_t max_elements = 200;  // of each input; the rest is sampled evenly
};

// fn maps float64 leaves to outputs. Checks the gradient of sum(outputs * random cotangents) with
// respect to every input. Returns "" or a line that names input, element, both values and the
// tolerance. NaN fails.
std::string GradCheck(const std::function<std::vector<Tensor>(const std::vector<Tensor>&)>& fn,
                      const std::vector<Tensor>& inputs, const GradCheckOptions& options = {});

}  // namespace longrange

#endif  // LONGRANGE_COMMON_AUTOGRAD_GRADCHECK_H_
