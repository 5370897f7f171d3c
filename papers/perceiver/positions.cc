#include "papers/perceiver/positions.h"

#include <cmath>
#include <numeric>
#include <utility>

#include "common/base/rng.h"
#include "glog/logging.h"

namespace longrange::perceiver {
namespace {

constexpr double kPi = 3.14159265358979323846;

// Value i of `count` equally spaced from `first` to `last`; the first where there is one alone.
double Spaced(double first, double last, int64_t i, int64_t count) {
  if (count == 1) return first;
  return first + (last - first) * static_cast<double>(i) / static_cast<double>(count - 1);
}

}  // namespace

std::vector<double> GridCoordinates(const std::vector<int64_t>& axis, int64_t places) {
  const size_t axes = axis.size();
  std::vector<double> coordinates(places * axes);
  for (int64_t r = 0; r < places; ++r) {
    int64_t rest = r;
    for (size_t a = axes; a-- > 0; rest /= axis[a])
      coordinates[r * axes + a] = Spaced(-1, 1, rest % axis[a], axis[a]);
    CHECK_EQ(rest, 0) << "place " << r << " is beyond the grid";
  }
  return coordinates;
}

int64_t FourierWidth(int64_t axes, int64_t bands) { return axes * (2 * bands + 1); }

std::vector<double> FourierCodes(const std::vector<double>& coordinates,
                                 const std::vector<double>& max_resolution, int64_t bands,
                                 PerceiverConfig::FourierOrder order) {
  const int64_t axes = static_cast<int64_t>(max_resolution.size()),
                places = static_cast<int64_t>(coordinates.size()) / axes,
                width = FourierWidth(axes, bands);
  std::vector<double> codes(places * width);
  for (int64_t r = 0; r < places; ++r) {
    double* code = codes.data() + r * width;
    for (int64_t a = 0; a < axes; ++a) {
      const double p = coordinates[r * axes + a];
      const bool by_kind = order == PerceiverConfig::BY_KIND;
      double* sines = by_kind ? code + axes + a * bands : code + a * (2 * bands + 1);
      double* cosines = by_kind ? sines + axes * bands : sines + bands;
      (by_kind ? code[a] : cosines[bands]) = p;
      for (int64_t k = 0; k < bands; ++k) {
        const double angle = kPi * Spaced(1, max_resolution[a] / 2, k, bands) * p;
        sines[k] = std::sin(angle);
        cosines[k] = std::cos(angle);
      }
    }
  }
  return codes;
}

std::vector<int64_t> Permutation(int64_t places, int64_t number) {
  const Rng rng = Rng(static_cast<uint64_t>(number)).Child("perceiver permutation");
  std::vector<int64_t> order(places);
  std::iota(order.begin(), order.end(), 0);
  for (int64_t i = 0; i < places; ++i)
    std::swap(order[i], order[i + rng.UniformInt(i, places - i)]);
  return order;
}

}  // namespace longrange::perceiver
