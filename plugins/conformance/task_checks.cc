#include "plugins/conformance/task_checks.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_join.h"
#include "common/data/corpus.h"
#include "common/data/tokenizer.h"

namespace longrange::conformance {
namespace {

// Sentences of made-up words.
Corpus MadeUpText() {
  std::string text;
  RngStream rng(Rng(1).Child("text"));
  while (text.size() < 200000) {
    const int64_t words = 3 + rng.UniformInt(9);
    for (int64_t w = 0; w < words; ++w) {
      if (w > 0) text += ' ';
      for (int64_t letters = 1 + rng.UniformInt(8); letters > 0; --letters)
        text += static_cast<char>('a' + rng.UniformInt(26));
    }
    text += rng.UniformInt(8) == 0 ? ".\n" : ". ";
  }
  return Corpus("made up", std::move(text));
}

// A task bound to text and tokens as a study would bind it.
struct BoundTask {
  std::unique_ptr<Corpus> corpus;
  std::unique_ptr<ByteTokenizer> tokenizer;
  std::unique_ptr<Task> task;
};

absl::StatusOr<BoundTask> Bind(const TaskSubject& subject) {
  BoundTask bound;
  bound.corpus = std::make_unique<Corpus>(MadeUpText());
  LR_ASSIGN_OR_RETURN(const std::unique_ptr<Task> unbound, subject.make(TaskArgs()));
  bound.tokenizer = std::make_unique<ByteTokenizer>(unbound->special_tokens());
  TaskArgs args;
  args.tokenizer = bound.tokenizer.get();
  args.corpus = bound.corpus.get();
  LR_ASSIGN_OR_RETURN(bound.task, subject.make(args));
  return bound;
}

constexpr int64_t kLength = 128;

ExampleRequest RequestOf(int64_t length, Split split = Split::kTest, double depth = -1) {
  ExampleRequest request;
  request.split = split;
  request.length = length;
  request.depth = depth;
  request.rng = Rng(3);
  return request;
}

// All of an example as text, to compare and to show.
std::string Text(const Example& e) {
  std::string text =
      absl::StrCat(absl::StrJoin(e.ids, " "), " | ", absl::StrJoin(e.target, " "), " | ",
                   absl::StrJoin(e.weight, " "), " | ", absl::StrJoin(e.answer_rows, " "), " | ",
                   e.rows, " | ", absl::StrJoin(e.features, " "), " | ", absl::StrJoin(e.role, " "),
                   " | ", absl::StrJoin(e.second, " "), " | ", e.second_rows, " |");
  for (const auto& [axis, value] : e.axes) absl::StrAppend(&text, " ", axis, "=", value);
  return text;
}

Verdict ExamplesAreWhole(const TaskSubject& subject) {
  LR_CHECK_ASSIGN(const BoundTask bound, Bind(subject));
  if (bound.task->traits().version < 1)
    return Failed("version ", bound.task->traits().version, " (expected 1 or more)");
  const int32_t vocabulary = bound.tokenizer->vocab_size();
  bool any = false;
  for (const int64_t length : {1, 2, 5, 16, 63, 64, 128, 1000}) {
    for (const double depth : {-1.0, 0.0, 37.5, 100.0}) {
      for (int64_t index = 0; index < 4; ++index) {
        const absl::StatusOr<Example> made =
            bound.task->Make(RequestOf(length, Split::kTest, depth), index);
        const std::string what =
            absl::StrCat("example ", index, " of ", length, " rows at depth ", depth);
        if (!made.ok()) {
          if (made.status().message().empty()) return Failed(what, ": refused without a reason");
          continue;
        }
        any = true;
        if (static_cast<int64_t>(made->ids.size()) != length)
          return Failed(what, ": has ", made->ids.size(), " rows");
        if (made->target.size() != made->ids.size())
          return Failed(what, ": has ", made->target.size(), " targets");
        if (made->rows < 0 || made->rows > length)
          return Failed(what, ": ", made->rows, " of its rows are real");
        const int64_t numbers = length * bound.task->traits().features;
        if (static_cast<int64_t>(made->features.size()) != numbers)
          return Failed(what, ": has ", made->features.size(), " features (expected ", numbers,
                        ")");
        if (!made->weight.empty() && made->weight.size() != made->ids.size())
          return Failed(what, ": has ", made->weight.size(), " weights");
        if (!made->role.empty() && made->role.size() != made->ids.size())
          return Failed(what, ": has ", made->role.size(), " roles");
        const int64_t second = bound.task->traits().two_documents ? length : 0;
        if (static_cast<int64_t>(made->second.size()) != second)
          return Failed(what, ": its second document has ", made->second.size(), " rows (expected ",
                        second, ")");
        if (made->second_rows < 0 || made->second_rows > second)
          return Failed(what, ": ", made->second_rows, " rows of its second document are real");
        for (const std::vector<int32_t>* ids : {&made->ids, &made->second}) {
          for (const int32_t id : *ids) {
            if (id < 0 || id >= vocabulary)
              return Failed(what, ": token ", id, " is not one of ", vocabulary);
          }
        }
        for (const int32_t id : made->target) {
          if (id < -1 || id >= vocabulary)
            return Failed(what, ": target ", id, " is not one of ", vocabulary);
        }
        for (const float w : made->weight) {
          if (!(w >= 0) || !std::isfinite(w)) return Failed(what, ": weight ", w);
        }
        if (made->answer_rows.empty()) return Failed(what, ": asks for nothing");
        for (const int64_t row : made->answer_rows) {
          if (row < 0 || row >= length || made->target[row] < 0)
            return Failed(what, ": answer row ", row, " has no target");
        }
      }
    }
  }
  if (!any) return Failed("no length up to 1000 is served");
  return Passed();
}

Verdict SameSeedSameExamples(const TaskSubject& subject) {
  LR_CHECK_ASSIGN(const BoundTask one, Bind(subject));
  LR_CHECK_ASSIGN(const BoundTask two, Bind(subject));
  bool differ = false;
  std::vector<std::string> in_order;
  for (int64_t index = 0; index < 12; ++index) {
    LR_CHECK_ASSIGN(const Example made, one.task->Make(RequestOf(kLength), index));
    in_order.push_back(Text(made));
    differ = differ || in_order.back() != in_order.front();
  }
  if (!differ) return Failed("all examples are the same");
  // From the middle, backwards, by another instance: a place to resume at is an index.
  for (const int64_t index : {7, 11, 3, 2, 1, 0, 7}) {
    LR_CHECK_ASSIGN(const Example again, two.task->Make(RequestOf(kLength), index));
    if (Text(again) != in_order[index])
      return Failed("example ", index, " is another one when it is not asked for in order");
  }
  ExampleRequest other = RequestOf(kLength);
  other.rng = Rng(4);
  LR_CHECK_ASSIGN(const Example elsewhere, one.task->Make(other, 0));
  if (Text(elsewhere) == in_order[0]) return Failed("another seed gives the same example");
  return Passed();
}

Verdict SplitsDiffer(const TaskSubject& subject) {
  LR_CHECK_ASSIGN(const BoundTask bound, Bind(subject));
  int64_t same = 0;
  constexpr int64_t kExamples = 20;
  for (int64_t index = 0; index < kExamples; ++index) {
    LR_CHECK_ASSIGN(const Example train,
                    bound.task->Make(RequestOf(kLength, Split::kTrain), index));
    LR_CHECK_ASSIGN(const Example test, bound.task->Make(RequestOf(kLength, Split::kTest), index));
    const bool is_same =
        train.ids == test.ids && train.features == test.features && train.second == test.second;
    same += is_same ? 1 : 0;
  }
  return same == 0 ? Passed()
                   : Failed(same, " of ", kExamples, " test examples are training examples");
}

double MeanScore(const Task& task, const std::vector<Example>& examples,
                 const std::vector<Reply>& replies) {
  double sum = 0;
  for (size_t i = 0; i < examples.size(); ++i) sum += task.Score(examples[i], replies[i]);
  return sum / static_cast<double>(examples.size());
}

Verdict OracleScoresFull(const TaskSubject& subject) {
  LR_CHECK_ASSIGN(const BoundTask bound, Bind(subject));
  for (int64_t index = 0; index < 50; ++index) {
    LR_CHECK_ASSIGN(const Example example, bound.task->Make(RequestOf(kLength), index));
    const Reply reply = bound.task->Oracle(example);
    if (reply.logprob.size() != example.answer_rows.size() ||
        reply.is_argmax.size() != example.answer_rows.size())
      return Failed("the oracle's reply does not have one entry for each answer row");
    const double score = bound.task->Score(example, reply);
    if (!(score == 1)) return Failed("example ", index, ": who knows the answer scores ", score);
  }
  return Passed();
}

Verdict BlindScoresChance(const TaskSubject& subject) {
  LR_CHECK_ASSIGN(const BoundTask bound, Bind(subject));
  const double chance = bound.task->traits().chance;
  if (!(chance >= 0 && chance < 1)) return Failed("chance: ", chance, " (expected in [0, 1))");
  constexpr int64_t kExamples = 4000;
  std::vector<Example> examples;
  std::vector<Reply> replies;
  for (int64_t index = 0; index < kExamples; ++index) {
    LR_CHECK_ASSIGN(Example example, bound.task->Make(RequestOf(kLength), index));
    replies.push_back(bound.task->Blind(example, Rng(5).Child(index)));
    examples.push_back(std::move(example));
  }
  const double score = MeanScore(*bound.task, examples, replies);
  // Five standard deviations of a right-or-wrong score; half an example where chance is 0.
  const double slack = 5 * std::sqrt(chance * (1 - chance) / kExamples) + 0.5 / kExamples;
  return std::abs(score - chance) <= slack
             ? Passed()
             : Failed("a blind guess scores ", score, " over ", kExamples,
                      " examples; chance: ", chance, " is declared (within ", slack, ")");
}

Verdict ScoresStayInRange(const TaskSubject& subject) {
  LR_CHECK_ASSIGN(const BoundTask bound, Bind(subject));
  LR_CHECK_ASSIGN(const Example example, bound.task->Make(RequestOf(kLength), 0));
  for (const double logprob : {-std::numeric_limits<double>::infinity(), -1e300, std::nan("")}) {
    for (const uint8_t right : {0, 1}) {
      Reply reply;
      reply.logprob.assign(example.answer_rows.size(), logprob);
      reply.is_argmax.assign(example.answer_rows.size(), right);
      const double score = bound.task->Score(example, reply);
      if (!(score >= 0 && score <= 1))
        return Failed("log-probabilities of ", logprob, " score ", score);
    }
  }
  return Passed();
}

}  // namespace

absl::StatusOr<std::string> TaskBehaviour(const TaskSubject& subject) {
  LR_ASSIGN_OR_RETURN(const BoundTask bound, Bind(subject));
  std::string text = absl::StrCat("chance ", bound.task->traits().chance, "\n");
  for (int64_t index = 0; index < 4; ++index) {
    LR_ASSIGN_OR_RETURN(const Example example, bound.task->Make(RequestOf(kLength), index));
    absl::StrAppend(&text, Text(example), "\n");
  }
  return text;
}

const std::vector<TaskCheck>& TaskChecks() {
  static const auto* checks = new std::vector<TaskCheck>{
      {"ExamplesAreWhole", "examples have the rows asked for, known tokens and an answer",
       ExamplesAreWhole},
      {"SameSeedSameExamples", "an example is a function of seed and index", SameSeedSameExamples},
      {"SplitsDiffer", "no test example is a training example", SplitsDiffer},
      {"OracleScoresFull", "who knows the answer scores 1", OracleScoresFull},
      {"BlindScoresChance", "who guesses scores the declared chance", BlindScoresChance},
      {"ScoresStayInRange", "scores lie in [0, 1], whatever the reply", ScoresStayInRange},
  };
  return *checks;
}

}  // namespace longrange::conformance
