#include "papers/s5/discretise.h"

#include <cmath>
#include <complex>
#include <vector>

#include "common/autograd/tape.h"
#include "common/tensor/cost.h"

namespace longrange::s5 {
namespace {

using Complex = std::complex<double>;

constexpr double kLargestReal = -1e-4;

// (e^z - 1) / z and its derivative. Near 0 by their series, where the quotients cancel.
struct Phi {
  Complex value, derivative;
};

Phi PhiOf(Complex z) {
  if (std::abs(z) >= 0.5) {
    const Complex value = (std::exp(z) - 1.0) / z;
    return {value, (std::exp(z) - value) / z};
  }
  Phi phi{0, 0};
  Complex power = 1;  // z^k / (k + 1)!
  for (int k = 0; k < 18; ++k) {
    phi.value += power;
    phi.derivative += power * static_cast<double>(k + 1) / static_cast<double>(k + 2);
    power *= z / static_cast<double>(k + 2);
  }
  return phi;
}

// What becomes of one mode, B̄ = gain B, with the derivatives by z = Λ Δ and, at fixed z, by Δ.
struct Mode {
  Complex lambda, a, gain, a_by_z, gain_by_z, gain_by_step;
  double step;
  bool clipped;
};

Mode ModeOf(double re, double im, double log_step, const Discretisation& options) {
  Mode m;
  m.clipped = options.clip_eigenvalues && re > kLargestReal;
  m.lambda = Complex(m.clipped ? kLargestReal : re, im);
  m.step = options.step_rescale * std::exp(log_step);
  const Complex z = m.lambda * m.step;
  if (options.bilinear) {
    const Complex inverse = 1.0 / (1.0 - 0.5 * z);
    m.a = (1.0 + 0.5 * z) * inverse;
    m.a_by_z = inverse * inverse;
    m.gain_by_step = inverse;
    m.gain_by_z = 0.5 * m.step * inverse * inverse;
  } else {
    const Phi phi = PhiOf(z);
    m.a = std::exp(z);
    m.a_by_z = m.a;
    m.gain_by_step = phi.value;
    m.gain_by_z = m.step * phi.derivative;
  }
  m.gain = m.step * m.gain_by_step;
  return m;
}

std::vector<Mode> ModesOf(const Tensor& re, const Tensor& im, const Tensor& log_step,
                          const Discretisation& options) {
  const std::vector<double> res = re.ToDoubles(), ims = im.ToDoubles(), logs = log_step.ToDoubles();
  std::vector<Mode> modes;
  for (size_t p = 0; p < res.size(); ++p) modes.push_back(ModeOf(res[p], ims[p], logs[p], options));
  return modes;
}

// b̄_ph = gain_p b_ph, or with the conjugate of the gains.
template <typename T>
void Multiply(const std::vector<Mode>& modes, int64_t channels, bool conjugate, const T* b,
              T* out) {
  for (const Mode& mode : modes) {
    const Complex gain = conjugate ? std::conj(mode.gain) : mode.gain;
    for (int64_t h = 0; h < channels; ++h, b += 2, out += 2) {
      const Complex product = gain * Complex(b[0], b[1]);
      out[0] = static_cast<T>(product.real());
      out[1] = static_cast<T>(product.imag());
    }
  }
}

struct Gradients {
  Tensor re, im, log_step, b;
};

// Of a holomorphic function, the gradient of (re, im) is the conjugate of the derivative times that
// of its value.
template <typename T>
void Back(const std::vector<Mode>& modes, int64_t channels, const T* b, const T* da,
          const T* db_bar, const Gradients& out) {
  Multiply(modes, channels, /*conjugate=*/true, db_bar, out.b.mutable_data<T>());
  for (size_t p = 0; p < modes.size(); ++p) {
    const Mode& m = modes[p];
    Complex dgain = 0;
    for (int64_t h = 0; h < channels; ++h, b += 2, db_bar += 2)
      dgain += std::conj(Complex(b[0], b[1])) * Complex(db_bar[0], db_bar[1]);
    const Complex dz =
        std::conj(m.a_by_z) * Complex(da[2 * p], da[2 * p + 1]) + std::conj(m.gain_by_z) * dgain;
    const double dstep =
        (std::conj(m.lambda) * dz).real() + (std::conj(m.gain_by_step) * dgain).real();
    out.re.mutable_data<T>()[p] = static_cast<T>(m.clipped ? 0 : m.step * dz.real());
    out.im.mutable_data<T>()[p] = static_cast<T>(m.step * dz.imag());
    out.log_step.mutable_data<T>()[p] = static_cast<T>(m.step * dstep);
  }
}

}  // namespace

Discrete Discretise(const Tensor& lambda_re_p, const Tensor& lambda_im_p, const Tensor& log_step_p,
                    const Tensor& b_ph2, const Discretisation& options) {
  const int64_t modes = lambda_re_p.numel(), channels = b_ph2.dim(1);
  CHECK(lambda_im_p.numel() == modes && log_step_p.numel() == modes && b_ph2.dim(0) == modes)
      << lambda_re_p.shape() << ", " << lambda_im_p.shape() << ", " << log_step_p.shape() << " and "
      << b_ph2.shape();
  Discrete out{Tensor::Empty({modes, 2}, b_ph2.dtype(), b_ph2.device()), Tensor::EmptyLike(b_ph2)};
  RecordCost(6.0 * modes * channels, 2.0 * b_ph2.bytes());
  if (!b_ph2.is_meta()) {
    const std::vector<Mode> made = ModesOf(lambda_re_p, lambda_im_p, log_step_p, options);
    const auto fill = [&](auto* a) {
      using T = std::remove_pointer_t<decltype(a)>;
      for (const Mode& m : made) {
        *a++ = static_cast<T>(m.a.real());
        *a++ = static_cast<T>(m.a.imag());
      }
      Multiply(made, channels, /*conjugate=*/false, b_ph2.data<T>(),
               out.b_ph2.template mutable_data<T>());
    };
    b_ph2.dtype() == DType::kFloat64 ? fill(out.a_p2.mutable_data<double>())
                                     : fill(out.a_p2.mutable_data<float>());
  }
  const std::vector<Tensor> inputs = {lambda_re_p, lambda_im_p, log_step_p, b_ph2};
  if (!WillRecord(inputs)) return out;
  Record("Discretise", inputs, {out.a_p2, out.b_ph2},
         [re = lambda_re_p.Detach(), im = lambda_im_p.Detach(), log_step = log_step_p.Detach(),
          b = b_ph2.Detach(), options](const std::vector<Tensor>& dy) {
           const int64_t channels = b.dim(1);
           const Tensor da = dy[0].defined()
                                 ? dy[0]
                                 : Tensor::Zeros({re.numel(), 2}, b.dtype(), b.device()),
                        db_bar = dy[1].defined() ? dy[1] : Tensor::ZerosLike(b);
           const Gradients out{Tensor::EmptyLike(re), Tensor::EmptyLike(im),
                               Tensor::EmptyLike(log_step), Tensor::EmptyLike(b)};
           RecordCost(14.0 * re.numel() * channels, 3.0 * b.bytes());
           if (!b.is_meta()) {
             const std::vector<Mode> modes = ModesOf(re, im, log_step, options);
             b.dtype() == DType::kFloat64 ? Back(modes, channels, b.data<double>(),
                                                 da.data<double>(), db_bar.data<double>(), out)
                                          : Back(modes, channels, b.data<float>(), da.data<float>(),
                                                 db_bar.data<float>(), out);
           }
           return std::vector<Tensor>{out.re, out.im, out.log_step, out.b};
         });
  return out;
}

}  // namespace longrange::s5
