// A block of random tokens again and again, behind a start token. T rows of an example.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/induction_heads/induction_heads.pb.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange {
namespace {

constexpr char kName[] = "induction_heads_repeats";

class Repeats : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const InductionHeadsRepeatsConfig& config,
                                                      const TaskArgs& args) {
    constexpr int64_t kMost = 1 << 16;
    if (config.vocabulary() < 3 || config.vocabulary() > kMost)
      return Refuse("vocabulary", config.vocabulary(),
                    absl::StrCat("3 to ", kMost, ": the start token and two others or more"));
    if (config.least_block() < 1 || config.least_block() > kMost)
      return Refuse("least_block", config.least_block(), absl::StrCat("1 to ", kMost));
    if (config.most_block() < config.least_block() || config.most_block() > kMost)
      return Refuse("most_block", config.most_block(),
                    absl::StrCat("least_block, ", config.least_block(), ", to ", kMost));
    auto task = std::make_unique<Repeats>();
    task->config_ = config;
    task->args_ = args;
    task->traits_.chance = 1 / static_cast<double>(config.vocabulary() - 1);
    if (args.tokenizer == nullptr) return task;
    LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  // In the order of the ids of a study without text: 0 is the start token.
  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names = {"<start>"};
    for (int64_t i = 1; i < config_.vocabulary(); ++i) names.push_back(absl::StrCat("<r", i, ">"));
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    LR_RETURN_IF_ERROR(CanMakeSymbols(args_, kName));
    // Of the start token, a block and the first token again, which tells the next.
    const int64_t least = config_.least_block();
    if (request.length < least + 2) {
      return Refuse("length", request.length,
                    absl::StrCat(least + 2, " or more: the start token, a block of ", least,
                                 " and its first token again"));
    }
    if (request.depth >= 0) return Refuse("depth", request.depth, "none: blocks are everywhere");
    const Rng rng = request.rng.Child(SplitName(request.split)).Child(index),
              tokens = rng.Child("tokens");
    const int64_t most = std::min(config_.most_block(), request.length - 2),
                  block = least + rng.Child("block").UniformInt(0, most - least + 1);
    // Token i, of length + 1.
    const auto token = [&](int64_t i) {
      if (i == 0) return ids_[0];
      return ids_[1 + tokens.UniformInt((i - 1) % block, config_.vocabulary() - 1)];
    };
    Example example;
    for (int64_t t = 0; t < request.length; ++t) {
      example.ids.push_back(token(t));
      example.target.push_back(token(t + 1));
      if (t > block) example.answer_rows.push_back(t);
    }
    example.axes["length"] = static_cast<double>(request.length);
    example.axes["block"] = static_cast<double>(block);
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, 1);
  }

  Reply Oracle(const Example& example) const override { return OracleReply(example); }

  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, absl::MakeConstSpan(ids_).subspan(1), rng);
  }

 private:
  InductionHeadsRepeatsConfig config_;
  TaskArgs args_;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of special_tokens(), in order
};

LR_REGISTER_PLUGIN(Task, InductionHeadsRepeatsConfig, Repeats::Create);

}  // namespace
}  // namespace longrange
