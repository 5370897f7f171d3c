#include "common/io/json.h"

#include <glog/logging.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/one_line.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"

namespace longrange {
namespace {

// What values may take beside as much again as their text. The costs are those of nlohmann's nodes
// with what vectors and the heap add, generously.
constexpr int64_t kFreeMemory = int64_t{24} << 20;
constexpr int64_t kValueMemory = 48, kContainerMemory = 80, kKeyMemory = 192;

// Builds the value from the parser's events, and stops it (by returning false) where it must not go
// on.
template <typename Json>
class Builder {
 public:
  // Takes the values' memory from *memory_left.
  Builder(Json* root, int64_t* memory_left) : root_(root), memory_left_(memory_left) {}

  bool null() { return Add(nullptr); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(int64_t value) { return Add(value); }
  bool number_unsigned(uint64_t value) { return Add(value); }
  bool number_float(double value, const std::string&) {
    return Add(value);
  }  // the lexer refuses infinities
  bool string(std::string& value) {
    return Take(static_cast<int64_t>(value.size())) && Add(std::move(value));
  }
  bool binary(typename Json::binary_t&) { return Fail("binary value"); }
  bool start_object(size_t) { return Open(Json::object()); }
  bool key(std::string& name) {
    // Linear for ordered_json, so each object has its own set of keys.
    if (!keys_.back().insert(name).second)
      return Fail(absl::StrCat("key \"", OneLine(name, 100), "\" appears twice in one object"));
    if (kOrdered && keys_.back().size() > static_cast<size_t>(kMaxOrderedJsonKeys))
      return Fail(absl::StrCat("more than ", kMaxOrderedJsonKeys, " keys in one object"));
    key_ = std::move(name);
    return Take(kKeyMemory + 2 * static_cast<int64_t>(key_.size()));
  }
  bool end_object() { return Close(); }
  bool start_array(size_t) { return Open(Json::array()); }
  bool end_array() { return Close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) {
    const std::string text =
        e.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    const size_t end = text.find("] ");
    return Fail(absl::StrCat(OneLine(end == std::string::npos ? text : text.substr(end + 2)),
                             " (byte ", position, ")"));
  }

  const std::string& error() const { return error_; }

 private:
  static constexpr bool kOrdered = std::is_same_v<Json, nlohmann::ordered_json>;

  bool Fail(std::string why) {
    error_ = std::move(why);
    return false;
  }

  bool Take(int64_t bytes) {
    *memory_left_ -= bytes;
    return *memory_left_ >= 0 ||
           Fail("its values would take too much memory for a text of this size");
  }

  template <typename Value>
  Json* Place(Value&& value) {
    if (open_.empty()) {
      *root_ = std::forward<Value>(value);
      return root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) {
      parent.push_back(std::forward<Value>(value));
      return &parent.back();
    }
    return &parent.emplace(std::move(key_), std::forward<Value>(value)).first.value();
  }

  template <typename Value>
  bool Add(Value&& value) {
    Place(std::forward<Value>(value));
    return Take(kValueMemory);
  }

  bool Open(Json container) {
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      return Fail(absl::StrCat("nested deeper than ", kMaxJsonDepth));
    }
    // A parent does not move while a child is open, so the pointers stay good.
    open_.push_back(Place(std::move(container)));
    keys_.emplace_back();
    return Take(kValueMemory + kContainerMemory);
  }

  bool Close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  Json* root_;
  int64_t* memory_left_;
  std::vector<Json*> open_;
  std::vector<std::set<std::string>> keys_;  // of the objects in open_
  std::string key_;
  std::string error_;
};

template <typename Json>
absl::StatusOr<Json> Parse(absl::string_view text, absl::string_view what, int64_t* memory_left) {
  // nlohmann's lexer takes a NUL for the end of the input and would ignore what follows it.
  const size_t nul = text.find('\0');
  if (nul != absl::string_view::npos) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": no JSON: NUL at byte ", nul));
  }
  // It also skips a byte order mark, which is no JSON.
  if (text.substr(0, 3) == "\xEF\xBB\xBF") {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": no JSON: it starts with a byte order mark"));
  }
  const absl::Status tokens = CheckJsonTokens(text, std::numeric_limits<int64_t>::max());
  if (!tokens.ok())
    return absl::InvalidArgumentError(absl::StrCat(what, ": no JSON: ", tokens.message()));
  Json root;
  *memory_left += static_cast<int64_t>(text.size());
  Builder<Json> builder(&root, memory_left);
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &builder)) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": no JSON: ", builder.error()));
  }
  return root;
}

}  // namespace

absl::Status CheckJsonTokens(absl::string_view text, int64_t max_string_bytes) {
  size_t begin = 0;  // of the token
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const int64_t most = in_string ? max_string_bytes : kMaxJsonWordBytes;
    if (static_cast<int64_t>(i - begin) > most) {
      return absl::InvalidArgumentError(
          absl::StrCat(in_string ? "a string" : "a number, a word or white space", " of more than ",
                       most, " bytes"));
    }
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
      begin = i;
    } else if (!in_string &&
               (c == ',' || c == ':' || c == '{' || c == '}' || c == '[' || c == ']')) {
      begin = i;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what) {
  int64_t memory_left = kFreeMemory;
  return Parse<nlohmann::json>(text, what, &memory_left);
}

absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view what) {
  int64_t memory_left = kFreeMemory;
  return Parse<nlohmann::ordered_json>(text, what, &memory_left);
}

absl::StatusOr<nlohmann::json> ReadJson(absl::string_view path, int64_t max_bytes) {
  LR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, max_bytes));
  return ParseJson(text, path);
}

absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(absl::string_view path) {
  std::vector<nlohmann::json> values;
  int64_t memory_left = kFreeMemory;
  const auto parse = [&](absl::string_view line, absl::string_view what) -> absl::Status {
    LR_ASSIGN_OR_RETURN(nlohmann::json value, Parse<nlohmann::json>(line, what, &memory_left));
    values.push_back(std::move(value));
    return absl::OkStatus();
  };
  LR_RETURN_IF_ERROR(ForEachLine(path, parse));
  return values;
}

std::string JsonQuote(absl::string_view text) {
  CHECK(IsValidUtf8(text)) << "a JSON string must be valid UTF-8";
  static constexpr char kHex[] = "0123456789abcdef";
  std::string quoted = "\"";
  for (const char c : text) {
    switch (c) {
      case '"':
        quoted += "\\\"";
        break;
      case '\\':
        quoted += "\\\\";
        break;
      case '\b':
        quoted += "\\b";
        break;
      case '\f':
        quoted += "\\f";
        break;
      case '\n':
        quoted += "\\n";
        break;
      case '\r':
        quoted += "\\r";
        break;
      case '\t':
        quoted += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          quoted += "\\u00";
          quoted += kHex[(c >> 4) & 15];
          quoted += kHex[c & 15];
        } else {
          quoted += c;
        }
    }
  }
  quoted += '"';
  return quoted;
}

std::string JsonNumber(double value) {
  if (std::isnan(value)) return "\"nan\"";
  if (std::isinf(value)) return value > 0 ? "\"inf\"" : "\"-inf\"";
  char buffer[32];
  const std::to_chars_result end = std::to_chars(buffer, buffer + sizeof(buffer), value);
  std::string text(buffer, end.ptr);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

bool IsValidUtf8(absl::string_view text) {
  while (!text.empty()) {
    const size_t length = Utf8Length(text);
    if (length == 0) return false;
    text.remove_prefix(length);
  }
  return true;
}

}  // namespace longrange
