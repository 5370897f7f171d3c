// Gated multi-scale retention from its equations, in double, in the parallel form:
//   Theta_n = e^{i n theta}, D_nm = gamma^(n - m) for n >= m, else 0      (Eq. 4, 5)
//   head = ((Q Theta)(K Theta)^T * D) V                                    (Eq. 5)
//   Y = norm(heads), MSR(X) = (swish(X W_G) * Y) W_O                       (Eq. 8)
// B batch, T rows, H heads, P channels of a head's queries and keys, E of its values.

#include "plugins/conformance/reference.h"

#include <cmath>
#include <vector>

#include "papers/retnet/retnet.pb.h"

namespace longrange {
namespace {

using Rows = std::vector<std::vector<double>>;

// x [T, D] times weight [N, D], transposed.
Rows Project(const Rows& x, const Tensor& weight_nd) {
  const int64_t n = weight_nd.dim(0), width = weight_nd.dim(1);
  Rows y(x.size(), std::vector<double>(n, 0.0));
  for (size_t t = 0; t < x.size(); ++t) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t d = 0; d < width; ++d)
        y[t][i] += weight_nd.data<double>()[i * width + d] * x[t][d];
    }
  }
  return y;
}

double GammaOf(const RetnetConfig& config, int64_t h) {
  if (config.gamma_size() == 1) return config.gamma(0);
  if (config.gamma_size() > 1) return config.gamma(static_cast<int>(h));
  if (config.decay() == RetnetConfig::POWERS_OF_TWO)
    return 1 - std::pow(2.0, -5.0 - static_cast<double>(h));
  const double share =
      config.heads() > 1 ? static_cast<double>(h) / static_cast<double>(config.heads() - 1) : 0;
  return 1 - std::exp((1 - share) * std::log(1.0 / 32) + share * std::log(1.0 / 512));
}

// <q e^{i n theta}, k e^{i m theta}>, a pair of channels a complex number: it depends on n - m.
double Score(const RetnetConfig& config, const double* q, const double* k, int64_t width,
             int64_t distance) {
  double sum = 0;
  if (config.rotation() == RetnetConfig::NO_ROTATION) {
    for (int64_t i = 0; i < width; ++i) sum += q[i] * k[i];
    return sum;
  }
  const int64_t pairs = width / 2;
  for (int64_t j = 0; j < pairs; ++j) {
    const int64_t steps = config.rotation() == RetnetConfig::ROPE ? pairs : pairs - 1;
    const double exponent = steps > 0 ? static_cast<double>(j) / static_cast<double>(steps) : 0;
    const double angle = static_cast<double>(distance) * std::pow(config.theta(), -exponent);
    const int64_t a = config.interleaved() ? 2 * j : j,
                  b = config.interleaved() ? a + 1 : j + pairs;
    sum += std::cos(angle) * (q[a] * k[a] + q[b] * k[b]) +
           std::sin(angle) * (q[a] * k[b] - q[b] * k[a]);
  }
  return sum;
}

void Normalise(const RetnetConfig& config, double* head, int64_t width) {
  if (config.head_norm() == RetnetConfig::NO_NORM) return;
  double mean = 0, square = 0;
  if (config.head_norm() == RetnetConfig::GROUP) {
    for (int64_t i = 0; i < width; ++i) mean += head[i] / static_cast<double>(width);
  }
  for (int64_t i = 0; i < width; ++i) {
    head[i] -= mean;
    square += head[i] * head[i] / static_cast<double>(width);
  }
  for (int64_t i = 0; i < width; ++i) head[i] /= std::sqrt(square + config.head_norm_epsilon());
}

double GateOf(const RetnetConfig& config, double g) {
  if (config.gate() == RetnetConfig::SWISH) return g / (1 + std::exp(-g));
  return g * 0.5 * std::erfc(-g / std::sqrt(2.0));
}

Tensor ReferenceRetnet(const RetnetConfig& config, const BuildArgs&, const TensorMap& parameters,
                       const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2);
  Tensor y_btd = Tensor::Empty(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    Rows x;
    for (int64_t t = 0; t < rows; ++t) {
      const double* row = x_btd.data<double>() + (b * rows + t) * width;
      x.emplace_back(row, row + width);
    }
    const Rows q = Project(x, parameters.at("w_q")), k = Project(x, parameters.at("w_k")),
               v = Project(x, parameters.at("w_v"));
    const int64_t p = parameters.at("w_q").dim(0) / config.heads(),
                  e = parameters.at("w_v").dim(0) / config.heads();
    Rows mixed(rows, std::vector<double>(e * config.heads(), 0.0));
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t h = 0; h < config.heads(); ++h) {
        double* head = mixed[t].data() + h * e;
        for (int64_t s = 0; s <= t; ++s) {
          const double weight = Score(config, &q[t][h * p], &k[s][h * p], p, t - s) /
                                std::sqrt(static_cast<double>(p)) *
                                std::pow(GammaOf(config, h), static_cast<double>(t - s));
          for (int64_t i = 0; i < e; ++i) head[i] += weight * v[s][h * e + i];
        }
        Normalise(config, head, e);
      }
    }
    if (config.gate() != RetnetConfig::NO_GATE) {
      const Rows g = Project(x, parameters.at("w_g"));
      for (int64_t t = 0; t < rows; ++t) {
        for (size_t i = 0; i < mixed[t].size(); ++i) mixed[t][i] *= GateOf(config, g[t][i]);
      }
    }
    const Rows y = Project(mixed, parameters.at("w_o"));
    for (int64_t t = 0; t < rows; ++t)
      std::copy(y[t].begin(), y[t].end(), y_btd.mutable_data<double>() + (b * rows + t) * width);
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(RetnetConfig, ReferenceRetnet);

}  // namespace
}  // namespace longrange
