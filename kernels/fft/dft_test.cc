#include "kernels/fft/dft.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <complex>
#include <vector>

#include "common/base/rng.h"

namespace longrange::kernels {
namespace fft {
namespace {

using Wide = simd::Wide<double>;

const int64_t kLengths[] = {1, 2, 3, 4, 5, 7, 16, 17, 33, 48, 64, 80, 97, 100, 640, 1000, 1024};

// A number of its own for every row and lane.
double Value(const char* name, int64_t row, int lane) {
  return Rng(4).Child(name).Normal(row * 64 + lane);
}
template <typename T>
simd::Wide<T> Values(const char* name, int64_t row) {
  simd::Wide<T> v = {};
  for (int i = 0; i < simd::kWideLanes<T>; ++i) v[i] = static_cast<T>(Value(name, row, i));
  return v;
}
std::complex<double> Unit(int64_t turns, int64_t n) {
  return std::polar(1.0, 2 * 3.14159265358979323846 * static_cast<double>(turns % n) / n);
}

// The largest distance of lane `lane` of `actual` to `expected`, as a part of its root mean square.
template <typename T>
double Distance(const std::vector<Complex<T>>& actual,
                const std::vector<std::complex<double>>& expected, int lane) {
  double largest = 0, square = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    const std::complex<double> v(actual[i].re[lane], actual[i].im[lane]);
    const double distance = std::abs(v - expected[i]);
    if (!(distance <= largest)) largest = distance;
    square += std::norm(expected[i]);
  }
  return largest / std::sqrt(square / static_cast<double>(actual.size()));
}

template <typename T>
class DftTest : public testing::Test {
 protected:
  static constexpr double kBound = sizeof(T) == 4 ? 2e-6 : 2e-14;
  static constexpr int kLane = simd::kWideLanes<T> - 1;
};
using Types = testing::Types<float, double>;
TYPED_TEST_SUITE(DftTest, Types);

TYPED_TEST(DftTest, ComplexRows) {
  using T = TypeParam;
  for (const int64_t n : kLengths) {
    const Dft<T>& dft = Dft<T>::Of(n);
    std::vector<T> memory(dft.elements());
    std::vector<Complex<T>> actual(n);
    dft.Run(
        [](int64_t t) {
          return Complex<T>{Values<T>("re", t), Values<T>("im", t)};
        },
        [&](int64_t k, Complex<T> v) { actual[k] = v; }, memory.data());
    std::vector<std::complex<double>> expected(n);
    for (int64_t k = 0; k < n; ++k) {
      for (int64_t t = 0; t < n; ++t) {
        expected[k] +=
            std::complex<double>(Value("re", t, this->kLane), Value("im", t, this->kLane)) *
            Unit(k * t, n);
      }
    }
    EXPECT_LE(Distance(actual, expected, this->kLane), this->kBound) << n;
  }
}

TYPED_TEST(DftTest, RealRows) {
  using T = TypeParam;
  for (const int64_t n : kLengths) {
    const RealDft<T>& dft = RealDft<T>::Of(n);
    std::vector<T> memory(dft.elements());
    std::vector<Complex<T>> actual(dft.num_values());
    dft.Forward([](int64_t t) { return Values<T>("x", t); },
                [&](int64_t k, Complex<T> v) { actual[k] = v; }, memory.data());
    std::vector<std::complex<double>> expected(dft.num_values());
    for (int64_t k = 0; k < dft.num_values(); ++k) {
      for (int64_t t = 0; t < n; ++t) {
        expected[k] += Value("x", t, this->kLane) * std::conj(Unit(k * t, n));
      }
    }
    EXPECT_LE(Distance(actual, expected, this->kLane), this->kBound) << n;
  }
}

// Values whose ends have imaginary parts, which do not count.
TYPED_TEST(DftTest, RealRowsBack) {
  using T = TypeParam;
  for (const int64_t n : kLengths) {
    const RealDft<T>& dft = RealDft<T>::Of(n);
    std::vector<T> memory(dft.elements());
    std::vector<Complex<T>> actual(n);
    dft.Inverse(
        [](int64_t k) {
          return Complex<T>{Values<T>("re", k), Values<T>("im", k)};
        },
        [&](int64_t t, simd::Wide<T> v) { actual[t] = FromReal<T>(v); }, memory.data());
    std::vector<std::complex<double>> expected(n);
    for (int64_t t = 0; t < n; ++t) {
      for (int64_t k = 0; k < dft.num_values(); ++k) {
        const bool end = k == 0 || 2 * k == n;
        const std::complex<double> value(Value("re", k, this->kLane), Value("im", k, this->kLane));
        expected[t] += (end ? value.real() * Unit(k * t, n) : 2.0 * value * Unit(k * t, n)).real();
      }
    }
    EXPECT_LE(Distance(actual, expected, this->kLane), this->kBound) << n;
  }
}

}  // namespace
}  // namespace fft
}  // namespace longrange::kernels
