// Needle in a Haystack (Kamradt 2023, github.com/gkamradt/LLMTest_NeedleInAHaystack) with token
// values in place of sentences. T rows of an example, V tokens of a value, X = T - 2 V - 1 bytes of
// text.

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "papers/needle_in_a_haystack/needle_in_a_haystack.pb.h"
#include "plugins/task.h"

namespace longrange {
namespace {

std::string ValueName(int64_t value) { return absl::StrCat("<v", value, ">"); }

class NeedleInAHaystack : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const NeedleInAHaystackConfig& config,
                                                      const TaskArgs& args) {
    if (config.values() < 2) {
      return absl::InvalidArgumentError(
          absl::StrCat("values: ", config.values(), " (expected 2 or more)"));
    }
    constexpr int64_t kMost = 65536;  // of values, and of tokens in a needle
    if (config.values() > kMost || config.value_tokens() > kMost) {
      return absl::InvalidArgumentError(absl::StrCat("values: ", config.values(),
                                                     ", value_tokens: ", config.value_tokens(),
                                                     " (expected at most ", kMost, ")"));
    }
    if (config.value_tokens() < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("value_tokens: ", config.value_tokens(), " (expected 1 or more)"));
    }
    if (!(config.answer_weight() > 0)) {
      return absl::InvalidArgumentError(
          absl::StrCat("answer_weight: ", config.answer_weight(), " (expected > 0)"));
    }
    auto task = std::make_unique<NeedleInAHaystack>();
    task->config_ = config;
    task->args_ = args;
    task->traits_.chance = std::pow(1.0 / static_cast<double>(config.values()),
                                    static_cast<double>(config.value_tokens()));
    if (args.tokenizer != nullptr) LR_RETURN_IF_ERROR(task->FindTokens());
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names = {"<mark>", "<query>"};
    for (int64_t i = 0; i < config_.values(); ++i) names.push_back(ValueName(i));
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    if (args_.tokenizer == nullptr || args_.corpus == nullptr) {
      return absl::FailedPreconditionError(
          "needle_in_a_haystack makes examples of a tokenizer and a corpus");
    }
    const int64_t value_tokens = config_.value_tokens(),
                  text_size = request.length - 2 * value_tokens - 1;
    if (text_size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("length: ", request.length, " (expected ", 2 * value_tokens + 2,
                       " or more: a needle, the question and a byte of text)"));
    }
    if (!(request.depth <= 100)) {
      return absl::InvalidArgumentError(
          absl::StrCat("depth: ", request.depth, " (expected 0 to 100 percent)"));
    }
    const Rng rng = request.rng.Child(SplitName(request.split)).Child(index);
    LR_ASSIGN_OR_RETURN(const std::vector<int32_t> text,
                        Text(request.split, text_size, rng.Child("text")));
    // 0 %: the needle comes first; 100 %: right before the question.
    const int64_t place = request.depth < 0
                              ? rng.Child("depth").UniformInt(0, text_size + 1)
                              : std::llround(request.depth / 100 * static_cast<double>(text_size));
    std::vector<int32_t> values;
    for (int64_t i = 0; i < value_tokens; ++i) {
      values.push_back(value_ids_[rng.Child("values").UniformInt(i, config_.values())]);
    }

    // All T + 1 tokens, and whether each can be predicted from those before it.
    std::vector<int32_t> tokens;
    std::vector<double> weight;
    const auto append = [&](auto begin, auto end, double token_weight) {
      tokens.insert(tokens.end(), begin, end);
      weight.resize(tokens.size(), token_weight);
    };
    append(text.begin(), text.begin() + place, 1);
    append(&mark_id_, &mark_id_ + 1, 0);
    append(values.begin(), values.end(), 0);
    append(text.begin() + place, text.end(), 1);
    append(&query_id_, &query_id_ + 1, 0);
    append(values.begin(), values.end(), config_.answer_weight());
    CHECK_EQ(static_cast<int64_t>(tokens.size()), request.length + 1);

    Example example;
    example.ids.assign(tokens.begin(), tokens.end() - 1);
    for (int64_t t = 0; t < request.length; ++t) {
      example.target.push_back(weight[t + 1] > 0 ? tokens[t + 1] : -1);
      example.weight.push_back(static_cast<float>(weight[t + 1]));
    }
    for (int64_t i = 0; i < value_tokens; ++i)
      example.answer_rows.push_back(request.length - value_tokens + i);
    example.axes["length"] = static_cast<double>(request.length);
    example.axes["depth"] = request.depth < 0
                                ? 100 * static_cast<double>(place) / static_cast<double>(text_size)
                                : request.depth;
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    CHECK_EQ(reply.is_argmax.size(), example.answer_rows.size());
    return std::all_of(reply.is_argmax.begin(), reply.is_argmax.end(),
                       [](uint8_t hit) { return hit != 0; })
               ? 1
               : 0;
  }

  Reply Oracle(const Example& example) const override {
    return {std::vector<double>(example.answer_rows.size(), 0),
            std::vector<uint8_t>(example.answer_rows.size(), 1)};
  }

  Reply Blind(const Example& example, const Rng& rng) const override {
    Reply reply;
    for (size_t i = 0; i < example.answer_rows.size(); ++i) {
      const int32_t guess = value_ids_[rng.UniformInt(static_cast<int64_t>(i), config_.values())];
      reply.logprob.push_back(-std::log(static_cast<double>(config_.values())));
      reply.is_argmax.push_back(guess == example.target[example.answer_rows[i]]);
    }
    return reply;
  }

 private:
  static absl::string_view SplitName(Split split) {
    return split == Split::kTrain ? "train" : split == Split::kValidation ? "validation" : "test";
  }

  absl::Status FindTokens() {
    for (const std::string& name : special_tokens()) {
      const absl::StatusOr<int32_t> id = args_.tokenizer->SpecialId(name);
      if (!id.ok()) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the tokenizer lacks a token of needle_in_a_haystack: ", id.status().message()));
      }
      (name == "<mark>"    ? mark_id_
       : name == "<query>" ? query_id_
                           : value_ids_.emplace_back()) = *id;
    }
    return absl::OkStatus();
  }

  // A window of `size` bytes of the split's part of the corpus, one token a byte.
  absl::StatusOr<std::vector<int32_t>> Text(Split split, int64_t size, const Rng& rng) const {
    const absl::string_view part = split == Split::kTrain        ? args_.corpus->train()
                                   : split == Split::kValidation ? args_.corpus->validation()
                                                                 : args_.corpus->test();
    const int64_t part_size = static_cast<int64_t>(part.size());
    if (part_size < size) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the ", SplitName(split), " part of corpus ", args_.corpus->name(), " has ", part_size,
          " bytes; an example of this length hides its", " needle in ", size));
    }
    std::vector<int32_t> ids =
        args_.tokenizer->Encode(part.substr(rng.UniformInt(0, part_size - size + 1), size));
    if (static_cast<int64_t>(ids.size()) != size) {
      return absl::UnimplementedError(
          absl::StrCat("needle_in_a_haystack needs a tokenizer of one token a byte; this one",
                       " makes ", ids.size(), " tokens of ", size, " bytes"));
    }
    return ids;
  }

  NeedleInAHaystackConfig config_;
  TaskArgs args_;
  TaskTraits traits_;
  int32_t mark_id_ = -1, query_id_ = -1;
  std::vector<int32_t> value_ids_;
};

LR_REGISTER_PLUGIN(Task, NeedleInAHaystackConfig, NeedleInAHaystack::Create);

}  // namespace
}  // namespace longrange
