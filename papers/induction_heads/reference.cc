// Attention with smeared keys in plain loops and double precision: softmax(q kᵀ / sqrt(P)) v with
// k_j = s W_K (x_j + p_j) + (1 - s) W_K (x_(j-1) + p_(j-1)), s = sigmoid(alpha) of the head, k_0 as
// it is, q_i = W_Q (x_i + p_i), v_j = W_V x_j. B batch, T rows, D width, P head width.

#include "plugins/conformance/reference.h"

#include <cmath>
#include <vector>

#include "papers/induction_heads/induction_heads.pb.h"

namespace longrange {
namespace {

Tensor ReferenceSmeared(const InductionHeadsSmearedConfig& config, const BuildArgs& args,
                        const TensorMap& parameters, const Tensor& x_btd) {
  CHECK(!config.has_rule()) << "no rules";
  InductionHeadsPositionsConfig positions;
  CHECK(!config.has_position() || config.position().UnpackTo(&positions))
      << "only learned positions";
  const int64_t rows = x_btd.dim(1), width = x_btd.dim(2), heads = config.heads(),
                kv_heads = config.kv_heads() > 0 ? config.kv_heads() : heads,
                p = config.head_width() > 0 ? config.head_width() : width / heads;
  const double* alpha = parameters.at("smear").data<double>();
  Tensor y_btd = Tensor::Zeros(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < x_btd.dim(0); ++b) {
    const double* x = x_btd.data<double>() + b * rows * width;
    double* y = y_btd.mutable_data<double>() + b * rows * width;
    std::vector<double> placed(x, x + rows * width);
    if (config.has_position()) {
      const double* table = parameters.at("shared.induction_heads_positions.table").data<double>();
      for (int64_t i = 0; i < rows * width; ++i) placed[i] += table[i];
    }
    // Row n of a weight times row t.
    const auto project = [&](const char* name, const double* from, int64_t t, int64_t n) {
      const double* w = parameters.at(name).data<double>() + n * width;
      double sum = 0;
      for (int64_t d = 0; d < width; ++d) sum += w[d] * from[t * width + d];
      return sum;
    };
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t g = h / (heads / kv_heads);
      const double s = 1 / (1 + std::exp(-alpha[g]));
      for (int64_t i = 0; i < rows; ++i) {
        std::vector<double> weight(rows, 0.0), mixed(p, 0.0);
        double sum = 0;
        const int64_t end = args.direction == nn::Direction::kCausal ? i + 1 : rows;
        for (int64_t j = 0; j < end; ++j) {
          double score = 0;
          for (int64_t c = 0; c < p; ++c) {
            double key = project("w_k", placed.data(), j, g * p + c);
            if (j > 0) key = s * key + (1 - s) * project("w_k", placed.data(), j - 1, g * p + c);
            score += project("w_q", placed.data(), i, h * p + c) * key;
          }
          weight[j] = std::exp(score / std::sqrt(static_cast<double>(p)));
          sum += weight[j];
        }
        for (int64_t j = 0; j < end; ++j) {
          for (int64_t c = 0; c < p; ++c)
            mixed[c] += weight[j] / sum * project("w_v", x, j, g * p + c);
        }
        const double* w_o = parameters.at("w_o").data<double>();
        for (int64_t d = 0; d < width; ++d) {
          for (int64_t c = 0; c < p; ++c)
            y[i * width + d] += w_o[d * heads * p + h * p + c] * mixed[c];
        }
      }
    }
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(InductionHeadsSmearedConfig, ReferenceSmeared);

}  // namespace
}  // namespace longrange
