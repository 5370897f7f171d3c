// The needle of the study in needle/: D rows lie between a symbol and the last row, which asks for
// it.

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "papers/longformer/longformer.pb.h"
#include "plugins/task.h"
#include "plugins/token_example.h"

namespace longrange {
namespace {

constexpr char kName[] = "longformer_needle";
constexpr int64_t kMostTokens = 1 << 16, kMostRows = int64_t{1} << 40;

class Needle : public Task {
 public:
  static absl::StatusOr<std::unique_ptr<Task>> Create(const LongformerNeedleConfig& config,
                                                      const TaskArgs& args) {
    if (config.symbols() < 2 || config.symbols() > kMostTokens)
      return Refuse("symbols", config.symbols(), absl::StrCat("2 to ", kMostTokens));
    if (config.distractors() < 1 || config.distractors() > kMostTokens)
      return Refuse("distractors", config.distractors(), absl::StrCat("1 to ", kMostTokens));
    if (config.min_distance() < 1 || config.min_distance() > kMostRows)
      return Refuse("min_distance", config.min_distance(), absl::StrCat("1 to ", kMostRows));
    if (config.max_distance() < config.min_distance() || config.max_distance() > kMostRows) {
      return Refuse("max_distance", config.max_distance(),
                    absl::StrCat("min_distance, ", config.min_distance(), ", to ", kMostRows));
    }
    auto task = std::make_unique<Needle>();
    task->config_ = config;
    task->args_ = args;
    task->traits_.chance = 1 / static_cast<double>(config.symbols());
    if (args.tokenizer == nullptr) return task;
    LR_ASSIGN_OR_RETURN(task->ids_, SpecialIds(*args.tokenizer, task->special_tokens(), kName));
    return task;
  }

  const TaskTraits& traits() const override { return traits_; }

  std::vector<std::string> special_tokens() const override {
    std::vector<std::string> names;
    for (int64_t i = 0; i < config_.symbols(); ++i) names.push_back(absl::StrCat("<s", i, ">"));
    for (int64_t i = 0; i < config_.distractors(); ++i) names.push_back(absl::StrCat("<x", i, ">"));
    return names;
  }

  absl::StatusOr<Example> Make(const ExampleRequest& request, int64_t index) const override {
    LR_RETURN_IF_ERROR(CanMakeSymbols(args_, kName));
    if (request.length <= config_.max_distance()) {
      return Refuse("length", request.length,
                    absl::StrCat(config_.max_distance() + 1,
                                 " or more: the needle stands up to max_distance before the last"));
    }
    if (request.depth >= 0)
      return Refuse("depth", request.depth, "none: the config's distances place the needle");
    const Rng rng = request.rng.Child(SplitName(request.split)).Child(index);
    const Rng distractor_rng = rng.Child("distractor");
    Example example;
    for (int64_t t = 0; t < request.length; ++t) {
      example.ids.push_back(
          ids_[config_.symbols() + distractor_rng.UniformInt(t, config_.distractors())]);
    }
    const int64_t last = request.length - 1,
                  distance =
                      config_.min_distance() +
                      rng.Child("distance")
                          .UniformInt(0, config_.max_distance() - config_.min_distance() + 1);
    const int32_t needle = ids_[rng.Child("needle").UniformInt(0, config_.symbols())];
    example.ids[last - distance] = needle;
    example.target.assign(request.length, -1);
    example.target[last] = needle;
    example.answer_rows = {last};
    if (config_.mark_question()) {
      example.role.assign(request.length, 0);
      example.role[last] = nn::kGlobalRole;
    }
    example.axes["length"] = static_cast<double>(request.length);
    example.axes["distance"] = static_cast<double>(distance);
    return example;
  }

  double Score(const Example& example, const Reply& reply) const override {
    return ShareFound(example, reply, 1);
  }

  Reply Oracle(const Example& example) const override { return OracleReply(example); }

  Reply Blind(const Example& example, const Rng& rng) const override {
    return BlindReply(example, absl::MakeConstSpan(ids_).first(config_.symbols()), rng);
  }

 private:
  LongformerNeedleConfig config_;
  TaskArgs args_;
  TaskTraits traits_;
  std::vector<int32_t> ids_;  // of special_tokens(), in order
};

LR_REGISTER_PLUGIN(Task, LongformerNeedleConfig, Needle::Create);

}  // namespace
}  // namespace longrange
