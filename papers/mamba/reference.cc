// Mamba from its equations, in double: a loop over tokens, channels and states.

#include "plugins/conformance/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "papers/mamba/mamba.pb.h"

namespace longrange {
namespace {

using Vector = std::vector<double>;

double At(const Tensor& t, int64_t i) { return t.data<double>()[i]; }

// weight [N, K] times x, plus `bias` where the layer has it.
Vector Times(const TensorMap& parameters, const std::string& weight, const std::string& bias,
             const Vector& x) {
  const Tensor& w = parameters.at(weight);
  const auto b = parameters.find(bias);
  Vector y(w.dim(0), 0.0);
  for (int64_t i = 0; i < w.dim(0); ++i) {
    if (b != parameters.end()) y[i] = At(b->second, i);
    for (int64_t j = 0; j < w.dim(1); ++j) y[i] += At(w, i * w.dim(1) + j) * x[j];
  }
  return y;
}

double Silu(double x) { return x / (1 + std::exp(-x)); }

Tensor ReferenceMamba(const MambaConfig& config, const BuildArgs&, const TensorMap& parameters,
                      const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2);
  const Tensor& a_log = parameters.at("a_log");
  const Tensor& taps = parameters.at("conv.weight");
  const int64_t channels = a_log.dim(0), states = a_log.dim(1), num_taps = taps.dim(1);
  const auto conv_bias = parameters.find("conv.bias");
  Tensor y_btd = Tensor::Zeros(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    Vector h(channels * states, 0.0);
    std::vector<Vector> before;  // the inputs of the convolution so far
    for (int64_t t = 0; t < rows; ++t) {
      const double* row = x_btd.data<double>() + (b * rows + t) * width;
      const Vector u(row, row + width);
      before.push_back(Times(parameters, "w_x", "x_bias", u));
      const Vector z = Times(parameters, "w_z", "z_bias", u);
      Vector x(channels);
      for (int64_t e = 0; e < channels; ++e) {
        double sum = conv_bias == parameters.end() ? 0 : At(conv_bias->second, e);
        for (int64_t k = 0; k < num_taps && k <= t; ++k)
          sum += At(taps, e * num_taps + num_taps - 1 - k) * before[t - k][e];
        x[e] = Silu(sum);
      }
      Vector raw(channels, 0.0);
      if (config.selective_delta())
        raw = Times(parameters, "w_delta", "", Times(parameters, "w_rank", "", x));
      Vector of_b, of_c;
      if (config.selective_b()) of_b = Times(parameters, "w_b", "", x);
      if (config.selective_c()) of_c = Times(parameters, "w_c", "", x);
      Vector y(channels);
      for (int64_t e = 0; e < channels; ++e) {
        const double delta = std::log1p(std::exp(raw[e] + At(parameters.at("delta_bias"), e)));
        y[e] = At(parameters.at("skip"), e) * x[e];
        for (int64_t n = 0; n < states; ++n) {
          const int64_t i = e * states + n;
          const double b_n = config.selective_b() ? of_b[n] : At(parameters.at("b"), i);
          const double c_n = config.selective_c() ? of_c[n] : At(parameters.at("c"), i);
          h[i] = std::exp(-delta * std::exp(At(a_log, i))) * h[i] + delta * b_n * x[e];
          y[e] += c_n * h[i];
        }
        y[e] *= Silu(z[e]);
      }
      const Vector out = Times(parameters, "w_out", "out_bias", y);
      std::copy(out.begin(), out.end(), y_btd.mutable_data<double>() + (b * rows + t) * width);
    }
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(MambaConfig, ReferenceMamba);

}  // namespace
}  // namespace longrange
