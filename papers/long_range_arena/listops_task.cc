#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/long_range_arena/class_task.h"
#include "papers/long_range_arena/listops.h"
#include "papers/long_range_arena/long_range_arena.pb.h"

namespace longrange::long_range_arena {
namespace {

constexpr int64_t kPad = kNumListopsTokens;  // the last of the special tokens

std::vector<std::string> Tokens() {
  std::vector<std::string> names;
  for (int32_t t = 0; t < kNumListopsTokens; ++t) names.emplace_back(ListopsName(t));
  names.emplace_back("<pad>");
  return names;
}

class ListopsTask : public ClassTask {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongRangeArenaListopsConfig& config,
                                                      const TaskArgs& args) {
    const auto check = [](absl::string_view field, int64_t value, int64_t least, int64_t most) {
      if (value >= least && value <= most) return absl::OkStatus();
      return Refuse(field, value, absl::StrCat(least, " to ", most));
    };
    constexpr int64_t kLongest = int64_t{1} << 20;
    LR_RETURN_IF_ERROR(check("max_depth", config.max_depth(), 2, 100));
    LR_RETURN_IF_ERROR(check("max_args", config.max_args(), 2, 1000));
    LR_RETURN_IF_ERROR(check("max_length", config.max_length(), 1, kLongest));
    LR_RETURN_IF_ERROR(check("min_length", config.min_length(), 1, config.max_length()));
    std::unique_ptr<ListopsTask> task(new ListopsTask(
        {config.max_depth(), config.max_args(), config.min_length(), config.max_length()}));
    LR_RETURN_IF_ERROR(task->Bind(args));
    return task;
  }

 protected:
  absl::StatusOr<Example> MakeOne(const ExampleRequest& request, int64_t /*index*/,
                                  const Rng& rng) const override {
    if (request.length < grammar_.min_length) {
      return Refuse("length", request.length,
                    absl::StrCat(grammar_.min_length, " or more, the config's min_length"));
    }
    ListopsGrammar grammar = grammar_;
    grammar.max_length = std::min(grammar.max_length, request.length);
    LR_ASSIGN_OR_RETURN(const ListopsExpression made, MakeListops(grammar, rng));
    Example example;
    for (const int32_t token : made.tokens) example.ids.push_back(id(token));
    example.ids.resize(request.length, id(kPad));
    Ask(static_cast<int64_t>(made.tokens.size()), made.value, &example);
    return example;
  }

 private:
  explicit ListopsTask(const ListopsGrammar& grammar)
      : ClassTask("long_range_arena_listops", Tokens(), 10), grammar_(grammar) {}

  ListopsGrammar grammar_;
};

LR_REGISTER_PLUGIN(Task, LongRangeArenaListopsConfig, ListopsTask::Create);

}  // namespace
}  // namespace longrange::long_range_arena
