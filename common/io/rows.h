// Rows of results as JSON lines: flat objects, one a line, the same bytes for the same values.

#ifndef LONGRANGE_COMMON_IO_ROWS_H_
#define LONGRANGE_COMMON_IO_ROWS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

using RowValue = std::variant<std::string, double, int64_t, bool>;

// An ordered list of (key, value). Keys and strings must be valid UTF-8 (CHECKed: what comes from
// outside is checked by whoever reads it).
class Row {
 public:
  // Appends a field, or replaces the value of the one that has this key.
  Row& Set(absl::string_view key, RowValue value);
  Row& Set(absl::string_view key, absl::string_view value) {
    return Set(key, RowValue(std::string(value)));
  }
  Row& Set(absl::string_view key, const std::string& value) { return Set(key, RowValue(value)); }
  Row& Set(absl::string_view key, const char* value) {
    return Set(key, RowValue(std::string(value)));
  }
  Row& Set(absl::string_view key, double value) { return Set(key, RowValue(value)); }
  Row& Set(absl::string_view key, int64_t value) { return Set(key, RowValue(value)); }
  Row& Set(absl::string_view key, int value) { return Set(key, RowValue(int64_t{value})); }
  Row& Set(absl::string_view key, bool value) { return Set(key, RowValue(value)); }

  const std::vector<std::pair<std::string, RowValue>>& fields() const { return fields_; }
  // Null where there is none.
  const RowValue* Find(absl::string_view key) const;

  // The value of a key, or InvalidArgument naming the key, what was expected and what is there.
  // Number takes integers and the strings "nan", "inf" and "-inf" too, as which JSON lines hold
  // these doubles.
  absl::StatusOr<double> Number(absl::string_view key) const;
  absl::StatusOr<int64_t> Integer(absl::string_view key) const;
  absl::StatusOr<std::string> String(absl::string_view key) const;
  absl::StatusOr<bool> Bool(absl::string_view key) const;

  // One line without its end: {"arm":"alibi","seed":1,"loss":2.5,"done":true}. Doubles are the
  // shortest text that reads back as the same double and always have a point or an exponent, so
  // that they stay doubles.
  std::string ToJson() const;

  friend bool operator==(const Row& a, const Row& b) { return a.fields_ == b.fields_; }
  friend bool operator!=(const Row& a, const Row& b) { return !(a == b); }

 private:
  std::vector<std::pair<std::string, RowValue>> fields_;
};

// One line, strictly: a flat object of strings, numbers and booleans, no key twice. `what` opens
// the error messages.
absl::StatusOr<Row> ParseRow(absl::string_view line, absl::string_view what);

// Writes all rows, each with its line end, atomically.
absl::Status WriteRows(absl::string_view path, const std::vector<Row>& rows);

// Reads what WriteRows wrote. Every line must be a row and end with "\n", also the last; errors
// give the line's number. Takes about ten times the file's memory.
absl::StatusOr<std::vector<Row>> ReadRows(absl::string_view path);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_ROWS_H_
