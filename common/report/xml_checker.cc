// One pass over the characters with a stack of open elements.

#include "common/report/xml_checker.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <map>
#include <set>

namespace longrange {
namespace report {
namespace {

class Checker {
 public:
  explicit Checker(absl::string_view document) : in_(document) {}

  XmlReport Run() {
    if (in_.substr(0, 10) == "<!DOCTYPE ") at_ = in_.find('>') + 1;
    size_t roots = 0;
    while (at_ < in_.size() && out_.error.empty()) {
      if (in_[at_] == '<') {
        if (open_.empty() && in_.substr(at_, 2) != "</") ++roots;
        Tag();
      } else {
        Text();
      }
    }
    if (out_.error.empty() && !open_.empty()) Fail("<" + open_.back() + "> is never closed");
    if (out_.error.empty() && roots != 1) Fail(std::to_string(roots) + " root elements");
    return out_;
  }

 private:
  void Fail(const std::string& what) {
    if (out_.error.empty()) {
      const size_t from = at_ < 60 ? 0 : at_ - 60;
      out_.error = what + " near '" + std::string(in_.substr(from, 120)) + "'";
    }
  }

  static bool IsNameCharacter(char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == ':' || c == '_';
  }

  std::string Name() {
    const size_t start = at_;
    while (at_ < in_.size() && IsNameCharacter(in_[at_])) ++at_;
    if (at_ == start) Fail("a name is missing");
    return std::string(in_.substr(start, at_ - start));
  }

  void SkipSpace() {
    while (at_ < in_.size() && std::isspace(static_cast<unsigned char>(in_[at_])) != 0) ++at_;
  }

  // Text up to `end` with its references resolved.
  std::string Resolved(char end) {
    static const auto* const kReferences = new std::map<std::string, char>{
        {"amp", '&'}, {"lt", '<'}, {"gt", '>'}, {"quot", '"'}, {"#39", '\''}};
    std::string text;
    while (at_ < in_.size() && in_[at_] != end) {
      const char c = in_[at_];
      if (c == '<') {
        Fail("'<' in an attribute");
        return text;
      }
      if (static_cast<unsigned char>(c) < 0x20 &&
          std::isspace(static_cast<unsigned char>(c)) == 0) {
        Fail("a control character");
        return text;
      }
      if (c != '&') {
        text += c;
        ++at_;
        continue;
      }
      const size_t semicolon = in_.find(';', at_);
      const std::string name(in_.substr(at_ + 1, std::min(semicolon, at_ + 10) - at_ - 1));
      const auto found = kReferences->find(name);
      if (found == kReferences->end()) {
        Fail("an unknown reference &" + name);
        return text;
      }
      text += found->second;
      at_ = semicolon + 1;
    }
    return text;
  }

  void Text() {
    const std::string text = Resolved('<');
    if (open_.empty()) {
      if (!std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isspace(c); })) {
        Fail("text outside the root");
      }
      return;
    }
    if (open_.back() == "text") out_.texts.push_back(text);
    if (open_.back() == "title") out_.tooltips.push_back(text);
  }

  void Tag() {
    ++at_;
    if (at_ < in_.size() && in_[at_] == '/') {
      ++at_;
      const std::string name = Name();
      if (open_.empty() || open_.back() != name) {
        Fail("</" + name + "> closes " + (open_.empty() ? "nothing" : "<" + open_.back() + ">"));
        return;
      }
      open_.pop_back();
      if (at_ >= in_.size() || in_[at_] != '>') Fail("'>' is missing");
      ++at_;
      return;
    }
    const std::string name = Name();
    out_.elements.push_back(name);
    std::set<std::string> seen;
    while (out_.error.empty()) {
      SkipSpace();
      if (at_ >= in_.size()) {
        Fail("the document ends in a tag");
      } else if (in_[at_] == '>') {
        ++at_;
        open_.push_back(name);
        return;
      } else if (in_.substr(at_, 2) == "/>") {
        at_ += 2;
        return;
      } else {
        OneAttribute(&seen);
      }
    }
  }

  void OneAttribute(std::set<std::string>* seen) {
    const std::string name = Name();
    if (!out_.error.empty()) return;
    if (!seen->insert(name).second) Fail("attribute " + name + " occurs twice");
    if (in_.substr(at_, 2) != "=\"") {
      Fail("attribute " + name + " has no quoted value");
      return;
    }
    at_ += 2;
    const std::string value = Resolved('"');
    ++at_;
    if (name == "id") out_.ids.push_back(value);
  }

  absl::string_view in_;
  size_t at_ = 0;
  std::vector<std::string> open_;
  XmlReport out_;
};

}  // namespace

XmlReport CheckXml(absl::string_view document) { return Checker(document).Run(); }

}  // namespace report
}  // namespace longrange
