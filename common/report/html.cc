// The page around the charts and tables.

#include "common/report/html.h"

#include <cstddef>
#include <set>

#include "common/report/style.h"

namespace longrange {
namespace report {
namespace {

bool StartsWith(absl::string_view text, absl::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

// Letters, digits and single hyphens; "section" where the title has none.
std::string Slug(absl::string_view title) {
  std::string slug;
  for (char c : title) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) {
      slug += c;
    } else if (!slug.empty() && slug.back() != '-') {
      slug += '-';
    }
  }
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug.empty() ? "section" : slug;
}

std::string Unique(const std::string& id, std::set<std::string>* taken) {
  std::string candidate = id;
  for (int i = 2; !taken->insert(candidate).second; ++i) candidate = id + "-" + std::to_string(i);
  return candidate;
}

Html VerdictIcon(Verdict verdict) {
  const char* path = "";
  switch (verdict) {
    case Verdict::kHolds:
      path = "M2.5 6.5L5 9L9.5 3.5";
      break;
    case Verdict::kDoesNotHold:
      path = "M3 3L9 9M9 3L3 9";
      break;
    case Verdict::kCannotBeSeen:
      path = "M4 4.4C4 1.6 8.2 1.8 8.2 4.4C8.2 6 6.1 6 6.1 7.6M6.1 9.6L6.1 9.9";
      break;
    case Verdict::kNotRun:
      path = "M3 6L9 6";
      break;
  }
  return Element("svg",
                 {{"xmlns", "http://www.w3.org/2000/svg"},
                  {"viewBox", "0 0 12 12"},
                  {"width", "12"},
                  {"height", "12"},
                  {"aria-hidden", "true"}},
                 EmptyElement("path", {{"d", path}}));
}

Html Meta(absl::string_view key, const std::string& name, const std::string& content) {
  return EmptyElement("meta", {{key, name}, {"content", content}}) + Html::Trusted("\n");
}

}  // namespace

std::string VerdictText(Verdict verdict) {
  switch (verdict) {
    case Verdict::kHolds:
      return "holds";
    case Verdict::kDoesNotHold:
      return "does not hold";
    case Verdict::kCannotBeSeen:
      return "cannot be seen at this scale";
    case Verdict::kNotRun:
      return "not run";
  }
  return "";
}

Html Badge(Verdict verdict) {
  const char* css = verdict == Verdict::kHolds          ? "badge holds"
                    : verdict == Verdict::kDoesNotHold  ? "badge fails"
                    : verdict == Verdict::kCannotBeSeen ? "badge unseen"
                                                        : "badge unrun";
  return Element("span", {{"class", css}},
                 VerdictIcon(verdict) + Element("span", {}, VerdictText(verdict)));
}

Html Paragraph(const Html& content) { return Element("p", {}, content) + Html::Trusted("\n"); }

Html Note(const Html& content) {
  return Element("p", {{"class", "note"}}, content) + Html::Trusted("\n");
}

Html Code(absl::string_view text) { return Element("code", {}, text); }

Html Strong(const Html& content) { return Element("strong", {}, content); }

Html Emphasis(const Html& content) { return Element("em", {}, content); }

Html BulletList(const std::vector<Html>& items) {
  Html out;
  for (const Html& item : items) out += Element("li", {}, item);
  return out.empty() ? out : Element("ul", {}, out) + Html::Trusted("\n");
}

Html Link(absl::string_view url, const Html& text) {
  const size_t colon = url.find(':');
  const bool has_scheme = colon != absl::string_view::npos && colon < url.find_first_of("/?#");
  const bool web = StartsWith(url, "http://") || StartsWith(url, "https://");
  if (url.empty() || (has_scheme && !web)) return text;
  return Element("a", {{"href", std::string(url)}}, text);
}

Html Figure(const Html& content, const Html& caption, absl::string_view id) {
  return Element(
             "figure", {{"class", "chart"}, {"id", std::string(id)}},
             Element("div", {{"class", "scroll"}}, content) + Element("figcaption", {}, caption)) +
         Html::Trusted("\n");
}

Html Grid(const std::vector<Html>& items, int least_width) {
  Html cells;
  for (const Html& item : items) cells += Element("div", {}, item);
  return Element("div",
                 {{"class", "panels"},
                  {"style", "grid-template-columns:repeat(auto-fit,minmax(min(100%," +
                                std::to_string(least_width) + "px),1fr))"}},
                 cells);
}

Html Definitions(const std::vector<std::pair<Html, Html>>& items) {
  Html out;
  for (const auto& [term, meaning] : items) {
    out += Element("dt", {}, term) + Element("dd", {}, meaning) + Html::Trusted("\n");
  }
  return out.empty() ? out : Element("dl", {}, out) + Html::Trusted("\n");
}

Html Ledger(const std::vector<std::pair<Html, Html>>& lines) {
  Html out;
  for (const auto& [text, end] : lines) {
    out += Element("li", {}, Element("span", {}, text) + Element("span", {}, end)) +
           Html::Trusted("\n");
  }
  return out.empty() ? out : Element("ul", {{"class", "ledger"}}, out) + Html::Trusted("\n");
}

Html Details(const Html& title, const Html& content) {
  return Element("details", {}, Element("summary", {}, title) + content) + Html::Trusted("\n");
}

Html Preformatted(absl::string_view text) {
  return Element("pre", {{"tabindex", "0"}}, Element("code", {}, text)) + Html::Trusted("\n");
}

Html KeyFigures(const std::vector<KeyFigure>& figures) {
  Html out;
  for (const KeyFigure& figure : figures) {
    out += Element("div", {}, Element("b", {}, figure.value) + Element("span", {}, figure.label));
  }
  return out.empty() ? out : Element("div", {{"class", "figures"}}, out) + Html::Trusted("\n");
}

std::string Render(const Page& page) {
  const Html newline = Html::Trusted("\n");
  std::set<std::string> taken;
  Html contents;
  Html body;
  for (const Section& section : page.sections) {
    const std::string id = Unique(section.id.empty() ? Slug(section.title) : section.id, &taken);
    const bool top = section.level <= 1;
    contents += Element("li", {{"class", top ? "" : "sub"}},
                        Element("a", {{"href", "#" + id}}, section.title));
    body +=
        Element("section", {{"id", id}},
                newline + Element(top ? "h2" : "h3", {}, section.title) + newline + section.body) +
        newline;
  }

  // Nothing may be fetched or run, even if a browser could be talked into it.
  const Html head = EmptyElement("meta", {{"charset", "utf-8"}}) + newline +
                    Meta("http-equiv", "Content-Security-Policy",
                         "default-src 'none'; style-src 'unsafe-inline'; img-src data:") +
                    Meta("name", "viewport", "width=device-width, initial-scale=1") +
                    Meta("name", "color-scheme", "light dark") + Element("title", {}, page.title) +
                    newline + Element("style", {}, Html::Trusted(StyleSheet())) + newline;

  Html header = Element("h1", {}, page.title);
  if (!page.subtitle.empty()) header += Element("p", {{"class", "subtitle"}}, page.subtitle);
  Html all = Element("header", {}, header) + newline;
  if (!page.summary.empty()) {
    all += Element("div", {{"class", "summary"}, {"role", "note"}}, page.summary) + newline;
  }
  if (!contents.empty()) {
    all += Element("nav", {{"aria-label", "Contents"}},
                   Element("p", {}, "Contents") + Element("ol", {}, contents)) +
           newline;
  }
  all += Element("main", {}, newline + body) + newline;
  if (!page.footer.empty()) all += Element("footer", {}, page.footer) + newline;

  return "<!DOCTYPE html>\n" +
         Element(
             "html", {{"lang", "en"}},
             newline + Element("head", {}, newline + head) + newline +
                 Element("body", {}, newline + Element("div", {{"class", "page"}}, newline + all)) +
                 newline)
             .markup() +
         "\n";
}

}  // namespace report
}  // namespace longrange
