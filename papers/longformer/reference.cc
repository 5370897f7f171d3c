// Longformer's attention from the paper's definition (section 3.1), in double:
//   row i, local:   softmax over { i + d_h t, |t| <= w/2 (causal: -w/2 <= t <= 0) } and the global
//   rows,
//                   of <q_i, k_j> / sqrt(P)
//   row i, global:  softmax over all rows, of projections of its own
// B batch, T rows, H heads, P channels of a head.

#include "plugins/conformance/reference.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "papers/longformer/longformer.pb.h"

namespace longrange {
namespace {

using Rows = std::vector<std::vector<double>>;

// x [T, D] times weight [N, D], transposed, and a bias where there is one.
Rows Project(const Rows& x, const TensorMap& parameters, const std::string& name) {
  const Tensor& weight = parameters.at("w_" + name);
  const auto bias = parameters.find("b_" + name);
  const int64_t n = weight.dim(0), width = weight.dim(1);
  Rows y(x.size(), std::vector<double>(n, 0.0));
  for (size_t t = 0; t < x.size(); ++t) {
    for (int64_t i = 0; i < n; ++i) {
      if (bias != parameters.end()) y[t][i] = bias->second.data<double>()[i];
      for (int64_t d = 0; d < width; ++d) y[t][i] += weight.data<double>()[i * width + d] * x[t][d];
    }
  }
  return y;
}

// Channels [at, at + p) of q attend to `keys`; added to y there.
void Attend(const std::vector<double>& q, const Rows& k, const Rows& v, int64_t at, int64_t p,
            const std::vector<int64_t>& keys, std::vector<double>* y) {
  std::vector<double> weight;
  double sum = 0;
  for (const int64_t j : keys) {
    double score = 0;
    for (int64_t i = at; i < at + p; ++i) score += q[i] * k[j][i];
    weight.push_back(std::exp(score / std::sqrt(static_cast<double>(p))));
    sum += weight.back();
  }
  for (size_t n = 0; n < keys.size(); ++n) {
    for (int64_t i = at; i < at + p; ++i) (*y)[i] += weight[n] / sum * v[keys[n]][i];
  }
}

Tensor ReferenceLongformer(const LongformerConfig& config, const BuildArgs& args,
                           const TensorMap& parameters, const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2),
                heads = config.heads(), p = parameters.at("w_q").dim(0) / heads;
  const bool causal = args.direction == nn::Direction::kCausal;
  const int64_t side = (config.window_size() > 0 ? config.window(0) : 512) / 2;
  const bool own = !causal && config.global_projections();
  const auto is_global = [&](int64_t t) {
    return std::any_of(config.global_row().begin(), config.global_row().end(),
                       [&](int64_t row) { return t == (row >= 0 ? row : rows + row); });
  };
  Tensor y_btd = Tensor::Empty(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    Rows x;
    for (int64_t t = 0; t < rows; ++t) {
      const double* row = x_btd.data<double>() + (b * rows + t) * width;
      x.emplace_back(row, row + width);
    }
    const Rows q = Project(x, parameters, "q"), k = Project(x, parameters, "k"),
               v = Project(x, parameters, "v");
    const Rows global_q = own ? Project(x, parameters, "global_q") : q,
               global_k = own ? Project(x, parameters, "global_k") : k,
               global_v = own ? Project(x, parameters, "global_v") : v;
    Rows mixed(rows, std::vector<double>(heads * p, 0.0));
    for (int64_t t = 0; t < rows; ++t) {
      for (int64_t h = 0; h < heads; ++h) {
        int64_t dilation = 1;
        if (config.dilation_size() > 0) {
          const auto& by_head = config.dilation(0).head();
          dilation = by_head[by_head.size() == 1 ? 0 : static_cast<int>(h)];
        }
        std::vector<int64_t> keys;
        for (int64_t j = 0; j < rows; ++j) {
          const int64_t away = j - t;
          const bool in_window =
              away % dilation == 0 && std::abs(away) <= dilation * side && (!causal || away <= 0);
          if (is_global(t) || in_window || is_global(j)) keys.push_back(j);
        }
        if (is_global(t)) {
          Attend(global_q[t], global_k, global_v, h * p, p, keys, &mixed[t]);
        } else {
          Attend(q[t], k, v, h * p, p, keys, &mixed[t]);
        }
      }
    }
    const Rows y = Project(mixed, parameters, "o");
    for (int64_t t = 0; t < rows; ++t)
      std::copy(y[t].begin(), y[t].end(), y_btd.mutable_data<double>() + (b * rows + t) * width);
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(LongformerConfig, ReferenceLongformer);

}  // namespace
}  // namespace longrange
