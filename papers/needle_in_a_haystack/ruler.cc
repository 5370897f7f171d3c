#include "papers/needle_in_a_haystack/ruler.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/base/status_macros.h"

namespace longrange::needle_in_a_haystack {
namespace {

constexpr absl::string_view kNeedleStart = "One of the special magic ";
constexpr absl::string_view kAskEnd = " mentioned in the provided text?";

absl::string_view Plural(RulerWord kind) {
  return kind == RulerWord::kWords ? "words" : kind == RulerWord::kNumbers ? "numbers" : "uuids";
}

bool IsHex(absl::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) {
    return absl::ascii_isdigit(static_cast<unsigned char>(c)) || (c >= 'a' && c <= 'f');
  });
}

bool IsOfKind(RulerWord kind, absl::string_view text) {
  if (kind == RulerWord::kNumbers) {
    return text.size() == 7 && text[0] != '0' && std::all_of(text.begin(), text.end(), [](char c) {
             return absl::ascii_isdigit(static_cast<unsigned char>(c));
           });
  }
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '-');
  if (kind == RulerWord::kWords) {
    return parts.size() >= 2 && std::none_of(parts.begin(), parts.end(),
                                             [](absl::string_view part) { return part.empty(); });
  }
  constexpr size_t kSizes[] = {8, 4, 4, 4, 12};
  if (parts.size() != 5) return false;
  for (size_t i = 0; i < 5; ++i) {
    if (parts[i].size() != kSizes[i] || !IsHex(parts[i])) return false;
  }
  return parts[2][0] == '4' && absl::StrContains("89ab", parts[3].substr(0, 1));
}

bool IsSingular(const RulerTask& task) { return task.queries * task.values == 1; }

// What the prompt has before the context and, up to the keys, after it.
struct Wording {
  std::string before, question, answer;
};

Wording WordingOf(const RulerTask& task) {
  const bool one = IsSingular(task);
  const std::string plural(Plural(task.value));
  const std::string type = one ? plural.substr(0, plural.size() - 1) : plural;
  return {absl::StrCat(one ? "A" : "Some", " special magic ", type, one ? " is" : " are",
                       " hidden within the following text. Make sure to memorize it. I will quiz "
                       "you about the ",
                       type, " afterwards.\n"),
          absl::StrCat("\nWhat ", one ? "is" : "are all", " the special magic ", type, " for "),
          absl::StrCat(" The special magic ", type, " for ")};
}

std::string Joined(const std::vector<std::string>& keys) {
  if (keys.size() == 1) return keys[0];
  return absl::StrCat(absl::StrJoin(keys.begin(), keys.end() - 1, ", "), ", and ", keys.back());
}

std::vector<std::string> Separated(absl::string_view joined) {
  std::vector<std::string> keys = absl::StrSplit(joined, absl::ByString(", "));
  if (keys.size() > 1) keys.back() = std::string(absl::StripPrefix(keys.back(), "and "));
  return keys;
}

// All needles of a text, and the text without them.
absl::StatusOr<std::vector<RulerNeedle>> FindNeedles(const RulerTask& task, absl::string_view text,
                                                     std::string* rest) {
  std::vector<RulerNeedle> needles;
  while (true) {
    const size_t at = text.find(kNeedleStart);
    absl::StrAppend(rest, text.substr(0, at));
    if (at == absl::string_view::npos) return needles;
    text.remove_prefix(at);
    // "One of the special magic TYPE for KEY is: VALUE."
    const std::string start = absl::StrCat(kNeedleStart, Plural(task.value), " for ");
    const size_t is = text.find(" is: ");
    const size_t stop = is == absl::string_view::npos ? is : text.find('.', is);
    if (!absl::StartsWith(text, start) || stop == absl::string_view::npos || is < start.size()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "context: \"", text.substr(0, 60), "...\" (expected \"", start, "KEY is: VALUE.\")"));
    }
    RulerNeedle needle;
    needle.key = std::string(text.substr(start.size(), is - start.size()));
    needle.value = std::string(text.substr(is + 5, stop - is - 5));
    if (!IsOfKind(task.key, needle.key)) {
      return absl::InvalidArgumentError(
          absl::StrCat("context: key '", needle.key, "' (expected ", Plural(task.key), ")"));
    }
    if (!IsOfKind(task.value, needle.value)) {
      return absl::InvalidArgumentError(
          absl::StrCat("context: value '", needle.value, "' (expected ", Plural(task.value), ")"));
    }
    needles.push_back(std::move(needle));
    text.remove_prefix(stop + 1);
  }
}

// The haystack is the task's; `rest` is the context without its needles.
absl::Status CheckHaystack(const RulerTask& task, absl::string_view rest) {
  if (task.haystack == RulerHaystack::kEssay) {
    if (!absl::StripAsciiWhitespace(rest).empty()) return absl::OkStatus();
    return absl::InvalidArgumentError("context: no text around the needles");
  }
  const absl::string_view wanted =
      task.haystack == RulerHaystack::kRepeat ? RulerFiller() : absl::string_view();
  int64_t wanted_lines = 0;
  for (const absl::string_view line : absl::StrSplit(rest, '\n')) {
    if (line == wanted) ++wanted_lines;
    if (line != wanted && !line.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("context: line \"", line.substr(0, 60), "\" (expected ",
                       wanted.empty() ? "needles only" : "needles and the filler", ")"));
    }
  }
  if (wanted_lines == 0) return absl::InvalidArgumentError("context: no line of the filler");
  return absl::OkStatus();
}

}  // namespace

const std::vector<RulerTask>& RulerTasks() {
  using H = RulerHaystack;
  using W = RulerWord;
  // scripts/synthetic.yaml; Table 5.
  static const auto* tasks = new std::vector<RulerTask>{
      {"niah_single_1", H::kRepeat, W::kWords, W::kNumbers, 1, 1, 1},
      {"niah_single_2", H::kEssay, W::kWords, W::kNumbers, 1, 1, 1},
      {"niah_single_3", H::kEssay, W::kWords, W::kUuids, 1, 1, 1},
      {"niah_multikey_1", H::kEssay, W::kWords, W::kNumbers, 4, 1, 1},
      {"niah_multikey_2", H::kNeedles, W::kWords, W::kNumbers, 1, 1, 1},
      {"niah_multikey_3", H::kNeedles, W::kUuids, W::kUuids, 1, 1, 1},
      {"niah_multivalue", H::kEssay, W::kWords, W::kNumbers, 1, 4, 1},
      {"niah_multiquery", H::kEssay, W::kWords, W::kNumbers, 4, 1, 4},
  };
  return *tasks;
}

absl::StatusOr<RulerTask> FindRulerTask(absl::string_view name) {
  for (const RulerTask& task : RulerTasks()) {
    if (name == task.name) return task;
  }
  const auto append = [](std::string* out, const RulerTask& task) {
    absl::StrAppend(out, task.name);
  };
  return absl::NotFoundError(absl::StrCat("task: '", name, "' (expected one of ",
                                          absl::StrJoin(RulerTasks(), ", ", append), ")"));
}

std::string RulerNeedleText(RulerWord value_kind, const RulerNeedle& needle) {
  return absl::StrCat(kNeedleStart, Plural(value_kind), " for ", needle.key, " is: ", needle.value,
                      ".");
}

absl::string_view RulerFiller() {
  return "The grass is green. The sky is blue. The sun is yellow. Here we go. There and back "
         "again.";
}

std::string RulerPrompt(const RulerTask& task, absl::string_view context,
                        const std::vector<std::string>& queries) {
  const Wording wording = WordingOf(task);
  const std::string keys = Joined(queries);
  return absl::StrCat(wording.before, context, wording.question, keys, kAskEnd, wording.answer,
                      keys, absl::StripSuffix(kAskEnd, "?"), IsSingular(task) ? " is" : " are");
}

std::vector<std::string> RulerSample::ValuesOf(absl::string_view key) const {
  std::vector<std::string> values;
  for (const RulerNeedle& needle : needles) {
    if (needle.key == key) values.push_back(needle.value);
  }
  return values;
}

absl::StatusOr<RulerSample> ReadRulerPrompt(const RulerTask& task, absl::string_view prompt) {
  const Wording wording = WordingOf(task);
  const size_t question = prompt.rfind(wording.question);
  if (!absl::StartsWith(prompt, wording.before) || question == absl::string_view::npos ||
      question < wording.before.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("prompt: no instruction and question in the words of ", task.name));
  }
  RulerSample sample;
  sample.context =
      std::string(prompt.substr(wording.before.size(), question - wording.before.size()));
  absl::string_view asked = prompt.substr(question + wording.question.size());
  asked = asked.substr(0, asked.find(kAskEnd));
  sample.queries = Separated(asked);
  if (RulerPrompt(task, sample.context, sample.queries) != prompt) {
    return absl::InvalidArgumentError(absl::StrCat(
        "prompt: its question does not end in the words of ", task.name, " after '", asked, "'"));
  }
  if (static_cast<int64_t>(sample.queries.size()) != task.queries) {
    return absl::InvalidArgumentError(absl::StrCat("prompt: asks for ", sample.queries.size(),
                                                   " keys (expected ", task.queries, ")"));
  }

  std::string rest;
  LR_ASSIGN_OR_RETURN(sample.needles, FindNeedles(task, sample.context, &rest));
  LR_RETURN_IF_ERROR(CheckHaystack(task, rest));
  std::map<std::string, int64_t> values_of;
  for (const RulerNeedle& needle : sample.needles) ++values_of[needle.key];
  const int64_t keys = static_cast<int64_t>(values_of.size());
  if (task.haystack == RulerHaystack::kNeedles ? keys < task.keys : keys != task.keys) {
    return absl::InvalidArgumentError(
        absl::StrCat("context: hides ", keys, " keys (expected ", task.keys, ")"));
  }
  for (const auto& [key, values] : values_of) {
    // Keys that distract are drawn one by one and may repeat.
    const bool distracts =
        task.haystack == RulerHaystack::kNeedles &&
        std::find(sample.queries.begin(), sample.queries.end(), key) == sample.queries.end();
    if (values != task.values && !distracts) {
      return absl::InvalidArgumentError(absl::StrCat("context: key '", key, "' has ", values,
                                                     " values (expected ", task.values, ")"));
    }
  }
  for (size_t i = 0; i < sample.queries.size(); ++i) {
    const std::string& query = sample.queries[i];
    if (values_of.count(query) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("prompt: asks for '", query, "', which is not in the context"));
    }
    if (std::count(sample.queries.begin(), sample.queries.end(), query) > 1)
      return absl::InvalidArgumentError(absl::StrCat("prompt: asks for '", query, "' twice"));
  }
  return sample;
}

}  // namespace longrange::needle_in_a_haystack
