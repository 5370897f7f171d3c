// Golden cases of needle_in_a_haystack, in JSON lines: contexts with one needle and several, grids
// of lengths and depths, scores, and prompts of RULER.

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/eval/rouge.h"
#include "common/eval/string_match.h"
#include "common/io/json.h"
#include "papers/needle_in_a_haystack/insertion.h"
#include "papers/needle_in_a_haystack/ruler.h"
#include "papers/needle_in_a_haystack/word_tokenizer.h"
#include "plugins/golden/golden_lines.h"
#include "plugins/hugging_face/json_fields.h"

namespace longrange::needle_in_a_haystack {
namespace {

absl::StatusOr<std::vector<std::string>> Strings(const nlohmann::json& list,
                                                 absl::string_view what) {
  std::vector<std::string> texts;
  const auto is_string = [](const nlohmann::json& v) { return v.is_string(); };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), is_string))
    return absl::InvalidArgumentError(absl::StrCat(what, ": expected a list of texts"));
  for (const nlohmann::json& v : list) texts.push_back(v.get<std::string>());
  return texts;
}

// Text of bytes that need not be UTF-8, as Python decodes it: each longest part that is broken
// becomes `replacement`.
std::string AsUtf8(absl::string_view bytes, absl::string_view replacement) {
  std::string text;
  while (!bytes.empty()) {
    size_t good = 1;  // the shortest valid sequence at the front; a part of one where there is none
    while (good < 4 && good < bytes.size() && !IsValidUtf8(bytes.substr(0, good))) ++good;
    if (IsValidUtf8(bytes.substr(0, good))) {
      absl::StrAppend(&text, bytes.substr(0, good));
      bytes.remove_prefix(good);
      continue;
    }
    // The part that could have begun a sequence: its leading byte and what continues it.
    size_t broken = 1;
    const auto could_begin = [](absl::string_view part) {
      for (const absl::string_view tail : {"\x80", "\xBF", "\x80\x80", "\xBF\x80", "\xBF\xBF\x80",
                                           "\x80\x80\x80", "\x90\x80\x80", "\xA0\x80"}) {
        if (IsValidUtf8(absl::StrCat(part, tail))) return true;
      }
      return false;
    };
    while (broken < bytes.size() && could_begin(bytes.substr(0, broken + 1))) ++broken;
    absl::StrAppend(&text, replacement);
    bytes.remove_prefix(broken);
  }
  return text;
}

// The references decode what they cut out of the bytes of a text; where a cut goes through a
// character, they drop or replace what is left of it.
class Utf8ByteTokenizer : public ByteTokenizer {
 public:
  explicit Utf8ByteTokenizer(absl::string_view replacement) : replacement_(replacement) {}
  std::string Decode(absl::Span<const int32_t> ids) const override {
    return AsUtf8(ByteTokenizer::Decode(ids), replacement_);
  }

 private:
  std::string replacement_;
};

// The tokenizers that a case of this name may mean, for these texts.
absl::StatusOr<std::vector<std::unique_ptr<Tokenizer>>> TokenizersOf(
    const std::string& name, std::vector<std::string> texts) {
  std::vector<std::unique_ptr<Tokenizer>> tokenizers;
  if (name == "byte") {
    tokenizers.push_back(std::make_unique<Utf8ByteTokenizer>(""));
    tokenizers.push_back(std::make_unique<Utf8ByteTokenizer>("\xEF\xBF\xBD"));
  } else if (name == "word") {
    texts.emplace_back(".");
    tokenizers.push_back(std::make_unique<WordTokenizer>(texts));
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("tokenizer: '", name, "' (expected byte or word)"));
  }
  return tokenizers;
}

absl::StatusOr<Placement> PlacementOf(JsonFields* fields) {
  Placement placement;
  placement.overflow_as_original = true;
  LR_ASSIGN_OR_RETURN(placement.context_length, fields->Integer("context_length"));
  LR_ASSIGN_OR_RETURN(placement.depth_percent, fields->Number("depth_percent"));
  LR_ASSIGN_OR_RETURN(placement.buffer, fields->Integer("final_context_length_buffer"));
  return placement;
}

// What the functions of the test make of a case.
struct Made {
  std::string trimmed, context;
  std::vector<double> insertion_percent;
};

// Takes the tokenizer that makes the texts of the case, else the first.
absl::StatusOr<Made> Make(const std::string& tokenizer, const std::string& haystack,
                          const std::vector<std::string>& needles, const Placement& placement,
                          const nlohmann::json& line) {
  std::vector<std::string> texts = needles;
  texts.push_back(haystack);
  LR_ASSIGN_OR_RETURN(const auto tokenizers, TokenizersOf(tokenizer, std::move(texts)));
  std::vector<Made> made;
  for (const auto& t : tokenizers) {
    Made& m = made.emplace_back();
    LR_ASSIGN_OR_RETURN(m.trimmed, TrimText(*t, haystack, placement.context_length));
    LR_ASSIGN_OR_RETURN(Context context, InsertNeedles(*t, m.trimmed, needles, placement));
    m.context = t->Decode(context.ids);
    m.insertion_percent = std::move(context.insertion_percent);
    const auto trimmed = line.find("trimmed");
    if (line["context"] == m.context && (trimmed == line.end() || *trimmed == m.trimmed)) return m;
  }
  return made[0];
}

absl::Status RunInsertion(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const std::string tokenizer, fields.String("tokenizer"));
  LR_ASSIGN_OR_RETURN(const int64_t haystack_id, fields.Integer("haystack_id"));
  LR_ASSIGN_OR_RETURN(const std::string needle, fields.String("needle"));
  LR_ASSIGN_OR_RETURN(const Placement placement, PlacementOf(&fields));
  static constexpr char kHaystacks[] = "insertion_haystacks.json";
  LR_ASSIGN_OR_RETURN(const nlohmann::json file, line.SideFile(kHaystacks));
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> haystacks, Strings(file, kHaystacks));
  const auto count = static_cast<int64_t>(haystacks.size());
  if (haystack_id < 0 || haystack_id >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("haystack_id: ", haystack_id, " (", kHaystacks, " has ", count, " texts)"));
  }
  LR_ASSIGN_OR_RETURN(const Made made,
                      Make(tokenizer, haystacks[haystack_id], {needle}, placement, line.fields));
  check->Text("trimmed", made.trimmed);
  check->Text("context", made.context);
  return absl::OkStatus();
}

absl::Status RunMultiInsertion(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const std::string tokenizer, fields.String("tokenizer"));
  LR_ASSIGN_OR_RETURN(const int64_t haystack_id, fields.Integer("haystack_id"));
  LR_ASSIGN_OR_RETURN(const Placement placement, PlacementOf(&fields));
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> needles,
                      Strings(line.fields["needles"], "needles"));
  static constexpr char kHaystack[] = "multi_haystack.json";
  LR_ASSIGN_OR_RETURN(const nlohmann::json haystack, line.SideFile(kHaystack));
  if (!haystack.is_string())
    return absl::InvalidArgumentError(absl::StrCat(kHaystack, ": expected a text"));
  if (haystack_id != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("haystack_id: ", haystack_id, " (", kHaystack, " is one text: expected 0)"));
  }
  LR_ASSIGN_OR_RETURN(const Made made, Make(tokenizer, haystack.get<std::string>(), needles,
                                            placement, line.fields));
  check->Text("context", made.context);
  check->Numbers("insertion_percentages", made.insertion_percent);
  return absl::OkStatus();
}

absl::Status RunDepthGrid(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const double first, fields.Number("min"));
  LR_ASSIGN_OR_RETURN(const double last, fields.Number("max"));
  LR_ASSIGN_OR_RETURN(const int64_t count, fields.Integer("intervals"));
  LR_ASSIGN_OR_RETURN(const std::string type, fields.String("type"));
  if (type != "linear" && type != "sigmoid") {
    return absl::InvalidArgumentError(
        absl::StrCat("type: '", type, "' (expected linear or sigmoid)"));
  }
  LR_ASSIGN_OR_RETURN(const std::vector<double> depths,
                      DepthGrid(first, last, count,
                                type == "linear" ? DepthSpacing::kLinear : DepthSpacing::kSigmoid));
  check->Numbers("depths", depths);
  return absl::OkStatus();
}

absl::Status RunLengthGrid(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const int64_t smallest, fields.Integer("context_lengths_min"));
  LR_ASSIGN_OR_RETURN(const int64_t largest, fields.Integer("context_lengths_max"));
  LR_ASSIGN_OR_RETURN(const int64_t count, fields.Integer("intervals"));
  LR_ASSIGN_OR_RETURN(const std::vector<int64_t> lengths, LengthGrid(smallest, largest, count));
  check->Numbers("lengths", std::vector<double>(lengths.begin(), lengths.end()));
  return absl::OkStatus();
}

absl::Status RunRouge(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const std::string needle, fields.String("needle"));
  LR_ASSIGN_OR_RETURN(const std::string response, fields.String("response"));
  check->Number("score", 10 * eval::Rouge1(needle, response).f);
  return absl::OkStatus();
}

absl::Status RunRulerMatch(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> predictions,
                      Strings(line.fields["predictions"], "predictions"));
  const nlohmann::json& lists = line.fields["references"];
  if (!lists.is_array()) return absl::InvalidArgumentError("references: expected a list of lists");
  std::vector<std::vector<std::string>> references;
  for (const nlohmann::json& list : lists) {
    LR_ASSIGN_OR_RETURN(std::vector<std::string> texts, Strings(list, "references"));
    references.push_back(std::move(texts));
  }
  LR_ASSIGN_OR_RETURN(const double all, eval::StringMatchAll(predictions, references));
  LR_ASSIGN_OR_RETURN(const double part, eval::StringMatchPart(predictions, references));
  check->Number("string_match_all", all);
  check->Number("string_match_part", part);
  return absl::OkStatus();
}

// Structure and answer; the random choices of a sample are not repeated.
absl::Status RunRulerSample(const GoldenLine& line, GoldenLineChecker* check) {
  LR_ASSIGN_OR_RETURN(JsonFields fields, JsonFields::Create(line.fields, "line"));
  LR_ASSIGN_OR_RETURN(const std::string name, fields.String("task"));
  LR_ASSIGN_OR_RETURN(const int64_t index, fields.Integer("index"));
  LR_ASSIGN_OR_RETURN(const std::string input, fields.String("input"));
  if (index < 0)
    return absl::InvalidArgumentError(absl::StrCat("index: ", index, " (expected 0 or more)"));
  LR_ASSIGN_OR_RETURN(const RulerTask task, FindRulerTask(name));
  LR_ASSIGN_OR_RETURN(const RulerSample sample, ReadRulerPrompt(task, input));
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> outputs,
                      Strings(line.fields["outputs"], "outputs"));
  // By query; the values of one key in the sample's order, which is not the text's.
  std::vector<std::string> answers;
  for (const std::string& query : sample.queries) {
    std::vector<std::string> values = sample.ValuesOf(query);
    std::stable_sort(values.begin(), values.end(), [&](const auto& a, const auto& b) {
      return std::find(outputs.begin(), outputs.end(), a) <
             std::find(outputs.begin(), outputs.end(), b);
    });
    answers.insert(answers.end(), values.begin(), values.end());
  }
  check->Texts("outputs", answers);
  check->Number("words", static_cast<double>(CountWords(input)));
  return absl::OkStatus();
}

constexpr char kPaper[] = "needle_in_a_haystack";

LR_REGISTER_GOLDEN_LINES(kPaper, RunInsertion,
                         {/*given=*/{"tokenizer", "haystack_id", "needle", "context_length",
                                     "depth_percent", "final_context_length_buffer"},
                          /*results=*/{"trimmed", "context"}});
LR_REGISTER_GOLDEN_LINES(kPaper, RunMultiInsertion,
                         {/*given=*/{"tokenizer", "haystack_id", "needles", "context_length",
                                     "depth_percent", "final_context_length_buffer"},
                          /*results=*/{"context", "insertion_percentages"}});
LR_REGISTER_GOLDEN_LINES(kPaper, RunDepthGrid,
                         {/*given=*/{"min", "max", "intervals", "type"}, /*results=*/{"depths"}});
LR_REGISTER_GOLDEN_LINES(kPaper, RunLengthGrid,
                         {/*given=*/{"context_lengths_min", "context_lengths_max", "intervals"},
                          /*results=*/{"lengths"}});
LR_REGISTER_GOLDEN_LINES(kPaper, RunRouge,
                         {/*given=*/{"needle", "response"},
                          /*results=*/{"score"}});
LR_REGISTER_GOLDEN_LINES(kPaper, RunRulerMatch,
                         {/*given=*/{"predictions", "references"},
                          /*results=*/{"string_match_all", "string_match_part"}});
LR_REGISTER_GOLDEN_LINES(kPaper, RunRulerSample,
                         {/*given=*/{"task", "index", "input"},
                          /*results=*/{"outputs", "words"}});

}  // namespace
}  // namespace longrange::needle_in_a_haystack
