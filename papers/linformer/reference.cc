// Linformer's attention from the paper's formula (Eq. 7), in double: each slot an explicit sum over
// rows.
//   slot r of head h:  sum_i E[h, r, i] (W_K x_i + b_K)   or   W_K (sum_i E[h, r, i] x_i) + b_K
//   row t:             softmax over slots of <q_t, slot> / sqrt(P)
// B batch, T rows, R slots, H heads, K key-value heads, P channels of a head.

#include "plugins/conformance/reference.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "papers/linformer/linformer.pb.h"

namespace longrange {
namespace {

using Rows = std::vector<std::vector<double>>;

std::vector<double> Project(const std::vector<double>& x, const TensorMap& parameters,
                            const std::string& name) {
  const Tensor& weight = parameters.at("w_" + name);
  const auto bias = parameters.find("b_" + name);
  const int64_t n = weight.dim(0), width = weight.dim(1);
  std::vector<double> y(n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    if (bias != parameters.end()) y[i] = bias->second.data<double>()[i];
    for (int64_t d = 0; d < width; ++d) y[i] += weight.data<double>()[i * width + d] * x[d];
  }
  return y;
}

// How a slot is made of rows y: a sum with weights, or the largest of each channel.
std::vector<double> Slot(const LinformerConfig& config, const TensorMap& parameters,
                         const std::string& name, int64_t head, int64_t slot, const Rows& y) {
  const int64_t rows = static_cast<int64_t>(y.size()), run = config.n_max() / config.rank(),
                begin = slot * run, end = std::min(rows, begin + run);
  std::vector<double> made(y[0].size(), 0.0);
  const auto mixture = [&]() -> const Tensor& {
    const bool shared = config.sharing() == LinformerConfig::LAYERWISE;
    return parameters.at(shared ? "shared.linformer." + name : name);
  };
  const auto add = [&](int64_t t, double weight) {
    for (size_t c = 0; c < made.size(); ++c) made[c] += weight * y[t][c];
  };
  const bool by_head = config.sharing() == LinformerConfig::NONE;
  switch (config.pooling()) {
    case LinformerConfig::LINEAR:
      for (int64_t t = 0; t < rows; ++t) {
        const int64_t row = (by_head ? head * config.rank() : 0) + slot;
        add(t, mixture().data<double>()[row * config.n_max() + t]);
      }
      break;
    case LinformerConfig::MEAN:
      for (int64_t t = begin; t < end; ++t) add(t, 1 / static_cast<double>(end - begin));
      break;
    case LinformerConfig::MAX:
      made = y[begin];
      for (int64_t t = begin; t < end; ++t) {
        for (size_t c = 0; c < made.size(); ++c) made[c] = std::max(made[c], y[t][c]);
      }
      break;
    case LinformerConfig::CONVOLUTION:
      for (int64_t t = begin; t < end; ++t)
        add(t, mixture().data<double>()[(by_head ? head * run : 0) + t - begin]);
      break;
  }
  return made;
}

// Keys or values of a head's slots: all channels are made, those of the head are meant.
Rows Slots(const LinformerConfig& config, const TensorMap& parameters, const std::string& weight,
           const std::string& name, int64_t head, const Rows& x) {
  const int64_t rows = static_cast<int64_t>(x.size()), run = config.n_max() / config.rank();
  const bool runs = config.pooling() != LinformerConfig::LINEAR;
  const int64_t slots = runs ? (rows + run - 1) / run : config.rank();
  const bool first = config.order() == LinformerConfig::COMPRESS_THEN_PROJECT;
  Rows projected, made;
  for (const std::vector<double>& row : x) projected.push_back(Project(row, parameters, weight));
  for (int64_t slot = 0; slot < slots; ++slot) {
    made.push_back(first
                       ? Project(Slot(config, parameters, name, head, slot, x), parameters, weight)
                       : Slot(config, parameters, name, head, slot, projected));
  }
  return made;
}

Tensor ReferenceLinformer(const LinformerConfig& config, const BuildArgs&,
                          const TensorMap& parameters, const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2),
                heads = config.heads(),
                kv_heads = config.kv_heads() > 0 ? config.kv_heads() : heads,
                p = parameters.at("w_q").dim(0) / heads;
  const bool two =
      config.sharing() == LinformerConfig::HEADWISE || config.sharing() == LinformerConfig::NONE;
  Tensor y_btd = Tensor::Empty(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    Rows x, mixed(rows, std::vector<double>(heads * p, 0.0));
    for (int64_t t = 0; t < rows; ++t) {
      const double* row = x_btd.data<double>() + (b * rows + t) * width;
      x.emplace_back(row, row + width);
    }
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t kv = h / (heads / kv_heads);
      const Rows k = Slots(config, parameters, "k", "e", kv, x);
      const Rows v =
          config.values_are_keys() ? k : Slots(config, parameters, "v", two ? "f" : "e", kv, x);
      for (int64_t t = 0; t < rows; ++t) {
        const std::vector<double> q = Project(x[t], parameters, "q");
        std::vector<double> weight;
        double sum = 0;
        for (const std::vector<double>& slot : k) {
          double score = 0;
          for (int64_t i = 0; i < p; ++i) score += q[h * p + i] * slot[kv * p + i];
          weight.push_back(std::exp(score / std::sqrt(static_cast<double>(p))));
          sum += weight.back();
        }
        for (size_t r = 0; r < v.size(); ++r) {
          for (int64_t i = 0; i < p; ++i) mixed[t][h * p + i] += weight[r] / sum * v[r][kv * p + i];
        }
      }
    }
    for (int64_t t = 0; t < rows; ++t) {
      const std::vector<double> y = Project(mixed[t], parameters, "o");
      std::copy(y.begin(), y.end(), y_btd.mutable_data<double>() + (b * rows + t) * width);
    }
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(LinformerConfig, ReferenceLinformer);

}  // namespace
}  // namespace longrange
