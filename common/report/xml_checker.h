// A checker of well-formed XML, small and strict: tags balance, attributes are quoted and occur
// once, references are known.

#ifndef LONGRANGE_COMMON_REPORT_XML_CHECKER_H_
#define LONGRANGE_COMMON_REPORT_XML_CHECKER_H_

#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace longrange {
namespace report {

struct XmlReport {
  std::string error;  // Empty where the document is well-formed.
  std::vector<std::string>
      texts;  // The content of each <text>, references resolved, tooltips left out.
  std::vector<std::string> tooltips;  // The content of each <title>.
  std::vector<std::string> ids;
  std::vector<std::string> elements;  // Names, in the order of their start tags.
};

// Reads `document`; a <!DOCTYPE ...> may open it. Comments and CDATA are errors: this library
// writes none.
XmlReport CheckXml(absl::string_view document);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_XML_CHECKER_H_
