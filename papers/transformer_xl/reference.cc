// The layer from the paper's equations, pair of rows by pair of rows, in double.

#include "plugins/conformance/reference.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "common/tensor/tensor.h"
#include "papers/transformer_xl/transformer_xl.pb.h"

namespace longrange {
namespace {

using Row = std::vector<double>;

Row Times(const Tensor& weight, const Row& x) {
  Row y(weight.dim(0), 0.0);
  for (size_t i = 0; i < y.size(); ++i) {
    for (size_t j = 0; j < x.size(); ++j) y[i] += weight.data<double>()[i * x.size() + j] * x[j];
  }
  return y;
}

// Does row i see row j? They stand at their places in the stream.
bool Sees(const TransformerXlConfig& config, int64_t i, int64_t j) {
  const int64_t segment_begin = i / config.segment() * config.segment();
  if (j > i || j < segment_begin - config.memory()) return false;
  return !config.same_length() || i - j < config.memory();
}

Tensor ReferenceTransformerXl(const TransformerXlConfig& config, const BuildArgs&,
                              const TensorMap& parameters, const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2);
  const auto get = [&](const char* own, const char* shared) -> const Tensor& {
    return parameters.count(own) > 0 ? parameters.at(own) : parameters.at(shared);
  };
  const Tensor &u = get("u", "shared.transformer_xl.u"), &v = get("v", "shared.transformer_xl.v");
  const int64_t heads = config.heads(), channels = u.dim(1);

  const auto normed = [&](const Row& x) {
    double mean = 0, variance = 0;
    for (const double value : x) mean += value / static_cast<double>(width);
    for (const double value : x)
      variance += (value - mean) * (value - mean) / static_cast<double>(width);
    Row y(width);
    for (int64_t i = 0; i < width; ++i) {
      y[i] = (x[i] - mean) / std::sqrt(variance + config.norm_epsilon()) *
                 parameters.at("norm.weight").data<double>()[i] +
             parameters.at("norm.bias").data<double>()[i];
    }
    return y;
  };
  const auto position = [&](int64_t distance) {  // W_R R_distance
    if (config.clamp() > 0) distance = std::min(distance, config.clamp());
    Row r(width);
    for (int64_t i = 0; i < width / 2; ++i) {
      const double angle =
          static_cast<double>(distance) /
          std::pow(10000.0, 2 * static_cast<double>(i) / static_cast<double>(width));
      r[i] = std::sin(angle);
      r[width / 2 + i] = std::cos(angle);
    }
    return Times(parameters.at("w_r"), r);
  };

  std::vector<Row> positions;
  for (int64_t distance = 0; distance < rows; ++distance) positions.push_back(position(distance));
  Tensor y_btd = Tensor::Empty(x_btd.shape(), DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    std::vector<Row> x, q, k, values;
    for (int64_t t = 0; t < rows; ++t) {
      const double* row = x_btd.data<double>() + (b * rows + t) * width;
      x.emplace_back(row, row + width);
      const Row seen = config.pre_norm() ? normed(x[t]) : x[t];
      q.push_back(Times(parameters.at("w_q"), seen));
      k.push_back(Times(parameters.at("w_k"), seen));
      values.push_back(Times(parameters.at("w_v"), seen));
    }
    for (int64_t i = 0; i < rows; ++i) {
      Row mixed(heads * channels, 0.0);
      for (int64_t h = 0; h < heads; ++h) {
        Row weight(rows, 0.0);
        double sum = 0;
        for (int64_t j = 0; j < rows; ++j) {
          if (!Sees(config, i, j)) continue;
          double score = 0;  // the four terms of section 3.3
          for (int64_t c = h * channels; c < (h + 1) * channels; ++c) {
            const double r = positions[i - j][c];
            score += q[i][c] * k[j][c] + q[i][c] * r + u.data<double>()[c] * k[j][c] +
                     v.data<double>()[c] * r;
          }
          weight[j] = std::exp(score / std::sqrt(static_cast<double>(channels)));
          sum += weight[j];
        }
        for (int64_t j = 0; j < rows; ++j) {
          for (int64_t c = h * channels; c < (h + 1) * channels; ++c)
            mixed[c] += weight[j] / sum * values[j][c];
        }
      }
      Row out = Times(parameters.at("w_o"), mixed);
      for (int64_t d = 0; d < width; ++d) out[d] += x[i][d];
      if (!config.pre_norm()) out = normed(out);
      std::copy(out.begin(), out.end(), y_btd.mutable_data<double>() + (b * rows + i) * width);
    }
  }
  return y_btd;
}

LR_REGISTER_MIXER_REFERENCE(TransformerXlConfig, ReferenceTransformerXl);

}  // namespace
}  // namespace longrange
