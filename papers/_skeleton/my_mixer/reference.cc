// The moving average as its formula says, row by row in double precision.

#include "plugins/conformance/reference.h"

#include <cmath>
#include <vector>

#include "papers/_skeleton/my_mixer/my_mixer.pb.h"

namespace longrange {
namespace {

Tensor ReferenceMyMixer(const MyMixerConfig&, const BuildArgs&, const TensorMap& parameters,
                        const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2);
  const double* decay_d = parameters.at("decay").data<double>();
  const double* w_o = parameters.at("w_o").data<double>();
  const double* x = x_btd.data<double>();
  const Tensor y_btd = Tensor::Zeros(x_btd.shape(), DType::kFloat64);
  double* y = y_btd.mutable_data<double>();
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<double> h(width, 0);
    for (int64_t t = 0; t < rows; ++t) {
      const int64_t row = (b * rows + t) * width;
      for (int64_t d = 0; d < width; ++d) {
        const double a = 1 / (1 + std::exp(-decay_d[d]));
        h[d] = a * h[d] + (1 - a) * x[row + d];
      }
      for (int64_t i = 0; i < width; ++i) {
        for (int64_t d = 0; d < width; ++d) y[row + i] += w_o[i * width + d] * h[d];
      }
    }
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(MyMixerConfig, ReferenceMyMixer);

}  // namespace
}  // namespace longrange
