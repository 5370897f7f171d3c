// Perceiver in plain loops and double precision, from the paper's equations: rows with the codes of
// their places, cross-attends and latent blocks in turn. A matrix is a list of rows.

#include "plugins/conformance/reference.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "papers/perceiver/perceiver.pb.h"

namespace longrange {
namespace {

using Rows = std::vector<std::vector<double>>;

Rows Linear(const Rows& x, const TensorMap& parameters, const std::string& path,
            const std::string& name) {
  const Tensor& weight = parameters.at(absl::StrCat(path, ".w_", name));
  const auto bias = parameters.find(absl::StrCat(path, ".b_", name));
  Rows y;
  for (const std::vector<double>& row : x) {
    y.emplace_back();
    for (int64_t o = 0; o < weight.dim(0); ++o) {
      double sum = bias == parameters.end() ? 0 : bias->second.data<double>()[o];
      for (size_t i = 0; i < row.size(); ++i)
        sum += weight.data<double>()[o * weight.dim(1) + static_cast<int64_t>(i)] * row[i];
      y.back().push_back(sum);
    }
  }
  return y;
}

Rows Norm(Rows x, const TensorMap& parameters, const std::string& path) {
  const double* weight = parameters.at(path + ".weight").data<double>();
  const double* bias = parameters.at(path + ".bias").data<double>();
  for (std::vector<double>& row : x) {
    const double size = static_cast<double>(row.size());
    double mean = 0, variance = 0;
    for (const double v : row) mean += v / size;
    for (const double v : row) variance += (v - mean) * (v - mean) / size;
    for (size_t i = 0; i < row.size(); ++i)
      row[i] = (row[i] - mean) / std::sqrt(variance + 1e-5) * weight[i] + bias[i];
  }
  return x;
}

double Gelu(double x) { return x * 0.5 * (1 + std::erf(x / std::sqrt(2.0))); }

// z <- z + attention, z <- z + MLP.
void Apply(const PerceiverConfig& config, const TensorMap& parameters, const std::string& path,
           int64_t heads, const Rows* x, Rows* z) {
  const Rows nz = Norm(*z, parameters, path + ".norm_latents"),
             nx = x == nullptr ? nz : Norm(*x, parameters, path + ".norm_input");
  const Rows q = Linear(nz, parameters, path, "q"), k = Linear(nx, parameters, path, "k"),
             v = Linear(nx, parameters, path, "v");
  const size_t width = q[0].size() / heads;
  Rows mixed(z->size(), std::vector<double>(q[0].size(), 0.0));
  for (int64_t h = 0; h < heads; ++h) {
    for (size_t n = 0; n < z->size(); ++n) {
      std::vector<double> score;
      for (const std::vector<double>& key : k) {
        double dot = 0;
        for (size_t i = 0; i < width; ++i) dot += q[n][h * width + i] * key[h * width + i];
        score.push_back(dot / std::sqrt(static_cast<double>(width)));
      }
      const double most = *std::max_element(score.begin(), score.end());
      double sum = 0;
      for (const double s : score) sum += std::exp(s - most);
      for (size_t m = 0; m < k.size(); ++m) {
        for (size_t i = 0; i < width; ++i)
          mixed[n][h * width + i] += std::exp(score[m] - most) / sum * v[m][h * width + i];
      }
    }
  }
  const auto add = [&](const Rows& more) {
    for (size_t n = 0; n < z->size(); ++n) {
      for (size_t i = 0; i < more[n].size(); ++i) (*z)[n][i] += more[n][i];
    }
  };
  add(Linear(mixed, parameters, path, "o"));
  Rows hidden = Linear(Norm(*z, parameters, path + ".norm_feed_forward"), parameters, path, "up");
  for (std::vector<double>& row : hidden) {
    if (config.feed_forward() == PerceiverConfig::GELU) {
      for (double& u : row) u = Gelu(u);
      continue;
    }
    const size_t half = row.size() / 2;
    for (size_t i = 0; i < half; ++i) row[i] *= Gelu(row[half + i]);
    row.resize(half);
  }
  add(Linear(hidden, parameters, path, "down"));
}

// The code of row `t` of `rows`, behind its channels.
void AppendCode(const PerceiverConfig& config, const TensorMap& parameters, int64_t t, int64_t rows,
                std::vector<double>* row) {
  if (config.positions() == PerceiverConfig::NOWHERE) return;
  if (config.positions() == PerceiverConfig::LEARNED) {
    const Tensor& table = parameters.at("positions");
    const double* code = table.data<double>() + t * table.dim(1);
    row->insert(row->end(), code, code + table.dim(1));
    return;
  }
  const double kPi = std::acos(-1.0);
  std::vector<int64_t> axis(config.axis().begin(), config.axis().end());
  if (axis.empty()) axis = {0};
  int64_t of_line = 1;
  for (size_t a = 1; a < axis.size(); ++a) of_line *= axis[a];
  if (axis[0] == 0) axis[0] = (rows + of_line - 1) / of_line;
  std::vector<double> coordinates, sines, cosines, by_axis;
  int64_t step = axis[0] * of_line;  // from a place to the next of the axis before
  for (size_t a = 0; a < axis.size(); ++a) {
    step /= axis[a];
    const int64_t at = t / step % axis[a];
    const double p = axis[a] == 1 ? -1 : 2.0 * static_cast<double>(at) / (axis[a] - 1) - 1;
    const double most =
        config.max_resolution_size() == 0
            ? static_cast<double>(axis[a])
            : config.max_resolution(config.max_resolution_size() == 1 ? 0 : static_cast<int>(a));
    coordinates.push_back(p);
    std::vector<double> sine, cosine;
    for (int64_t k = 0; k < config.bands(); ++k) {
      const double f = config.bands() == 1 ? 1 : 1 + k * (most / 2 - 1) / (config.bands() - 1);
      sine.push_back(std::sin(kPi * f * p));
      cosine.push_back(std::cos(kPi * f * p));
    }
    sines.insert(sines.end(), sine.begin(), sine.end());
    cosines.insert(cosines.end(), cosine.begin(), cosine.end());
    by_axis.insert(by_axis.end(), sine.begin(), sine.end());
    by_axis.insert(by_axis.end(), cosine.begin(), cosine.end());
    by_axis.push_back(p);
  }
  if (config.order() == PerceiverConfig::BY_AXIS) {
    row->insert(row->end(), by_axis.begin(), by_axis.end());
    return;
  }
  for (const std::vector<double>& part : {coordinates, sines, cosines})
    row->insert(row->end(), part.begin(), part.end());
}

// Of a config without a permutation.
Tensor ReferencePerceiver(const PerceiverConfig& config, const BuildArgs&,
                          const TensorMap& parameters, const Tensor& x_bmw) {
  const int64_t batch = x_bmw.dim(0), length = x_bmw.dim(1), width = x_bmw.dim(2),
                latents = config.latents(), latent_width = config.latent_width();
  const double* first = parameters.at("latents").data<double>();
  Tensor y_bnd = Tensor::Empty({batch, latents, latent_width}, DType::kFloat64);
  for (int64_t b = 0; b < batch; ++b) {
    Rows x, z;
    for (int64_t t = 0; t < length; ++t) {
      const double* row = x_bmw.data<double>() + (b * length + t) * width;
      x.emplace_back(row, row + width);
      AppendCode(config, parameters, t, length, &x.back());
    }
    for (int64_t n = 0; n < latents; ++n)
      z.emplace_back(first + n * latent_width, first + (n + 1) * latent_width);
    for (int64_t t = 0; t < config.cross_attends(); ++t) {
      const int64_t set = config.sharing() == PerceiverConfig::NONE  ? t
                          : config.sharing() == PerceiverConfig::ALL ? 0
                                                                     : std::min<int64_t>(t, 1);
      const int64_t block = config.sharing() == PerceiverConfig::ALL_BUT_FIRST_CROSS ? 0 : set;
      Apply(config, parameters, absl::StrCat("cross.", set), config.cross_heads(), &x, &z);
      for (int64_t layer = 0; layer < config.latent_layers(); ++layer) {
        Apply(config, parameters, absl::StrCat("latent.", block, ".layers.", layer),
              config.latent_heads(), nullptr, &z);
      }
    }
    for (int64_t n = 0; n < latents; ++n)
      std::copy(z[n].begin(), z[n].end(),
                y_bnd.mutable_data<double>() + (b * latents + n) * latent_width);
  }
  return y_bnd;
}

LR_REGISTER_MIXER_REFERENCE(PerceiverConfig, ReferencePerceiver);

}  // namespace
}  // namespace longrange
