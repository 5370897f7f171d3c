// S4 from its equations, in double: the matrix of each feature over modes and conjugates, its
// discretisation by elimination, C from C~ by a solve, and the kernel power by power.
// B batch, T rows, H features, M modes, N = 2M.

#include "plugins/conformance/reference.h"

#include <cmath>
#include <complex>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "papers/s4/s4.pb.h"

namespace longrange {
namespace {

using Complex = std::complex<double>;
using Vector = std::vector<Complex>;

// Square, row by row.
struct Matrix {
  explicit Matrix(int64_t n) : n(n), at(n * n) {}
  Complex& operator()(int64_t i, int64_t k) { return at[i * n + k]; }
  const Complex& operator()(int64_t i, int64_t k) const { return at[i * n + k]; }

  int64_t n;
  Vector at;
};

Matrix Product(const Matrix& a, const Matrix& b) {
  Matrix c(a.n);
  for (int64_t i = 0; i < a.n; ++i) {
    for (int64_t j = 0; j < a.n; ++j) {
      for (int64_t k = 0; k < a.n; ++k) c(i, k) += a(i, j) * b(j, k);
    }
  }
  return c;
}

Matrix Power(Matrix square, int64_t n) {
  Matrix result(square.n);
  for (int64_t i = 0; i < square.n; ++i) result(i, i) = 1;
  for (; n > 0; n /= 2) {
    if (n % 2 == 1) result = Product(result, square);
    square = Product(square, square);
  }
  return result;
}

// x with a x = b, by Gauss's elimination with pivots.
Vector Solve(Matrix a, Vector b) {
  for (int64_t i = 0; i < a.n; ++i) {
    int64_t pivot = i;
    for (int64_t r = i + 1; r < a.n; ++r) {
      if (std::abs(a(r, i)) > std::abs(a(pivot, i))) pivot = r;
    }
    for (int64_t k = 0; k < a.n; ++k) std::swap(a(i, k), a(pivot, k));
    std::swap(b[i], b[pivot]);
    for (int64_t r = i + 1; r < a.n; ++r) {
      const Complex factor = a(r, i) / a(i, i);
      for (int64_t k = i; k < a.n; ++k) a(r, k) -= factor * a(i, k);
      b[r] -= factor * b[i];
    }
  }
  for (int64_t i = a.n - 1; i >= 0; --i) {
    for (int64_t k = i + 1; k < a.n; ++k) b[i] -= a(i, k) * b[k];
    b[i] /= a(i, i);
  }
  return b;
}

Complex Element(const Tensor& t, int64_t i) {
  return {t.data<double>()[2 * i], t.data<double>()[2 * i + 1]};
}

// Modes first .. first + m, then their conjugates.
Vector Completed(const Tensor& t, int64_t first, int64_t m) {
  Vector v(2 * m);
  for (int64_t i = 0; i < m; ++i) v[m + i] = std::conj(v[i] = Element(t, first + i));
  return v;
}

// K_l, l < rows, of feature h for each output: [outputs][rows].
std::vector<std::vector<double>> Kernels(const S4Config& config, const TensorMap& p, int64_t h,
                                         int64_t rows) {
  const Tensor& c_chm2 = p.at("c");
  const int64_t features = p.at("dt_raw").dim(0), copies = p.at("a_real").dim(0),
                m = p.at("a_real").dim(1), n = 2 * m, copy = h % copies;
  const bool diagonal = p.count("p") == 0;
  const bool hold = diagonal && config.discretization() != S4Config::BILINEAR;
  const double raw = p.at("dt_raw").data<double>()[h];
  const double dt =
      config.rate() *
      (config.dt_transform() == S4Config::SOFTPLUS ? std::log1p(std::exp(raw)) : std::exp(raw));
  const Vector b = Completed(p.at("b"), copy * m, m);
  Matrix a(n);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t at = copy * m + i % m;
    const Complex lambda = {-std::exp(p.at("a_real").data<double>()[at]),
                            -p.at("a_imag").data<double>()[at]};
    a(i, i) = i < m ? lambda : std::conj(lambda);
  }
  for (int64_t r = 0; !diagonal && r < p.at("p").dim(0); ++r) {
    const Vector low = Completed(p.at("p"), (r * copies + copy) * m, m);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < n; ++k) a(i, k) -= low[i] * std::conj(low[k]);
    }
  }
  // Bilinear: dA = (1 - dt/2 A)^-1 (1 + dt/2 A), dB = (1 - dt/2 A)^-1 dt B.
  Matrix step(n);
  Vector db(n);
  if (hold) {
    for (int64_t i = 0; i < n; ++i) {
      step(i, i) = std::exp(dt * a(i, i));
      db[i] = (step(i, i) - 1.0) / a(i, i) * b[i];
    }
  } else {
    Matrix left(n);
    Vector right(n);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t k = 0; k < n; ++k) left(i, k) = (i == k ? 1.0 : 0.0) - dt / 2 * a(i, k);
      right[i] = dt * b[i];
    }
    db = Solve(left, right);
    for (int64_t k = 0; k < n; ++k) {
      Vector column(n);
      for (int64_t i = 0; i < n; ++i) column[i] = (i == k ? 1.0 : 0.0) + dt / 2 * a(i, k);
      column = Solve(left, column);
      for (int64_t i = 0; i < n; ++i) step(i, k) = column[i];
    }
  }
  std::vector<std::vector<double>> kernels;
  for (int64_t output = 0; output < c_chm2.dim(0); ++output) {
    Vector c = Completed(c_chm2, (output * features + h) * m, m);
    if (!diagonal) {
      // C~ = C (1 - dA^L), solved as (1 - dA^L)ᵀ Cᵀ = C~ᵀ.
      const auto length = static_cast<int64_t>(
          std::llround(static_cast<double>(config.kernel_length()) / config.rate()));
      const Matrix power = Power(step, length);
      Matrix transposed(n);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t k = 0; k < n; ++k) transposed(k, i) = (i == k ? 1.0 : 0.0) - power(i, k);
      }
      c = Solve(transposed, c);
    }
    std::vector<double> kernel;
    Vector state = db;
    for (int64_t l = 0; l < rows; ++l) {
      Complex sum = 0;
      for (int64_t i = 0; i < n; ++i) sum += c[i] * state[i];
      kernel.push_back(sum.real());
      Vector next(n);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t k = 0; k < n; ++k) next[i] += step(i, k) * state[k];
      }
      state = next;
    }
    kernels.push_back(kernel);
  }
  return kernels;
}

Tensor ReferenceS4(const S4Config& config, const BuildArgs& args, const TensorMap& p,
                   const Tensor& x_btd) {
  const int64_t batch = x_btd.dim(0), rows = x_btd.dim(1), width = x_btd.dim(2),
                channels = config.channels(), all = channels * width;
  const bool both_ways = args.direction == nn::Direction::kBidirectional;
  Tensor y_bta = Tensor::Zeros({batch, rows, all}, DType::kFloat64);
  for (int64_t h = 0; h < width; ++h) {
    const std::vector<std::vector<double>> kernels = Kernels(config, p, h, rows);
    for (int64_t i = 0; i < batch * channels * rows; ++i) {
      const int64_t b = i / (channels * rows), channel = i / rows % channels, t = i % rows;
      const auto x = [&](int64_t at) { return x_btd.data<double>()[(b * rows + at) * width + h]; };
      double y = p.at("d").data<double>()[channel * width + h] * x(t);
      for (int64_t l = 0; l <= t; ++l) y += kernels[channel][l] * x(t - l);
      for (int64_t l = 0; both_ways && t + 1 + l < rows; ++l)
        y += kernels[channels + channel][l] * x(t + 1 + l);
      if (config.activation() == S4Config::GELU) y *= 0.5 * (1 + std::erf(y / std::sqrt(2.0)));
      y_bta.mutable_data<double>()[(b * rows + t) * all + channel * width + h] = y;
    }
  }
  if (config.output() == S4Config::NONE) return y_bta;
  const auto linear = [&](const char* name, int64_t bt, int64_t d) {
    double sum = p.at(absl::StrCat("b_", name)).data<double>()[d];
    for (int64_t i = 0; i < all; ++i)
      sum += p.at(absl::StrCat("w_", name)).data<double>()[d * all + i] *
             y_bta.data<double>()[bt * all + i];
    return sum;
  };
  Tensor out_btd = Tensor::Empty(x_btd.shape(), DType::kFloat64);
  for (int64_t i = 0; i < out_btd.numel(); ++i) {
    double& out = out_btd.mutable_data<double>()[i];
    out = linear("value", i / width, i % width);
    if (config.output() == S4Config::GLU)
      out /= 1 + std::exp(-linear("gate", i / width, i % width));
  }
  return out_btd;
}

LR_REGISTER_MIXER_REFERENCE(S4Config, ReferenceS4);

}  // namespace
}  // namespace longrange
