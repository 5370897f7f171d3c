#include <algorithm>
#include <cmath>
#include <complex>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/dplr_kernel/dplr_kernel.h"
#include "kernels/simd/wide.h"

namespace longrange::kernels {
namespace {

// With omega = exp(-i theta) the nodes z = 2 (1 - omega) / (1 + omega) = i s are imaginary, s = 2
// tan(theta / 2), so a pair of conjugate modes adds a quotient of real coefficients to a Cauchy
// sum, v = dt x y:
//   v / (z - dt lambda) + v* / (z - dt lambda*) = (alpha + i s beta) q(s),
//   q(s) = 1 / (|dt lambda|^2 - s^2 - 2 i s Re(dt lambda)),
//   alpha = -2 Re(v dt lambda*), beta = 2 Re v.
// The difference of squares cancels where a mode resonates: it is taken as (a - s)(a + s) with a
// and s in two pieces each, so that a - s keeps its relative accuracy.
// khat = 2 / (1 + omega) g = (1 + i s / 2) g with g the bracket of the Woodbury identity. At omega
// = -1, the last node of an even length, s is infinite and khat = sum Re v of (B, C~).

using Complex = std::complex<double>;
using simd::kWideLanes;
using simd::LoadWide;
using simd::SplatWide;
using simd::StoreWide;
using simd::Wide;

constexpr int64_t kChunk = 256;  // nodes at a time: their sums stay in the first-level cache
constexpr int kSums = 4;         // Cauchy sums at a time: their accumulators stay in registers

struct Dims {
  int64_t c, h, n, rank, b_c, length;
  int64_t nodes() const { return length / 2 + 1; }
  // Cauchy sums of a feature: (B, C~), (B, P*), (P, C~), (P, P*).
  int64_t BC(int64_t channel) const { return channel; }
  int64_t BP(int64_t channel, int64_t i) const { return c + (b_c == 1 ? 0 : channel) * rank + i; }
  int64_t PC(int64_t channel, int64_t i) const { return c + b_c * rank + channel * rank + i; }
  int64_t PP(int64_t i, int64_t j) const {  // of P_j with P_i*
    return c + (b_c + c) * rank + i * rank + j;
  }
  int64_t sums() const { return c + (b_c + c) * rank + rank * rank; }
};

Dims CheckShapes(const DplrKernelInputs& in, int64_t length) {
  const Shape& c = in.c_chn2.shape();
  CHECK(c.rank() == 4 && c[3] == 2) << "c is [C, H, N/2, 2], got " << c;
  CHECK_EQ(in.p_rhn2.rank(), 4) << "p is [R, H, N/2, 2], got " << in.p_rhn2.shape();
  CHECK_EQ(in.b_chn2.rank(), 4) << "b is [C, H, N/2, 2], got " << in.b_chn2.shape();
  const Dims d{c[0], c[1], c[2], in.p_rhn2.dim(0), in.b_chn2.dim(0), length};
  CHECK_GE(length, 0);
  CHECK(d.b_c == d.c || d.b_c == 1) << "b " << in.b_chn2.shape() << " for c " << c;
  const auto check = [&](const Tensor& t, const Shape& shape, const char* name) {
    CHECK(t.shape() == shape) << name << " " << t.shape() << ", expected " << shape << " for c "
                              << c;
    CHECK(t.dtype() == in.c_chn2.dtype())
        << name << " is " << Name(t.dtype()) << ", c " << Name(in.c_chn2.dtype());
  };
  check(in.lambda_hn2, {d.h, d.n, 2}, "lambda");
  check(in.p_rhn2, {d.rank, d.h, d.n, 2}, "p");
  check(in.b_chn2, {d.b_c, d.h, d.n, 2}, "b");
  check(in.dt_h, {d.h}, "dt");
  return d;
}

void RecordKernelCost(const Dims& d, double flops_a_sum, const DplrKernelInputs& in) {
  double bytes = SizeOf(in.c_chn2.dtype()) * static_cast<double>(d.c * d.length * d.h);
  for (const Tensor* t : {&in.lambda_hn2, &in.p_rhn2, &in.b_chn2, &in.c_chn2, &in.dt_h}) {
    bytes += static_cast<double>(t->bytes());
  }
  RecordCost(static_cast<double>(d.h * d.nodes() * d.n) *
                 (12 + flops_a_sum * static_cast<double>(d.sums())),
             bytes);
}

// The inputs, and their gradients, in double.
struct Parameters {
  Parameters(const Dims& dims, const DplrKernelInputs& in) : d(dims) {
    const auto pairs = [](const Tensor& t) {
      const std::vector<double> values = t.ToDoubles();
      std::vector<Complex> out(values.size() / 2);
      for (size_t i = 0; i < out.size(); ++i) out[i] = {values[2 * i], values[2 * i + 1]};
      return out;
    };
    lambda = pairs(in.lambda_hn2);
    p = pairs(in.p_rhn2);
    b = pairs(in.b_chn2);
    c = pairs(in.c_chn2);
    dt = in.dt_h.ToDoubles();
  }
  explicit Parameters(const Dims& dims)  // zeros
      : d(dims),
        lambda(d.h * d.n),
        p(d.rank * d.h * d.n),
        b(d.b_c * d.h * d.n),
        c(d.c * d.h * d.n),
        dt(d.h) {}

  // Calls fn(sum, x, y, conjugate_y) for every Cauchy sum of feature h, the vectors at mode 0.
  template <typename Fn>
  static void ForSums(const Dims& d, int64_t h, Fn&& fn) {
    const int64_t plane = d.h * d.n, at = h * d.n;
    const auto b = [&](int64_t channel) { return (d.b_c == 1 ? 0 : channel) * plane + at; };
    for (int64_t ch = 0; ch < d.c; ++ch) {
      fn(d.BC(ch), &Parameters::b, b(ch), &Parameters::c, ch * plane + at, false);
      for (int64_t i = 0; i < d.rank; ++i) {
        fn(d.PC(ch, i), &Parameters::p, i * plane + at, &Parameters::c, ch * plane + at, false);
        if (ch < d.b_c) {
          fn(d.BP(ch, i), &Parameters::b, b(ch), &Parameters::p, i * plane + at, true);
        }
      }
    }
    for (int64_t i = 0; i < d.rank; ++i) {
      for (int64_t j = 0; j < d.rank; ++j) {
        fn(d.PP(i, j), &Parameters::p, j * plane + at, &Parameters::p, i * plane + at, true);
      }
    }
  }

  DplrKernelInputs ToTensors(DType dtype) const {
    const auto pairs = [&](const std::vector<Complex>& values, Shape shape) {
      const Tensor t = Tensor::Empty(shape, DType::kFloat64);
      for (size_t i = 0; i < values.size(); ++i) {
        t.mutable_data<double>()[2 * i] = values[i].real();
        t.mutable_data<double>()[2 * i + 1] = values[i].imag();
      }
      return t.To(dtype);
    };
    return {pairs(lambda, {d.h, d.n, 2}), pairs(p, {d.rank, d.h, d.n, 2}),
            pairs(b, {d.b_c, d.h, d.n, 2}), pairs(c, {d.c, d.h, d.n, 2}),
            Tensor::FromVector<double>({d.h}, dt).To(dtype)};
  }

  Dims d;
  std::vector<Complex> lambda, p, b, c;
  std::vector<double> dt;
};

// A value in two pieces: their sum is twice as accurate as T.
template <typename T>
struct Pieces {
  explicit Pieces(double x)
      : high(static_cast<T>(x)), low(static_cast<T>(x - static_cast<double>(high))) {}
  T high, low;
};

// s of every node but omega = -1, in pieces, padded to whole vectors.
template <typename T>
struct Nodes {
  explicit Nodes(int64_t length) : count((length + 1) / 2) {
    for (int64_t k = 0; k < count + kWideLanes<T>; ++k) {
      const double theta_half = 3.14159265358979323846 *
                                static_cast<double>(std::min(k, count - 1)) /
                                static_cast<double>(length);
      const Pieces<T> s(2 * std::tan(theta_half));
      high.push_back(s.high);
      low.push_back(s.low);
    }
  }
  int64_t count;
  std::vector<T> high, low;
};

// The coefficients of kSums Cauchy sums at one mode.
template <typename T>
struct Mode {
  T a_high, a_low;  // |dt lambda|
  T damping;        // -2 Re(dt lambda)
  T alpha[kSums], beta[kSums];
};

// q of one mode at a vector of nodes.
template <typename T>
LR_SIMD_INLINE void Quotient(const Mode<T>& m, Wide<T> s, Wide<T> s_low, Wide<T>* re, Wide<T>* im) {
  const Wide<T> denominator = ((m.a_high - s) + (m.a_low - s_low)) * (m.a_high + s);
  const Wide<T> imaginary = m.damping * s;
  const Wide<T> inverse = simd::Reciprocal(denominator * denominator + imaginary * imaginary);
  *re = denominator * inverse;
  *im = -imaginary * inverse;
}

// r[j][k] for kSums sums at the nodes [0, count) of a chunk; whole vectors are written.
template <typename T>
void CauchyForward(int64_t n, const Mode<T>* modes, int64_t count, const T* high, const T* low,
                   T* re, T* im) {
  for (int64_t k = 0; k < count; k += kWideLanes<T>) {
    const Wide<T> s = LoadWide(high + k), s_low = LoadWide(low + k);
    Wide<T> a_re[kSums] = {}, a_im[kSums] = {}, b_re[kSums] = {}, b_im[kSums] = {};
    for (int64_t i = 0; i < n; ++i) {
      const Mode<T>& m = modes[i];
      Wide<T> q_re, q_im;
      Quotient(m, s, s_low, &q_re, &q_im);
#pragma GCC unroll 4
      for (int j = 0; j < kSums; ++j) {
        a_re[j] += m.alpha[j] * q_re;
        a_im[j] += m.alpha[j] * q_im;
        b_re[j] += m.beta[j] * q_re;
        b_im[j] += m.beta[j] * q_im;
      }
    }
#pragma GCC unroll 4
    for (int j = 0; j < kSums; ++j) {
      StoreWide(re + j * kChunk + k, a_re[j] - s * b_im[j]);
      StoreWide(im + j * kChunk + k, a_im[j] + s * b_re[j]);
    }
  }
}

// What the backward pass adds up for one mode, a lane a node.
template <typename T>
struct ModeGradient {
  Wide<T> square;   // of |dt lambda|^2
  Wide<T> damping;  // of -2 Re(dt lambda)
  Wide<T> alpha[kSums], beta[kSums];
};

// Adds the gradients from cotangents g (0 behind count) of kSums sums at the nodes of a chunk.
template <typename T>
void CauchyBackward(int64_t n, const Mode<T>* modes, int64_t count, const T* high, const T* low,
                    const T* g_re, const T* g_im, ModeGradient<T>* gradients) {
  for (int64_t i = 0; i < n; ++i) {
    const Mode<T> m = modes[i];
    ModeGradient<T> sum = gradients[i];
    for (int64_t k = 0; k < count; k += kWideLanes<T>) {
      const Wide<T> s = LoadWide(high + k), s_low = LoadWide(low + k);
      Wide<T> q_re, q_im;
      Quotient(m, s, s_low, &q_re, &q_im);
      Wide<T> dq_re = {}, dq_im = {};  // cotangent of q
      const Wide<T> sq_re = s * q_re, sq_im = s * q_im;
#pragma GCC unroll 4
      for (int j = 0; j < kSums; ++j) {
        const Wide<T> re = LoadWide(g_re + j * kChunk + k), im = LoadWide(g_im + j * kChunk + k);
        sum.alpha[j] += re * q_re + im * q_im;
        sum.beta[j] += im * sq_re - re * sq_im;
        const Wide<T> s_beta = m.beta[j] * s;
        dq_re += m.alpha[j] * re + s_beta * im;
        dq_im += m.alpha[j] * im - s_beta * re;
      }
      // dq = -q^2 d(denominator).
      const Wide<T> q2_re = q_re * q_re - q_im * q_im, q2_im = 2 * q_re * q_im;
      sum.square -= dq_re * q2_re + dq_im * q2_im;
      sum.damping += s * (dq_re * q2_im - dq_im * q2_re);
    }
    gradients[i] = sum;
  }
}

// The bracket of the Woodbury identity at one node, and what its gradient needs:
//   g = r(B, C~) - r(P, C~) (1 + r(P, P*))^-1 r(B, P*).
class Woodbury {
 public:
  explicit Woodbury(const Dims& d)
      : d_(d), matrix_(d.rank * d.rank), solution_(d.rank), right_(d.rank) {}

  // r and, from the backward pass, dr: one value a Cauchy sum.
  Complex Forward(const std::vector<Complex>& r, int64_t channel) {
    for (int64_t i = 0; i < d_.rank; ++i) solution_[i] = r[d_.BP(channel, i)];
    Solve(r, false, &solution_);
    Complex g = r[d_.BC(channel)];
    for (int64_t i = 0; i < d_.rank; ++i) g -= r[d_.PC(channel, i)] * solution_[i];
    return g;
  }

  // After Forward of the same r and channel: adds to dr what the cotangent dg gives.
  void Backward(const std::vector<Complex>& r, int64_t channel, Complex dg,
                std::vector<Complex>* dr) {
    (*dr)[d_.BC(channel)] += dg;
    for (int64_t i = 0; i < d_.rank; ++i) {
      (*dr)[d_.PC(channel, i)] -= dg * std::conj(solution_[i]);
      right_[i] = -dg * std::conj(r[d_.PC(channel, i)]);
    }
    Solve(r, true, &right_);
    for (int64_t i = 0; i < d_.rank; ++i) {
      (*dr)[d_.BP(channel, i)] += right_[i];
      for (int64_t j = 0; j < d_.rank; ++j) {
        (*dr)[d_.PP(i, j)] -= right_[i] * std::conj(solution_[j]);
      }
    }
  }

 private:
  // x <- (1 + r(P, P*))^-1 x, or with the adjoint matrix; Gauss's elimination with pivoting.
  void Solve(const std::vector<Complex>& r, bool adjoint, std::vector<Complex>* x) {
    const int64_t k = d_.rank;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        const Complex value = (i == j ? 1.0 : 0.0) + r[adjoint ? d_.PP(j, i) : d_.PP(i, j)];
        matrix_[i * k + j] = adjoint ? std::conj(value) : value;
      }
    }
    for (int64_t i = 0; i < k; ++i) {
      int64_t pivot = i;
      for (int64_t row = i + 1; row < k; ++row) {
        if (std::norm(matrix_[row * k + i]) > std::norm(matrix_[pivot * k + i])) pivot = row;
      }
      if (pivot != i) {
        for (int64_t j = i; j < k; ++j) std::swap(matrix_[i * k + j], matrix_[pivot * k + j]);
        std::swap((*x)[i], (*x)[pivot]);
      }
      for (int64_t row = i + 1; row < k; ++row) {
        const Complex factor = matrix_[row * k + i] / matrix_[i * k + i];
        for (int64_t j = i; j < k; ++j) matrix_[row * k + j] -= factor * matrix_[i * k + j];
        (*x)[row] -= factor * (*x)[i];
      }
    }
    for (int64_t i = k - 1; i >= 0; --i) {
      for (int64_t j = i + 1; j < k; ++j) (*x)[i] -= matrix_[i * k + j] * (*x)[j];
      (*x)[i] /= matrix_[i * k + i];
    }
  }

  const Dims d_;
  std::vector<Complex> matrix_, solution_, right_;
};

// One feature: from its parameters to khat at all nodes, and back.
template <typename T>
class Feature {
 public:
  Feature(const Parameters& parameters, const Nodes<T>& nodes, int64_t h)
      : d_(parameters.d), parameters_(parameters), nodes_(nodes), h_(h), woodbury_(parameters.d) {
    const int64_t groups = (d_.sums() + kSums - 1) / kSums;
    modes_.resize(groups * d_.n);
    sums_re_.resize(groups * kSums * kChunk);
    sums_im_.resize(groups * kSums * kChunk);
    values_.resize(d_.sums());
    const double dt = parameters.dt[h];
    for (int64_t i = 0; i < d_.n; ++i) {
      const Complex lambda = dt * parameters.lambda[h * d_.n + i];
      const Pieces<T> a(std::abs(lambda));
      for (int64_t g = 0; g < groups; ++g) {
        Mode<T>& m = modes_[g * d_.n + i];
        m = {a.high, a.low, static_cast<T>(-2 * lambda.real())};
      }
    }
    Parameters::ForSums(
        d_, h, [&](int64_t sum, auto x, int64_t x_at, auto y, int64_t y_at, bool conjugate) {
          for (int64_t i = 0; i < d_.n; ++i) {
            const Complex lambda = dt * parameters.lambda[h * d_.n + i];
            const Complex other = (parameters.*y)[y_at + i];
            const Complex v =
                dt * (parameters.*x)[x_at + i] * (conjugate ? std::conj(other) : other);
            Mode<T>& m = modes_[sum / kSums * d_.n + i];
            m.alpha[sum % kSums] = static_cast<T>(-2 * (v * std::conj(lambda)).real());
            m.beta[sum % kSums] = static_cast<T>(2 * v.real());
          }
        });
  }

  // khat of output `channel` at node k is written to re, im [channel, nodes, H].
  void Forward(T* re, T* im) {
    for (int64_t begin = 0; begin < nodes_.count; begin += kChunk) {
      const int64_t count = Sums(begin);
      for (int64_t k = 0; k < count; ++k) {
        Gather(k);
        for (int64_t channel = 0; channel < d_.c; ++channel) {
          const Complex value = woodbury_.Forward(values_, channel) * Factor(begin + k);
          const int64_t at = (channel * d_.nodes() + begin + k) * d_.h + h_;
          re[at] = static_cast<T>(value.real());
          im[at] = static_cast<T>(value.imag());
        }
      }
    }
    if (d_.length % 2 != 0) return;
    for (int64_t channel = 0; channel < d_.c; ++channel) {
      double sum = 0;  // Re v = beta / 2
      for (int64_t i = 0; i < d_.n; ++i) {
        const int64_t j = d_.BC(channel);
        sum += modes_[j / kSums * d_.n + i].beta[j % kSums] / 2;
      }
      const int64_t at = (channel * d_.nodes() + d_.nodes() - 1) * d_.h + h_;
      re[at] = static_cast<T>(sum);
      im[at] = 0;
    }
  }

  // Adds the gradients of this feature's parameters from the cotangent of khat.
  void Backward(const T* dre, const T* dim, Parameters* gradients) {
    const int64_t groups = (d_.sums() + kSums - 1) / kSums;
    std::vector<ModeGradient<T>> sums(modes_.size(), ModeGradient<T>{});
    std::vector<T> g_re(sums_re_.size()), g_im(sums_im_.size());
    std::vector<Complex> dr(d_.sums());
    for (int64_t begin = 0; begin < nodes_.count; begin += kChunk) {
      const int64_t count = Sums(begin);
      std::fill(g_re.begin(), g_re.end(), T{0});
      std::fill(g_im.begin(), g_im.end(), T{0});
      for (int64_t k = 0; k < count; ++k) {
        Gather(k);
        std::fill(dr.begin(), dr.end(), Complex(0));
        for (int64_t channel = 0; channel < d_.c; ++channel) {
          woodbury_.Forward(values_, channel);
          const int64_t at = (channel * d_.nodes() + begin + k) * d_.h + h_;
          const Complex dg = Complex(dre[at], dim[at]) * std::conj(Factor(begin + k));
          woodbury_.Backward(values_, channel, dg, &dr);
        }
        for (int64_t j = 0; j < d_.sums(); ++j) {
          g_re[j * kChunk + k] = static_cast<T>(dr[j].real());
          g_im[j * kChunk + k] = static_cast<T>(dr[j].imag());
        }
      }
      for (int64_t g = 0; g < groups; ++g) {
        CauchyBackward(d_.n, modes_.data() + g * d_.n, count, nodes_.high.data() + begin,
                       nodes_.low.data() + begin, g_re.data() + g * kSums * kChunk,
                       g_im.data() + g * kSums * kChunk, sums.data() + g * d_.n);
      }
    }
    ToParameters(sums, dre, gradients);
  }

 private:
  // 2 / (1 + omega).
  Complex Factor(int64_t node) const {
    return {1,
            0.5 * (static_cast<double>(nodes_.high[node]) + static_cast<double>(nodes_.low[node]))};
  }

  // The Cauchy sums of the chunk from node `begin`; returns how many nodes it has.
  int64_t Sums(int64_t begin) {
    const int64_t count = std::min(kChunk, nodes_.count - begin);
    for (int64_t g = 0; g * kSums < d_.sums(); ++g) {
      CauchyForward(d_.n, modes_.data() + g * d_.n, count, nodes_.high.data() + begin,
                    nodes_.low.data() + begin, sums_re_.data() + g * kSums * kChunk,
                    sums_im_.data() + g * kSums * kChunk);
    }
    return count;
  }

  void Gather(int64_t k) {
    for (int64_t j = 0; j < d_.sums(); ++j) {
      values_[j] = {sums_re_[j * kChunk + k], sums_im_[j * kChunk + k]};
    }
  }

  void ToParameters(const std::vector<ModeGradient<T>>& sums, const T* dre, Parameters* gradients) {
    const auto total = [](const Wide<T>& lanes) {
      double sum = 0;
      for (int i = 0; i < kWideLanes<T>; ++i) sum += lanes[i];
      return sum;
    };
    const double dt = parameters_.dt[h_];
    const Complex* lambda = parameters_.lambda.data() + h_ * d_.n;
    std::vector<Complex> dlambda(d_.n);  // of dt lambda
    for (size_t at = 0; at < sums.size(); ++at) {
      const int64_t i = static_cast<int64_t>(at) % d_.n;
      dlambda[i] += 2 * dt * lambda[i] * total(sums[at].square) - 2 * total(sums[at].damping);
    }
    Parameters::ForSums(
        d_, h_, [&](int64_t sum, auto x, int64_t x_at, auto y, int64_t y_at, bool conjugate) {
          for (int64_t i = 0; i < d_.n; ++i) {
            const ModeGradient<T>& g = sums[sum / kSums * d_.n + i];
            const double dalpha = total(g.alpha[sum % kSums]);
            double dbeta = total(g.beta[sum % kSums]);
            if (d_.length % 2 == 0 && sum < d_.c) {
              dbeta +=
                  0.5 * static_cast<double>(dre[(sum * d_.nodes() + d_.nodes() - 1) * d_.h + h_]);
            }
            const Complex left = (parameters_.*x)[x_at + i];
            const Complex right =
                conjugate ? std::conj((parameters_.*y)[y_at + i]) : (parameters_.*y)[y_at + i];
            const Complex v = dt * left * right;
            const Complex dv = 2 * dbeta - 2 * dalpha * dt * lambda[i];
            dlambda[i] -= 2 * dalpha * v;
            (gradients->*x)[x_at + i] += dt * dv * std::conj(right);
            const Complex dright = dt * dv * std::conj(left);
            (gradients->*y)[y_at + i] += conjugate ? std::conj(dright) : dright;
            gradients->dt[h_] += (std::conj(dv) * left * right).real();
          }
        });
    for (int64_t i = 0; i < d_.n; ++i) {
      gradients->lambda[h_ * d_.n + i] += dt * dlambda[i];
      gradients->dt[h_] += (std::conj(dlambda[i]) * lambda[i]).real();
    }
  }

  const Dims d_;
  const Parameters& parameters_;
  const Nodes<T>& nodes_;
  const int64_t h_;
  Woodbury woodbury_;
  std::vector<Mode<T>> modes_;        // [group of sums, n]
  std::vector<T> sums_re_, sums_im_;  // [sum, kChunk]
  std::vector<Complex> values_;       // all sums at one node
};

// kernel [C, L, H] from khat [C, nodes, H], or (backward) the cotangent of khat from that of the
// kernel.
template <typename T, bool kBackward>
void InverseRealDft(const Dims& d, T* re, T* im, T* kernel) {
  std::vector<T> cosine(d.length), sine(d.length);
  for (int64_t i = 0; i < d.length; ++i) {
    const double angle =
        2 * 3.14159265358979323846 * static_cast<double>(i) / static_cast<double>(d.length);
    cosine[i] = static_cast<T>(std::cos(angle));
    sine[i] = static_cast<T>(std::sin(angle));
  }
  const int64_t rows = kBackward ? d.nodes() : d.length;
  ParallelFor(d.c * rows, [&](int64_t task) {
    const int64_t channel = task / rows, row = task % rows;
    T* out = (kBackward ? re : kernel) + task * d.h;
    T* out_im = im + task * d.h;
    std::fill(out, out + d.h, T{0});
    if (kBackward) std::fill(out_im, out_im + d.h, T{0});
    for (int64_t i = 0; i < (kBackward ? d.length : d.nodes()); ++i) {
      const int64_t node = kBackward ? row : i, l = kBackward ? i : row;
      const double weight = (node == 0 || 2 * node == d.length ? 1.0 : 2.0) / d.length;
      const T c = static_cast<T>(weight * cosine[node * l % d.length]),
              s = static_cast<T>(weight * sine[node * l % d.length]);
      for (int64_t h = 0; h < d.h; ++h) {
        const int64_t at = (channel * d.nodes() + node) * d.h + h;
        if (kBackward) {
          const T g = kernel[(channel * d.length + l) * d.h + h];
          out[h] += c * g;
          out_im[h] -= s * g;
        } else {
          out[h] += c * re[at] - s * im[at];
        }
      }
    }
  });
}

}  // namespace

Tensor DplrKernelForward(const DplrKernelInputs& in, int64_t length) {
  const Dims d = CheckShapes(in, length);
  const TraceSpan span("DplrKernelForward");
  RecordKernelCost(d, 8, in);
  const Tensor kernel = Tensor::Empty({d.c, length, d.h}, in.c_chn2.dtype(), in.c_chn2.device());
  if (kernel.is_meta() || length == 0) return kernel;
  const Parameters parameters(d, in);
  const auto run = [&](auto* out) {
    using T = std::remove_pointer_t<decltype(out)>;
    const Nodes<T> nodes(length);
    std::vector<T> re(d.c * d.nodes() * d.h), im(re.size());
    ParallelFor(d.h,
                [&](int64_t h) { Feature<T>(parameters, nodes, h).Forward(re.data(), im.data()); });
    InverseRealDft<T, false>(d, re.data(), im.data(), out);
  };
  kernel.dtype() == DType::kFloat64 ? run(kernel.mutable_data<double>())
                                    : run(kernel.mutable_data<float>());
  return kernel;
}

DplrKernelInputs DplrKernelBackward(const DplrKernelInputs& in, const Tensor& dkernel_clh) {
  CHECK_EQ(dkernel_clh.rank(), 3) << "a kernel is [C, L, H], got " << dkernel_clh.shape();
  const int64_t length = dkernel_clh.dim(1);
  const Dims d = CheckShapes(in, length);
  CHECK(dkernel_clh.shape() == Shape({d.c, length, d.h}))
      << "dK " << dkernel_clh.shape() << " for c " << in.c_chn2.shape();
  const TraceSpan span("DplrKernelBackward");
  RecordKernelCost(d, 24, in);
  if (dkernel_clh.is_meta()) {
    return {Tensor::EmptyLike(in.lambda_hn2), Tensor::EmptyLike(in.p_rhn2),
            Tensor::EmptyLike(in.b_chn2), Tensor::EmptyLike(in.c_chn2), Tensor::EmptyLike(in.dt_h)};
  }
  const Parameters parameters(d, in);
  Parameters gradients(d);
  const auto run = [&](auto* dkernel) {
    using T = std::remove_pointer_t<decltype(dkernel)>;
    const Nodes<T> nodes(length);
    std::vector<T> re(d.c * d.nodes() * d.h), im(re.size());
    InverseRealDft<T, true>(d, re.data(), im.data(), dkernel);
    ParallelFor(d.h, [&](int64_t h) {
      Feature<T>(parameters, nodes, h).Backward(re.data(), im.data(), &gradients);
    });
  };
  if (length > 0) {
    dkernel_clh.dtype() == DType::kFloat64 ? run(dkernel_clh.mutable_data<double>())
                                           : run(dkernel_clh.mutable_data<float>());
  }
  return gradients.ToTensors(in.c_chn2.dtype());
}

}  // namespace longrange::kernels
