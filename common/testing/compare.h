// Comparison of tensors, written so that NaN fails and a failure says where, how far and by which
// tolerance.
//
// No googletest here: programs use it as well as tests (matchers.h has the matchers).

#ifndef LONGRANGE_COMMON_TESTING_COMPARE_H_
#define LONGRANGE_COMMON_TESTING_COMPARE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/tensor/tensor.h"
#include "common/testing/tolerance.h"

namespace longrange {

struct Comparison {
  bool passed = false;
  // How bad the worst element is: |actual - expected| as a multiple of what the tolerance allows
  // (so above 1 fails); infinite for NaN and where nothing is allowed. For CompareRms, the RMS
  // ratio.
  double worst = 0;
  double error = 0;          // |actual - expected| at the worst element
  int64_t worst_index = -1;  // row-major; -1 where no element was compared
  std::string place;         // the same as "[i, j]"
  double actual = 0;         // both values there
  double expected = 0;
  std::string tolerance;  // what was allowed, in words
  std::string message;    // one line: what was wrong, or how close it was
};

// Elementwise |actual - expected| <= atol + rtol |expected|. Shapes and element types must be the
// same. Integers must be equal, whatever the tolerance; infinities must be equal; NaN fails, also
// against NaN. Empty tensors are equal.
Comparison Compare(const Tensor& actual, const Tensor& expected, const Tolerance& tolerance);

// The same where row i of dimension 0 has its own tolerance: tolerances.size() == dim(0).
Comparison CompareRows(const Tensor& actual, const Tensor& expected,
                       const std::vector<Tolerance>& tolerances);

// |actual - expected| / |expected| (2-norms, in float64) of two tensors of one shape and any
// floating types: 0 where both are zero, infinite where only `expected` is. NaN where anything is
// not finite or the shapes differ.
double RmsRatio(const Tensor& actual, const Tensor& expected);

// RmsRatio(actual, expected) <= ratio. Element types may differ (float32 against a float64
// reference).
Comparison CompareRms(const Tensor& actual, const Tensor& expected, double ratio);

// Same shape, same type, same bits: a NaN equals itself, 0 and -0 differ.
Comparison CompareBits(const Tensor& actual, const Tensor& expected);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TESTING_COMPARE_H_
