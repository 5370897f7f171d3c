// LR_RETURN_IF_ERROR and LR_ASSIGN_OR_RETURN: early return of an absl::Status; Annotate: where it
// arose.

#ifndef LONGRANGE_COMMON_BASE_STATUS_MACROS_H_
#define LONGRANGE_COMMON_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace longrange {

// The same error with "where: " before its message; OK stays OK.
inline absl::Status Annotate(const absl::Status& status, absl::string_view where) {
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(where, ": ", status.message()));
}

}  // namespace longrange

#define LR_RETURN_IF_ERROR(expr)           \
  do {                                     \
    ::absl::Status lr_status = (expr);     \
    if (!lr_status.ok()) return lr_status; \
  } while (false)

#define LR_STATUS_CONCAT_INNER(a, b) a##b
#define LR_STATUS_CONCAT(a, b) LR_STATUS_CONCAT_INNER(a, b)

// LR_ASSIGN_OR_RETURN(auto x, MakeX()): `x` gets the value, or the error is returned.
#define LR_ASSIGN_OR_RETURN(lhs, expr) \
  LR_ASSIGN_OR_RETURN_IMPL(LR_STATUS_CONCAT(lr_status_or_, __LINE__), lhs, expr)
#define LR_ASSIGN_OR_RETURN_IMPL(var, lhs, expr) \
  auto var = (expr);                             \
  if (!var.ok()) return std::move(var).status(); \
  lhs = *std::move(var)

#endif  // LONGRANGE_COMMON_BASE_STATUS_MACROS_H_
