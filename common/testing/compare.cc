#include "common/testing/compare.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace longrange {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::string Place(int64_t index, const Shape& shape) {
  Shape at = shape;
  for (int i = shape.rank() - 1; i >= 0; --i) {
    at.set(i, index % shape[i]);
    index /= shape[i];
  }
  return at.ToString();
}

std::string Describe(const Tensor& t) {
  return t.defined() ? absl::StrCat(Name(t.dtype()), " ", t.shape().ToString())
                     : "an undefined tensor";
}

Comparison Failure(std::string message) {
  Comparison c;
  c.worst = c.error = kInf;
  c.message = std::move(message);
  return c;
}

// Empty where the two can be compared element by element.
std::string WhyNotComparable(const Tensor& actual, const Tensor& expected, bool same_type) {
  if (!actual.defined() || !expected.defined() || actual.shape() != expected.shape() ||
      (same_type ? actual.dtype() != expected.dtype()
                 : IsFloating(actual.dtype()) != IsFloating(expected.dtype()))) {
    return absl::StrCat("got ", Describe(actual), ", expected ", Describe(expected));
  }
  if (actual.device() != Device::kCpu || expected.device() != Device::kCpu) {
    return absl::StrCat("values are on ", std::string(Name(actual.device())), " and ",
                        std::string(Name(expected.device())), ", expected cpu");
  }
  return "";
}

void SetPlace(Comparison& c, int64_t index, const Shape& shape, double actual, double expected) {
  c.worst_index = index;
  c.place = Place(index, shape);
  c.actual = actual;
  c.expected = expected;
  // Equal infinities are no error, though their difference is NaN.
  c.error = actual == expected ? 0 : std::abs(actual - expected);
}

Comparison CompareIntegers(const Tensor& actual, const Tensor& expected) {
  Comparison c;
  c.passed = true;
  c.tolerance = "exact";
  const std::vector<int64_t> a = actual.ToInts(), e = expected.ToInts();
  int64_t num_wrong = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (a[i] == e[i] || ++num_wrong > 1) continue;
    SetPlace(c, static_cast<int64_t>(i), actual.shape(), static_cast<double>(a[i]),
             static_cast<double>(e[i]));
    c.passed = false;
    c.worst = kInf;
    c.message = absl::StrCat("got ", a[i], ", expected ", e[i], " at ", c.place);
  }
  c.message = c.passed
                  ? absl::StrCat("all ", a.size(), " integers equal")
                  : absl::StrCat(c.message, ": ", num_wrong, " of ", a.size(), " integers differ");
  return c;
}

// `tolerance_of(i)` is the tolerance of row-major element i.
template <typename ToleranceOf>
Comparison CompareElements(const Tensor& actual, const Tensor& expected, ToleranceOf tolerance_of) {
  const std::string reason = WhyNotComparable(actual, expected, /*same_type=*/true);
  if (!reason.empty()) return Failure(reason);
  if (!IsFloating(actual.dtype())) return CompareIntegers(actual, expected);
  Comparison c;
  c.passed = true;
  c.worst = -1;
  const std::vector<double> a = actual.ToDoubles(), e = expected.ToDoubles();
  int64_t num_wrong = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const Tolerance& tolerance = tolerance_of(static_cast<int64_t>(i));
    const double allowed = tolerance.atol + tolerance.rtol * std::abs(e[i]);
    const double diff = std::abs(a[i] - e[i]);
    const bool ok = a[i] == e[i] || (std::isfinite(e[i]) && diff <= allowed);
    const double multiple = a[i] == e[i] ? 0 : diff / allowed;
    const double excess = std::isnan(multiple) ? kInf : multiple;
    if (!ok) ++num_wrong;
    if (excess > c.worst) {
      c.worst = excess;
      SetPlace(c, static_cast<int64_t>(i), actual.shape(), a[i], e[i]);
      c.tolerance = tolerance.ToString();
    }
  }
  c.passed = num_wrong == 0;
  if (a.empty()) {
    c.worst = 0;
    c.message = "no elements";
    return c;
  }
  c.message = absl::StrFormat(
      "worst at %s: got %.9g, expected %.9g, off by %.3g, %.3g times what is allowed (%s)", c.place,
      c.actual, c.expected, c.error, c.worst, c.tolerance);
  if (!c.passed)
    absl::StrAppend(&c.message, "; ", num_wrong, " of ", a.size(), " elements are too far off");
  return c;
}

}  // namespace

Comparison Compare(const Tensor& actual, const Tensor& expected, const Tolerance& tolerance) {
  return CompareElements(actual, expected, [&](int64_t) -> const Tolerance& { return tolerance; });
}

Comparison CompareRows(const Tensor& actual, const Tensor& expected,
                       const std::vector<Tolerance>& tolerances) {
  if (!expected.defined() || expected.rank() == 0 ||
      expected.dim(0) != static_cast<int64_t>(tolerances.size())) {
    return Failure(absl::StrCat("there are tolerances for ", tolerances.size(), " rows, expected ",
                                Describe(expected)));
  }
  const int64_t row = expected.dim(0) == 0 ? 1 : expected.numel() / expected.dim(0);
  return CompareElements(actual, expected, [&](int64_t i) -> const Tolerance& {
    return tolerances[static_cast<size_t>(i / row)];
  });
}

double RmsRatio(const Tensor& actual, const Tensor& expected) {
  if (!WhyNotComparable(actual, expected, /*same_type=*/false).empty()) return std::nan("");
  const std::vector<double> a = actual.ToDoubles(), e = expected.ToDoubles();
  // Scaled by the largest magnitude, so that no square overflows or vanishes.
  double scale = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(e[i])) return std::nan("");
    scale = std::max(scale, std::max(std::abs(a[i]), std::abs(e[i])));
  }
  if (scale == 0) return 0;
  double error = 0, norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double d = a[i] / scale - e[i] / scale, x = e[i] / scale;
    error += d * d;
    norm += x * x;
  }
  return std::sqrt(error / norm);
}

Comparison CompareRms(const Tensor& actual, const Tensor& expected, double ratio) {
  const std::string reason = WhyNotComparable(actual, expected, /*same_type=*/false);
  if (!reason.empty()) return Failure(reason);
  Comparison c;
  c.worst = RmsRatio(actual, expected);
  c.passed = c.worst <= ratio;
  c.tolerance = absl::StrCat("RMS ratio ", ratio);
  const std::vector<double> a = actual.ToDoubles(), e = expected.ToDoubles();
  double largest = -1;
  for (size_t i = 0; i < a.size(); ++i) {
    const double diff = std::abs(a[i] - e[i]);
    if (diff <= largest) continue;
    SetPlace(c, static_cast<int64_t>(i), actual.shape(), a[i], e[i]);
    if (!(diff == diff)) break;  // nothing is worse than NaN
    largest = diff;
  }
  c.message = absl::StrFormat("RMS ratio %.3g, allowed %.3g", c.worst, ratio);
  if (c.worst_index >= 0) {
    absl::StrAppendFormat(&c.message, "; largest difference at %s: got %.9g, expected %.9g",
                          c.place, c.actual, c.expected);
  }
  return c;
}

Comparison CompareBits(const Tensor& actual, const Tensor& expected) {
  const std::string reason = WhyNotComparable(actual, expected, /*same_type=*/true);
  if (!reason.empty()) return Failure(reason);
  Comparison c;
  c.passed = true;
  c.tolerance = "same bits";
  c.message = "same bits";
  const auto size = static_cast<size_t>(SizeOf(actual.dtype()));
  const auto* a = static_cast<const char*>(actual.raw_data());
  const auto* e = static_cast<const char*>(expected.raw_data());
  int64_t num_wrong = 0;
  for (int64_t i = 0; i < actual.numel(); ++i) {
    const size_t at = static_cast<size_t>(i) * size;
    if (std::memcmp(a + at, e + at, size) == 0 || ++num_wrong > 1) continue;
    c.passed = false;
    c.worst_index = i;
  }
  if (c.passed) return c;
  c.worst = kInf;
  SetPlace(c, c.worst_index, actual.shape(),
           actual.View({-1}).ViewRows(c.worst_index, c.worst_index + 1).item(),
           expected.View({-1}).ViewRows(c.worst_index, c.worst_index + 1).item());
  c.message = absl::StrFormat(
      "bits differ first at %s: got %.17g, expected %.17g; %d of %d elements differ", c.place,
      c.actual, c.expected, num_wrong, actual.numel());
  return c;
}

}  // namespace longrange
