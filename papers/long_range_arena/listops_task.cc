#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "papers/long_range_arena/listops.h"
#include "papers/long_range_arena/long_range_arena.pb.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange::long_range_arena {
namespace {

constexpr char kName[] = "long_range_arena_listops";
constexpr int32_t kPad = kNumListopsTokens;  // the last of the special tokens

class ListopsTask : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongRangeArenaListopsConfig& config,
                                                      const TaskArgs& args) {
    const auto check = [](absl::string_view field, int64_t value, int64_t least, int64_t most) {
      if (value >= least && value <= most) return absl::OkStatus();
      return absl::InvalidArgumentError(
          absl::StrCat(field, ": ", value, " (expected ", least, " to ", most, ")"));
    };
    constexpr int64_t kLongest = int64_t{1} << 20;
    LR_RETURN_IF_ERROR(check("max_depth", config.max_depth(), 2, 100));
    LR_RETURN_IF_ERROR(check("max_args", config.max_args(), 2, 1000));
    LR_RETURN_IF_ERROR(check("max_length", config.max_length(), 1, kLongest));
    LR_RETURN_IF_ERROR(check("min_length", config.min_length(), 1, config.max_length()));
    auto task = std::make_unique<ListopsTask>();
    task->grammar_ = {config.max_depth(), config.max_args(), config.min_length(),
                      config.max_length()};
    task->has_tokenizer_ = args.tokenizer != nullptr;
    task->traits_.chance = 0.1;
    if (args.tokenizer != nullptr) {
      LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    }
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names;
    for (int32_t t = 0; t < kNumListopsTokens; ++t) names.emplace_back(ListopsName(t));
    names.emplace_back("<pad>");
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    if (!has_tokenizer_)
      return absl::FailedPreconditionError(absl::StrCat(kName, ": created without a tokenizer"));
    if (request.length < grammar_.min_length) {
      return absl::InvalidArgumentError(absl::StrCat("length: ", request.length, " (expected ",
                                                     grammar_.min_length,
                                                     " or more, the config's min_length)"));
    }
    ListopsGrammar grammar = grammar_;
    grammar.max_length = std::min(grammar.max_length, request.length);
    LR_ASSIGN_OR_RETURN(
        const ListopsExpression made,
        MakeListops(grammar, request.rng.Child(SplitName(request.split)).Child(index)));
    Example example;
    example.rows = static_cast<int64_t>(made.tokens.size());
    for (const int32_t token : made.tokens) example.ids.push_back(ids_[token]);
    example.ids.resize(request.length, ids_[kPad]);
    example.target.assign(request.length, -1);
    example.target[example.rows - 1] = ids_[made.value];
    example.answer_rows = {example.rows - 1};
    example.axes["length"] = static_cast<double>(request.length);
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, 1);
  }
  Reply Oracle(const Example& example) const override { return OracleReply(example); }
  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, absl::MakeConstSpan(ids_).first(10), rng);
  }

 private:
  ListopsGrammar grammar_;
  bool has_tokenizer_ = false;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of special_tokens()
};

LR_REGISTER_PLUGIN(Task, LongRangeArenaListopsConfig, ListopsTask::Create);

}  // namespace
}  // namespace longrange::long_range_arena
