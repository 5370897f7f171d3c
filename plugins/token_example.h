// Examples at the level of tokens: what tasks that hide things in text of a corpus put them
// together of.

#ifndef LONGRANGE_PLUGINS_TOKEN_EXAMPLE_H_
#define LONGRANGE_PLUGINS_TOKEN_EXAMPLE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/base/rng.h"
#include "plugins/task.h"

namespace longrange {

absl::string_view SplitName(Split split);  // "train", "validation", "test"
absl::string_view SplitText(const Corpus& corpus, Split split);

// Ids of special tokens, in the order of `names`. InvalidArgument, naming the task: the tokenizer
// lacks one.
absl::StatusOr<std::vector<int32_t>> SpecialIds(const Tokenizer& tokenizer,
                                                absl::Span<const std::string> names,
                                                absl::string_view task);

// FailedPrecondition where a task that was created without tokenizer or corpus is asked for
// examples.
absl::Status CanMakeExamples(const TaskArgs& args, absl::string_view task);
// The same of a task that hides nothing in text: it needs a tokenizer alone.
absl::Status CanMakeSymbols(const TaskArgs& args, absl::string_view task);

// One token a byte. Unimplemented where the tokenizer makes another number of them.
absl::StatusOr<std::vector<int32_t>> EncodeBytes(const Tokenizer& tokenizer, absl::string_view text,
                                                 absl::string_view task);

// A window of `size` bytes of the split's part of the corpus, anywhere in it, one token a byte.
// InvalidArgument where the part is shorter.
absl::StatusOr<std::vector<int32_t>> TextWindow(const TaskArgs& args, Split split, int64_t size,
                                                const Rng& rng, absl::string_view task);

// The T + 1 tokens of an example, first to last; its T rows predict each the next token.
class ExampleBuilder {
 public:
  // Text, that can be predicted from what stands before: weight 1.
  void Text(absl::Span<const int32_t> ids) { Append(ids, 1); }
  // Nothing foretells them: not scored.
  void Given(absl::Span<const int32_t> ids) { Append(ids, 0); }
  // They follow from what stands before: `weight` in the loss.
  void Foretold(absl::Span<const int32_t> ids, double weight) { Append(ids, weight); }
  // Likewise, and they are what is asked for.
  void Answer(absl::Span<const int32_t> ids, double weight);

  // Everything but the axes, of which "length" is set. Two tokens or more, no answer first.
  Example Finish() const;

 private:
  void Append(absl::Span<const int32_t> ids, double weight);

  std::vector<int32_t> tokens_;
  std::vector<float> weight_;         // of predicting tokens_[i]; 0: not scored
  std::vector<int64_t> answer_rows_;  // the rows before the answers' tokens
};

// What somebody says who knows the answer.
Reply OracleReply(const Example& example);
// What somebody says who takes each token of the answer to be one of `guesses`, all as likely.
Reply BlindReply(const Example& example, absl::Span<const int32_t> guesses, const Rng& rng);

// The share of the answers found, an answer being so many answer rows in a row, all of them right.
double ShareFound(const Example& example, const Reply& reply, int64_t rows_of_an_answer);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_TOKEN_EXAMPLE_H_
