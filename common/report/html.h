// A page of results: one file, read from disk, with nothing to fetch and nothing to run.

#ifndef LONGRANGE_COMMON_REPORT_HTML_H_
#define LONGRANGE_COMMON_REPORT_HTML_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/report/markup.h"

namespace longrange {
namespace report {

// A section and its place in the table of contents. `level` 1 or 2. The anchor is made of the title
// where `id` is empty; anchors that would clash are numbered.
struct Section {
  std::string title;
  Html body;
  int level = 1;
  std::string id;
};

struct Page {
  std::string title;
  Html subtitle;
  Html summary;  // In a box above everything; none where empty.
  std::vector<Section> sections;
  Html footer;
};

// The whole file. It is well-formed XML as well as HTML; the same page gives the same bytes.
std::string Render(const Page& page);

// What a study says of a claim.
enum class Verdict { kHolds, kDoesNotHold, kCannotBeSeen, kNotRun };
std::string VerdictText(Verdict verdict);
Html Badge(Verdict verdict);

Html Paragraph(const Html& content);
Html Note(const Html& content);  // A paragraph in small, muted type.
Html Code(absl::string_view text);
Html Strong(const Html& content);
Html Emphasis(const Html& content);
Html BulletList(const std::vector<Html>& items);

// A link to http(s)://, to a #place of the page or to a file beside it; other schemes give the text
// alone.
Html Link(absl::string_view url, const Html& text);

// A numbered figure; `content` is a chart, or several.
Html Figure(const Html& content, const Html& caption, absl::string_view id = "");

// Charts beside each other where the page is wide enough for columns of `least_width` pixels, else
// below.
Html Grid(const std::vector<Html>& items, int least_width);

// Terms and what they mean, as of a protocol.
Html Definitions(const std::vector<std::pair<Html, Html>>& items);

// Lines of text, each with something short, such as a Badge, at its right end.
Html Ledger(const std::vector<std::pair<Html, Html>>& lines);

// Closed until the reader opens it.
Html Details(const Html& title, const Html& content);

// Text as it is, in a fixed-width type, such as a configuration.
Html Preformatted(absl::string_view text);

// Large figures side by side with a word on each, for the summary.
struct KeyFigure {
  Html value;
  Html label;
};
Html KeyFigures(const std::vector<KeyFigure>& figures);

}  // namespace report
}  // namespace longrange

#endif  // LONGRANGE_COMMON_REPORT_HTML_H_
