// What a check says of a plugin.

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_VERDICT_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_VERDICT_H_

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/testing/compare.h"

namespace longrange::conformance {

struct Verdict {
  enum Kind { kPassed, kFailed, kDoesNotApply } kind = kPassed;
  std::string why;  // one line; empty where passed

  bool failed() const { return kind == kFailed; }
};

inline Verdict Passed() { return {}; }
template <typename... Parts>
Verdict Failed(const Parts&... parts) {
  return {Verdict::kFailed, absl::StrCat(parts...)};
}
// The plugin does not declare what the check is about.
template <typename... Parts>
Verdict DoesNotApply(const Parts&... parts) {
  return {Verdict::kDoesNotApply, absl::StrCat(parts...)};
}

// A comparison as part of a check; `what` says what was compared.
inline Verdict Of(const Comparison& comparison, absl::string_view what) {
  return comparison.passed ? Passed() : Failed(what, ": ", comparison.message);
}

}  // namespace longrange::conformance

// Ends the check with the verdict of `expr` if that is a failure.
#define LR_CHECK_PART(expr)                                                         \
  do {                                                                              \
    if (::longrange::conformance::Verdict lr_verdict = (expr); lr_verdict.failed()) \
      return lr_verdict;                                                            \
  } while (false)

// Ends the check with a failure if `expr`, a StatusOr, is an error; else `lhs` gets the value.
#define LR_CHECK_ASSIGN(lhs, expr) \
  LR_CHECK_ASSIGN_IMPL(LR_CHECK_CONCAT(lr_value_, __LINE__), lhs, expr)
#define LR_CHECK_CONCAT_INNER(a, b) a##b
#define LR_CHECK_CONCAT(a, b) LR_CHECK_CONCAT_INNER(a, b)
#define LR_CHECK_ASSIGN_IMPL(var, lhs, expr)                                      \
  auto var = (expr);                                                              \
  if (!var.ok()) return ::longrange::conformance::Failed(var.status().message()); \
  lhs = *std::move(var)

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_VERDICT_H_
