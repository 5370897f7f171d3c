// The control arm from its equations, in double: softmax(q kᵀ / sqrt(P)) v over the keys seen
// (Vaswani et al. 2017, Eq. 1), rotary positions (Su et al. 2021, Eq. 34), a sliding window.
// B batch, T rows, H query heads, K key-value heads, P head width, D width.

#include "plugins/conformance/reference.h"

#include <cmath>
#include <vector>

#include "papers/transformer/transformer.pb.h"

namespace longrange {
namespace {

// Turns pair j of a head's first R channels at position p by p theta^(-2j / R).
void Rotate(const TransformerRopeConfig& rope, int64_t width, int64_t position, double* head) {
  const int64_t turned =
      2 * static_cast<int64_t>(std::floor(rope.partial() * static_cast<double>(width) / 2));
  for (int64_t j = 0; j < turned / 2; ++j) {
    const double angle =
        static_cast<double>(position) *
        std::pow(rope.theta(), -2.0 * static_cast<double>(j) / static_cast<double>(turned));
    double& a = head[rope.interleaved() ? 2 * j : j];
    double& b = head[rope.interleaved() ? 2 * j + 1 : j + turned / 2];
    const double before = a;
    a = before * std::cos(angle) - b * std::sin(angle);
    b = before * std::sin(angle) + b * std::cos(angle);
  }
}

// rows of x [T, D] times weight [N, D], transposed.
std::vector<double> Project(const double* x, int64_t rows, int64_t width, const Tensor& weight_nd) {
  const int64_t n = weight_nd.dim(0);
  std::vector<double> y(rows * n, 0.0);
  for (int64_t t = 0; t < rows; ++t) {
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t d = 0; d < width; ++d)
        y[t * n + i] += weight_nd.data<double>()[i * width + d] * x[t * width + d];
    }
  }
  return y;
}

bool VisibleInWindow(const TransformerWindowConfig& config, int64_t, int64_t query, int64_t key,
                     int64_t) {
  return query - key < config.window();
}

Tensor ReferenceTransformer(const TransformerConfig& config, const BuildArgs& args,
                            const TensorMap& parameters, const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2);
  const int64_t heads = config.heads(),
                kv_heads = config.kv_heads() > 0 ? config.kv_heads() : heads;
  const int64_t p = config.head_width() > 0 ? config.head_width() : width / heads;
  TransformerRopeConfig rope;
  TransformerWindowConfig window;
  CHECK(!config.has_position() || config.position().UnpackTo(&rope)) << "only rotary positions";
  CHECK(!config.has_rule() || config.rule().UnpackTo(&window)) << "only the window";

  Tensor y_btd = Tensor::Empty(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    const double* x = x_btd.data<double>() + b * rows * width;
    std::vector<double> q = Project(x, rows, width, parameters.at("w_q")),
                        k = Project(x, rows, width, parameters.at("w_k"));
    const std::vector<double> v = Project(x, rows, width, parameters.at("w_v"));
    for (int64_t t = 0; t < rows && config.has_position(); ++t) {
      for (int64_t h = 0; h < heads; ++h) Rotate(rope, p, t, &q[(t * heads + h) * p]);
      for (int64_t h = 0; h < kv_heads; ++h) Rotate(rope, p, t, &k[(t * kv_heads + h) * p]);
    }
    std::vector<double> mixed(rows * heads * p, 0.0);
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        const int64_t g = h / (heads / kv_heads);
        std::vector<double> weight(rows, 0.0);
        double sum = 0;
        for (int64_t s = 0; s < rows; ++s) {
          if (args.direction == nn::Direction::kCausal && s > t) continue;
          if (config.has_rule() && !VisibleInWindow(window, h, t, s, rows)) continue;
          double score = 0;
          for (int64_t i = 0; i < p; ++i)
            score += q[(t * heads + h) * p + i] * k[(s * kv_heads + g) * p + i];
          weight[s] = std::exp(score / std::sqrt(static_cast<double>(p)));
          sum += weight[s];
        }
        for (int64_t s = 0; s < rows; ++s) {
          for (int64_t i = 0; i < p; ++i)
            mixed[(t * heads + h) * p + i] += weight[s] / sum * v[(s * kv_heads + g) * p + i];
        }
      }
    }
    const std::vector<double> y = Project(mixed.data(), rows, heads * p, parameters.at("w_o"));
    std::copy(y.begin(), y.end(), y_btd.mutable_data<double>() + b * rows * width);
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(TransformerConfig, ReferenceTransformer);
LR_REGISTER_RULE_REFERENCE(TransformerWindowConfig, VisibleInWindow);

}  // namespace
}  // namespace longrange
