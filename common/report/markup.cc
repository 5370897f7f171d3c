// Escaping and the plain building of elements.

#include "common/report/markup.h"

#include <cstdint>
#include <utility>

namespace longrange {
namespace report {
namespace {

constexpr char32_t kReplacement = 0xFFFD;

// The code point at text[*position], moved past; U+FFFD, moved past one byte, where the bytes are
// not shortest-form UTF-8.
char32_t NextCodePoint(absl::string_view text, size_t* position) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const size_t start = (*position)++;
  const uint8_t lead = byte(start);
  if (lead < 0x80) return lead;
  int more = 0;
  char32_t value = 0;
  char32_t least = 0;
  if ((lead & 0xE0) == 0xC0) {
    more = 1, value = lead & 0x1F, least = 0x80;
  } else if ((lead & 0xF0) == 0xE0) {
    more = 2, value = lead & 0x0F, least = 0x800;
  } else if ((lead & 0xF8) == 0xF0) {
    more = 3, value = lead & 0x07, least = 0x10000;
  } else {
    return kReplacement;
  }
  if (start + more >= text.size()) return kReplacement;
  for (int i = 1; i <= more; ++i) {
    if ((byte(start + i) & 0xC0) != 0x80) return kReplacement;
    value = (value << 6) | (byte(start + i) & 0x3F);
  }
  const bool surrogate = value >= 0xD800 && value <= 0xDFFF;
  if (value < least || value > 0x10FFFF || surrogate) return kReplacement;
  *position = start + more + 1;
  return value;
}

// Section 2.2 of XML 1.0: the characters that a document may hold.
bool IsXmlCharacter(char32_t c) {
  if (c < 0x20) return c == '\t' || c == '\n' || c == '\r';
  return c != 0xFFFE && c != 0xFFFF;
}

std::string OpenTag(absl::string_view tag, std::initializer_list<Attribute> attributes) {
  std::string out = "<";
  out.append(tag.data(), tag.size());
  for (const Attribute& attribute : attributes) {
    if (attribute.value.empty()) continue;
    out += ' ';
    out.append(attribute.name.data(), attribute.name.size());
    out += "=\"" + EscapeText(attribute.value) + '"';
  }
  return out;
}

}  // namespace

std::vector<char32_t> DecodeUtf8(absl::string_view text) {
  std::vector<char32_t> out;
  out.reserve(text.size());
  for (size_t position = 0; position < text.size();) out.push_back(NextCodePoint(text, &position));
  return out;
}

void AppendUtf8(char32_t c, std::string* out) {
  const auto put = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

std::string EscapeText(absl::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (char32_t c : DecodeUtf8(text)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        AppendUtf8(IsXmlCharacter(c) ? c : kReplacement, &out);
    }
  }
  return out;
}

Html Html::Trusted(std::string markup) {
  Html html;
  html.markup_ = std::move(markup);
  return html;
}

Html Element(absl::string_view tag, std::initializer_list<Attribute> attributes,
             const Html& content) {
  std::string out = OpenTag(tag, attributes) + ">" + content.markup() + "</";
  out.append(tag.data(), tag.size());
  return Html::Trusted(out + ">");
}

Html EmptyElement(absl::string_view tag, std::initializer_list<Attribute> attributes) {
  return Html::Trusted(OpenTag(tag, attributes) + "/>");
}

}  // namespace report
}  // namespace longrange
