#include "plugins/golden/golden_lines.h"

#include <glog/logging.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"
#include "common/io/atomic_file.h"
#include "common/io/json.h"

namespace longrange {
namespace {

constexpr int64_t kMaxBytes = int64_t{64} << 20;  // of a file

struct Entry {
  GoldenLineKind kind;
  GoldenLineAdapter adapter;
};

std::map<std::string, std::vector<Entry>>& Entries() {
  static auto* entries = new std::map<std::string, std::vector<Entry>>;
  return *entries;
}

// Keys of `wanted` that the object lacks.
std::vector<std::string> Missing(const nlohmann::json& object,
                                 const std::set<std::string>& wanted) {
  std::vector<std::string> missing;
  for (const std::string& key : wanted) {
    if (!object.contains(key)) missing.push_back(key);
  }
  return missing;
}

// How a line differs from a kind: keys it lacks, keys that the kind does not know.
struct Difference {
  std::vector<std::string> missing, unknown;
  size_t size() const { return missing.size() + unknown.size(); }
};

Difference From(const GoldenLineKind& kind, const nlohmann::json& object) {
  Difference difference;
  difference.missing = Missing(object, kind.given);
  for (std::string& key : Missing(object, kind.results))
    difference.missing.push_back(std::move(key));
  for (const auto& [key, value] : object.items()) {
    if (kind.given.count(key) + kind.results.count(key) + kind.optional.count(key) == 0)
      difference.unknown.push_back(key);
  }
  return difference;
}

// The kind of a line; an error says how it differs from the nearest.
absl::StatusOr<const Entry*> EntryOf(const std::vector<Entry>& entries,
                                     const nlohmann::json& object) {
  const Entry* nearest = nullptr;
  for (const Entry& entry : entries) {
    if (nearest == nullptr || From(entry.kind, object).size() < From(nearest->kind, object).size())
      nearest = &entry;
  }
  if (nearest == nullptr) return absl::NotFoundError("no kind of line is registered");
  const Difference difference = From(nearest->kind, object);
  if (difference.size() == 0) return nearest;
  std::string why = "its keys are those of no known kind of line; the nearest";
  if (!difference.missing.empty())
    absl::StrAppend(&why, " also has ", absl::StrJoin(difference.missing, ", "));
  if (!difference.unknown.empty()) {
    absl::StrAppend(&why, difference.missing.empty() ? "" : " and", " does not know ",
                    absl::StrJoin(difference.unknown, ", "));
  }
  return absl::InvalidArgumentError(why);
}

// The lines of a text; the last one need not end.
std::vector<absl::string_view> Lines(absl::string_view text) {
  absl::ConsumeSuffix(&text, "\n");
  if (text.empty()) return {};
  return absl::StrSplit(text, '\n');
}

GoldenResult Failed(std::string name, absl::string_view why) {
  GoldenResult result;
  result.name = std::move(name);
  result.message = std::string(why);
  return result;
}

}  // namespace

absl::StatusOr<nlohmann::json> GoldenLine::SideFile(absl::string_view name) const {
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  return ReadJson((folder / std::string(name)).string(), kMaxBytes);
}

const nlohmann::json* GoldenLineChecker::Expected(absl::string_view key) {
  const auto it = line_->fields.find(std::string(key));
  if (kind_->results.count(std::string(key)) == 0 || it == line_->fields.end()) {
    AddFailure(key, "this is no result of the line");
    return nullptr;
  }
  if (!compared_.insert(std::string(key)).second) {
    AddFailure(key, "it was compared twice");
    return nullptr;
  }
  return &*it;
}

bool GoldenLineChecker::Add(absl::string_view key, GoldenResult result) {
  result.name = absl::StrCat("line ", line_->number, ": ", key);
  const bool passed = result.passed;
  results_.push_back(std::move(result));
  return passed;
}

bool GoldenLineChecker::Text(absl::string_view key, absl::string_view actual) {
  const nlohmann::json* expected = Expected(key);
  if (expected == nullptr) return false;
  if (!expected->is_string()) return AddFailure(key, "expected a text in the case");
  return Add(key, CompareGoldenText(key, actual, expected->get_ref<const std::string&>()));
}

bool GoldenLineChecker::Number(absl::string_view key, double actual) {
  const nlohmann::json* expected = Expected(key);
  if (expected == nullptr) return false;
  if (!expected->is_number()) return AddFailure(key, "expected a number in the case");
  return Add(key,
             CompareGoldenNumber(file_->paper, file_->name, key, actual, expected->get<double>()));
}

bool GoldenLineChecker::Numbers(absl::string_view key, absl::Span<const double> actual) {
  const nlohmann::json* expected = Expected(key);
  if (expected == nullptr) return false;
  const auto is_number = [](const nlohmann::json& v) { return v.is_number(); };
  if (!expected->is_array() || !std::all_of(expected->begin(), expected->end(), is_number))
    return AddFailure(key, "expected a list of numbers in the case");
  bool passed = AddSize(key, actual.size(), expected->size());
  if (!passed) return false;
  for (size_t i = 0; i < actual.size(); ++i) {
    passed &= Add(absl::StrCat(key, "[", i, "]"),
                  CompareGoldenNumber(file_->paper, file_->name, key, actual[i],
                                      (*expected)[i].get<double>()));
  }
  return passed;
}

bool GoldenLineChecker::Texts(absl::string_view key, const std::vector<std::string>& actual) {
  const nlohmann::json* expected = Expected(key);
  if (expected == nullptr) return false;
  const auto is_text = [](const nlohmann::json& v) { return v.is_string(); };
  if (!expected->is_array() || !std::all_of(expected->begin(), expected->end(), is_text))
    return AddFailure(key, "expected a list of texts in the case");
  bool passed = AddSize(key, actual.size(), expected->size());
  if (!passed) return false;
  for (size_t i = 0; i < actual.size(); ++i) {
    passed &= Add(absl::StrCat(key, "[", i, "]"),
                  CompareGoldenText(key, actual[i], (*expected)[i].get_ref<const std::string&>()));
  }
  return passed;
}

bool GoldenLineChecker::AddFailure(absl::string_view what, absl::string_view why) {
  return Add(what, Failed("", why));
}

bool GoldenLineChecker::AddSize(absl::string_view key, size_t actual, size_t expected) {
  if (actual != expected)
    return AddFailure(key, absl::StrCat("got ", actual, " elements, expected ", expected));
  return Add(absl::StrCat(key, ".size"), CompareGoldenText("", "", ""));
}

std::vector<GoldenResult> GoldenLineChecker::Finish() {
  for (const std::string& key : kind_->results) {
    if (compared_.count(key) == 0) AddFailure(key, "it was not compared");
  }
  return std::move(results_);
}

bool RegisterGoldenLines(absl::string_view paper, GoldenLineAdapter adapter, GoldenLineKind kind) {
  CHECK(!kind.results.empty()) << "a kind of line of '" << paper << "' has no results";
  Entries()[std::string(paper)].push_back({std::move(kind), std::move(adapter)});
  return true;
}

std::set<std::string> PapersWithGoldenLines() {
  std::set<std::string> papers;
  for (const auto& [paper, entries] : Entries()) papers.insert(paper);
  return papers;
}

std::string PaperOfGoldenLines(const GoldenFile& file) {
  const std::set<std::string> papers = PapersWithGoldenLines();
  std::filesystem::path folder =
      std::filesystem::absolute(file.path).lexically_normal().parent_path();
  for (; folder.has_relative_path(); folder = folder.parent_path()) {
    if (papers.count(folder.filename().string()) > 0) return folder.filename().string();
  }
  const absl::StatusOr<std::string> text = ReadFile(file.path, kMaxBytes);
  if (!text.ok()) return file.paper;
  std::set<std::string> takers;
  for (const absl::string_view content : Lines(*text)) {
    const absl::StatusOr<nlohmann::json> line = ParseJson(content, file.path);
    if (!line.ok() || !line->is_object()) continue;
    for (const auto& [paper, entries] : Entries()) {
      if (EntryOf(entries, *line).ok()) takers.insert(paper);
    }
  }
  return takers.size() == 1 ? *takers.begin() : file.paper;
}

GoldenReport RunGoldenLines(const GoldenFile& file) {
  const std::string name = absl::StrCat(file.paper, "/", file.name);
  const std::vector<Entry>& entries = Entries()[file.paper];
  const absl::StatusOr<std::string> text = ReadFile(file.path, kMaxBytes);
  if (!text.ok()) return MakeGoldenReport(name, {Failed("case", text.status().message())});
  std::vector<GoldenResult> results;
  int64_t number = 0;
  for (const absl::string_view content : Lines(*text)) {
    ++number;
    const std::string where = absl::StrCat("line ", number);
    absl::StatusOr<nlohmann::json> value = ParseJson(content, file.path);
    if (!value.ok() || !value->is_object()) {
      results.push_back(
          Failed(where, value.ok() ? "expected an object" : value.status().message()));
      continue;
    }
    const GoldenLine line = {file.path, number, *std::move(value)};
    const absl::StatusOr<const Entry*> entry = EntryOf(entries, line.fields);
    if (!entry.ok()) {
      results.push_back(Failed(where, entry.status().message()));
      continue;
    }
    GoldenLineChecker check(&file, &line, &(*entry)->kind);
    const absl::Status status = (*entry)->adapter(line, &check);
    if (!status.ok()) {
      results.push_back(Failed(where, status.message()));
      continue;
    }
    for (GoldenResult& result : check.Finish()) results.push_back(std::move(result));
  }
  if (results.empty()) results.push_back(Failed("case", absl::StrCat(file.path, ": no line")));
  return MakeGoldenReport(name, std::move(results));
}

}  // namespace longrange
