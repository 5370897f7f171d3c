#include "common/io/rows.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/base/one_line.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"
#include "common/io/json.h"

namespace longrange {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

std::string ValueToJson(const RowValue& value) {
  if (const auto* s = std::get_if<std::string>(&value)) return JsonQuote(*s);
  if (const auto* d = std::get_if<double>(&value)) return JsonNumber(*d);
  if (const auto* i = std::get_if<int64_t>(&value)) return absl::StrCat(*i);
  return std::get<bool>(value) ? "true" : "false";
}

absl::Status WrongType(absl::string_view key, const RowValue* value, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat("key \"", key, "\": expected ", expected, ", got ",
                   value == nullptr ? "nothing" : ValueToJson(*value)));
}

}  // namespace

Row& Row::Set(absl::string_view key, RowValue value) {
  for (auto& [k, v] : fields_) {
    if (k == key) {
      v = std::move(value);
      return *this;
    }
  }
  fields_.emplace_back(std::string(key), std::move(value));
  return *this;
}

const RowValue* Row::Find(absl::string_view key) const {
  for (const auto& [k, v] : fields_) {
    if (k == key) return &v;
  }
  return nullptr;
}

absl::StatusOr<double> Row::Number(absl::string_view key) const {
  const RowValue* value = Find(key);
  if (value != nullptr) {
    if (const auto* d = std::get_if<double>(value)) return *d;
    if (const auto* i = std::get_if<int64_t>(value)) return static_cast<double>(*i);
    if (const auto* s = std::get_if<std::string>(value)) {
      if (*s == "nan") return std::nan("");
      if (*s == "inf") return kInf;
      if (*s == "-inf") return -kInf;
    }
  }
  return WrongType(key, value, "a number");
}

absl::StatusOr<int64_t> Row::Integer(absl::string_view key) const {
  const RowValue* value = Find(key);
  const auto* i = value == nullptr ? nullptr : std::get_if<int64_t>(value);
  if (i == nullptr) return WrongType(key, value, "an integer");
  return *i;
}

absl::StatusOr<std::string> Row::String(absl::string_view key) const {
  const RowValue* value = Find(key);
  const auto* s = value == nullptr ? nullptr : std::get_if<std::string>(value);
  if (s == nullptr) return WrongType(key, value, "a string");
  return *s;
}

absl::StatusOr<bool> Row::Bool(absl::string_view key) const {
  const RowValue* value = Find(key);
  const auto* b = value == nullptr ? nullptr : std::get_if<bool>(value);
  if (b == nullptr) return WrongType(key, value, "true or false");
  return *b;
}

std::string Row::ToJson() const {
  std::string json = "{";
  for (const auto& [key, value] : fields_) {
    absl::StrAppend(&json, json.size() == 1 ? "" : ",", JsonQuote(key), ":", ValueToJson(value));
  }
  json += '}';
  return json;
}

absl::StatusOr<Row> ParseRow(absl::string_view line, absl::string_view what) {
  LR_ASSIGN_OR_RETURN(const nlohmann::ordered_json object, ParseOrderedJson(line, what));
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": expected an object, got ", object.type_name()));
  }
  Row row;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) {
      row.Set(key, value.get_ref<const std::string&>());
    } else if (value.is_boolean()) {
      row.Set(key, value.get<bool>());
    } else if (value.is_number_float()) {
      row.Set(key, value.get<double>());
    } else if (value.is_number_integer() &&
               !(value.is_number_unsigned() &&
                 value.get<uint64_t>() >
                     static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))) {
      row.Set(key, value.get<int64_t>());
    } else {
      const std::string got = value.is_number() ? value.dump() : value.type_name();
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": key \"", OneLine(key, 100),
                       "\": expected a string, a number or a boolean, got ", got));
    }
  }
  return row;
}

absl::Status WriteRows(absl::string_view path, const std::vector<Row>& rows) {
  std::string text;
  for (const Row& row : rows) absl::StrAppend(&text, row.ToJson(), "\n");
  return WriteFileAtomically(path, text);
}

absl::StatusOr<std::vector<Row>> ReadRows(absl::string_view path) {
  std::vector<Row> rows;
  const auto parse = [&](absl::string_view line, absl::string_view what) -> absl::Status {
    LR_ASSIGN_OR_RETURN(Row row, ParseRow(line, what));
    rows.push_back(std::move(row));
    return absl::OkStatus();
  };
  LR_RETURN_IF_ERROR(ForEachLine(path, parse));
  return rows;
}

}  // namespace longrange
