// Googletest matchers for tensors and absl::Status.
//
//   EXPECT_THAT(y_btd, AllClose(expected_btd, Tolerance{1e-5, 1e-6}));
//   EXPECT_THAT(y_btd, RmsClose(reference_btd, kFloat32ForwardRms));
//   EXPECT_THAT(replayed, BitEqual(first));
//   EXPECT_THAT(Parse(text), StatusIs(absl::StatusCode::kInvalidArgument, "window must be > 0"));

#ifndef LONGRANGE_COMMON_TESTING_MATCHERS_H_
#define LONGRANGE_COMMON_TESTING_MATCHERS_H_

#include <ostream>
#include <string>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/tensor/tensor.h"
#include "common/testing/compare.h"
#include "common/testing/tolerance.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace longrange {

inline void PrintTo(const Tensor& t, std::ostream* out) {
  if (!t.defined()) {
    *out << "an undefined tensor";
  } else {
    *out << "a tensor " << t.shape() << " of " << std::string(Name(t.dtype()));
  }
}

MATCHER_P2(AllClose, expected, tolerance,
           "all elements within " + Tolerance(tolerance).ToString()) {
  const Comparison c = Compare(arg, expected, tolerance);
  *result_listener << c.message;
  return c.passed;
}

MATCHER_P2(RmsClose, expected, ratio,
           "RMS ratio to the expected tensor at most " + ::testing::PrintToString(ratio)) {
  const Comparison c = CompareRms(arg, expected, ratio);
  *result_listener << c.message;
  return c.passed;
}

MATCHER_P(BitEqual, expected, "same shape, type and bits") {
  const Comparison c = CompareBits(arg, expected);
  *result_listener << c.message;
  return c.passed;
}

namespace testing_internal {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

}  // namespace testing_internal

// For a Status or a StatusOr.
MATCHER(IsOk, negation ? "is an error" : "is OK") {
  const absl::Status& status = testing_internal::StatusOf(arg);
  *result_listener << status.ToString();
  return status.ok();
}

// An error of this code whose message contains this text.
MATCHER_P2(StatusIs, code, substring,
           absl::StatusCodeToString(code) + " with a message that contains \"" +
               std::string(substring) + "\"") {
  const absl::Status& status = testing_internal::StatusOf(arg);
  *result_listener << status.ToString();
  return status.code() == code &&
         std::string(status.message()).find(std::string(substring)) != std::string::npos;
}

// An OK StatusOr whose value matches (a matcher, or a value to be equal to).
MATCHER_P(IsOkAndHolds, value_matcher, "is OK and holds a value that matches") {
  if (!arg.ok()) {
    *result_listener << arg.status().ToString();
    return false;
  }
  using Value = std::decay_t<decltype(*arg)>;
  return ::testing::ExplainMatchResult(::testing::SafeMatcherCast<const Value&>(value_matcher),
                                       *arg, result_listener);
}

}  // namespace longrange

// Ends the test if `expr` is an error; else `lhs` gets the value.
#define LR_ASSERT_OK_AND_ASSIGN(lhs, expr) \
  LR_ASSERT_OK_AND_ASSIGN_IMPL(LR_ASSERT_OK_CONCAT(lr_test_status_or_, __LINE__), lhs, expr)
#define LR_ASSERT_OK_CONCAT_INNER(a, b) a##b
#define LR_ASSERT_OK_CONCAT(a, b) LR_ASSERT_OK_CONCAT_INNER(a, b)
#define LR_ASSERT_OK_AND_ASSIGN_IMPL(var, lhs, expr) \
  auto var = (expr);                                 \
  ASSERT_TRUE(var.ok()) << var.status().ToString();  \
  lhs = *std::move(var)

#endif  // LONGRANGE_COMMON_TESTING_MATCHERS_H_
