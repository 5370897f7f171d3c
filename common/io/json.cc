#include "common/io/json.h"

#include <glog/logging.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"

namespace longrange {
namespace {

// Builds the value from the parser's events, and stops it (by returning false) where it must not go
// on.
template <typename Json>
class Builder {
 public:
  explicit Builder(Json* root) : root_(root) {}

  bool null() { return Add(nullptr); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(int64_t value) { return Add(value); }
  bool number_unsigned(uint64_t value) { return Add(value); }
  bool number_float(double value, const std::string&) {
    return Add(value);
  }  // the lexer refuses infinities
  bool string(std::string& value) { return Add(std::move(value)); }
  bool binary(typename Json::binary_t&) { return Fail("binary value"); }
  bool start_object(size_t) { return Open(Json::object()); }
  bool key(std::string& name) {
    // Linear for ordered_json, so each object has its own set of keys.
    if (!keys_.back().insert(name).second)
      return Fail(absl::StrCat("key ", JsonQuote(name), " appears twice in one object"));
    key_ = std::move(name);
    return true;
  }
  bool end_object() { return Close(); }
  bool start_array(size_t) { return Open(Json::array()); }
  bool end_array() { return Close(); }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception& e) {
    const std::string text =
        e.what();  // "[json.exception.parse_error.101] parse error at line 1, column 2: ..."
    const size_t end = text.find("] ");
    return Fail(absl::StrCat(end == std::string::npos ? text : text.substr(end + 2), " (byte ",
                             position, ")"));
  }

  const std::string& error() const { return error_; }

 private:
  bool Fail(std::string why) {
    error_ = std::move(why);
    return false;
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
    return true;
  }

  bool Open(Json container) {
    if (open_.size() >= static_cast<size_t>(kMaxJsonDepth)) {
      return Fail(absl::StrCat("nested deeper than ", kMaxJsonDepth));
    }
    // A parent does not move while a child is open, so the pointers stay good.
    open_.push_back(Place(std::move(container)));
    keys_.emplace_back();
    return true;
  }

  bool Close() {
    open_.pop_back();
    keys_.pop_back();
    return true;
  }

  Json* root_;
  std::vector<Json*> open_;
  std::vector<std::set<std::string>> keys_;  // of the objects in open_
  std::string key_;
  std::string error_;
};

template <typename Json>
absl::StatusOr<Json> Parse(absl::string_view text, absl::string_view what) {
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
  Json root;
  Builder<Json> builder(&root);
  if (!Json::sax_parse(text.data(), text.data() + text.size(), &builder)) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": no JSON: ", builder.error()));
  }
  return root;
}

}  // namespace

absl::StatusOr<nlohmann::json> ParseJson(absl::string_view text, absl::string_view what) {
  return Parse<nlohmann::json>(text, what);
}

absl::StatusOr<nlohmann::ordered_json> ParseOrderedJson(absl::string_view text,
                                                        absl::string_view what) {
  return Parse<nlohmann::ordered_json>(text, what);
}

absl::StatusOr<nlohmann::json> ReadJson(absl::string_view path, int64_t max_bytes) {
  LR_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, max_bytes));
  return ParseJson(text, path);
}

absl::StatusOr<std::vector<nlohmann::json>> ReadJsonLines(absl::string_view path) {
  std::vector<nlohmann::json> values;
  const auto parse = [&](absl::string_view line, absl::string_view what) -> absl::Status {
    LR_ASSIGN_OR_RETURN(nlohmann::json value, ParseJson(line, what));
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
  // The well-formed sequences of Unicode 15, table 3-7: no overlong forms, no surrogates, nothing
  // above U+10FFFF.
  size_t i = 0;
  while (i < text.size()) {
    const auto byte = [&](size_t k) {
      return k < text.size() ? static_cast<unsigned char>(text[k]) : 0;
    };
    const unsigned char b = byte(i);
    int more;
    unsigned char low = 0x80, high = 0xBF;  // of the second byte
    if (b < 0x80) {
      more = 0;
    } else if (b >= 0xC2 && b <= 0xDF) {
      more = 1;
    } else if (b >= 0xE0 && b <= 0xEF) {
      more = 2;
      if (b == 0xE0) low = 0xA0;
      if (b == 0xED) high = 0x9F;
    } else if (b >= 0xF0 && b <= 0xF4) {
      more = 3;
      if (b == 0xF0) low = 0x90;
      if (b == 0xF4) high = 0x8F;
    } else {
      return false;
    }
    for (int k = 1; k <= more; ++k) {
      const unsigned char next = byte(i + static_cast<size_t>(k));
      if (next < low || next > high) return false;
      low = 0x80;
      high = 0xBF;
    }
    i += static_cast<size_t>(more) + 1;
  }
  return true;
}

}  // namespace longrange
