#include "plugins/token_example.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "glog/logging.h"

namespace longrange {

absl::string_view SplitName(Split split) {
  return split == Split::kTrain ? "train" : split == Split::kValidation ? "validation" : "test";
}

absl::string_view SplitText(const Corpus& corpus, Split split) {
  return split == Split::kTrain        ? corpus.train()
         : split == Split::kValidation ? corpus.validation()
                                       : corpus.test();
}

absl::StatusOr<std::vector<int32_t>> SpecialIds(const Tokenizer& tokenizer,
                                                absl::Span<const std::string> names,
                                                absl::string_view task) {
  std::vector<int32_t> ids;
  ids.reserve(names.size());
  for (const std::string& name : names) {
    const absl::StatusOr<int32_t> id = tokenizer.SpecialId(name);
    if (!id.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("the tokenizer lacks a token of ", task, ": ", id.status().message()));
    }
    ids.push_back(*id);
  }
  return ids;
}

absl::Status CanMakeExamples(const TaskArgs& args, absl::string_view task) {
  if (args.tokenizer != nullptr && args.corpus != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat(task, " makes examples of a tokenizer and a corpus"));
}

absl::Status CanMakeSymbols(const TaskArgs& args, absl::string_view task) {
  if (args.tokenizer != nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(task, " makes examples of a tokenizer"));
}

absl::StatusOr<std::vector<int32_t>> EncodeBytes(const Tokenizer& tokenizer, absl::string_view text,
                                                 absl::string_view task) {
  std::vector<int32_t> ids = tokenizer.Encode(text);
  if (ids.size() != text.size()) {
    return absl::UnimplementedError(
        absl::StrCat(task, " needs a tokenizer of one token a byte; this one", " makes ",
                     ids.size(), " tokens of ", text.size(), " bytes"));
  }
  return ids;
}

absl::StatusOr<std::vector<int32_t>> TextWindow(const TaskArgs& args, Split split, int64_t size,
                                                const Rng& rng, absl::string_view task) {
  const absl::string_view part = SplitText(*args.corpus, split);
  const int64_t part_size = static_cast<int64_t>(part.size());
  if (part_size < size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the ", SplitName(split), " part of corpus ", args.corpus->name(), " has ", part_size,
        " bytes; an example of this length has ", size, " bytes of text (", task, ")"));
  }
  return EncodeBytes(*args.tokenizer, part.substr(rng.UniformInt(0, part_size - size + 1), size),
                     task);
}

void ExampleBuilder::Append(absl::Span<const int32_t> ids, double weight) {
  tokens_.insert(tokens_.end(), ids.begin(), ids.end());
  weight_.resize(tokens_.size(), static_cast<float>(weight));
}

void ExampleBuilder::Answer(absl::Span<const int32_t> ids, double weight) {
  CHECK(!tokens_.empty()) << "no row stands before the answer";
  for (size_t i = 0; i < ids.size(); ++i)
    answer_rows_.push_back(static_cast<int64_t>(tokens_.size() + i) - 1);
  Append(ids, weight);
}

Example ExampleBuilder::Finish() const {
  CHECK_GE(tokens_.size(), 2u);
  Example example;
  example.ids.assign(tokens_.begin(), tokens_.end() - 1);
  example.weight.assign(weight_.begin() + 1, weight_.end());
  for (size_t t = 1; t < tokens_.size(); ++t)
    example.target.push_back(weight_[t] > 0 ? tokens_[t] : -1);
  example.answer_rows = answer_rows_;
  example.axes["length"] = static_cast<double>(example.ids.size());
  return example;
}

Reply OracleReply(const Example& example) {
  return {std::vector<double>(example.answer_rows.size(), 0),
          std::vector<uint8_t>(example.answer_rows.size(), 1)};
}

Reply BlindReply(const Example& example, absl::Span<const int32_t> guesses, const Rng& rng) {
  const int64_t count = static_cast<int64_t>(guesses.size());
  Reply reply;
  for (size_t i = 0; i < example.answer_rows.size(); ++i) {
    const int32_t guess = guesses[rng.UniformInt(static_cast<int64_t>(i), count)];
    reply.logprob.push_back(-std::log(static_cast<double>(count)));
    reply.is_argmax.push_back(guess == example.target[example.answer_rows[i]]);
  }
  return reply;
}

double ShareFound(const Example& example, const Reply& reply, int64_t rows_of_an_answer) {
  CHECK_EQ(reply.is_argmax.size(), example.answer_rows.size());
  CHECK_EQ(static_cast<int64_t>(reply.is_argmax.size()) % rows_of_an_answer, 0);
  int64_t answers = 0, found = 0;
  for (auto begin = reply.is_argmax.begin(); begin != reply.is_argmax.end();
       begin += rows_of_an_answer) {
    ++answers;
    found += std::all_of(begin, begin + rows_of_an_answer, [](uint8_t hit) { return hit != 0; });
  }
  return static_cast<double>(found) / static_cast<double>(answers);
}

}  // namespace longrange
