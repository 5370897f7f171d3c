#include <algorithm>
#include <cmath>
#include <complex>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/dplr_kernel/dplr_kernel.h"
#include "kernels/fft/dft.h"
#include "kernels/simd/wide.h"

namespace longrange::kernels {
namespace {

// With omega = exp(-i theta) the nodes z = 2 (1 - omega) / (1 + omega) = i s are imaginary, s = 2
// tan(theta / 2), so a pair of conjugate modes adds a quotient of real coefficients to a Cauchy
// sum, v = dt x y:
//   v / (z - dt lambda) + v* / (z - dt lambda*) = (alpha + i s beta) q(s),
//   q(s) = 1 / (|dt lambda|^2 - s^2 - 2 i s Re(dt lambda)),
//   alpha = -2 Re(v dt lambda*), beta = 2 Re v.
// khat = 2 / (1 + omega) g = (1 + i s / 2) g with g the bracket of the Woodbury identity. At omega
// = -1, the last node of an even length, s is infinite and khat = sum Re v of (B, C~).
//
// All of this is in double, for float32 tensors too. With HiPPO's matrices the correction takes
// away most of r(B, C~), and a quotient near its mode's resonance is a small difference: in float32
// the kernel comes out with an error of 3e-6, the gradient of dt with 2e-4 (N 64, L 4096).

using fft::Complex;
using fft::Multiply;
using fft::MultiplyConjugate;
using fft::StoreRow;
using simd::kWideLanes;
using simd::LoadWide;
using simd::SplatWide;
using simd::StoreWide;
using simd::Wide;
using Vec = Wide<double>;
using ComplexVec = Complex<double>;
constexpr int64_t kVec = kWideLanes<double>;

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
      std::vector<std::complex<double>> out(values.size() / 2);
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
    const auto pairs = [&](const std::vector<std::complex<double>>& values, Shape shape) {
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
  std::vector<std::complex<double>> lambda, p, b, c;
  std::vector<double> dt;
};

// s of every node but omega = -1, padded by two vectors.
struct Nodes {
  explicit Nodes(int64_t length) : count((length + 1) / 2) {
    for (int64_t k = 0; k < count + 2 * kVec; ++k) {
      const double half_theta = 3.14159265358979323846 *
                                static_cast<double>(std::min(k, count - 1)) /
                                static_cast<double>(length);
      s.push_back(2 * std::tan(half_theta));
    }
  }
  int64_t count;
  std::vector<double> s;
};

// The coefficients of kSums Cauchy sums at one mode.
struct Mode {
  double square;   // |dt lambda|^2
  double damping;  // -2 Re(dt lambda)
  double alpha[kSums], beta[kSums];
};

// q of one mode at a vector of nodes.
LR_SIMD_INLINE ComplexVec Quotient(const Mode& m, Vec s) {
  const Vec denominator = m.square - s * s, imaginary = m.damping * s;
  const Vec inverse = simd::Reciprocal(denominator * denominator + imaginary * imaginary);
  return {denominator * inverse, -imaginary * inverse};
}

// r[j][k] of kSums sums at the nodes [0, count) of a chunk; pairs of vectors are written whole.
void CauchyForward(int64_t n, const Mode* modes, int64_t count, const double* nodes, double* re,
                   double* im) {
  constexpr int kVecs = 2;  // side by side
  for (int64_t begin = 0; begin < count; begin += kVecs * kVec) {
    Vec s[kVecs], sum_re[kVecs][kSums], sum_im[kVecs][kSums];
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
      s[v] = LoadWide(nodes + begin + v * kVec);
#pragma GCC unroll 4
      for (int j = 0; j < kSums; ++j) sum_re[v][j] = sum_im[v][j] = Vec{};
    }
    for (int64_t i = 0; i < n; ++i) {
      const Mode& m = modes[i];
#pragma GCC unroll 2
      for (int v = 0; v < kVecs; ++v) {
        const ComplexVec q = Quotient(m, s[v]);
        const Vec sq_re = s[v] * q.re, sq_im = s[v] * q.im;
#pragma GCC unroll 4
        for (int j = 0; j < kSums; ++j) {
          sum_re[v][j] += m.alpha[j] * q.re;
          sum_im[v][j] += m.alpha[j] * q.im;
          sum_re[v][j] -= m.beta[j] * sq_im;
          sum_im[v][j] += m.beta[j] * sq_re;
        }
      }
    }
#pragma GCC unroll 2
    for (int v = 0; v < kVecs; ++v) {
#pragma GCC unroll 4
      for (int j = 0; j < kSums; ++j) {
        StoreWide(re + j * kChunk + begin + v * kVec, sum_re[v][j]);
        StoreWide(im + j * kChunk + begin + v * kVec, sum_im[v][j]);
      }
    }
  }
}

// What the backward pass adds up for one mode, a lane a node.
struct ModeGradient {
  Vec square, damping, alpha[kSums], beta[kSums];
};

// Adds the gradients from cotangents g (0 behind count) of kSums sums at the nodes of a chunk.
void CauchyBackward(int64_t n, const Mode* modes, int64_t count, const double* nodes,
                    const double* g_re, const double* g_im, ModeGradient* gradients) {
  for (int64_t i = 0; i < n; ++i) {
    const Mode m = modes[i];
    ModeGradient sum = gradients[i];
    for (int64_t k = 0; k < count; k += kVec) {
      const Vec s = LoadWide(nodes + k);
      const ComplexVec q = Quotient(m, s);
      const Vec sq_re = s * q.re, sq_im = s * q.im;
      // The cotangent of q is sum_j (alpha_j - i s beta_j) g_j.
      ComplexVec by_alpha = {}, by_beta = {};
#pragma GCC unroll 4
      for (int j = 0; j < kSums; ++j) {
        const Vec re = LoadWide(g_re + j * kChunk + k), im = LoadWide(g_im + j * kChunk + k);
        sum.alpha[j] += re * q.re;
        sum.alpha[j] += im * q.im;
        sum.beta[j] += im * sq_re;
        sum.beta[j] -= re * sq_im;
        by_alpha.re += m.alpha[j] * re;
        by_alpha.im += m.alpha[j] * im;
        by_beta.re += m.beta[j] * re;
        by_beta.im += m.beta[j] * im;
      }
      const ComplexVec dq = {by_alpha.re + s * by_beta.im, by_alpha.im - s * by_beta.re};
      // dq = -q^2 d(denominator).
      const ComplexVec product = MultiplyConjugate(dq, Multiply(q, q));
      sum.square -= product.re;
      sum.damping += s * product.im;
    }
    gradients[i] = sum;
  }
}

// The bracket of the Woodbury identity at a vector of nodes, and its gradient:
//   g = r(B, C~) - r(P, C~) (1 + r(P, P*))^-1 r(B, P*).
// Elimination needs no pivots: the real parts of lambda are negative, so that of the matrix is
// positive definite.
class Woodbury {
 public:
  explicit Woodbury(const Dims& d)
      : d_(d), matrix_(d.rank * d.rank), solution_(d.rank), right_(d.rank) {}

  // r, and dr below: a value a Cauchy sum.
  ComplexVec Forward(const std::vector<ComplexVec>& r, int64_t channel) {
    for (int64_t i = 0; i < d_.rank; ++i) solution_[i] = r[d_.BP(channel, i)];
    Solve(r, false, &solution_);
    ComplexVec g = r[d_.BC(channel)];
    for (int64_t i = 0; i < d_.rank; ++i) {
      g = Minus(g, Multiply(r[d_.PC(channel, i)], solution_[i]));
    }
    return g;
  }

  // After Forward of the same r and channel: adds to dr what the cotangent dg gives.
  void Backward(const std::vector<ComplexVec>& r, int64_t channel, ComplexVec dg,
                std::vector<ComplexVec>* dr) {
    ComplexVec& bc = (*dr)[d_.BC(channel)];
    bc = {bc.re + dg.re, bc.im + dg.im};
    for (int64_t i = 0; i < d_.rank; ++i) {
      ComplexVec& pc = (*dr)[d_.PC(channel, i)];
      pc = Minus(pc, MultiplyConjugate(solution_[i], dg));
      const ComplexVec product = MultiplyConjugate(r[d_.PC(channel, i)], dg);
      right_[i] = {-product.re, -product.im};
    }
    Solve(r, true, &right_);
    for (int64_t i = 0; i < d_.rank; ++i) {
      ComplexVec& bp = (*dr)[d_.BP(channel, i)];
      bp = {bp.re + right_[i].re, bp.im + right_[i].im};
      for (int64_t j = 0; j < d_.rank; ++j) {
        ComplexVec& pp = (*dr)[d_.PP(i, j)];
        pp = Minus(pp, MultiplyConjugate(solution_[j], right_[i]));
      }
    }
  }

 private:
  static LR_SIMD_INLINE ComplexVec Minus(ComplexVec a, ComplexVec b) {
    return {a.re - b.re, a.im - b.im};
  }
  static LR_SIMD_INLINE ComplexVec Divide(ComplexVec a, ComplexVec b) {
    const ComplexVec product = MultiplyConjugate(b, a);
    const Vec inverse = simd::Reciprocal(b.re * b.re + b.im * b.im);
    return {product.re * inverse, product.im * inverse};
  }

  // x <- (1 + r(P, P*))^-1 x, or with the adjoint matrix.
  void Solve(const std::vector<ComplexVec>& r, bool adjoint, std::vector<ComplexVec>* x) {
    const int64_t k = d_.rank;
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        ComplexVec value = r[adjoint ? d_.PP(j, i) : d_.PP(i, j)];
        if (i == j) value.re += 1;
        if (adjoint) value.im = -value.im;
        matrix_[i * k + j] = value;
      }
    }
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t row = i + 1; row < k; ++row) {
        const ComplexVec factor = Divide(matrix_[row * k + i], matrix_[i * k + i]);
        for (int64_t j = i + 1; j < k; ++j) {
          matrix_[row * k + j] = Minus(matrix_[row * k + j], Multiply(factor, matrix_[i * k + j]));
        }
        (*x)[row] = Minus((*x)[row], Multiply(factor, (*x)[i]));
      }
    }
    for (int64_t i = k - 1; i >= 0; --i) {
      for (int64_t j = i + 1; j < k; ++j) {
        (*x)[i] = Minus((*x)[i], Multiply(matrix_[i * k + j], (*x)[j]));
      }
      (*x)[i] = Divide((*x)[i], matrix_[i * k + i]);
    }
  }

  const Dims d_;
  std::vector<ComplexVec> matrix_, solution_, right_;
};

// khat, or its cotangent, of all features: real and imaginary parts of all nodes [C, H, 2, padded
// nodes], so that vectors of nodes can be stored.
template <typename T>
struct Spectrum {
  explicit Spectrum(const Dims& d)
      : features(d.h),
        stride((d.nodes() + kChunk - 1) / kChunk * kChunk),
        memory(Tensor::Empty({d.c * d.h * 2 * stride}, DTypeOf<T>::value)) {}

  T* Of(int64_t channel, int64_t h) const {
    return memory.mutable_data<T>() + (channel * features + h) * 2 * stride;
  }

  int64_t features, stride;
  Tensor memory;
};

template <typename T>
LR_SIMD_INLINE void StoreAs(Vec v, T* p) {
  for (int64_t i = 0; i < kVec; ++i) p[i] = static_cast<T>(v[i]);
}
template <typename T>
LR_SIMD_INLINE Vec LoadAsDouble(const T* p) {
  Vec v;
  for (int64_t i = 0; i < kVec; ++i) v[i] = static_cast<double>(p[i]);
  return v;
}

// One feature: from its parameters to khat at all nodes, and back.
class Feature {
 public:
  Feature(const Parameters& parameters, const Nodes& nodes, int64_t h)
      : d_(parameters.d), parameters_(parameters), nodes_(nodes), h_(h), woodbury_(parameters.d) {
    modes_.resize(groups() * d_.n);
    sums_re_.resize(groups() * kSums * kChunk);
    sums_im_.resize(groups() * kSums * kChunk);
    values_.resize(d_.sums());
    const double dt = parameters.dt[h];
    for (int64_t i = 0; i < d_.n; ++i) {
      const std::complex<double> lambda = dt * parameters.lambda[h * d_.n + i];
      for (int64_t g = 0; g < groups(); ++g) {
        modes_[g * d_.n + i] = {std::norm(lambda), -2 * lambda.real(), {}, {}};
      }
    }
    Parameters::ForSums(
        d_, h, [&](int64_t sum, auto x, int64_t x_at, auto y, int64_t y_at, bool conjugate) {
          for (int64_t i = 0; i < d_.n; ++i) {
            const std::complex<double> lambda = dt * parameters.lambda[h * d_.n + i];
            const std::complex<double> other = (parameters.*y)[y_at + i];
            const std::complex<double> v =
                dt * (parameters.*x)[x_at + i] * (conjugate ? std::conj(other) : other);
            Mode& m = modes_[sum / kSums * d_.n + i];
            m.alpha[sum % kSums] = -2 * (v * std::conj(lambda)).real();
            m.beta[sum % kSums] = 2 * v.real();
          }
        });
  }

  template <typename T>
  void Forward(const Spectrum<T>& khat) {
    for (int64_t begin = 0; begin < nodes_.count; begin += kChunk) {
      const int64_t count = Sums(begin);
      for (int64_t k = 0; k < count; k += kVec) {
        Gather(k);
        for (int64_t channel = 0; channel < d_.c; ++channel) {
          const ComplexVec value = Multiply(woodbury_.Forward(values_, channel), Factor(begin + k));
          T* to = khat.Of(channel, h_) + begin + k;
          StoreAs(value.re, to);
          StoreAs(value.im, to + khat.stride);
        }
      }
    }
    if (d_.length % 2 != 0) return;
    for (int64_t channel = 0; channel < d_.c; ++channel) {
      const int64_t j = d_.BC(channel);
      double sum = 0;  // Re v = beta / 2
      for (int64_t i = 0; i < d_.n; ++i) {
        sum += modes_[j / kSums * d_.n + i].beta[j % kSums] / 2;
      }
      T* to = khat.Of(channel, h_) + d_.nodes() - 1;
      to[0] = static_cast<T>(sum);
      to[khat.stride] = 0;
    }
  }

  // Writes the gradients of this feature's parameters from the cotangent of khat, which is 0 in
  // the padding and is used up.
  template <typename T>
  void Backward(const Spectrum<T>& dkhat, Parameters* gradients) {
    std::vector<double> last(d_.c);  // cotangent of khat at omega = -1
    for (int64_t channel = 0; d_.length % 2 == 0 && channel < d_.c; ++channel) {
      T& at = dkhat.Of(channel, h_)[d_.nodes() - 1];
      last[channel] = static_cast<double>(at);
      at = 0;
    }
    std::vector<ModeGradient> sums(modes_.size(), ModeGradient{});
    std::vector<double> g_re(sums_re_.size()), g_im(sums_im_.size());
    std::vector<ComplexVec> dr(d_.sums());
    for (int64_t begin = 0; begin < nodes_.count; begin += kChunk) {
      const int64_t count = Sums(begin);
      for (int64_t k = 0; k < count; k += kVec) {
        Gather(k);
        std::fill(dr.begin(), dr.end(), ComplexVec{});
        for (int64_t channel = 0; channel < d_.c; ++channel) {
          woodbury_.Forward(values_, channel);
          const T* from = dkhat.Of(channel, h_) + begin + k;
          const ComplexVec dkhat_k = {LoadAsDouble(from), LoadAsDouble(from + dkhat.stride)};
          woodbury_.Backward(values_, channel, MultiplyConjugate(Factor(begin + k), dkhat_k), &dr);
        }
        for (int64_t j = 0; j < d_.sums(); ++j) {
          StoreWide(g_re.data() + j * kChunk + k, dr[j].re);
          StoreWide(g_im.data() + j * kChunk + k, dr[j].im);
        }
      }
      for (int64_t g = 0; g < groups(); ++g) {
        CauchyBackward(d_.n, modes_.data() + g * d_.n, count, nodes_.s.data() + begin,
                       g_re.data() + g * kSums * kChunk, g_im.data() + g * kSums * kChunk,
                       sums.data() + g * d_.n);
      }
    }
    ToParameters(sums, last, gradients);
  }

 private:
  int64_t groups() const { return (d_.sums() + kSums - 1) / kSums; }

  // 2 / (1 + omega) at the nodes from `node` on.
  ComplexVec Factor(int64_t node) const {
    return {SplatWide(1.0), 0.5 * LoadWide(nodes_.s.data() + node)};
  }

  // The Cauchy sums of the chunk from node `begin`; returns how many nodes it has.
  int64_t Sums(int64_t begin) {
    const int64_t count = std::min(kChunk, nodes_.count - begin);
    for (int64_t g = 0; g < groups(); ++g) {
      CauchyForward(d_.n, modes_.data() + g * d_.n, count, nodes_.s.data() + begin,
                    sums_re_.data() + g * kSums * kChunk, sums_im_.data() + g * kSums * kChunk);
    }
    return count;
  }

  void Gather(int64_t k) {
    for (int64_t j = 0; j < d_.sums(); ++j) {
      values_[j] = {LoadWide(sums_re_.data() + j * kChunk + k),
                    LoadWide(sums_im_.data() + j * kChunk + k)};
    }
  }

  void ToParameters(const std::vector<ModeGradient>& sums, const std::vector<double>& last,
                    Parameters* gradients) {
    const auto total = [](const Vec& lanes) {
      double sum = 0;
      for (int i = 0; i < kVec; ++i) sum += lanes[i];
      return sum;
    };
    const double dt = parameters_.dt[h_];
    const std::complex<double>* lambda = parameters_.lambda.data() + h_ * d_.n;
    std::vector<std::complex<double>> dlambda(d_.n);  // of dt lambda
    for (size_t at = 0; at < sums.size(); ++at) {
      const int64_t i = static_cast<int64_t>(at) % d_.n;
      dlambda[i] += 2 * dt * lambda[i] * total(sums[at].square) - 2 * total(sums[at].damping);
    }
    Parameters::ForSums(
        d_, h_, [&](int64_t sum, auto x, int64_t x_at, auto y, int64_t y_at, bool conjugate) {
          for (int64_t i = 0; i < d_.n; ++i) {
            const ModeGradient& g = sums[sum / kSums * d_.n + i];
            const double dalpha = total(g.alpha[sum % kSums]);
            double dbeta = total(g.beta[sum % kSums]);
            if (sum < d_.c) dbeta += last[sum] / 2;
            const std::complex<double> left = (parameters_.*x)[x_at + i];
            const std::complex<double> other = (parameters_.*y)[y_at + i];
            const std::complex<double> right = conjugate ? std::conj(other) : other;
            const std::complex<double> dv = 2 * dbeta - 2 * dalpha * dt * lambda[i];
            dlambda[i] -= 2 * dalpha * dt * left * right;
            (gradients->*x)[x_at + i] += dt * dv * std::conj(right);
            const std::complex<double> dright = dt * dv * std::conj(left);
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
  const Nodes& nodes_;
  const int64_t h_;
  Woodbury woodbury_;
  std::vector<Mode> modes_;                // [group of sums, n]
  std::vector<double> sums_re_, sums_im_;  // [sum, kChunk]
  std::vector<ComplexVec> values_;         // all sums at a vector of nodes
};

// Rows of a group of features for all nodes, from or to the spectrum, whose nodes are contiguous.
template <typename T>
void Transpose(const T* from, int64_t from_stride, int64_t rows, int64_t columns, T* to,
               int64_t to_stride) {
  int64_t r = 0;
  if constexpr (sizeof(T) == sizeof(float)) {
    for (; r + simd::kLanes <= rows; r += simd::kLanes) {
      int64_t c = 0;
      for (; c + simd::kLanes <= columns; c += simd::kLanes) {
        simd::VecF tile[simd::kLanes];
        for (int i = 0; i < simd::kLanes; ++i) {
          tile[i] = simd::Load(from + (r + i) * from_stride + c);
        }
        simd::Transpose(tile);
        for (int i = 0; i < simd::kLanes; ++i) simd::Store(to + (c + i) * to_stride + r, tile[i]);
      }
      for (; c < columns; ++c) {
        for (int i = 0; i < simd::kLanes; ++i) {
          to[c * to_stride + r + i] = from[(r + i) * from_stride + c];
        }
      }
    }
  }
  for (; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

// Between khat and the kernel [C, L, H]: the inverse discrete Fourier transform, or (backward) the
// cotangent of khat from that of the kernel. A task has a group of features of one output.
template <typename T, bool kBackward>
void Transform(const Dims& d, const Spectrum<T>& khat, T* kernel) {
  constexpr int64_t kLanes = kWideLanes<T>, kRow = fft::RingPlan<T>::kRow;
  const fft::RealDft<T>& dft = fft::RealDft<T>::Of(d.length);
  const int64_t groups = (d.h + kLanes - 1) / kLanes, nodes = d.nodes();
  const T scale = static_cast<T>(1.0 / static_cast<double>(d.length));
  ParallelFor(d.c * groups, [&](int64_t task) {
    const int64_t channel = task / groups, h = task % groups * kLanes;
    const int64_t lanes = std::min(kLanes, d.h - h);
    const Tensor memory = Tensor::Empty({dft.elements() + nodes * kRow}, DTypeOf<T>::value);
    T* rows = memory.mutable_data<T>() + dft.elements();
    T* of_group = kernel + channel * d.length * d.h + h;
    if constexpr (kBackward) {
      // K[l] = (1 / L) sum_k w_k Re(khat[k] e^(2 pi i k l / L)), w = 1 at the ends, else 2.
      dft.Forward([&](int64_t l) { return simd::LoadWidePartial(of_group + l * d.h, lanes); },
                  [&](int64_t k, Complex<T> v) {
                    const T weight = k == 0 || 2 * k == d.length ? scale : 2 * scale;
                    StoreRow(rows + k * kRow, Complex<T>{weight * v.re, weight * v.im});
                  },
                  memory.mutable_data<T>());
      for (int64_t i = 0; i < lanes; ++i) {
        T* end = khat.Of(channel, h + i);
        std::fill(end + nodes, end + khat.stride, T{0});
        std::fill(end + khat.stride + nodes, end + 2 * khat.stride, T{0});
      }
      Transpose(rows, kRow, nodes, lanes, khat.Of(channel, h), 2 * khat.stride);
      Transpose(rows + kLanes, kRow, nodes, lanes, khat.Of(channel, h) + khat.stride,
                2 * khat.stride);
    } else {
      if (lanes < kLanes) std::fill(rows, rows + nodes * kRow, T{0});
      Transpose(khat.Of(channel, h), 2 * khat.stride, lanes, nodes, rows, kRow);
      Transpose(khat.Of(channel, h) + khat.stride, 2 * khat.stride, lanes, nodes, rows + kLanes,
                kRow);
      dft.Inverse([&](int64_t k) { return fft::LoadRow(rows + k * kRow); },
                  [&](int64_t l, Wide<T> v) {
                    simd::StoreWidePartial(of_group + l * d.h, lanes, scale * v);
                  },
                  memory.mutable_data<T>());
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
    const Nodes nodes(length);
    const Spectrum<T> khat(d);
    ParallelFor(d.h, [&](int64_t h) { Feature(parameters, nodes, h).Forward(khat); });
    Transform<T, false>(d, khat, out);
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
    const Nodes nodes(length);
    const Spectrum<T> dkhat(d);
    Transform<T, true>(d, dkhat, dkernel);
    ParallelFor(d.h, [&](int64_t h) { Feature(parameters, nodes, h).Backward(dkhat, &gradients); });
  };
  if (length > 0) {
    dkernel_clh.dtype() == DType::kFloat64 ? run(dkernel_clh.mutable_data<double>())
                                           : run(dkernel_clh.mutable_data<float>());
  }
  return gradients.ToTensors(in.c_chn2.dtype());
}

}  // namespace longrange::kernels
