#include "plugins/study/report_words.h"

#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/report/number.h"

namespace longrange::study_report {
namespace {

using ::longrange::report::FormatCount;
using ::longrange::report::FormatFixed;
using ::longrange::report::FormatWithUnit;

std::map<std::string, std::string> Flatten(absl::string_view config) {
  std::map<std::string, std::string> values;
  std::vector<std::string> path;
  for (absl::string_view line : absl::StrSplit(config, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    if (line == "}") {
      if (!path.empty()) path.pop_back();
    } else if (absl::ConsumeSuffix(&line, " {")) {
      // The payload of an Any adds no step, but its type is worth knowing.
      const bool any = absl::ConsumePrefix(&line, "[") && absl::ConsumeSuffix(&line, "]");
      const std::string outer = path.empty() ? "" : path.back();
      if (any) values[absl::StrCat(outer, "@")] = std::string(line.substr(line.rfind('.') + 1));
      path.push_back(any ? outer : absl::StrCat(outer, outer.empty() ? "" : ".", line));
    } else {
      const std::pair<absl::string_view, absl::string_view> field =
          absl::StrSplit(line, absl::MaxSplits(": ", 1));
      if (field.second.empty()) continue;
      std::string& value = values[path.empty() ? std::string(field.first)
                                               : absl::StrCat(path.back(), ".", field.first)];
      absl::StrAppend(&value, value.empty() ? "" : ", ", field.second);
    }
  }
  return values;
}

}  // namespace

std::string Plural(int64_t count, absl::string_view one, absl::string_view many) {
  return absl::StrCat(FormatCount(count), " ", count == 1 ? one : many);
}

std::string Joined(const std::vector<std::string>& parts) {
  if (parts.size() < 2) return absl::StrJoin(parts, "");
  return absl::StrCat(absl::StrJoin(parts.begin(), parts.end() - 1, ", "), " and ", parts.back());
}

std::string JoinedNumbers(const std::vector<int64_t>& numbers) {
  std::vector<std::string> parts;
  for (const int64_t number : numbers) parts.push_back(absl::StrCat(number));
  return Joined(parts);
}

std::string PlusMinus(const StudyEstimate& estimate, int digits) {
  return absl::StrCat(
      FormatFixed(estimate.value, digits),
      std::isfinite(estimate.error) ? " ± " + FormatFixed(estimate.error, digits) : "");
}

std::string SpreadText(StudySpread spread, absl::string_view sample) {
  switch (spread) {
    case StudySpread::kBaseSeeds:
      return "over base models";
    case StudySpread::kTuningSeeds:
      return "over tuning seeds";
    case StudySpread::kSample:
      return absl::StrCat("over ", sample);
  }
  return "";
}

std::string SpreadsText(const std::vector<StudyArmResults>& arms, absl::string_view sample) {
  std::vector<std::string> parts;
  std::set<std::string> kinds;
  for (const bool tuned : {false, true}) {
    std::set<std::string> mine;
    for (const StudyArmResults& arm : arms) {
      if (arm.tuned == tuned) mine.insert(SpreadText(SpreadOf(arm), sample));
    }
    if (mine.empty()) continue;
    kinds.insert(mine.begin(), mine.end());
    parts.push_back(
        absl::StrCat(absl::StrJoin(mine, " or "), tuned ? " for tuned arms" : " for frozen arms"));
  }
  return kinds.size() == 1 ? *kinds.begin() : absl::StrJoin(parts, ", ");
}

std::vector<int64_t> TuningSeeds(const StudyResults& study) {
  std::set<int64_t> seeds;
  for (const StudyArmResults& arm : study.arms) {
    for (const StudyRun& run : arm.runs) {
      if (arm.tuned) seeds.insert(run.tuning_seed);
    }
  }
  return {seeds.begin(), seeds.end()};
}

std::string Seconds(double seconds) {
  if (!(seconds >= 0)) return "–";
  if (seconds < 599.5) return FormatFixed(seconds, seconds < 9.95 ? 1 : 0) + " s";
  const auto whole = static_cast<int64_t>(std::lround(seconds));
  return absl::StrFormat("%d min %02d s", whole / 60, whole % 60);
}

std::string Bytes(double bytes) { return bytes > 0 ? FormatWithUnit(bytes) + "B" : "–"; }

std::string TaskTitle(absl::string_view task) { return absl::StrReplaceAll(task, {{"_", " "}}); }

std::string JoinNonEmpty(const std::vector<std::string>& parts, absl::string_view separator) {
  std::vector<std::string> kept;
  for (const std::string& part : parts) {
    if (!part.empty()) kept.push_back(part);
  }
  return absl::StrJoin(kept, separator);
}

Config::Config(absl::string_view text) : values_(Flatten(text)) {}

std::string Config::Text(const std::string& path) const {
  const auto at = values_.find(path);
  return at == values_.end() ? "" : at->second;
}

double Config::Number(const std::string& path) const {
  double value = std::numeric_limits<double>::quiet_NaN();
  return absl::SimpleAtod(Text(path), &value) ? value : std::numeric_limits<double>::quiet_NaN();
}

std::string Config::Phrase(absl::string_view before, const std::string& path,
                           absl::string_view after) const {
  const std::string value = Text(path);
  return value.empty() || value == "0" ? "" : absl::StrCat(before, value, after);
}

}  // namespace longrange::study_report
