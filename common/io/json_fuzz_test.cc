#include <string>
#include <vector>

#include "common/io/json.h"
#include "common/testing/fuzz.h"
#include "glog/logging.h"

namespace longrange {

// Both parsers accept the same texts, an accepted value survives a round trip, and a refusal is one
// line of valid UTF-8.
void FuzzOne(absl::string_view input) {
  const absl::StatusOr<nlohmann::json> value = ParseJson(input, "fuzz");
  const absl::StatusOr<nlohmann::ordered_json> ordered = ParseOrderedJson(input, "fuzz");
  if (value.ok()) {
    CHECK(ordered.ok()) << ordered.status();
    const std::string text = value->dump();
    const absl::StatusOr<nlohmann::json> again = ParseJson(text, "dump");
    CHECK(again.ok()) << again.status();
    CHECK(again->dump() == text);
  } else {
    CHECK(!ordered.ok());
    const absl::string_view why = value.status().message();
    CHECK(IsValidUtf8(why) && why.find('\n') == absl::string_view::npos && why.size() < 1000)
        << why;
  }
  if (IsValidUtf8(input)) {
    const absl::StatusOr<nlohmann::json> quoted = ParseJson(JsonQuote(input), "quoted");
    // A NUL is escaped, so any valid text can be quoted.
    CHECK(quoted.ok()) << quoted.status();
    CHECK(quoted->get<std::string>() == input);
  }
  ReadJsonLines(FuzzFile(input)).status().IgnoreError();
}

std::vector<std::string> FuzzSeeds() {
  return {
      "null",
      R"({"b": [1, -2, 2.5e3, true, false, null, "\u00e9\ud83d\ude00"], "a": {"x": {}}})",
      R"([[[[]]], {"a": {"b": {"c": [0.1, 1e-300, 18446744073709551615]}}}])",
      "{\"line\": 1}\n{\"line\": 2, \"text\": \"\\\"\\\\\\n\\t\"}\n",
      "\xEF\xBB\xBF{}",
  };
}

}  // namespace longrange
