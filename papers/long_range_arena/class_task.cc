#include "papers/long_range_arena/class_task.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "plugins/token_example.h"

namespace longrange::long_range_arena {

ClassTask::ClassTask(std::string name, std::vector<std::string> tokens, int64_t classes)
    : name_(std::move(name)), tokens_(std::move(tokens)), classes_(classes) {
  traits_.chance = 1 / static_cast<double>(classes);
}

absl::Status ClassTask::Bind(const TaskArgs& args) {
  if (args.tokenizer == nullptr) return absl::OkStatus();
  LR_ASSIGN_OR_RETURN(ids_, SpecialIds(*args.tokenizer, tokens_, name_));
  return absl::OkStatus();
}

absl::StatusOr<Example> ClassTask::Make(const ExampleRequest& request, int64_t index) const {
  if (ids_.empty())
    return absl::FailedPreconditionError(absl::StrCat(name_, ": created without a tokenizer"));
  if (request.length < 1) return Refuse("length", request.length, "1 or more");
  return MakeOne(request, index, request.rng.Child(SplitName(request.split)).Child(index));
}

void ClassTask::Ask(int64_t rows, int64_t answer, Example* example) const {
  const auto length = static_cast<int64_t>(example->ids.size());
  example->rows = rows;
  example->target.assign(length, -1);
  example->target[rows - 1] = ids_[answer];
  example->answer_rows = {rows - 1};
  example->axes["length"] = static_cast<double>(length);
}

double ClassTask::Score(const Example& example, const Reply& reply) const {
  return ShareFound(example, reply, 1);
}

Reply ClassTask::Oracle(const Example& example) const { return OracleReply(example); }

Reply ClassTask::Blind(const Example& example, const Rng& rng) const {
  return BlindReply(example, absl::MakeConstSpan(ids_).first(classes_), rng);
}

void AppendLevels(absl::string_view prefix, std::vector<std::string>* tokens) {
  for (int level = 0; level < 256; ++level)
    tokens->push_back(absl::StrCat("<", prefix, level, ">"));
}

// i -> a i + b modulo the count is a permutation where a has no factor in common with it.
int64_t Shuffled(int64_t index, int64_t count, const Rng& rng) {
  RngStream draw(rng.Child("order"));
  const int64_t offset = draw.UniformInt(count);
  int64_t stride = 1;
  do {
    stride = 1 + draw.UniformInt(count);
  } while (std::gcd(stride, count) != 1);
  const auto at = static_cast<__int128>(stride) * (index % count) + offset;
  return static_cast<int64_t>(at % count);
}

}  // namespace longrange::long_range_arena
