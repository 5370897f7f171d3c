// S5 from its equations, in double: complex numbers, one step after the other. B batch, T rows, H
// width, P stored modes.

#include "plugins/conformance/reference.h"

#include <cmath>
#include <complex>
#include <vector>

#include "papers/s5/s5.pb.h"

namespace longrange {
namespace {

using Complex = std::complex<double>;
using Vector = std::vector<double>;

double Gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

Tensor ReferenceS5(const S5Config& config, const BuildArgs& args, const TensorMap& parameters,
                   const Tensor& x_bth) {
  const int64_t batch = x_bth.dim(0), rows = x_bth.dim(1), width = x_bth.dim(2);
  const auto value = [&](const char* name) { return parameters.at(name).data<double>(); };
  const double *re = value("lambda_re"), *im = value("lambda_im"), *log_step = value("log_step"),
               *d = value("d");
  const int64_t modes = parameters.at("lambda_re").numel();
  const auto entry = [&](const char* name, int64_t row, int64_t column) {
    const Tensor& m = parameters.at(name);
    const double* const at = m.data<double>() + 2 * (row * m.dim(1) + column);
    return Complex(at[0], at[1]);
  };
  // One step of zero-order hold, or the bilinear rule.
  std::vector<Complex> a(modes), gain(modes);
  for (int64_t p = 0; p < modes; ++p) {
    const double real = config.clip_eigenvalues() ? std::min(re[p], -1e-4) : re[p];
    const Complex lambda(real, im[p]);
    const double step = config.step_rescale() * std::exp(log_step[p]);
    if (config.discretisation() == S5Config::ZOH) {
      a[p] = std::exp(lambda * step);
      gain[p] = (a[p] - 1.0) / lambda;
    } else {
      a[p] = (1.0 + lambda * step / 2.0) / (1.0 - lambda * step / 2.0);
      gain[p] = step / (1.0 - lambda * step / 2.0);
    }
  }
  const double factor = config.conjugate_symmetry() ? 2 : 1;
  // s_t = factor Re(C x_t) + D u_t, and the same from the end with a matrix of its own.
  const Tensor s_bth = Tensor::Empty(x_bth.shape(), DType::kFloat64);
  for (int64_t i = 0; i < s_bth.numel(); ++i)
    s_bth.mutable_data<double>()[i] = d[i % width] * x_bth.data<double>()[i];
  const auto run = [&](bool reverse, const char* c) {
    for (int64_t b = 0; b < batch; ++b) {
      std::vector<Complex> state(modes, 0);
      for (int64_t step = 0; step < rows; ++step) {
        const int64_t at = (b * rows + (reverse ? rows - 1 - step : step)) * width;
        for (int64_t p = 0; p < modes; ++p) {
          Complex in = 0;
          for (int64_t h = 0; h < width; ++h) in += entry("b", p, h) * x_bth.data<double>()[at + h];
          state[p] = a[p] * state[p] + gain[p] * in;
        }
        for (int64_t h = 0; h < width; ++h) {
          for (int64_t p = 0; p < modes; ++p)
            s_bth.mutable_data<double>()[at + h] += factor * (entry(c, h, p) * state[p]).real();
        }
      }
    }
  };
  run(false, "c");
  if (args.direction == nn::Direction::kBidirectional) run(true, "c_reverse");
  if (config.gate() == S5Config::NONE) return s_bth;

  const Tensor y_bth = Tensor::Empty(x_bth.shape(), DType::kFloat64);
  const auto dense = [&](const char* weight, const char* bias, const Vector& x, int64_t h) {
    double sum = value(bias)[h];
    for (int64_t k = 0; k < width; ++k) sum += value(weight)[h * width + k] * x[k];
    return sum;
  };
  for (int64_t row = 0; row < batch * rows; ++row) {
    const double* const s = s_bth.data<double>() + row * width;
    double* const y = y_bth.mutable_data<double>() + row * width;
    Vector g(width);
    for (int64_t h = 0; h < width; ++h) g[h] = Gelu(s[h]);
    for (int64_t h = 0; h < width; ++h) {
      y[h] = g[h];
      if (config.gate() == S5Config::GELU) continue;
      const double open = 1 / (1 + std::exp(-dense("w_gate", "gate_bias", g, h)));
      if (config.gate() == S5Config::HALF_GLU2) y[h] = s[h];
      if (config.gate() == S5Config::FULL_GLU) y[h] = dense("w_value", "value_bias", g, h);
      y[h] *= open;
    }
  }
  return y_bth;
}

LR_REGISTER_MIXER_REFERENCE(S5Config, ReferenceS5);

}  // namespace
}  // namespace longrange
