// The needle family of RULER (Hsieh et al., COLM 2024, section 3 and Table 5;
// github.com/hsiehjackson/RULER, scripts/data/synthetic): its eight tasks, the sentences they are
// made of, and reading a prompt back into what is hidden and asked.

#ifndef LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_RULER_H_
#define LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_RULER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange::needle_in_a_haystack {

enum class RulerHaystack {
  kRepeat,   // one filler sentence a line (RulerFiller)
  kEssay,    // sentences of running text
  kNeedles,  // a needle a line; all but those asked for distract
};
enum class RulerWord {
  kWords,    // adjective-noun
  kNumbers,  // seven digits
  kUuids,    // version 4
};

// A row of the task table. `keys` keys are hidden, each with `values` values; `queries` of the keys
// are asked for. In a haystack of needles there are more keys.
struct RulerTask {
  const char* name;
  RulerHaystack haystack;
  RulerWord key, value;
  int64_t keys, values, queries;
};

const std::vector<RulerTask>& RulerTasks();
// NotFound lists the names that there are.
absl::StatusOr<RulerTask> FindRulerTask(absl::string_view name);

struct RulerNeedle {
  std::string key, value;
};

// "One of the special magic numbers for KEY is: VALUE."
std::string RulerNeedleText(RulerWord value_kind, const RulerNeedle& needle);
// A line of the repeated haystack.
absl::string_view RulerFiller();
// The whole prompt, the answer's beginning included. Its wording is singular where one value is
// asked for.
std::string RulerPrompt(const RulerTask& task, absl::string_view context,
                        const std::vector<std::string>& queries);

// What a prompt hides and asks for.
struct RulerSample {
  std::string context;
  std::vector<std::string> queries;  // keys, in the order of the question
  std::vector<RulerNeedle> needles;  // in the order of the text

  // The values of a key in the order of the text.
  std::vector<std::string> ValuesOf(absl::string_view key) const;
};

// Reads a prompt of the task. InvalidArgument where it is none: wording, haystack, number and kind
// of keys, values and queries are those of the task, and each key asked for has its values.
absl::StatusOr<RulerSample> ReadRulerPrompt(const RulerTask& task, absl::string_view prompt);

}  // namespace longrange::needle_in_a_haystack

#endif  // LONGRANGE_PAPERS_NEEDLE_IN_A_HAYSTACK_RULER_H_
