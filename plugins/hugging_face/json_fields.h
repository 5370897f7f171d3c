// The keys of a JSON object, read so that none is overlooked: a key that nobody asked for is an
// error.

#ifndef LONGRANGE_PLUGINS_HUGGING_FACE_JSON_FIELDS_H_
#define LONGRANGE_PLUGINS_HUGGING_FACE_JSON_FIELDS_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/json.h"

namespace longrange {

// A key whose value is null counts as absent. Errors (InvalidArgument) name the object, the key,
// what was expected and got.
class JsonFields {
 public:
  // `object` must outlive this; `where` names it in errors ("config.json", "rope_scaling").
  static absl::StatusOr<JsonFields> Create(const nlohmann::json& object, absl::string_view where);

  const std::string& where() const { return where_; }
  bool Has(absl::string_view key) const;
  // The value itself; null where it is absent.
  const nlohmann::json* Find(absl::string_view key);

  // Where the key is absent, `otherwise`, or an error if there is none.
  absl::StatusOr<double> Number(absl::string_view key,
                                std::optional<double> otherwise = std::nullopt);
  absl::StatusOr<int64_t> Integer(absl::string_view key,
                                  std::optional<int64_t> otherwise = std::nullopt);
  absl::StatusOr<bool> Bool(absl::string_view key, std::optional<bool> otherwise = std::nullopt);
  absl::StatusOr<std::string> String(absl::string_view key,
                                     std::optional<std::string> otherwise = std::nullopt);
  absl::StatusOr<std::vector<double>> Numbers(absl::string_view key);

  // These keys change nothing here.
  void Skip(const std::vector<std::string>& keys);
  // Refuses the keys that were neither asked for nor skipped.
  absl::Status Done() const;

 private:
  JsonFields(const nlohmann::json* object, absl::string_view where)
      : object_(object), where_(where) {}
  absl::Status Expected(absl::string_view key, absl::string_view what) const;

  const nlohmann::json* object_;
  std::string where_;
  std::set<std::string> read_;
};

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_HUGGING_FACE_JSON_FIELDS_H_
