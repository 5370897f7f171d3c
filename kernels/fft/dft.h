// Discrete Fourier transforms of any length, of a vector of channels at a time.
//
//   Dft<float>::Of(n): X[k] = sum_t z[t] e^(2 pi i k t / n) of complex rows
//   RealDft<float>::Of(n): X[k] = sum_t x[t] e^(-2 pi i k t / n), k <= n / 2, of real rows, and
//   back
//
// Lengths 2^a, 3 2^a and 5 2^a are transformed as they are; of any other, the values are a
// convolution with a chirp (Bluestein 1970), k t = (k^2 + t^2 - (k - t)^2) / 2. Real rows of even
// length are half as many complex ones.

#ifndef LONGRANGE_KERNELS_FFT_DFT_H_
#define LONGRANGE_KERNELS_FFT_DFT_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "kernels/fft/ring_transform.h"

namespace longrange::kernels {
namespace fft {

template <typename T>
class Dft {
 public:
  // Memoised; lives as long as the program. n >= 1.
  static const Dft& Of(int64_t n);

  // Elements of the memory that Run works in.
  int64_t elements() const { return plan_.work_elements() + plan_.scratch_elements(); }

  // load(t) gives row t < n, a Complex<T>; store(k, X) takes value k < n, in any order. What load
  // reads may not be what store writes.
  template <typename Load, typename Store>
  void Run(const Load& load, const Store& store, T* memory) const;

 private:
  explicit Dft(int64_t n);

  Complex<T> Chirp(int64_t t, const Complex<T>& v) const {  // v e^(pi i t^2 / n)
    return Multiply(v, {simd::SplatWide(chirp_[2 * t]), simd::SplatWide(chirp_[2 * t + 1])});
  }

  const int64_t n_;
  const RingPlan<T>& plan_;
  std::vector<int64_t> index_;   // of the value that the transform leaves in row i; by chirp: empty
  std::vector<T> chirp_;         // [n] pairs
  std::vector<T> chirp_values_;  // transform of the conjugate chirp over the plan's size, pairs
};

template <typename T>
template <typename Load, typename Store>
void Dft<T>::Run(const Load& load, const Store& store, T* memory) const {
  T* scratch = memory + plan_.work_elements();
  if (!index_.empty()) {
    SplitColumns<false>(plan_, load, memory, scratch);
    for (int64_t block = 0; block < plan_.blocks(); ++block) {
      SplitBlock(plan_, block, memory);
      const T* rows = plan_.Block(memory, block);
      for (int64_t i = 0; i < plan_.block(); ++i) {
        store(index_[block * plan_.block() + i], LoadRow(rows + i * plan_.kRow));
      }
    }
    return;
  }
  const auto padded = [&](int64_t t) {
    return t < n_ ? Chirp(t, load(t)) : FromReal<T>(simd::Wide<T>{});
  };
  SplitColumns<false>(plan_, padded, memory, scratch);
  for (int64_t block = 0; block < plan_.blocks(); ++block) {
    const T* values = chirp_values_.data() + 2 * block * plan_.block();
    ApplyInBlock(plan_, block, memory, [values](int64_t i, Complex<T> v) {
      return Multiply(v, {simd::SplatWide(values[2 * i]), simd::SplatWide(values[2 * i + 1])});
    });
  }
  const auto finish = [&](int64_t k, Complex<T> v) {
    if (k < n_) store(k, Chirp(k, v));
  };
  MergeColumns<false>(plan_, memory, finish, scratch);
}

template <typename T>
class RealDft {
 public:
  static const RealDft& Of(int64_t n);

  int64_t num_values() const { return n_ / 2 + 1; }
  // Elements of the memory that Forward and Inverse work in.
  int64_t elements() const { return dft_.elements() + (even() ? n_ / 2 * RingPlan<T>::kRow : 0); }

  // load(t) gives the vector at step t < n, store(k, X) takes value k <= n / 2, in any order.
  template <typename Load, typename Store>
  void Forward(const Load& load, const Store& store, T* memory) const;

  // n times the inverse: load(k) gives value k <= n / 2 (the imaginary parts of values 0 and n / 2
  // do not count), store(t, x) takes the vector at step t.
  template <typename Load, typename Store>
  void Inverse(const Load& load, const Store& store, T* memory) const;

 private:
  explicit RealDft(int64_t n) : n_(n), dft_(Dft<T>::Of(n % 2 == 0 ? n / 2 : n)) { MakeTurns(); }
  void MakeTurns();
  bool even() const { return n_ % 2 == 0; }
  // e^(2 pi i k / n), k <= n / 2
  Complex<T> Turn(int64_t k) const {
    return {simd::SplatWide(turns_[2 * k]), simd::SplatWide(turns_[2 * k + 1])};
  }

  const int64_t n_;
  const Dft<T>& dft_;
  std::vector<T> turns_;
};

template <typename T>
template <typename Load, typename Store>
void RealDft<T>::Forward(const Load& load, const Store& store, T* memory) const {
  // The sign of the exponent is that of Dft turned round: value n - k.
  if (!even()) {
    dft_.Run([&](int64_t t) { return FromReal<T>(load(t)); },
             [&](int64_t k, Complex<T> v) {
               const int64_t at = k == 0 ? 0 : n_ - k;
               if (at <= n_ / 2) store(at, v);
             },
             memory);
    return;
  }
  // z[t] = x[2 t] + i x[2 t + 1]: with E and O the transforms of the even and the odd steps,
  // Z[k] = E[k] + i O[k] and X[k] = E[k] + e^(-2 pi i k / n) O[k].
  const int64_t half = n_ / 2;
  T* z = memory + dft_.elements();
  dft_.Run(
      [&](int64_t t) {
        return Complex<T>{load(2 * t), load(2 * t + 1)};
      },
      [&](int64_t k, Complex<T> v) {
        StoreRow(z + (k == 0 ? 0 : half - k) * RingPlan<T>::kRow, v);
      },
      memory);
  for (int64_t k = 0; k <= half; ++k) {
    const Complex<T> a = LoadRow(z + k % half * RingPlan<T>::kRow),
                     b = LoadRow(z + (half - k) % half * RingPlan<T>::kRow);
    const Complex<T> e = {(a.re + b.re) / 2, (a.im - b.im) / 2},
                     o = {(a.im + b.im) / 2, (b.re - a.re) / 2};
    const Complex<T> turned = MultiplyConjugate(Turn(k), o);
    store(k, Complex<T>{e.re + turned.re, e.im + turned.im});
  }
}

template <typename T>
template <typename Load, typename Store>
void RealDft<T>::Inverse(const Load& load, const Store& store, T* memory) const {
  const auto value = [&](int64_t k) {
    Complex<T> v = load(k);
    if (k == 0 || 2 * k == n_) v.im = simd::Wide<T>{};
    return v;
  };
  if (!even()) {
    dft_.Run(
        [&](int64_t k) {
          Complex<T> v = value(std::min(k, n_ - k));
          if (2 * k > n_) v.im = -v.im;
          return v;
        },
        [&](int64_t t, Complex<T> v) { store(t, v.re); }, memory);
    return;
  }
  // 2 E[k] = X[k] + X[n/2 - k]*, 2 O[k] = (X[k] - X[n/2 - k]*) e^(2 pi i k / n), Z = E + i O.
  dft_.Run(
      [&](int64_t k) {
        const Complex<T> a = value(k), b = value(n_ / 2 - k);
        const Complex<T> o = Multiply(Turn(k), Complex<T>{a.re - b.re, a.im + b.im});
        return Complex<T>{a.re + b.re - o.im, a.im - b.im + o.re};
      },
      [&](int64_t t, Complex<T> v) {
        store(2 * t, v.re);
        store(2 * t + 1, v.im);
      },
      memory);
}

}  // namespace fft
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_FFT_DFT_H_
