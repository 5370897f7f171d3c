#include "common/base/one_line.h"

#include "absl/strings/str_cat.h"

namespace longrange {

size_t Utf8Length(absl::string_view text) {
  const auto byte = [&](size_t k) {
    return k < text.size() ? static_cast<unsigned char>(text[k]) : 0;
  };
  if (text.empty()) return 0;
  const unsigned char first = byte(0);
  size_t length;
  unsigned char low = 0x80, high = 0xBF;  // of the second byte
  if (first < 0x80) {
    length = 1;
  } else if (first >= 0xC2 && first <= 0xDF) {
    length = 2;
  } else if (first >= 0xE0 && first <= 0xEF) {
    length = 3;
    if (first == 0xE0) low = 0xA0;
    if (first == 0xED) high = 0x9F;
  } else if (first >= 0xF0 && first <= 0xF4) {
    length = 4;
    if (first == 0xF0) low = 0x90;
    if (first == 0xF4) high = 0x8F;
  } else {
    return 0;
  }
  for (size_t k = 1; k < length; ++k) {
    if (byte(k) < low || byte(k) > high) return 0;
    low = 0x80;
    high = 0xBF;
  }
  return length;
}

std::string OneLine(absl::string_view text, size_t max_bytes) {
  static constexpr char kHex[] = "0123456789abcdef";
  std::string line;
  for (size_t at = 0; at < text.size();) {
    if (line.size() >= max_bytes) return absl::StrCat(line, "... (", text.size(), " bytes)");
    const size_t length = Utf8Length(text.substr(at));
    const auto first = static_cast<unsigned char>(text[at]);
    if (length == 0 || first < 0x20 || first == 0x7F) {
      line += "\\x";
      line += kHex[first >> 4];
      line += kHex[first & 15];
      ++at;
    } else {
      absl::StrAppend(&line, text.substr(at, length));
      at += length;
    }
  }
  return line;
}

}  // namespace longrange
