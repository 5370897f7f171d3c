// Markup that cannot be broken by what is put into it: text becomes Html by being escaped, and in
// no other way but Html::Trusted().

#ifndef LONGRANGE_COMMON_REPORT_MARKUP_H_
#define LONGRANGE_COMMON_REPORT_MARKUP_H_

#include <initializer_list>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace longrange {
namespace report {

// Text as it may stand in an element or a quoted attribute of HTML and of XML. Bytes that are not
// UTF-8, and control characters that XML forbids, become U+FFFD.
std::string EscapeText(absl::string_view text);

// A piece of well-formed markup. Text converts to it by being escaped, so every function that takes
// Html takes text too.
class Html {
 public:
  Html() = default;
  // NOLINTBEGIN(google-explicit-constructor): the conversion is the point, and it is safe.
  Html(absl::string_view text) : markup_(EscapeText(text)) {}
  Html(const std::string& text) : markup_(EscapeText(text)) {}
  Html(const char* text) : markup_(EscapeText(text)) {}
  // NOLINTEND(google-explicit-constructor)

  // Takes `markup` as it is: for the renderers of this library.
  static Html Trusted(std::string markup);

  const std::string& markup() const { return markup_; }
  bool empty() const { return markup_.empty(); }

  Html& operator+=(const Html& other) {
    markup_ += other.markup_;
    return *this;
  }
  friend Html operator+(Html a, const Html& b) {
    a += b;
    return a;
  }

 private:
  std::string markup_;
};

// One attribute of an element; one with an empty value is left out.
struct Attribute {
  absl::string_view name;
  std::string value;
};

// <tag attributes>content</tag>, and <tag attributes/>. Tags and attribute names are the caller's
// own literals; values are escaped.
Html Element(absl::string_view tag, std::initializer_list<Attribute> attributes,
             const Html& content);
Html EmptyElement(absl::string_view tag, std::initializer_list<Attribute> attributes);

// The code points of `text`, U+FFFD for what is not UTF-8.
std::vector<char32_t> DecodeUtf8(absl::string_view text);
void AppendUtf8(char32_t code_point, std::string* out);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_MARKUP_H_
