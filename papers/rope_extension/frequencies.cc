#include "papers/rope_extension/frequencies.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>

#include "plugins/attention/rope.h"

namespace longrange::rope_extension {
namespace {

constexpr double kTwoPi = 2 * 3.14159265358979323846;

// share_j a_j + (1 - share_j) b_j
std::vector<double> Blend(const std::vector<double>& share, const std::vector<double>& a,
                          const std::vector<double>& b) {
  std::vector<double> blended;
  for (size_t j = 0; j < share.size(); ++j)
    blended.push_back(share[j] * a[j] + (1 - share[j]) * b[j]);
  return blended;
}

// theta_j / s: position interpolation.
std::vector<double> Interpolated(double base, int64_t dims, double factor) {
  std::vector<double> freq = RopeFrequencies(dims, base);
  for (double& f : freq) f /= factor;
  return freq;
}

}  // namespace

double NtkBase(double base, int64_t dims, double u) {
  CHECK_GE(dims, 4) << "one pair alone cannot be stretched by its base";
  return base * std::pow(u, static_cast<double>(dims) / static_cast<double>(dims - 2));
}

double DynamicNtkScale(double factor, int64_t original_length, int64_t length) {
  if (length <= original_length) return 1;
  return factor * static_cast<double>(length) / static_cast<double>(original_length) - (factor - 1);
}

std::vector<double> NtkFrequencies(double base, int64_t dims, double u) {
  return RopeFrequencies(dims, NtkBase(base, dims, u));
}

std::vector<double> TurnRamp(double base, int64_t dims, int64_t original_length, double fast,
                             double slow) {
  const auto pair_of = [&](double turns) {
    return static_cast<double>(dims) *
           std::log(static_cast<double>(original_length) / (kTwoPi * turns)) / (2 * std::log(base));
  };
  const double low = std::max(std::floor(pair_of(fast)), 0.0);
  double high = std::min(std::ceil(pair_of(slow)), static_cast<double>(dims - 1));
  if (low == high) high += 0.001;
  std::vector<double> ramp;
  for (int64_t j = 0; j < dims / 2; ++j) {
    ramp.push_back(std::clamp((static_cast<double>(j) - low) / (high - low), 0.0, 1.0));
  }
  return ramp;
}

std::vector<double> YarnFrequencies(double base, int64_t dims, double factor,
                                    int64_t original_length, double beta_fast, double beta_slow) {
  return Blend(TurnRamp(base, dims, original_length, beta_fast, beta_slow),
               Interpolated(base, dims, factor), RopeFrequencies(dims, base));
}

double YarnMagnitude(double factor) { return factor <= 1 ? 1 : 0.1 * std::log(factor) + 1; }

std::vector<double> ByPartsFrequencies(double base, int64_t dims, double factor,
                                       int64_t original_length, double beta_0, double beta_1,
                                       double gamma_0, double gamma_1) {
  const std::vector<double> slow_half =
      Blend(TurnRamp(base, dims, original_length, beta_0, beta_1), Interpolated(base, dims, factor),
            NtkFrequencies(base, dims, factor));
  return Blend(TurnRamp(base, dims, original_length, gamma_0, gamma_1), slow_half,
               RopeFrequencies(dims, base));
}

std::vector<double> LongRopeFrequencies(double base, int64_t dims,
                                        const std::vector<double>& divisors) {
  CHECK_EQ(static_cast<int64_t>(divisors.size()), dims / 2) << "a divisor a pair";
  std::vector<double> freq = RopeFrequencies(dims, base);
  for (size_t j = 0; j < freq.size(); ++j) freq[j] /= divisors[j];
  return freq;
}

double LongRopeMagnitude(double factor, int64_t original_length) {
  return factor <= 1
             ? 1
             : std::sqrt(1 + std::log(factor) / std::log(static_cast<double>(original_length)));
}

std::vector<double> Llama3Frequencies(double base, int64_t dims, double factor,
                                      double low_freq_factor, double high_freq_factor,
                                      int64_t original_length) {
  std::vector<double> freq = RopeFrequencies(dims, base);
  for (double& f : freq) {
    const double turns = static_cast<double>(original_length) * f / kTwoPi;  // L / w
    if (turns > high_freq_factor) continue;
    if (turns < low_freq_factor) {
      f /= factor;
      continue;
    }
    const double g = (turns - low_freq_factor) / (high_freq_factor - low_freq_factor);
    f = (1 - g) * f / factor + g * f;
  }
  return freq;
}

}  // namespace longrange::rope_extension
