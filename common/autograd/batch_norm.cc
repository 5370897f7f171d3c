#include "common/autograd/batch_norm.h"

#include <vector>

#include "common/autograd/ops.h"
#include "kernels/norm/batch_norm.h"

namespace longrange {

BatchNormResult BatchNorm(const Tensor& x_btd, const Tensor& begin_b, const Tensor& end_b,
                          const Tensor& weight_d, const Tensor& bias_d, double epsilon) {
  const BatchNormResult made{Tensor::EmptyLike(x_btd), Tensor::EmptyLike(weight_d),
                             Tensor::EmptyLike(weight_d)};
  kernels::BatchNormForward(x_btd, begin_b, end_b, weight_d, bias_d, epsilon, made.y_btd,
                            made.mean_d, made.variance_d);
  if (WillRecord({x_btd, weight_d, bias_d})) {
    Record("BatchNorm", {x_btd, weight_d, bias_d}, {made.y_btd},
           [x = x_btd.Detach(), begin_b, end_b, weight = weight_d.Detach(), mean = made.mean_d,
            variance = made.variance_d, epsilon](const std::vector<Tensor>& dy) {
             const std::vector<Tensor> gradients = {Tensor::EmptyLike(x), Tensor::EmptyLike(weight),
                                                    Tensor::EmptyLike(weight)};
             kernels::BatchNormBackward(x, begin_b, end_b, weight, epsilon, mean, variance, dy[0],
                                        gradients[0], gradients[1], gradients[2]);
             return gradients;
           });
  }
  return made;
}

Tensor BatchNormBy(const Tensor& mean_d, const Tensor& variance_d, const Tensor& x,
                   const Tensor& weight_d, const Tensor& bias_d, double epsilon) {
  const Tensor scale = Div(weight_d, Sqrt(Affine(variance_d, 1, epsilon)));
  return Add(Mul(Sub(x, mean_d), scale), bias_d);  // centred first, as in training
}

}  // namespace longrange
