// Induction heads (Gu and Dao 2023, section 4.1.2): after the special token comes what came after
// it before. T rows of an example.

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "papers/mamba/tasks.pb.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange {
namespace {

constexpr char kName[] = "mamba_induction_heads";

class InductionHeads : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const MambaInductionHeadsConfig& config,
                                                      const TaskArgs& args) {
    constexpr int64_t kMost = 1 << 16;
    if (config.vocabulary() < 3 || config.vocabulary() > kMost) {
      return absl::InvalidArgumentError(
          absl::StrCat("vocabulary: ", config.vocabulary(), " (expected 3 to ", kMost,
                       ": two ordinary tokens or more, and the special one)"));
    }
    auto task = std::make_unique<InductionHeads>();
    task->ordinary_ = config.vocabulary() - 1;
    task->args_ = args;
    task->traits_.chance = 1 / static_cast<double>(task->ordinary_);
    if (args.tokenizer == nullptr) return task;
    LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  // The ordinary ones, then the special one.
  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names;
    for (int64_t i = 0; i < ordinary_; ++i) names.push_back(absl::StrCat("<", i, ">"));
    names.push_back("<special>");
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    LR_RETURN_IF_ERROR(CanMakeSymbols(args_, kName));
    if (request.length < 3) {
      return absl::InvalidArgumentError(
          absl::StrCat("length: ", request.length,
                       " (expected 3 or more: the special token, what follows it, and the "
                       "special token again)"));
    }
    if (!(request.depth <= 100)) {
      return absl::InvalidArgumentError(
          absl::StrCat("depth: ", request.depth, " (expected 0 to 100 percent)"));
    }
    const Rng rng = request.rng.Child(SplitName(request.split)).Child(index);
    const Rng tokens = rng.Child("tokens");
    const int64_t last = request.length - 1,
                  // The last place is that before the end: an ordinary token stands between.
        most = request.length - 3,
                  place = request.depth < 0
                              ? rng.Child("place").UniformInt(0, most + 1)
                              : std::llround(request.depth / 100 * static_cast<double>(most));
    Example example;
    example.ids.resize(request.length);
    for (int64_t t = 0; t < last; ++t) example.ids[t] = ids_[tokens.UniformInt(t, ordinary_)];
    example.ids[place] = example.ids[last] = ids_.back();
    example.target.assign(request.length, -1);
    example.target[last] = example.ids[place + 1];
    example.answer_rows = {last};
    example.axes["length"] = static_cast<double>(request.length);
    example.axes["depth"] = request.depth >= 0 ? request.depth
                            : most == 0
                                ? 0
                                : 100 * static_cast<double>(place) / static_cast<double>(most);
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, 1);
  }

  Reply Oracle(const Example& example) const override { return OracleReply(example); }

  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, absl::MakeConstSpan(ids_).first(ids_.size() - 1), rng);
  }

 private:
  int64_t ordinary_ = 0;  // how many ordinary tokens
  TaskArgs args_;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of special_tokens(), in order
};

LR_REGISTER_PLUGIN(Task, MambaInductionHeadsConfig, InductionHeads::Create);

}  // namespace
}  // namespace longrange
