#include "papers/retnet/schedule.h"

#include <cmath>

namespace longrange::retnet {
namespace {

// Element i of n numbers spread evenly over [first, last]; of one, the first.
double Linspace(double first, double last, int64_t n, int64_t i) {
  if (n == 1) return first;
  return first + (last - first) * static_cast<double>(i) / static_cast<double>(n - 1);
}

}  // namespace

std::vector<double> LogDecays(const RetnetConfig& config) {
  std::vector<double> log_decay_h;
  for (int64_t h = 0; h < config.heads(); ++h) {
    if (config.gamma_size() > 0) {
      log_decay_h.push_back(std::log(config.gamma(config.gamma_size() > 1 ? h : 0)));
    } else if (config.decay() == RetnetConfig::LINSPACE) {
      log_decay_h.push_back(std::log1p(
          -std::exp(Linspace(std::log(1.0 / 32), std::log(1.0 / 512), config.heads(), h))));
    } else {
      log_decay_h.push_back(std::log1p(-std::exp2(-5.0 - static_cast<double>(h))));
    }
  }
  return log_decay_h;
}

std::vector<double> Frequencies(const RetnetConfig& config, int64_t width) {
  std::vector<double> frequencies;
  if (config.rotation() == RetnetConfig::NO_ROTATION) return frequencies;
  const int64_t pairs = width / 2;
  for (int64_t j = 0; j < pairs; ++j) {
    const double exponent = config.rotation() == RetnetConfig::ROPE
                                ? static_cast<double>(j) / static_cast<double>(pairs)
                                : Linspace(0, 1, pairs, j);
    frequencies.push_back(std::pow(config.theta(), -exponent));
  }
  return frequencies;
}

}  // namespace longrange::retnet
