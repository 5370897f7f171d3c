#include "plugins/hugging_face/json_fields.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longrange {

absl::StatusOr<JsonFields> JsonFields::Create(const nlohmann::json& object,
                                              absl::string_view where) {
  if (!object.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": expected a JSON object, got ", object.type_name()));
  }
  return JsonFields(&object, where);
}

bool JsonFields::Has(absl::string_view key) const {
  const auto it = object_->find(std::string(key));
  return it != object_->end() && !it->is_null();
}

const nlohmann::json* JsonFields::Find(absl::string_view key) {
  read_.insert(std::string(key));
  return Has(key) ? &*object_->find(std::string(key)) : nullptr;
}

absl::Status JsonFields::Expected(absl::string_view key, absl::string_view what) const {
  const auto it = object_->find(std::string(key));
  return absl::InvalidArgumentError(absl::StrCat(where_, ".", key, ": expected ", what, ", got ",
                                                 it == object_->end() ? "nothing" : it->dump()));
}

absl::StatusOr<double> JsonFields::Number(absl::string_view key, std::optional<double> otherwise) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr && otherwise.has_value()) return *otherwise;
  if (value == nullptr || !value->is_number()) return Expected(key, "a number");
  return value->get<double>();
}

absl::StatusOr<int64_t> JsonFields::Integer(absl::string_view key,
                                            std::optional<int64_t> otherwise) {
  if (!Has(key) && otherwise.has_value()) {
    read_.insert(std::string(key));
    return *otherwise;
  }
  // 4096.0 is an integer too.
  const absl::StatusOr<double> value = Number(key);
  if (!value.ok() || std::floor(*value) != *value || std::abs(*value) > 0x1p53)
    return Expected(key, "an integer");
  return static_cast<int64_t>(*value);
}

absl::StatusOr<bool> JsonFields::Bool(absl::string_view key, std::optional<bool> otherwise) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr && otherwise.has_value()) return *otherwise;
  if (value == nullptr || !value->is_boolean()) return Expected(key, "true or false");
  return value->get<bool>();
}

absl::StatusOr<std::string> JsonFields::String(absl::string_view key,
                                               std::optional<std::string> otherwise) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr && otherwise.has_value()) return *otherwise;
  if (value == nullptr || !value->is_string()) return Expected(key, "a string");
  return value->get<std::string>();
}

absl::StatusOr<std::vector<double>> JsonFields::Numbers(absl::string_view key) {
  const nlohmann::json* value = Find(key);
  if (value == nullptr || !value->is_array()) return Expected(key, "a list of numbers");
  std::vector<double> numbers;
  for (const nlohmann::json& element : *value) {
    if (!element.is_number()) return Expected(key, "a list of numbers");
    numbers.push_back(element.get<double>());
  }
  return numbers;
}

void JsonFields::Skip(const std::vector<std::string>& keys) {
  read_.insert(keys.begin(), keys.end());
}

absl::Status JsonFields::Done() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : object_->items()) {
    if (read_.count(key) == 0) unknown.push_back(key);
  }
  if (unknown.empty()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(where_, ": unknown key ",
                                                 absl::StrJoin(unknown, ", "),
                                                 " (known: ", absl::StrJoin(read_, ", "), ")"));
}

}  // namespace longrange
